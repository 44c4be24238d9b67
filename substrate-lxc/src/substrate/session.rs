//! A running command: its streams.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::json;
use substrate_core::{
    CommandEvent, CommandInput, CommandSession, Error, ExitStatus, Outcome, Result, TerminalSize,
};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::exec::{ATTEMPT, End, Program};
use super::exit_record::ExitRecord;
use crate::client::socket::{self, Incoming, Socket};

/// The largest piece of input in one message.
const PIECE: usize = 64 << 10;
/// How long output that was written before the end may still be on its way.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How long nothing must come after a command's end until only its children can hold its output open, and how long at
/// most to read on when they keep writing.
const QUIET_AFTER_EXIT: Duration = Duration::from_millis(300);
const LONGEST_AFTER_EXIT: Duration = Duration::from_secs(3);

/// A writing half that the caller and the reader of the output share: the reader ends the input of a caller who
/// has dropped it, and answers the server's end of a terminal.
type Writer = Arc<Mutex<SplitSink<Socket, Message>>>;

/// The writing side.
pub(super) struct Input {
    writer: Writer,
    control: Writer,
    open: bool,
    terminal: bool,
    /// Tells by its end that the caller has dropped this.
    _dropped: oneshot::Sender<()>,
}

fn closed() -> Error {
    Error::conflict("the command's standard input is closed").with_outcome(Outcome::NotSent)
}

#[async_trait]
impl CommandInput for Input {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        if !self.open {
            return Err(closed());
        }
        let mut writer = self.writer.lock().await;
        let mut rest = data;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            if let Err(error) = writer.send(Message::Binary(piece)).await {
                self.open = false;
                return Err(Error::conflict(format!("the command takes no more input: {error}"))
                    .with_outcome(Outcome::Unknown));
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.open, false) {
            // A command that has ended has closed its input itself.
            let _ = self.writer.lock().await.send(end_of_input(self.terminal)).await;
        }
        Ok(())
    }

    async fn resize(&mut self, size: TerminalSize) -> Result<()> {
        if !self.terminal {
            return Err(Error::unsupported("the command has no terminal"));
        }
        let (width, height) = (size.columns.to_string(), size.rows.to_string());
        let message = json!({"command": "window-resize", "args": {"width": width, "height": height}});
        let mut control = self.control.lock().await;
        socket::send("resize the terminal", &mut *control, Message::Text(message.to_string().into())).await
    }
}

/// What tells a command that there is no more input. A terminal has a character for that: the end of its stream
/// would end the terminal.
fn end_of_input(terminal: bool) -> Message {
    if terminal { Message::Binary(Bytes::from_static(b"\x04")) } else { end_of_stream() }
}

/// How both sides end a stream.
fn end_of_stream() -> Message {
    Message::Text("".into())
}

/// The streams of a command.
pub(super) struct Streams {
    pub(super) control: Socket,
    pub(super) first: Socket,
    pub(super) stdout: Option<Socket>,
    pub(super) stderr: Option<Socket>,
    /// Where the end of the command may show before the server tells it.
    pub(super) record: Option<ExitRecord>,
}

/// The reading side.
pub(super) struct Output {
    terminal: bool,
    /// The stream of the input; with a terminal it carries the output too.
    first: Option<SplitStream<Socket>>,
    control: Option<SplitStream<Socket>>,
    stdout: Option<Socket>,
    stderr: Option<Socket>,
    writer: Writer,
    /// Held, for the server takes its end for the caller's.
    _control: Writer,
    dropped: Option<oneshot::Receiver<()>>,
    /// Whether anything was written: then something was executed.
    wrote: bool,
    ended: BoxFuture<'static, Result<ExitStatus>>,
    status: Option<ExitStatus>,
    /// Since when the status is known.
    since: Option<Instant>,
    record: Option<ExitRecord>,
    /// Since when the command has ended, and since when nothing more of its output came.
    gone: Option<(Instant, Instant)>,
    program: Program,
    end: End,
}

/// Makes a session of a command's streams. Without `open` its input ends at once.
pub(super) async fn begin(
    streams: Streams,
    open: bool,
    terminal: bool,
    program: Program,
    end: End,
) -> Result<CommandSession> {
    let (writer, first) = streams.first.split();
    let (control_writer, control) = streams.control.split();
    let (writer, control_writer) = (Arc::new(Mutex::new(writer)), Arc::new(Mutex::new(control_writer)));
    let (dropped_sender, dropped) = oneshot::channel();
    let mut input = Input {
        writer: writer.clone(),
        control: control_writer.clone(),
        open: true,
        terminal,
        _dropped: dropped_sender,
    };
    if !open {
        input.close().await?;
    }
    let ended = end.clone();
    let output = Output {
        terminal,
        first: Some(first),
        control: Some(control),
        stdout: streams.stdout,
        stderr: streams.stderr,
        writer,
        _control: control_writer,
        // What was closed already need not be closed when it is dropped.
        dropped: open.then_some(dropped),
        wrote: false,
        ended: async move { ended.status().await }.boxed(),
        status: None,
        since: None,
        record: streams.record,
        gone: None,
        program,
        end,
    };
    Ok(CommandSession::new(Box::new(input), stream::unfold(Some(output), Output::step).boxed()))
}

enum Happened {
    First(Incoming),
    /// The server has closed the control stream, or asked something that needs no answer.
    Control(Incoming),
    Stdout(Incoming),
    Stderr(Incoming),
    InputDropped,
    Ended(ExitStatus),
    Drained,
    /// The command has ended as the record tells, and nothing more comes; only children can still hold its output.
    Silence,
    /// The record has learnt of an end.
    Recorded,
}

