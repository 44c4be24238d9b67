//! A running command: its channels.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;
use substrate_core::{CommandEvent, CommandInput, CommandSession, Error, Outcome, Result, TerminalSize};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite;

use super::pace::{Answers, PIECE, Pace, Shared};
use crate::client::{Frame, Reader, Socket};
use crate::convert::exit;

/// How many messages wait for a caller who does not read.
const UNREAD: usize = 16;
/// How often something is said on a silent connection, so that nobody in between cuts it.
const PING: Duration = Duration::from_secs(30);

/// The writing side.
struct Input {
    writer: Shared,
    open: bool,
    terminal: bool,
    pace: Pace,
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
        let mut rest = data;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            if let Err(cause) = self.pace.send(&self.writer, &piece).await {
                self.open = false;
                return Err(Error::conflict(format!("the command takes no more input: {cause}"))
                    .with_outcome(Outcome::Unknown));
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.open, false) {
            // A command that has ended has closed its input itself.
            let _ = end_input(&self.writer, self.terminal).await;
        }
        Ok(())
    }

    async fn resize(&mut self, size: TerminalSize) -> Result<()> {
        if !self.terminal {
            return Err(Error::unsupported("the command has no terminal"));
        }
        resize(&self.writer, size).await
    }
}

async fn resize(writer: &Shared, size: TerminalSize) -> Result<()> {
    let sent = writer.lock().await.resize(size.columns, size.rows).await;
    sent.map_err(|cause| Error::conflict(format!("the command has ended: {cause}")))
}

/// Tells a command that there is no more input. A terminal has a character for that: the end of its stream would end the
/// terminal.
async fn end_input(writer: &Shared, terminal: bool) -> Result<(), tungstenite::Error> {
    let mut writer = writer.lock().await;
    if terminal { writer.input(b"\x04").await } else { writer.end_input().await }
}

/// The reading side.
struct Output {
    frames: mpsc::Receiver<Result<Frame, tungstenite::Error>>,
    writer: Shared,
    terminal: bool,
    dropped: Option<oneshot::Receiver<()>>,
    /// The first output, while it may be what a runtime says of a program that it could not start.
    held: BytesMut,
    /// Whether something was handed on: then the program was started.
    wrote: bool,
    ready: VecDeque<CommandEvent>,
}

/// Makes a session of a command's websocket.
///
/// # Errors
/// `Unsupported` when the command is to read input and the server cannot tell its end.
pub(super) async fn begin(
    socket: Socket,
    open: bool,
    terminal: Option<TerminalSize>,
) -> Result<CommandSession> {
    if open && terminal.is_none() && !socket.writer.ends_input() {
        // Dropping the socket ends the command.
        return Err(Error::unsupported(
            "the server speaks version 4 of the protocol, in which a command's input has no end",
        )
        .with_hint("it needs Kubernetes 1.30; see `end_of_input`")
        .with_outcome(Outcome::Unknown));
    }
    let writer = Arc::new(Mutex::new(socket.writer));
    if let Some(size) = terminal {
        resize(&writer, size).await?;
        if !open {
            // Who reads from it reads its end.
            let _ = end_input(&writer, true).await;
        }
    }
    let (dropped_sender, dropped) = oneshot::channel();
    let (frame_sender, frames) = mpsc::channel(UNREAD);
    let (answer_sender, answered) = watch::channel(None);
    tokio::spawn(read(socket.reader, frame_sender, answer_sender));
    let input = Input {
        writer: writer.clone(),
        open,
        terminal: terminal.is_some(),
        pace: Pace::new(answered),
        _dropped: dropped_sender,
    };
    let output = Output {
        frames,
        writer,
        terminal: terminal.is_some(),
        dropped: open.then_some(dropped),
        held: BytesMut::new(),
        wrote: false,
        ready: VecDeque::new(),
    };
    Ok(CommandSession::new(Box::new(input), stream::unfold(Some(output), Output::step).boxed()))
}

/// Hands on what comes until nobody wants it. A task of its own, for the writer waits for answers also while the caller
/// reads no output, or wants none.
async fn read(
    mut reader: Reader,
    frames: mpsc::Sender<Result<Frame, tungstenite::Error>>,
    answered: watch::Sender<Option<Answers>>,
) {
    let unwanted = async {
        frames.closed().await;
        answered.closed().await;
    };
    tokio::pin!(unwanted);
    loop {
        let frame = tokio::select! {
            frame = reader.next() => frame,
            () = &mut unwanted => return,
        };
        if let Ok(Frame::Answered(number)) = frame {
            answered.send_modify(|answers| Answers::note(answers, number));
            continue;
        }
        let is_last = matches!(frame, Ok(Frame::Closed) | Err(_));
        // What nobody wants any more is read all the same: answers come behind it.
        let _ = frames.send(frame).await;
        if is_last {
            return;
        }
    }
}

