//! Commands inside an instance.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize, Serializer};

use crate::capability::{Capabilities, Feature};
use crate::error::{Error, Result};
use crate::instance_config::{EnvironmentVariables, check_argv};
use crate::stream::BoxStream;

/// What to run: an argument vector, never a shell string.
///
/// ```
/// use std::time::Duration;
/// use substrate_core::Command;
/// let command = Command::new(["tar", "-x", "-C", "/srv"])
///     .with_input(&b"..."[..])
///     .with_user("www-data")
///     .with_timeout(Duration::from_secs(30));
/// assert_eq!(command.argv[0], "tar");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Command {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Additional environment variables.
    pub environment: EnvironmentVariables,
    /// The folder to run in; the instance's own when left out.
    pub working_directory: Option<String>,
    /// The user (and group, where the technology has a way to write it) to run as.
    pub user: Option<String>,
    /// What standard input holds: written by `execute_command`, then closed. Without it, standard input
    /// is empty. Only [`open_command`](crate::Substrate::open_command) leaves it open, when `interactive`.
    pub input: Option<Bytes>,
    /// Keep standard input open, for [`open_command`](crate::Substrate::open_command).
    pub interactive: bool,
    /// Give it a terminal of this size. A terminal has one output: all of it arrives as standard output.
    pub terminal: Option<TerminalSize>,
    /// How long it may run; the call then fails with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    pub timeout: Option<Duration>,
    /// How many bytes of output, both streams together, `execute_command` may keep in memory; more fails
    /// with [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted), nothing is cut off silently.
    pub output_limit: Option<usize>,
}

impl Command {
    /// A command with no input, no terminal and no deadline.
    #[must_use]
    pub fn new<A: Into<String>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            environment: EnvironmentVariables::default(),
            working_directory: None,
            user: None,
            input: None,
            interactive: false,
            terminal: None,
            timeout: None,
            output_limit: None,
        }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn with_environment(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(key, value);
        self
    }

    /// Sets the folder to run in.
    #[must_use]
    pub fn with_working_directory(mut self, path: impl Into<String>) -> Self {
        self.working_directory = Some(path.into());
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets what standard input holds.
    #[must_use]
    pub fn with_input(mut self, input: impl Into<Bytes>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Keeps standard input open.
    #[must_use]
    pub fn interactive(mut self) -> Self {
        self.interactive = true;
        self
    }

    /// Gives it a terminal.
    #[must_use]
    pub fn with_terminal(mut self, size: TerminalSize) -> Self {
        self.terminal = Some(size);
        self
    }

    /// Bounds its run time.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Bounds the captured output.
    #[must_use]
    pub fn with_output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = Some(bytes);
        self
    }

    /// Checks what holds on every technology.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming what is wrong.
    pub fn validate(&self) -> Result<()> {
        check_argv(&self.argv, false)?;
        self.environment.validate()?;
        if self.working_directory.as_deref().is_some_and(|path| !path.starts_with('/') || path.contains('\0'))
        {
            return Err(Error::invalid_input("the working directory is not an absolute path"));
        }
        if self.user.as_deref().is_some_and(|user| user.is_empty() || user.chars().any(char::is_control)) {
            return Err(Error::invalid_input("the user is empty or contains a control character"));
        }
        Ok(())
    }

    /// Refuses everything in it that the substrate cannot do.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) naming the feature and the reason.
    pub fn require_features(&self, capabilities: &Capabilities) -> Result<()> {
        for (asked, feature) in [
            (self.input.is_some() || self.interactive, Feature::CommandInput),
            (self.terminal.is_some(), Feature::CommandTerminal),
            (!self.environment.is_empty(), Feature::CommandEnvironment),
            (self.working_directory.is_some(), Feature::CommandWorkingDirectory),
            (self.user.is_some(), Feature::CommandUser),
        ] {
            if asked {
                capabilities.require(feature)?;
            }
        }
        Ok(())
    }
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters per line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self { columns: 80, rows: 24 }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal ended it, where the technology tells the two apart.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it returned 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Self::Code(0))
    }

    /// The code that a shell reports: the code itself, or 128 + the signal.
    #[must_use]
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_i32.saturating_add(signal),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exit code {code}"),
            Self::Signal(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

/// What a finished command left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, byte for byte. In JSON: text where it is UTF-8, else an array of numbers.
    #[serde(serialize_with = "text_or_bytes")]
    pub stdout: Bytes,
    /// Its standard error, likewise.
    #[serde(serialize_with = "text_or_bytes")]
    pub stderr: Bytes,
}

impl CommandOutput {
    /// Whether it returned 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Its standard output as text; what is not UTF-8 becomes `U+FFFD`.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text; what is not UTF-8 becomes `U+FFFD`.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

fn text_or_bytes<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.collect_seq(bytes.iter()),
    }
}

