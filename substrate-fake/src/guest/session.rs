//! A running command's streams. No task stands behind them: the command goes on as its output is read, so
//! a reader that stops stops the command, and a session that is dropped leaves nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use substrate_core::{
    Command, CommandEvent, CommandInput, CommandSession, Error, ExitStatus, Feature, InstanceState,
    Operation, Result, TerminalSize,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::command::{Launch, Work, told_by_program};
use crate::error::connection_lost;
use crate::inner::Inner;

/// The largest piece that is handed on at once.
const PIECE: usize = 64 * 1024;
/// How many pieces of input wait for a command that is not reading: 1 MiB.
const INPUT_PIECES: usize = 16;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// The streams of a command that was started. `with_input` opens its standard input.
pub(crate) fn open(
    inner: &Arc<Inner>,
    launch: Launch,
    command: &Command,
    with_input: bool,
    generation: u64,
) -> CommandSession {
    let (sender, receiver) = mpsc::channel(INPUT_PIECES);
    // A command that has ended already, or never reads, takes no input.
    let reads = matches!(
        launch.work,
        Work::CopyInput | Work::SizePerLine | Work::Scripted(..) | Work::Until(..) | Work::Endless(_)
    );
    let (sender, receiver) = if with_input && reads { (Some(sender), Some(receiver)) } else { (None, None) };
    let terminal = command.terminal.map(watch::Sender::new);
    let running = Running {
        size: terminal.as_ref().map(watch::Sender::subscribe),
        pulse: launch.pulse,
        input: receiver,
        work: launch.work,
        instance: launch.instance,
        id: launch.id,
        run: launch.run,
        generation,
        inner: Arc::clone(inner),
        ended: false,
    };
    let input = Input {
        sender,
        terminal,
        can_resize: inner
            .descriptor
            .require(Feature::CommandResize)
            .map_err(|error| error.with_operation(Operation::OpenCommand).with_instance(&running.instance)),
    };
    let output = stream::unfold(running, |mut running| async move {
        let item = running.next().await?;
        Some((item, running))
    });
    CommandSession::new(Box::new(input), Box::pin(output))
}

struct Input {
    sender: Option<mpsc::Sender<Bytes>>,
    terminal: Option<watch::Sender<TerminalSize>>,
    can_resize: Result<()>,
}

#[async_trait]
impl CommandInput for Input {
    async fn write(&mut self, mut data: Bytes) -> Result<()> {
        let Some(sender) = &self.sender else {
            return Err(Error::conflict("standard input is closed"));
        };
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            sender.send(piece).await.map_err(|_| Error::conflict("the command has ended"))?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        self.sender = None;
        Ok(())
    }

    async fn resize(&mut self, size: TerminalSize) -> Result<()> {
        let Some(terminal) = &self.terminal else {
            return Err(Error::unsupported("the command has no terminal"));
        };
        self.can_resize.clone()?;
        terminal.send_replace(size);
        Ok(())
    }
}

struct Running {
    inner: Arc<Inner>,
    instance: substrate_core::InstanceName,
    id: String,
    run: u64,
    generation: u64,
    pulse: watch::Receiver<()>,
    input: Option<mpsc::Receiver<Bytes>>,
    size: Option<watch::Receiver<TerminalSize>>,
    work: Work,
    ended: bool,
}

/// How the instance around a command is.
enum Around {
    Running,
    Paused,
    Gone,
    Disconnected,
}

/// What one step of the work came to.
enum Step {
    Event(CommandEvent),
    /// Look again at how the instance is.
    Again,
}

impl Running {
    async fn next(&mut self) -> Option<Result<CommandEvent>> {
        while !self.ended {
            // Marked as seen before the look: a change during the look is seen the next time.
            self.pulse.mark_unchanged();
            match self.around() {
                Around::Disconnected => {
                    self.end();
                    return Some(Err(self.named(connection_lost())));
                }
                // What has ended before the instance did is still told.
                Around::Gone if !matches!(self.work, Work::Told(_)) => {
                    self.end();
                    return Some(Ok(CommandEvent::Exited(ExitStatus::Signal(9))));
                }
                Around::Paused if !matches!(self.work, Work::Told(_)) => {
                    let _ = self.pulse.changed().await;
                    continue;
                }
                _ => {}
            }
            match self.step().await {
                Ok(Step::Again) => {}
                Ok(Step::Event(event)) => {
                    if matches!(event, CommandEvent::Exited(_)) {
                        self.end();
                    }
                    return Some(Ok(self.on_terminal(event)));
                }
                Err(error) => {
                    self.end();
                    return Some(Err(self.named(error)));
                }
            }
        }
        None
    }

    fn end(&mut self) {
        self.ended = true;
        // Whoever still writes learns that nobody reads.
        self.input = None;
    }

