//! How a run ends: with which status, and with which words.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};
use substrates::config::{ConfigError, Location, Problem};
use substrates::engine::EngineError;
use substrates::{Error, ExitStatus};

use crate::arguments::Format;

/// The exit status after an interrupt.
pub(crate) const INTERRUPTED: u8 = 130;

/// Everything but plain success.
#[derive(Debug)]
pub(crate) enum Ending {
    /// What was asked for makes no sense.
    Usage(String),
    /// It failed.
    Failed(Error),
    /// Documents hold mistakes.
    Invalid(ConfigError),
    /// It failed, and the answer says how.
    Told,
    /// A command inside an instance ended like this.
    Command(ExitStatus),
    /// The user has seen enough.
    Interrupted,
    /// Nobody reads what we write, and nobody wants to hear about that.
    Unread,
}

impl From<Error> for Ending {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ConfigError> for Ending {
    fn from(error: ConfigError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<EngineError> for Ending {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Invalid(error) => Self::Invalid(error),
            EngineError::Failed(error) => Self::Failed(error),
            refused => Self::Failed(Error::conflict(refused.to_string()).with_source(refused)),
        }
    }
}

impl From<io::Error> for Ending {
    /// Of our own standard streams: those of substrates are errors of their own.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failed(Error::internal(format!("cannot read or write a standard stream: {error}"))),
        }
    }
}

impl Ending {
    /// Says what has to be said and returns the exit status.
    pub(crate) fn report(self, format: Format) -> ExitCode {
        match self {
            Self::Usage(message) => {
                let error = Error::invalid_input(message);
                complain(format, error.message(), &error);
                ExitCode::from(2)
            }
            Self::Failed(error) => {
                complain(format, &error.to_string(), &error);
                ExitCode::FAILURE
            }
            Self::Invalid(error) => {
                // As compilers do: every one on a line of its own.
                let _ = writeln!(io::stderr(), "{error}");
                if format == Format::Json {
                    let _ = writeln!(io::stdout(), "{}", problems_as_json(error.problems()));
                }
                ExitCode::FAILURE
            }
            Self::Told => ExitCode::FAILURE,
            // What a status cannot hold is a failure all the same, never its lowest byte: that may be 0.
            Self::Command(status) => ExitCode::from(u8::try_from(status.shell_code()).unwrap_or(u8::MAX)),
            Self::Interrupted => ExitCode::from(INTERRUPTED),
            Self::Unread => ExitCode::from(141),
        }
    }
}

/// What programs read of mistakes in documents; no mistakes are an empty list.
pub(crate) fn problems_as_json(problems: &[Problem]) -> Value {
    let problems = problems.iter().map(|problem| {
        let (file, line, column) = match &problem.location {
            Some(Location::Source { source, line, column }) => (Some(source), Some(line), Some(column)),
            _ => (None, None, None),
        };
        // Its place stands beside it; a variable of the environment has none, and stays in the words.
        let location = problem.location.clone().filter(|_| file.is_none());
        let message = Problem { location, ..problem.clone() }.to_string();
        json!({ "file": file, "line": line, "column": column, "path": problem.path, "message": message })
    });
    json!({ "problems": problems.collect::<Vec<_>>() })
}

/// One line for people and, for programs, one document. That nobody reads them changes nothing any more.
fn complain(format: Format, line: &str, error: &Error) {
    // One line, whatever the other side wrote.
    let line: Vec<&str> = line.split(char::is_control).collect();
    let _ = writeln!(io::stderr(), "substratectl: {}", line.join(" "));
    if format == Format::Json {
        let _ = writeln!(io::stdout(), "{}", json!({ "error": error }));
    }
}

/// What the parser of the command line has to say: help is help, everything else is one line as well.
pub(crate) fn of_parsing(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(error.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        let _ = error.print();
        return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    let text = error.to_string();
    let said = text.split("\n\nUsage:").next().unwrap_or(&text);
    let said = said.split("\n\nFor more information").next().unwrap_or(said);
    // Each paragraph on the same line: lists, and tips.
    let paragraphs = said.trim_start_matches("error: ").split("\n\n");
    let paragraphs: Vec<String> =
        paragraphs.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    Ending::Usage(format!("{} (see --help)", paragraphs.join("; "))).report(format_of(arguments))
}

/// The format that was asked for, where the whole line could not be understood.
fn format_of(arguments: &[OsString]) -> Format {
    let ours: Vec<&str> =
        arguments.iter().map_while(|word| word.to_str()).take_while(|word| *word != "--").collect();
    let joined = ["-ojson", "-o=json", "--output=json"];
    let apart = ours.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]));
    if apart || ours.iter().any(|word| joined.contains(word)) { Format::Json } else { Format::Text }
}
