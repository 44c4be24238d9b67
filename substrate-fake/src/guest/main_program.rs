//! The main program of an instance: what decides how it starts and stops.

use bytes::Bytes;
use substrate_core::{Error, Result};

use super::command::plain_name;
use super::program::{Invocation, ProgramResult, Programs};

/// What a main program does when it is started.
#[derive(Debug)]
pub(crate) enum Main {
    /// Runs on, after writing these lines to the log.
    Runs { stdout: Vec<String>, stderr: Vec<String>, files: Vec<(String, Bytes)> },
    /// Ends at once.
    Ends { code: i32, stdout: Vec<String>, stderr: Vec<String>, files: Vec<(String, Bytes)> },
}

impl Main {
    /// What `invocation` does as a main program. Nothing to run at all is `serve`.
    ///
    /// # Errors
    /// `InvalidInput` when there is no such program.
    pub(crate) fn start(invocation: &Invocation, programs: &Programs) -> Result<Self> {
        let Some(program) = invocation.argv.first() else {
            return Ok(Self::runs(&[]));
        };
        let arguments = invocation.argv.get(1..).unwrap_or_default();
        let name = plain_name(program);
        if let Some(script) = programs.get(program).or_else(|| programs.get(name)) {
            return Ok(Self::scripted(script.call(invocation)));
        }
        match name {
            "serve" => Ok(Self::runs(arguments)),
            "deaf" | "busy" => Ok(Self::runs(&[])),
            "true" => Ok(Self::ends(0)),
            "false" => Ok(Self::ends(1)),
            "exit" => Ok(Self::ends(arguments.first().and_then(|code| code.parse().ok()).unwrap_or(0))),
            _ => Err(Error::invalid_input(format!("there is no main program `{program}` in the fake"))
                .with_hint(
                    "it knows serve, deaf, busy, exit, true and false; script others with Fake::program",
                )),
        }
    }

    fn runs(lines: &[String]) -> Self {
        Self::Runs { stdout: lines.to_vec(), stderr: Vec::new(), files: Vec::new() }
    }

    fn ends(code: i32) -> Self {
        Self::Ends { code, stdout: Vec::new(), stderr: Vec::new(), files: Vec::new() }
    }

    fn scripted(result: ProgramResult) -> Self {
        let lines = |data: &Bytes| String::from_utf8_lossy(data).lines().map(str::to_owned).collect();
        let (stdout, stderr, files) = (lines(&result.stdout), lines(&result.stderr), result.files);
        match result.status {
            None => Self::Runs { stdout, stderr, files },
            Some(status) => Self::Ends { code: status.shell_code(), stdout, stderr, files },
        }
    }

    /// Whether the main program ends in order when it is asked to.
    pub(crate) fn heeds_stop(command: &[String]) -> bool {
        command.first().is_none_or(|program| plain_name(program) != "deaf")
    }

    /// Whether it keeps a core busy.
    pub(crate) fn is_busy(command: &[String]) -> bool {
        command.first().is_some_and(|program| plain_name(program) == "busy")
    }
}
