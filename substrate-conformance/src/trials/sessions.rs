//! Commands with open streams.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use substrate_core::{
    Command, CommandEvent, CommandOutput, CommandSession, ErrorKind, ExitStatus, Feature, InstanceName,
    TerminalSize,
};
use tokio::time::Instant;

use crate::context::Context;
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, conflict, ensure, not_found, refused, same, within};

trials! {
    a_session_ends_with_its_exit_status => OpenCommand;
    a_session_keeps_both_streams_apart => OpenCommand;
    a_session_answers_while_its_input_is_open => OpenCommand [Feature::CommandInput];
    closing_the_input_is_end_of_file => OpenCommand [Feature::CommandInput];
    dropping_the_input_is_end_of_file => OpenCommand [Feature::CommandInput];
    closing_the_input_twice_is_harmless => OpenCommand [Feature::CommandInput];
    writing_to_a_closed_input_is_a_conflict => OpenCommand [Feature::CommandInput];
    without_interactive_the_input_is_empty => OpenCommand;
    a_dropped_session_harms_nobody => OpenCommand [Operation::ExecuteCommand];
    sessions_beside_each_other_are_not_mixed_up => OpenCommand [Feature::CommandInput];
    a_terminal_has_its_size => OpenCommand [Feature::CommandTerminal];
    a_terminal_has_one_output => OpenCommand [Feature::CommandTerminal];
    a_terminal_can_be_resized
        => OpenCommand [Feature::CommandTerminal, Feature::CommandResize, Feature::CommandInput];
    a_resize_without_a_terminal_is_unsupported => OpenCommand [Feature::CommandInput];
    a_session_of_a_missing_program_is_invalid_input => OpenCommand;
    a_session_in_a_stopped_instance_is_a_conflict => OpenCommand;
    a_session_in_a_missing_instance_is_not_found => OpenCommand;
}

async fn open(context: &Context, name: &InstanceName, program: &Program) -> Verdict<CommandSession> {
    Ok(context.substrate().open_command(name, &context.command(program)?).await?)
}

async fn open_copy(context: &Context, name: &InstanceName) -> Verdict<CommandSession> {
    let command = context.command(&Program::CopyInput)?.interactive();
    Ok(context.substrate().open_command(name, &command).await?)
}

/// Reads to the end, bounded: a session that hangs shall say where.
async fn finish(context: &Context, session: CommandSession) -> Verdict<CommandOutput> {
    let CommandSession { input, output } = session;
    let end = rest(output);
    let output = within(context.setup().patience, "the session", end).await??;
    drop(input);
    Ok(output)
}

async fn rest(
    mut output: substrate_core::BoxStream<substrate_core::Result<CommandEvent>>,
) -> Verdict<CommandOutput> {
    let (mut stdout, mut stderr, mut status) = (Vec::new(), Vec::new(), None);
    while let Some(event) = output.next().await {
        ensure!(status.is_none(), "something came after the exit status: {event:?}");
        match event? {
            CommandEvent::Stdout(data) => stdout.extend_from_slice(&data),
            CommandEvent::Stderr(data) => stderr.extend_from_slice(&data),
            CommandEvent::Exited(exit) => status = Some(exit),
        }
    }
    let status = status.ok_or_else(|| Failure::broken("the stream ended without an exit status"))?;
    Ok(CommandOutput { status, stdout: stdout.into(), stderr: stderr.into() })
}

/// Reads standard output until it holds `wanted` bytes.
async fn read(context: &Context, session: &mut CommandSession, wanted: usize) -> Verdict<Vec<u8>> {
    let mut received = Vec::new();
    while received.len() < wanted {
        let next = within(context.setup().patience, "an answer", session.output.next()).await?;
        match next.transpose()? {
            Some(CommandEvent::Stdout(data)) => received.extend_from_slice(&data),
            other => return Err(Failure::broken(format!("{other:?} came instead of output"))),
        }
    }
    Ok(received)
}

async fn a_session_ends_with_its_exit_status(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    for code in [0, 7] {
        let output = finish(context, open(context, &name, &Program::Exit(code)).await?).await?;
        same("its end", output.status, ExitStatus::Code(code))?;
    }
    Ok(())
}