enum Happened {
    Frame(Frame),
    InputDropped,
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
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.wait().await? {
                Happened::Frame(Frame::Stdout(data)) => self.stdout(data),
                Happened::Frame(Frame::Stderr(data)) => {
                    self.release();
                    self.wrote = true;
                    self.ready.push_back(CommandEvent::Stderr(data));
                }
                Happened::Frame(Frame::Status(content)) => {
                    let held = if self.wrote { &[][..] } else { &self.held };
                    let status = exit::of_status(&content, held)?;
                    self.release();
                    self.ready.push_back(CommandEvent::Exited(status));
                }
                // Answers are the writer's affair.
                Happened::Frame(Frame::Answered(_)) => {}
                Happened::Frame(Frame::Closed) => {
                    return Err(Error::protocol("the connection ended without the command's status")
                        .with_hint(
                            "a proxy in between may have dropped it; the command may have ended or go on",
                        )
                        .with_outcome(Outcome::Unknown));
                }
                Happened::InputDropped => {
                    self.dropped = None;
                    let _ = end_input(&self.writer, self.terminal).await;
                }
                Happened::Silence => {
                    // A caller who writes at this moment says something anyway.
                    if let Ok(mut writer) = self.writer.try_lock() {
                        let _ = writer.ping().await;
                    }
                }
            }
        }
    }

    fn stdout(&mut self, data: Bytes) {
        if !self.wrote {
            self.held.extend_from_slice(&data);
            // Bounded: no runtime has so much to say.
            if exit::may_be_refusal(&self.held) && self.held.len() < PIECE {
                return;
            }
            self.release();
            return;
        }
        self.ready.push_back(CommandEvent::Stdout(data));
    }

    /// What was held back was the program's own.
    fn release(&mut self) {
        if !self.held.is_empty() {
            self.wrote = true;
            let held = std::mem::take(&mut self.held).freeze();
            self.ready.push_back(CommandEvent::Stdout(held));
        }
    }

    async fn wait(&mut self) -> Result<Happened> {
        let dropped = &mut self.dropped;
        tokio::select! {
            frame = self.frames.recv() => match frame.unwrap_or(Ok(Frame::Closed)) {
                Ok(frame) => Ok(Happened::Frame(frame)),
                Err(cause) => Err(Error::unavailable(format!("the connection of the command broke: {cause}"))
                    .with_outcome(Outcome::Unknown)),
            },
            () = async {
                match dropped.as_mut() {
                    Some(receiver) => drop(receiver.await),
                    None => std::future::pending().await,
                }
            } => Ok(Happened::InputDropped),
            () = sleep(PING) => Ok(Happened::Silence),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::client::Writer;

    /// A node that answers every question, and the messages that come to it.
    fn node() -> (Socket, mpsc::UnboundedReceiver<usize>) {
        let (sender, mut messages) = unbounded_channel();
        let (lengths, seen) = unbounded_channel();
        let answers = stream::poll_fn(move |context| {
            while let Some(message) = std::task::ready!(messages.poll_recv(context)) {
                match message {
                    Message::Ping(content) => return Some(Ok(Message::Pong(content))).into(),
                    other => drop(lengths.send(other.len())),
                }
            }
            None.into()
        });
        (Socket { writer: Writer::to(sender), reader: Reader::of(answers) }, seen)
    }

    #[tokio::test(start_paused = true)]
    async fn input_goes_on_when_nobody_wants_the_output() {
        let (socket, mut seen) = node();
        let CommandSession { mut input, output, .. } = begin(socket, true, None).await.unwrap();
        drop(output);
        input.write(Bytes::from(vec![0; 3 * PIECE])).await.unwrap();
        for _ in 0..3 {
            assert_eq!(seen.recv().await, Some(PIECE + 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_is_let_go_of_with_the_session() {
        let (socket, mut seen) = node();
        drop(begin(socket, true, None).await.unwrap());
        assert_eq!(seen.recv().await, None);
    }
}
