//! Commands inside a container: the exec stream, read here and not through the client library, which guesses
//! whether there is a terminal and holds its output back until a line ends.
//!
//! A dropped session closes its connection; the command itself goes on in the container.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptions;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use substrate_core::provider::Wait;
use substrate_core::{
    Command, CommandEvent, CommandInput, CommandSession, Error, ExitStatus, InstanceName, InstanceState,
    Outcome, Result, TerminalSize,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::DockerSubstrate;
use super::lifecycle::not_running;
use crate::client::{Client, Target};
use crate::convert::frame::{Demultiplexer, Source};
use crate::convert::instance::Inspection;
use crate::error;

/// How much is read at once.
const READ_SIZE: usize = 64 * 1024;
/// How long after the end of the output the exit status may take.
const STATUS_LIMIT: Duration = Duration::from_secs(30);
/// When the output is silent: how often to look whether the command has ended although somebody still holds
/// its output open (a child in the background).
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// How long output that was written before the end may still be on its way, and how long at most to read on
/// after the end when a child keeps writing.
const QUIET_AFTER_EXIT: Duration = Duration::from_millis(200);
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// From this API on (1.42), a terminal's size goes into the start call.
const SIZE_AT_START: u64 = 42;
/// How long a daemon's refusal to start a command can be.
const REFUSAL_LIMIT: usize = 64 * 1024;
/// How a daemon begins to say, as if the command had written it, that the command could not be started.
const REFUSALS: [&str; 10] = [
    "OCI runtime",
    "unable to find user",
    "unable to find group",
    "no matching entries in passwd",
    "exec failed",
    "unable to start container process",
    "executable file not found",
    "chdir to cwd",
    "crun:",
    "runc:",
];

type Connection = TokioIo<Upgraded>;

impl DockerSubstrate {
    pub(super) async fn open(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        command.validate()?;
        command.require_features(&self.descriptor.get().capabilities)?;
        let container = self.inspect(name).await?;
        let state = container.instance_state();
        if state != InstanceState::Running {
            return Err(not_running(state));
        }
        let attached = command.interactive || command.input.is_some();
        let config = ExecConfig {
            attach_stdin: Some(attached),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(command.terminal.is_some()),
            env: Some(command.environment.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            cmd: Some(command.argv.clone()),
            user: command.user.clone(),
            working_dir: command.working_directory.clone(),
            ..ExecConfig::default()
        };
        let exec = self
            .client
            .call("prepare the command", async |docker| docker.create_exec(&container.id, config).await)
            .await?
            .id;
        let connection = self.start_exec(&exec, command.terminal).await?;
        let (reader, writer) = tokio::io::split(connection);
        let (give_back, given_back) = oneshot::channel();
        let input = Input {
            client: self.client.clone(),
            exec: exec.clone(),
            terminal: command.terminal.is_some(),
            writer: Some(writer),
            open: attached,
            give_back: Some(give_back),
        };
        let output = Output {
            client: self.client.clone(),
            container: container.id,
            exec,
            reader,
            framing: match command.terminal {
                Some(_) => Framing::Terminal(BytesMut::new()),
                None => Framing::Frames(Demultiplexer::default()),
            },
            given_back: Some(given_back),
            begun: false,
            look_after: FIRST_LOOK,
            exited: None,
        };
        Ok(CommandSession::new(Box::new(input), stream::unfold(Some(output), Output::step).boxed()))
    }

    async fn start_exec(&self, exec: &str, terminal: Option<TerminalSize>) -> Result<Connection> {
        let target = Target::new("/exec").segment(exec).segment("start");
        let attempt = "start the command";
        let Some(size) = terminal else {
            return self.client.upgrade(attempt, &target, &json!({"Detach": false, "Tty": false})).await;
        };
        if self.client.api_is_at_least(SIZE_AT_START) {
            let body = json!({"Detach": false, "Tty": true, "ConsoleSize": [size.rows, size.columns]});
            return self.client.upgrade(attempt, &target, &body).await;
        }
        let body = json!({"Detach": false, "Tty": true});
        // An older daemon lets a resize wait for the start. Sent before it, the size is set within a
        // millisecond or two of the start, which is as early as that daemon can.
        let (connection, _) =
            tokio::join!(self.client.upgrade(attempt, &target, &body), resize(&self.client, exec, size));
        connection
    }
}

async fn resize(client: &Client, exec: &str, size: TerminalSize) -> Result<()> {
    let options = ResizeExecOptions { h: i32::from(size.rows), w: i32::from(size.columns) };
    client.call("resize the terminal", async |docker| docker.resize_exec(exec, options).await).await
}

/// What the daemon knows about an exec.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecState {
    #[serde(default)]
    running: bool,
    /// `null` before the start and while it runs: only with a code it has ended.
    #[serde(default)]
    exit_code: Option<i64>,
    #[serde(default)]
    pid: i64,
}

impl ExecState {
    fn status(&self) -> Option<ExitStatus> {
        let code = self.exit_code.filter(|_| !self.running)?;
        // Docker does not tell a signal from a code above 128.
        Some(ExitStatus::Code(i32::try_from(code).unwrap_or(i32::MAX)))
    }

    /// Ended without ever having had a process: 126 to 128 are the daemon's codes for that, and a program's
    /// own as well.
    fn never_ran(&self) -> bool {
        !self.running && self.pid == 0 && matches!(self.exit_code, Some(126..=128))
    }
}

async fn look(client: &Client, exec: &str) -> Result<ExecState> {
    let target = Target::new("/exec").segment(exec).segment("json");
    client.get("ask for the command's state", &target).await.map_err(|error| {
        let error = if error.is_not_found() {
            Error::conflict("the instance went while the command ran; how it ended is not known")
        } else {
            error
        };
        // Whatever happened to the question, the command was started.
        error.with_outcome(Outcome::Unknown)
    })
}

/// The writing side.
struct Input {
    client: Arc<Client>,
    exec: String,
    terminal: bool,
    writer: Option<WriteHalf<Connection>>,
    open: bool,
    give_back: Option<oneshot::Sender<WriteHalf<Connection>>>,
}

fn closed() -> Error {
    Error::conflict("the command's standard input is closed").with_outcome(Outcome::NotSent)
}

#[async_trait]
impl CommandInput for Input {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        let writer = self.writer.as_mut().filter(|_| self.open).ok_or_else(closed)?;
        let sent = async {
            writer.write_all(&data).await?;
            writer.flush().await
        };
        sent.await.map_err(|error| {
            self.open = false;
            Error::conflict(format!("the command takes no more input: {error}"))
                .with_outcome(Outcome::Unknown)
        })
    }

    async fn close(&mut self) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        self.open = false;
        match self.writer.as_mut() {
            // Half of the connection only: the output goes on.
            Some(writer) => match writer.shutdown().await {
                Err(error) if error.kind() != std::io::ErrorKind::NotConnected => {
                    Err(error::broken("close the command's input", &error))
                }
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    async fn resize(&mut self, size: TerminalSize) -> Result<()> {
        if !self.terminal {
            return Err(Error::unsupported("the command has no terminal"));
        }
        resize(&self.client, &self.exec, size).await
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // Closing takes time that a drop does not have: whoever reads the output does it.
        if let (true, Some(writer), Some(give_back)) = (self.open, self.writer.take(), self.give_back.take())
        {
            let _ = give_back.send(writer);
        }
    }
}

enum Framing {
    /// Without a terminal: both outputs in frames.
    Frames(Demultiplexer),
    /// With one: bytes as they come.
    Terminal(BytesMut),
}

impl Framing {
    fn buffer(&mut self) -> &mut BytesMut {
        match self {
            Self::Frames(frames) => frames.buffer(),
            Self::Terminal(buffer) => buffer,
        }
    }

    fn next(&mut self) -> Result<Option<CommandEvent>> {
        match self {
            Self::Frames(frames) => Ok(frames.next()?.map(|piece| match piece.source {
                Source::Stdout => CommandEvent::Stdout(piece.data),
                Source::Stderr => CommandEvent::Stderr(piece.data),
            })),
            Self::Terminal(buffer) if buffer.is_empty() => Ok(None),
            Self::Terminal(buffer) => Ok(Some(CommandEvent::Stdout(buffer.split().freeze()))),
        }
    }

    fn is_at_boundary(&self) -> bool {
        match self {
            Self::Frames(frames) => frames.is_at_boundary(),
            Self::Terminal(_) => true,
        }
    }
}

/// The reading side.
struct Output {
    client: Arc<Client>,
    container: String,
    exec: String,
    reader: ReadHalf<Connection>,
    framing: Framing,
    given_back: Option<oneshot::Receiver<WriteHalf<Connection>>>,
    begun: bool,
    look_after: Duration,
    /// Set when the command has ended while its output is still open.
    exited: Option<(ExitStatus, Instant)>,
}

enum Happened {
    Read(std::io::Result<usize>),
    InputDropped(Option<WriteHalf<Connection>>),
    Silence,
}

impl Output {
    /// One item of the stream, and the state for the next; the last item has none.
    async fn step(state: Option<Self>) -> Option<(Result<CommandEvent>, Option<Self>)> {
        let mut output = state?;
        match output.event().await {
            Ok(event @ CommandEvent::Exited(_)) => Some((Ok(event), None)),
            Ok(event) => Some((Ok(event), Some(output))),
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn event(&mut self) -> Result<CommandEvent> {
        loop {
            if let Some(event) = self.framing.next()? {
                if !std::mem::replace(&mut self.begun, true) {
                    self.check_refusal(&event).await?;
                }
                self.look_after = FIRST_LOOK;
                return Ok(event);
            }
            let drained = self.exited.filter(|(_, since)| since.elapsed() > DRAIN_LIMIT);
            if let Some((status, _)) = drained {
                return Ok(CommandEvent::Exited(status));
            }
            match self.wait().await {
                Happened::Read(Ok(0)) => return self.end().await.map(CommandEvent::Exited),
                Happened::Read(Ok(_)) => {}
                Happened::Read(Err(error)) => return Err(error::broken("read the command's output", &error)),
                Happened::InputDropped(writer) => {
                    self.given_back = None;
                    if let Some(mut writer) = writer {
                        // A connection that is gone already shows in the output.
                        let _ = writer.shutdown().await;
                    }
                }
                Happened::Silence => {
                    if let Some((status, _)) = self.exited {
                        return Ok(CommandEvent::Exited(status));
                    }
                    self.look_for_exit().await?;
                }
            }
        }
    }

    async fn wait(&mut self) -> Happened {
        let pause = if self.exited.is_some() { QUIET_AFTER_EXIT } else { self.look_after };
        let buffer = self.framing.buffer();
        buffer.reserve(READ_SIZE);
        let given_back = async {
            match self.given_back.as_mut() {
                Some(receiver) => receiver.await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            writer = given_back => Happened::InputDropped(writer),
            read = self.reader.read_buf(buffer) => Happened::Read(read),
            () = sleep(pause) => Happened::Silence,
        }
    }

    async fn look_for_exit(&mut self) -> Result<()> {
        self.look_after = (self.look_after * 2).min(LONGEST_LOOK);
        let state = look(&self.client, &self.exec).await?;
        self.exited = state.status().map(|status| (status, Instant::now()));
        Ok(())
    }

    /// The output is at its end: the status follows.
    async fn end(&mut self) -> Result<ExitStatus> {
        if !self.framing.is_at_boundary() {
            return Err(Error::unavailable("the command's output broke off in the middle"));
        }
        let mut wait = Wait::at_most(STATUS_LIMIT);
        loop {
            if let Some(status) = look(&self.client, &self.exec).await?.status() {
                return Ok(status);
            }
            if !wait.pause().await {
                return Err(Error::timeout(format!(
                    "the command's output ended, but its exit status did not come within {STATUS_LIMIT:?}"
                )));
            }
        }
    }

    /// Whether the first output is the daemon's, saying that there was nothing to start. It comes as if the
    /// command had written it; a program that itself ends with 126 or 127 has had a process id.
    async fn check_refusal(&mut self, first: &CommandEvent) -> Result<()> {
        let (CommandEvent::Stdout(data) | CommandEvent::Stderr(data)) = first else { return Ok(()) };
        let text = String::from_utf8_lossy(data.get(..data.len().min(4096)).unwrap_or_default());
        if !REFUSALS.iter().any(|phrase| text.contains(phrase)) {
            return Ok(());
        }
        if !look(&self.client, &self.exec).await?.never_ran() {
            return Ok(());
        }
        let mut message = data.to_vec();
        while message.len() < REFUSAL_LIMIT {
            match self.framing.next()? {
                Some(CommandEvent::Stdout(more) | CommandEvent::Stderr(more)) => {
                    message.extend_from_slice(&more)
                }
                Some(CommandEvent::Exited(_)) => break,
                None => match self.wait().await {
                    Happened::Read(Ok(read)) if read > 0 => {}
                    Happened::InputDropped(_) => self.given_back = None,
                    _ => break,
                },
            }
        }
        let message = String::from_utf8_lossy(&message).trim().to_owned();
        let error = if has_ended(&self.client, &self.container, &message).await {
            Error::conflict(format!("the instance ended before the command could be started: {message}"))
        } else {
            Error::invalid_input(format!("the command could not be started: {message}"))
        };
        Err(error.with_outcome(Outcome::Rejected))
    }
}

/// Whether a refusal is the container's end and not the command's fault.
async fn has_ended(client: &Client, container: &str, message: &str) -> bool {
    // The runtime notices before the daemon does.
    if message.contains("broken pipe") || message.contains("stopped container") {
        return true;
    }
    let target = Target::new("/containers").segment(container).segment("json");
    let inspection = client.get::<Inspection>("look at the container", &target).await;
    // When it cannot be told, the refusal stands as it is.
    inspection.map_or_else(|error| error.is_not_found(), |container| !container.state.running)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(json: &str) -> ExecState {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_a_code_after_the_end_is_a_status() {
        assert_eq!(state(r#"{"Running":false,"ExitCode":null}"#).status(), None, "not started yet");
        assert_eq!(state(r#"{"Running":true,"ExitCode":null}"#).status(), None);
        assert_eq!(state(r#"{"Running":true,"ExitCode":0}"#).status(), None, "Podman's zero while it runs");
        assert_eq!(state(r#"{"Running":false,"ExitCode":7}"#).status(), Some(ExitStatus::Code(7)));
    }

    #[test]
    fn a_program_that_returned_127_has_had_a_process() {
        assert!(state(r#"{"Running":false,"ExitCode":126,"Pid":0}"#).never_ran());
        assert!(!state(r#"{"Running":false,"ExitCode":127,"Pid":1449}"#).never_ran());
        assert!(!state(r#"{"Running":false,"ExitCode":1,"Pid":0}"#).never_ran());
    }
}