    fn named(&self, error: Error) -> Error {
        error
            .with_operation(Operation::OpenCommand)
            .with_substrate(Arc::clone(&self.inner.descriptor.name))
            .with_instance(&self.instance)
    }

    fn around(&self) -> Around {
        let core = self.inner.lock();
        if core.daemon.generation != self.generation {
            return Around::Disconnected;
        }
        match core.state.instances.get(&self.instance) {
            Some(record) if record.id == self.id && record.run == self.run => match record.state {
                InstanceState::Running => Around::Running,
                InstanceState::Paused => Around::Paused,
                _ => Around::Gone,
            },
            _ => Around::Gone,
        }
    }

    /// A terminal has one output.
    fn on_terminal(&self, event: CommandEvent) -> CommandEvent {
        match event {
            CommandEvent::Stderr(data) if self.size.is_some() => CommandEvent::Stdout(data),
            event => event,
        }
    }

    async fn step(&mut self) -> Result<Step> {
        let exit = |code| Step::Event(CommandEvent::Exited(ExitStatus::Code(code)));
        match &mut self.work {
            Work::Told(events) => Ok(events.pop_front().map_or_else(|| exit(0), Step::Event)),
            Work::Flood { stdout, stderr } => Ok(flood(stdout, stderr).map_or_else(|| exit(0), Step::Event)),
            Work::Until(until, events) => {
                let until = *until;
                if Instant::now() >= until {
                    self.work = Work::Told(std::mem::take(events));
                } else {
                    tokio::select! {
                        biased;
                        _ = self.pulse.changed() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                Ok(Step::Again)
            }
            Work::Endless(events) => match events.pop_front() {
                Some(event) => Ok(Step::Event(event)),
                None => {
                    let _ = self.pulse.changed().await;
                    Ok(Step::Again)
                }
            },
            Work::Size => {
                let text = self.size_line();
                self.work = Work::Told(VecDeque::new());
                Ok(Step::Event(CommandEvent::Stdout(text)))
            }
            Work::CopyInput => Ok(match self.read().await {
                Read::Data(data) => Step::Event(CommandEvent::Stdout(data)),
                Read::End => exit(0),
                Read::Changed => Step::Again,
            }),
            Work::SizePerLine => Ok(match self.read().await {
                Read::Data(data) => match data.iter().filter(|byte| **byte == b'\n').count() {
                    0 => Step::Again,
                    count => Step::Event(CommandEvent::Stdout(self.size_line().repeat(count).into())),
                },
                Read::End => exit(0),
                Read::Changed => Step::Again,
            }),
            Work::Scripted(..) => self.scripted().await,
        }
    }

    async fn scripted(&mut self) -> Result<Step> {
        match self.read().await {
            Read::Changed => {}
            Read::Data(data) => {
                if let Work::Scripted(_, _, collected) = &mut self.work {
                    collected.extend_from_slice(&data);
                }
            }
            Read::End => {
                if let Work::Scripted(program, mut invocation, collected) =
                    std::mem::replace(&mut self.work, Work::Told(VecDeque::new()))
                {
                    invocation.input = collected.into();
                    let result = program.call(&invocation);
                    let inner = Arc::clone(&self.inner);
                    let tell = |change: &mut crate::change::Change<'_>| {
                        Ok(told_by_program(change, &invocation.instance, result))
                    };
                    self.work = inner.change(Some(Operation::OpenCommand), tell).await?;
                }
            }
        }
        Ok(Step::Again)
    }

    async fn read(&mut self) -> Read {
        let Some(input) = &mut self.input else { return Read::End };
        tokio::select! {
            biased;
            _ = self.pulse.changed() => Read::Changed,
            data = input.recv() => data.map_or(Read::End, Read::Data),
        }
    }

    fn size_line(&self) -> Bytes {
        let size = self.size.as_ref().map(|size| *size.borrow()).unwrap_or_default();
        format!("{} {}\n", size.rows, size.columns).into()
    }
}

enum Read {
    Data(Bytes),
    End,
    Changed,
}

/// The next piece of the stream that has more left: no more than one piece is in memory.
fn flood(stdout: &mut u64, stderr: &mut u64) -> Option<CommandEvent> {
    let piece = |left: &mut u64| {
        let length = usize::try_from(*left).unwrap_or(PIECE).min(PIECE);
        *left -= length as u64;
        Bytes::from_static(ZEROS.get(..length).unwrap_or_default())
    };
    match (*stdout, *stderr) {
        (0, 0) => None,
        (out, err) if out >= err => Some(CommandEvent::Stdout(piece(stdout))),
        _ => Some(CommandEvent::Stderr(piece(stderr))),
    }
}
