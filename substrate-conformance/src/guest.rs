//! What a guest can run: the suite asks for a behaviour, the guest knows the words for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A behaviour that a trial needs from inside an instance.
///
/// The first group runs as a command in a running instance, the second as the instance's main command
/// ([`InstanceConfig::command`](substrate_core::InstanceConfig)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// Returns this code, writing nothing.
    Exit(i32),
    /// Writes one text to standard output and another to standard error, then returns a code.
    Emit {
        /// To standard output.
        stdout: String,
        /// To standard error.
        stderr: String,
        /// The code.
        code: i32,
    },
    /// Writes each argument on a line of its own, unchanged.
    Arguments(Vec<String>),
    /// Copies standard input to standard output, byte for byte, until end of file.
    CopyInput,
    /// Writes a file to standard output; fails when there is none.
    ReadFile(String),
    /// Writes a text into a file; fails when it cannot.
    WriteFile(String, String),
    /// Removes a file.
    RemoveFile(String),
    /// Writes so many bytes to standard output and, at the same time, so many to standard error.
    Flood {
        /// Bytes to standard output.
        stdout: usize,
        /// Bytes to standard error.
        stderr: usize,
    },
    /// Writes the value of an environment variable and a line end.
    PrintEnvironment(String),
    /// Writes cloud-init's user data as the instance got it.
    PrintUserData,
    /// Writes the working directory and a line end.
    PrintDirectory,
    /// Writes the name of the user and a line end.
    PrintUser,
    /// Takes so long, then succeeds.
    Sleep(Duration),
    /// Is ended by this signal.
    DieBySignal(i32),
    /// Writes the size of its terminal as `ROWS COLUMNS` and a line end.
    PrintTerminalSize,
    /// The same after each line that it reads, until end of file.
    PrintTerminalSizePerLine,
    /// Returns a code and leaves a process behind that holds the output open for so long.
    LeaveChild(Duration, i32),
    /// Adds a line to the log of the instance, on its standard output.
    Log(String),
    /// Adds a line to the log of the instance, on its standard error.
    LogError(String),
    /// Does not exist.
    Missing,

    /// Main: runs until it is asked to stop, then ends in order with code 0.
    Serve,
    /// Main: writes these log lines, then serves.
    ServeWithLog(Vec<String>),
    /// Main: runs and does not heed requests to stop.
    Deaf,
    /// Main: keeps one core busy.
    Busy,
    /// Main: ends at once with this code.
    End(i32),
}

/// What [`Guest::new`] is given.
type Words = dyn Fn(&Program) -> Option<Vec<String>> + Send + Sync;

/// The words of a guest for each [`Program`].
///
/// [`Guest::busybox`] speaks to a POSIX shell with the usual tools. A guest that differs is one function:
///
/// ```
/// use substrate_conformance::{Guest, Program};
/// let plain = Guest::busybox();
/// let guest = Guest::new("appliance", move |program| match program {
///     // This one has no terminal tools: trials that need them are skipped, and say so.
///     Program::PrintTerminalSize | Program::PrintTerminalSizePerLine => None,
///     other => plain.argv(other),
/// });
/// assert!(guest.argv(&Program::PrintTerminalSize).is_none());
/// ```
#[derive(Clone)]
pub struct Guest {
    name: Arc<str>,
    words: Arc<Words>,
    folder: String,
    user: String,
    ready_line: Option<String>,
}

impl Guest {
    /// A guest called `name`; `words` gives the argument vector of a program, or nothing when the guest
    /// has none.
    pub fn new(
        name: impl Into<Arc<str>>,
        words: impl Fn(&Program) -> Option<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            words: Arc::new(words),
            folder: "/tmp".to_owned(),
            user: "nobody".to_owned(),
            ready_line: None,
        }
    }

    /// A POSIX system with a shell and the usual small tools, as in a busybox image.
    #[must_use]
    pub fn busybox() -> Self {
        Self::new("busybox", |program| Some(busybox(program))).with_ready_line("ready")
    }

    /// The fake's own interpreter, which has no shell.
    #[must_use]
    pub fn fake() -> Self {
        Self::new("fake", fake)
    }

    /// Sets a folder that exists and is not the one that commands run in by default [default: `/tmp`].
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<String>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Sets a user that exists and is not the one that commands run as by default [default: `nobody`].
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Sets the line that [`Program::Deaf`] writes to its log as soon as it heeds no request to stop. Without
    /// one it must be deaf from its first moment [default: none].
    #[must_use]
    pub fn with_ready_line(mut self, line: impl Into<String>) -> Self {
        self.ready_line = Some(line.into());
        self
    }

    /// The argument vector of `program`, or nothing when this guest has no such program.
    #[must_use]
    pub fn argv(&self, program: &Program) -> Option<Vec<String>> {
        (self.words)(program)
    }

    /// The guest's name, for reasons why a trial was skipped.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder that exists.
    #[must_use]
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// What a deaf program writes when it is.
    pub(crate) fn ready_line(&self) -> Option<&str> {
        self.ready_line.as_deref()
    }

    /// A user that exists.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Guest").field(&self.name).finish()
    }
}