impl Output {
    /// One item of the stream, and the state for the next; the last item has none.
    async fn step(state: Option<Self>) -> Option<(Result<CommandEvent>, Option<Self>)> {
        let mut output = state?;
        match output.event().await {
            Ok(event @ CommandEvent::Exited(_)) => Some((Ok(event), None)),
            Ok(event) => Some((Ok(event), Some(output))),
            // Whatever broke, the command was begun.
            Err(error) if error.is_invalid_input() => Some((Err(error), None)),
            Err(error) => Some((Err(error.with_outcome(Outcome::Unknown)), None)),
        }
    }

    async fn event(&mut self) -> Result<CommandEvent> {
        loop {
            let streams_ended =
                self.stdout.is_none() && self.stderr.is_none() && (!self.terminal || self.first.is_none());
            if let (Some(status), true) = (self.status, streams_ended) {
                return self.exited(status).await;
            }
            let happened = self.wait().await?;
            if let (Happened::Stdout(_) | Happened::Stderr(_), Some((_, quiet))) =
                (&happened, self.gone.as_mut())
            {
                *quiet = Instant::now();
            }
            match happened {
                Happened::First(Incoming::Data(data)) if self.terminal => {
                    self.wrote = true;
                    return Ok(CommandEvent::Stdout(data));
                }
                Happened::Stdout(Incoming::Data(data)) => {
                    self.wrote = true;
                    return Ok(CommandEvent::Stdout(data));
                }
                Happened::Stderr(Incoming::Data(data)) => {
                    self.wrote = true;
                    return Ok(CommandEvent::Stderr(data));
                }
                Happened::First(Incoming::Text(_)) => {
                    self.first = None;
                    if self.terminal {
                        // The server waits for the end of our side too.
                        let _ = self.writer.lock().await.send(end_of_stream()).await;
                    }
                }
                Happened::First(Incoming::Closed) => self.first = None,
                Happened::Stdout(Incoming::Text(_) | Incoming::Closed) => self.stdout = None,
                Happened::Stderr(Incoming::Text(_) | Incoming::Closed) => self.stderr = None,
                Happened::Control(Incoming::Closed) => {
                    self.control = None;
                    self.gone = Some((Instant::now(), Instant::now()));
                }
                Happened::Silence => {
                    if let Some(status) = self.record.as_ref().and_then(ExitRecord::status) {
                        return self.exited(status).await;
                    }
                }
                // Looked at again when it has been silent for long enough since.
                Happened::Recorded => {}
                Happened::First(_) | Happened::Stdout(_) | Happened::Stderr(_) | Happened::Control(_) => {}
                Happened::InputDropped => {
                    self.dropped = None;
                    let _ = self.writer.lock().await.send(end_of_input(self.terminal)).await;
                }
                Happened::Ended(status) => {
                    self.status = Some(status);
                    self.since = Some(Instant::now());
                }
                Happened::Drained => {
                    if let Some(status) = self.status {
                        return self.exited(status).await;
                    }
                }
            }
        }
    }

    async fn exited(&mut self, status: ExitStatus) -> Result<CommandEvent> {
        if !self.wrote
            && let Some(refusal) = self.end.refusal(status, &self.program).await?
        {
            return Err(refusal);
        }
        Ok(CommandEvent::Exited(status))
    }

    async fn wait(&mut self) -> Result<Happened> {
        let (first, control, stdout, stderr) =
            (&mut self.first, &mut self.control, &mut self.stdout, &mut self.stderr);
        let dropped = &mut self.dropped;
        let terminal = self.terminal;
        let drained = self.since.map(|since| since + DRAIN_LIMIT);
        // A busy server writes its log long after it has closed the streams: until the record tells an end, nothing is
        // decided, and the server's own word is waited for beside it.
        let silent = match (self.record.as_ref().and_then(ExitRecord::status), self.gone) {
            (Some(_), Some((gone, quiet))) => Some((quiet + QUIET_AFTER_EXIT).min(gone + LONGEST_AFTER_EXIT)),
            _ => None,
        };
        let record = &mut self.record;
        tokio::select! {
            incoming = next(stdout) => incoming.map(Happened::Stdout),
            incoming = next(stderr) => incoming.map(Happened::Stderr),
            incoming = next(first) => match incoming {
                // The server cuts the input of a command that has ended.
                Err(_) if !terminal => Ok(Happened::First(Incoming::Closed)),
                incoming => incoming.map(Happened::First),
            },
            incoming = next(control) => Ok(Happened::Control(incoming.unwrap_or(Incoming::Closed))),
            () = async {
                match dropped.as_mut() {
                    Some(receiver) => drop(receiver.await),
                    None => std::future::pending().await,
                }
            } => Ok(Happened::InputDropped),
            status = &mut self.ended, if self.status.is_none() => status.map(Happened::Ended),
            () = async {
                match drained {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            } => Ok(Happened::Drained),
            () = async {
                match silent {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            } => Ok(Happened::Silence),
            () = async {
                match record.as_mut() {
                    Some(record) => record.listen().await,
                    None => std::future::pending().await,
                }
            } => Ok(Happened::Recorded),
        }
    }
}

async fn next<S>(stream: &mut Option<S>) -> Result<Incoming>
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    match stream {
        Some(stream) => socket::receive(ATTEMPT, stream).await,
        None => std::future::pending().await,
    }
}