async fn a_session_keeps_both_streams_apart(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let emit = Program::Emit { stdout: "to out".to_owned(), stderr: "to err".to_owned(), code: 5 };
    let output = finish(context, open(context, &name, &emit).await?).await?;
    same("standard output", output.stdout_text(), "to out")?;
    same("standard error", output.stderr_text(), "to err")?;
    same("its end", output.status, ExitStatus::Code(5))
}

async fn a_session_answers_while_its_input_is_open(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let mut session = open_copy(context, &name).await?;
    for question in [&b"one\n"[..], b"two\n", b"\xff\x00three\n"] {
        session.input.write(Bytes::from_static(question)).await?;
        same("the answer", read(context, &mut session, question.len()).await?, question)?;
    }
    session.input.close().await?;
    same("its end", finish(context, session).await?.status, ExitStatus::Code(0))
}

async fn closing_the_input_is_end_of_file(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let mut session = open_copy(context, &name).await?;
    session.input.write(Bytes::from_static(b"last words")).await?;
    session.input.close().await?;
    let output = finish(context, session).await?;
    same("standard output", output.stdout_text(), "last words")?;
    same("its end", output.status, ExitStatus::Code(0))
}

async fn dropping_the_input_is_end_of_file(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let CommandSession { mut input, output } = open_copy(context, &name).await?;
    input.write(Bytes::from_static(b"last words")).await?;
    drop(input);
    let output = within(context.setup().patience, "a session without input", rest(output)).await??;
    same("standard output", output.stdout_text(), "last words")
}

async fn closing_the_input_twice_is_harmless(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let mut session = open_copy(context, &name).await?;
    session.input.close().await?;
    session.input.close().await?;
    same("its end", finish(context, session).await?.status, ExitStatus::Code(0))
}

async fn writing_to_a_closed_input_is_a_conflict(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let mut session = open_copy(context, &name).await?;
    session.input.close().await?;
    conflict("writing", session.input.write(Bytes::from_static(b"late")).await)?;
    same("its end", finish(context, session).await?.status, ExitStatus::Code(0))
}

async fn without_interactive_the_input_is_empty(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let output = finish(context, open(context, &name, &Program::CopyInput).await?).await?;
    same("what it read", output.stdout_text(), "")?;
    same("its end", output.status, ExitStatus::Code(0))
}

async fn a_dropped_session_harms_nobody(context: &Context) -> Verdict {
    let name = context.running("left").await?;
    let before = context.get(&name).await?;
    let much = context.setup().large_output.min(4 << 20);
    for program in [
        Program::Sleep(Duration::from_secs(30)),
        Program::Flood { stdout: much, stderr: much },
        Program::Exit(0),
    ] {
        let mut session = open(context, &name, &program).await?;
        if matches!(program, Program::Flood { .. }) {
            // In mid-stream.
            within(context.setup().patience, "the first output", session.output.next()).await?;
        }
        drop(session);
    }
    ensure!(context.execute(&name, &Program::Exit(0)).await?.success(), "the next command failed");
    context.is_untouched(&before).await
}

async fn sessions_beside_each_other_are_not_mixed_up(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let mut one = open_copy(context, &name).await?;
    let mut other = open_copy(context, &name).await?;
    for round in 0..5 {
        let (to_one, to_other) = (format!("one {round}\n"), format!("other {round}\n"));
        one.input.write(to_one.clone().into()).await?;
        other.input.write(to_other.clone().into()).await?;
        same("the other's answer", read(context, &mut other, to_other.len()).await?, to_other.as_bytes())?;
        same("the one's answer", read(context, &mut one, to_one.len()).await?, to_one.as_bytes())?;
    }
    for mut session in [one, other] {
        session.input.close().await?;
        same("its end", finish(context, session).await?.status, ExitStatus::Code(0))?;
    }
    Ok(())
}

const SIZE: TerminalSize = TerminalSize { columns: 91, rows: 37 };