const SERVE: &str =
    r#"for line; do printf '%s\n' "$line"; done; trap "exit 0" TERM; while :; do sleep 0.1; done"#;

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

fn shell(script: &str, arguments: &[&str]) -> Vec<String> {
    ["sh", "-c", script].iter().chain(arguments).map(|word| (*word).to_owned()).collect()
}

fn busybox(program: &Program) -> Vec<String> {
    match program {
        Program::Exit(0) => words(["true"]),
        Program::Exit(1) => words(["false"]),
        Program::Exit(code) | Program::End(code) => shell(&format!("exit {code}"), &[]),
        Program::Emit { stdout, stderr, code } => {
            shell(r#"printf %s "$0"; printf %s "$1" >&2; exit "$2""#, &[stdout, stderr, &code.to_string()])
        }
        Program::Arguments(arguments) => {
            words(["printf", "%s\n"]).into_iter().chain(arguments.iter().cloned()).collect()
        }
        Program::CopyInput => words(["cat"]),
        Program::ReadFile(path) => words(["cat", path]),
        Program::WriteFile(path, text) => shell(r#"printf %s "$1" > "$0""#, &[path, text]),
        Program::RemoveFile(path) => words(["rm", path]),
        // Where cloud-init keeps what it got.
        Program::PrintUserData => words(["cat", "/var/lib/cloud/instance/user-data.txt"]),
        Program::Flood { stdout, stderr } => shell(
            r#"head -c "$0" /dev/zero & head -c "$1" /dev/zero >&2; wait"#,
            &[&stdout.to_string(), &stderr.to_string()],
        ),
        // Not every small system has `printenv`.
        Program::PrintEnvironment(name) => shell(r#"eval "printf '%s\n' \"\$$0\"""#, &[name]),
        Program::PrintDirectory => words(["pwd"]),
        Program::PrintUser => words(["whoami"]),
        Program::Sleep(time) => words(["sleep", &seconds(*time)]),
        Program::DieBySignal(signal) => shell(&format!("kill -{signal} $$"), &[]),
        Program::PrintTerminalSize => words(["stty", "size"]),
        Program::PrintTerminalSizePerLine => shell("while read line; do stty size; done", &[]),
        Program::LeaveChild(time, code) => {
            shell(r#"sleep "$0" & exit "$1""#, &[&seconds(*time), &code.to_string()])
        }
        Program::Log(text) => shell(r#"echo "$0" > /proc/1/fd/1"#, &[text]),
        Program::LogError(text) => shell(r#"echo "$0" > /proc/1/fd/2"#, &[text]),
        Program::Missing => words(["/no/such/program"]),
        Program::Serve => shell(SERVE, &["sh"]),
        Program::ServeWithLog(lines) => {
            let mut argv = shell(SERVE, &["sh"]);
            argv.extend(lines.iter().cloned());
            argv
        }
        Program::Deaf => shell(r#"trap "" TERM; echo ready; while :; do sleep 0.1; done"#, &[]),
        Program::Busy => shell("while :; do :; done", &[]),
    }
}

fn fake(program: &Program) -> Option<Vec<String>> {
    Some(match program {
        Program::Exit(0) => words(["true"]),
        Program::Exit(1) => words(["false"]),
        Program::Exit(code) | Program::End(code) => words(["exit", &code.to_string()]),
        Program::Emit { stdout, stderr, code } => words(["emit", stdout, stderr, &code.to_string()]),
        Program::Arguments(arguments) => {
            words(["arguments"]).into_iter().chain(arguments.iter().cloned()).collect()
        }
        Program::WriteFile(path, text) => words(["write", path, text]),
        Program::Flood { stdout, stderr } => words(["flood", &stdout.to_string(), &stderr.to_string()]),
        Program::PrintEnvironment(name) => words(["printenv", name]),
        Program::DieBySignal(signal) => words(["kill-self", &signal.to_string()]),
        Program::PrintTerminalSizePerLine | Program::LeaveChild(..) => return None,
        Program::Log(text) => words(["log", text]),
        Program::LogError(text) => words(["log-err", text]),
        Program::Serve => words(["serve"]),
        Program::ServeWithLog(lines) => words(["serve"]).into_iter().chain(lines.iter().cloned()).collect(),
        Program::Deaf => words(["deaf"]),
        Program::Busy => words(["busy"]),
        same => busybox(same),
    })
}

fn seconds(time: Duration) -> String {
    time.as_secs_f64().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_never_becomes_part_of_a_script() {
        let hostile = r#""; rm -rf / #"#.to_owned();
        let argv = busybox(&Program::WriteFile("/x".into(), hostile.clone()));
        assert_eq!(argv.last(), Some(&hostile));
        assert!(!argv[2].contains("rm -rf"));
    }

    #[test]
    fn the_fake_has_no_shell() {
        for program in
            [Program::Serve, Program::Deaf, Program::Exit(7), Program::Sleep(Duration::from_secs(1))]
        {
            assert_ne!(fake(&program).unwrap()[0], "sh");
        }
    }
}
