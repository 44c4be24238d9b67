//! Commands that go on: commands in instances, logs, events.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use substrates::{
    BoxStream, Command, CommandEvent, CommandInput, CommandSession, Error, ExitStatus, Feature, InstanceName,
    LogOptions, Operation, Result, Substrate, WatchItem, WatchOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Exec, Format, Logs};
use crate::ending::Ending;
use crate::output::{self, Output};
use crate::progress::while_waiting;
use crate::terminal;

/// How much input is read at once.
const PIECE: usize = 64 << 10;

pub(crate) async fn exec(substrate: &dyn Substrate, output: Output, exec: Exec) -> Result<(), Ending> {
    let name = exec.name.clone();
    run(substrate, output, exec).await.map_err(|ending| match ending {
        // Some substrates tell only in the stream that a command could not be started.
        Ending::Failed(error) => Ending::Failed(
            error
                .with_operation(Operation::OpenCommand)
                .with_substrate(substrate.descriptor().name.clone())
                .with_instance(name),
        ),
        other => other,
    })
}

async fn run(substrate: &dyn Substrate, output: Output, exec: Exec) -> Result<(), Ending> {
    let name = &exec.name;
    let command = Command::new(exec.argv);
    let streams = substrate.descriptor().capabilities.can(Operation::OpenCommand);
    let status = if exec.interactive {
        interactive(substrate, output, name, command).await?
    } else if streams && output.format == Format::Text {
        let CommandSession { mut input, output: mut events } = substrate.open_command(name, &command).await?;
        // It may have ended already.
        let _ = input.close().await;
        copy_out(&mut events, output).await?
    } else {
        let captured = async {
            match streams {
                true => substrate.open_command(name, &command).await?.collect(None, None).await,
                false => substrate.execute_command(name, &command).await,
            }
        };
        let ended = while_waiting("running", captured).await?;
        match output.format {
            Format::Json => output.answer(&ended, |_| String::new())?,
            Format::Text => {
                write(&mut tokio::io::stdout(), &ended.stdout).await?;
                write(&mut tokio::io::stderr(), &ended.stderr).await?;
            }
        }
        ended.status
    };
    if status.success() { Ok(()) } else { Err(Ending::Command(status)) }
}

async fn interactive(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
    command: Command,
) -> std::result::Result<ExitStatus, Ending> {
    let capabilities = &substrate.descriptor().capabilities;
    let lend =
        output.format == Format::Text && terminal::is_here() && capabilities.can(Feature::CommandTerminal);
    let resize = lend && capabilities.can(Feature::CommandResize);
    let command = if lend { command.with_terminal(terminal::size()) } else { command };
    let CommandSession { mut input, output: mut events } =
        substrate.open_command(name, &command.interactive()).await?;
    let _raw = if lend { Some(terminal::Raw::enter()?) } else { None };
    tokio::select! {
        biased;
        status = copy_out(&mut events, output) => status,
        broken = copy_in(&mut *input, resize) => match broken {
            Ok(never) => match never {},
            Err(ending) => Err(ending),
        },
    }
}

/// Hands our input to the command. Never ends by itself: how the command ended decides.
async fn copy_in(
    input: &mut dyn CommandInput,
    resize: bool,
) -> std::result::Result<std::convert::Infallible, Ending> {
    let mut resized = signal(SignalKind::window_change())?;
    let mut stdin = tokio::io::stdin();
    let mut piece = vec![0; PIECE];
    let mut open = true;
    loop {
        tokio::select! {
            read = stdin.read(&mut piece), if open => {
                let read = piece.get(..read?).unwrap_or_default();
                // A command need not read its input.
                let written = if read.is_empty() {
                    open = false;
                    input.close().await
                } else {
                    input.write(read.to_vec().into()).await
                };
                open &= written.is_ok();
            }
            Some(()) = resized.recv(), if resize => {
                // The picture is not worth the command.
                let _ = input.resize(terminal::size()).await;
            }
            else => std::future::pending().await,
        }
    }
}

/// Hands what the command writes to our own streams, byte for byte and as it comes.
async fn copy_out(
    events: &mut BoxStream<Result<CommandEvent>>,
    output: Output,
) -> std::result::Result<ExitStatus, Ending> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(event) = events.next().await {
        let event = event?;
        if output.format == Format::Json {
            output.answer(&event, |_| String::new())?;
        }
        match event {
            CommandEvent::Exited(status) => return Ok(status),
            _ if output.format == Format::Json => {}
            CommandEvent::Stdout(data) => write(&mut stdout, &data).await?,
            CommandEvent::Stderr(data) => write(&mut stderr, &data).await?,
        }
    }
    Err(Error::protocol("the output ended without an exit status").into())
}

async fn write(stream: &mut (impl AsyncWriteExt + Unpin), data: &[u8]) -> io::Result<()> {
    stream.write_all(data).await?;
    stream.flush().await
}

pub(crate) async fn logs(substrate: &dyn Substrate, output: Output, logs: &Logs) -> Result<(), Ending> {
    let mut options = LogOptions::all();
    options.lines = logs.lines;
    options.follow = logs.follow;
    let mut lines = while_waiting("reading", substrate.get_logs(&logs.name, &options)).await?;
    until_interrupted(async {
        while let Some(line) = lines.next().await {
            output.answer(&line?, |line| format!("{}\n", line.message))?;
        }
        Ok(())
    })
    .await
}

pub(crate) async fn watch(
    substrate: &dyn Substrate,
    output: Output,
    time: Option<Duration>,
) -> Result<(), Ending> {
    let mut items = while_waiting("subscribing", substrate.watch(&WatchOptions::from_now())).await?;
    let print = async {
        while let Some(item) = items.next().await {
            output.answer(&item?, |item| match item {
                WatchItem::Event { event, .. } => format!("{} {event}", output::time(Some(event.time))),
                WatchItem::Gap { reason } => format!("events may be missing here: {reason}"),
                _ => "something happened that this program does not know".to_owned(),
            })?;
        }
        Ok(())
    };
    until_interrupted(async {
        match time {
            None => print.await,
            // Enough was seen: that is how it was asked to end.
            Some(time) => tokio::time::timeout(time, print).await.unwrap_or(Ok(())),
        }
    })
    .await
}

/// Ends quietly when the user has seen enough.
async fn until_interrupted(work: impl Future<Output = Result<(), Ending>>) -> Result<(), Ending> {
    // Before anything is shown: who saw a line may interrupt.
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        biased;
        ended = work => ended,
        _ = interrupt.recv() => Err(Ending::Interrupted),
    }
}