/// What a running command sends, in order. [`CommandEvent::Exited`] is the last item and the only proof
/// that the command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandEvent {
    /// A piece of standard output.
    Stdout(#[serde(serialize_with = "text_or_bytes")] Bytes),
    /// A piece of standard error.
    Stderr(#[serde(serialize_with = "text_or_bytes")] Bytes),
    /// It ended.
    Exited(ExitStatus),
}

/// The writing side of a running command. Dropping it closes standard input.
#[async_trait]
pub trait CommandInput: Send {
    /// Writes all of `data`; waits while the command is not reading.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when input is closed or the command has ended.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Closes standard input: the command reads end of file. Closing twice is harmless.
    ///
    /// # Errors
    /// Those of the connection.
    async fn close(&mut self) -> Result<()>;

    /// Changes the terminal's size.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) without a terminal or without
    /// [`Feature::CommandResize`].
    async fn resize(&mut self, size: TerminalSize) -> Result<()>;
}

/// A running command.
///
/// Dropping it lets go of the connection; whether the command goes on is the technology's affair, and each
/// provider says so. A caller that stops reading `output` stops the command's writing: memory is bounded.
pub struct CommandSession {
    /// The writing side.
    pub input: Box<dyn CommandInput>,
    /// What it sends; ends after [`CommandEvent::Exited`] or an error.
    pub output: BoxStream<Result<CommandEvent>>,
}

impl CommandSession {
    /// A session from its two sides.
    #[must_use]
    pub fn new(input: Box<dyn CommandInput>, output: BoxStream<Result<CommandEvent>>) -> Self {
        Self { input, output }
    }

    /// Closes standard input (after writing `data`, if given) and reads to the end, both at once, so that a
    /// command that fills its output before it has read its input cannot block.
    ///
    /// # Errors
    /// The session's own; [`ErrorKind::Exhausted`](crate::ErrorKind::Exhausted) beyond `limit` bytes of
    /// output; [`ErrorKind::Protocol`](crate::ErrorKind::Protocol) when the stream ends without a status.
    pub async fn collect(self, data: Option<Bytes>, limit: Option<usize>) -> Result<CommandOutput> {
        let Self { mut input, output } = self;
        let feed = async {
            // A command need not read its input: `true < file` succeeds. What it returned decides.
            if let Some(data) = data {
                let _ = input.write(data).await;
            }
            let _ = input.close().await;
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            biased;
            result = drain(output, limit) => result,
            never = feed => match never {},
        }
    }
}

async fn drain(mut output: BoxStream<Result<CommandEvent>>, limit: Option<usize>) -> Result<CommandOutput> {
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    while let Some(event) = output.next().await {
        match event? {
            CommandEvent::Stdout(data) => stdout.push(data),
            CommandEvent::Stderr(data) => stderr.push(data),
            CommandEvent::Exited(status) => {
                return Ok(CommandOutput { status, stdout: stdout.finish(), stderr: stderr.finish() });
            }
        }
        if limit.is_some_and(|limit| stdout.length + stderr.length > limit) {
            return Err(Error::exhausted("the command wrote more than the output limit")
                .with_outcome(crate::Outcome::Unknown)
                .with_hint("raise `output_limit`, or read the output as a stream with open_command"));
        }
    }
    Err(Error::protocol("the output ended without an exit status"))
}

/// Output in memory. One chunk is handed on as it is: most commands write little, and little is not copied.
#[derive(Default)]
struct Captured {
    first: Bytes,
    rest: BytesMut,
    length: usize,
}

impl Captured {
    fn push(&mut self, data: Bytes) {
        if self.length == 0 {
            self.length = data.len();
            self.first = data;
            return;
        }
        if self.rest.is_empty() {
            self.rest.extend_from_slice(&self.first);
        }
        self.length += data.len();
        self.rest.extend_from_slice(&data);
    }

    fn finish(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

impl fmt::Debug for CommandSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CommandSession").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    struct Deaf;

    #[async_trait]
    impl CommandInput for Deaf {
        async fn write(&mut self, _: Bytes) -> Result<()> {
            std::future::pending().await
        }
        async fn close(&mut self) -> Result<()> {
            Ok(())
        }
        async fn resize(&mut self, _: TerminalSize) -> Result<()> {
            Ok(())
        }
    }

    fn session(events: Vec<Result<CommandEvent>>) -> CommandSession {
        CommandSession::new(Box::new(Deaf), stream::iter(events).boxed())
    }

    #[tokio::test]
    async fn output_is_collected_byte_for_byte_and_apart() {
        let output = session(vec![
            Ok(CommandEvent::Stdout(Bytes::from_static(b"a\xff"))),
            Ok(CommandEvent::Stderr(Bytes::from_static(b"e"))),
            Ok(CommandEvent::Stdout(Bytes::from_static(b"b"))),
            Ok(CommandEvent::Exited(ExitStatus::Code(3))),
        ])
        .collect(None, None)
        .await
        .unwrap();
        assert_eq!((&*output.stdout, &*output.stderr), (&b"a\xffb"[..], &b"e"[..]));
        assert_eq!(output.status, ExitStatus::Code(3));
    }

    #[tokio::test]
    async fn a_command_that_never_reads_its_input_still_ends() {
        let output = session(vec![Ok(CommandEvent::Exited(ExitStatus::Code(0)))])
            .collect(Some(Bytes::from_static(b"unread")), None)
            .await
            .unwrap();
        assert!(output.success());
    }

    #[tokio::test]
    async fn an_output_without_status_is_an_error_and_no_success() {
        let error =
            session(vec![Ok(CommandEvent::Stdout(Bytes::from_static(b"a")))]).collect(None, None).await;
        assert!(error.unwrap_err().is_protocol());
    }

    #[tokio::test]
    async fn output_beyond_the_limit_is_an_error_and_not_cut() {
        let events = vec![
            Ok(CommandEvent::Stdout(Bytes::from_static(b"abc"))),
            Ok(CommandEvent::Exited(ExitStatus::Code(0))),
        ];
        assert!(session(events).collect(None, Some(2)).await.unwrap_err().is_exhausted());
    }

    #[test]
    fn output_is_text_in_json_where_it_can_be() {
        let output = CommandOutput {
            status: ExitStatus::Signal(9),
            stdout: Bytes::from_static(b"hi"),
            stderr: Bytes::from_static(b"\xff"),
        };
        let json = serde_json::to_string(&output).unwrap();
        assert_eq!(json, r#"{"status":{"signal":9},"stdout":"hi","stderr":[255]}"#);
    }
}