/// Asks until the answer is this size. A terminal may get its size a moment after its command began: some
/// technologies cannot give it before.
async fn shows(context: &Context, session: &mut CommandSession, expected: &str) -> Verdict {
    let deadline = Instant::now() + context.setup().patience;
    // A terminal also shows what is typed.
    let mut shown = String::new();
    while !shown.contains(expected) {
        ensure!(Instant::now() < deadline, "the size should be `{expected}`, the terminal shows {shown:?}");
        session.input.write(Bytes::from_static(b"\n")).await?;
        while let Ok(event) = tokio::time::timeout(ANSWER, session.output.next()).await {
            match event.transpose()? {
                Some(CommandEvent::Stdout(data)) => shown.push_str(&String::from_utf8_lossy(&data)),
                other => return Err(Failure::broken(format!("{other:?} came instead of output"))),
            }
        }
    }
    Ok(())
}

/// How long an answer is waited for before the next question.
const ANSWER: Duration = Duration::from_millis(50);

async fn a_terminal_has_its_size(context: &Context) -> Verdict {
    let name = context.running("screen").await?;
    let per_line = context.guest().argv(&Program::PrintTerminalSizePerLine);
    if let (Some(argv), true) = (per_line, context.can(Feature::CommandInput)) {
        let command = Command::new(argv).interactive().with_terminal(SIZE);
        let mut session = context.substrate().open_command(&name, &command).await?;
        return shows(context, &mut session, "37 91").await;
    }
    let command = context.command(&Program::PrintTerminalSize)?.with_terminal(SIZE);
    let output = finish(context, context.substrate().open_command(&name, &command).await?).await?;
    same("rows and columns", output.stdout_text().trim_end(), "37 91")
}

async fn a_terminal_has_one_output(context: &Context) -> Verdict {
    let name = context.running("screen").await?;
    let emit = Program::Emit { stdout: "to out".to_owned(), stderr: "to err".to_owned(), code: 6 };
    let command = context.command(&emit)?.with_terminal(SIZE);
    let output = finish(context, context.substrate().open_command(&name, &command).await?).await?;
    same("standard error", output.stderr_text(), "")?;
    ensure!(output.stdout_text().contains("to err"), "a terminal shows {:?}", output.stdout_text());
    same("its end", output.status, ExitStatus::Code(6))
}

async fn a_terminal_can_be_resized(context: &Context) -> Verdict {
    let name = context.running("screen").await?;
    let larger = TerminalSize { columns: 100, rows: 20 };
    let Some(argv) = context.guest().argv(&Program::PrintTerminalSizePerLine) else {
        // Without a program that tells, at least the call works.
        let command = context.command(&Program::CopyInput)?.interactive().with_terminal(SIZE);
        let mut session = context.substrate().open_command(&name, &command).await?;
        return Ok(session.input.resize(larger).await?);
    };
    let command = Command::new(argv).interactive().with_terminal(SIZE);
    let mut session = context.substrate().open_command(&name, &command).await?;
    shows(context, &mut session, "37 91").await?;
    session.input.resize(larger).await?;
    shows(context, &mut session, "20 100").await
}

async fn a_resize_without_a_terminal_is_unsupported(context: &Context) -> Verdict {
    let name = context.running("echo").await?;
    let mut session = open_copy(context, &name).await?;
    refused("a resize", session.input.resize(SIZE).await, &[ErrorKind::Unsupported])?;
    session.input.close().await?;
    same("its end", finish(context, session).await?.status, ExitStatus::Code(0))
}

async fn a_session_of_a_missing_program_is_invalid_input(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let missing = context.command(&Program::Missing)?;
    let result = match context.substrate().open_command(&name, &missing).await {
        Err(error) => Err(error),
        // Then it is the only item.
        Ok(mut session) => match session.output.next().await {
            Some(first) => first.map(|event| format!("{event:?}")),
            None => return Err(Failure::broken("a session of a missing program ended without a word")),
        },
    };
    refused("a session of a missing program", result, &[ErrorKind::InvalidInput]).map(drop)
}

async fn a_session_in_a_stopped_instance_is_a_conflict(context: &Context) -> Verdict {
    let name = context.stopped("down").await?;
    let command = context.command(&Program::Exit(0))?;
    conflict("a session", context.substrate().open_command(&name, &command).await)
}

async fn a_session_in_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let command = context.command(&Program::Exit(0))?;
    not_found("a session", context.substrate().open_command(&context.name("nobody")?, &command).await)
}
