//! Much output and much input: every byte arrives, and nobody blocks.

use bytes::Bytes;
use futures_util::StreamExt;
use substrate_core::{CommandEvent, CommandSession, Error, ExitStatus};

use crate::context::Context;
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Verdict, ensure, same, within};

trials! {
    a_command_may_write_much_on_both_streams => ExecuteCommand;
    a_session_may_write_much_on_both_streams => OpenCommand;
    a_slow_reader_loses_nothing => OpenCommand [Operation::ExecuteCommand];
    much_input_arrives_byte_for_byte => ExecuteCommand [Feature::CommandInput];
    much_input_of_a_session_arrives_byte_for_byte => OpenCommand [Feature::CommandInput];
}

/// An eighth of the large output (8 MiB unless told): bytes of every value, in an order that shows a lost or
/// doubled piece.
fn large_input(context: &Context) -> Bytes {
    let length = context.setup().large_output / 8;
    let mut state = 0x2545_f491_u32;
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

fn flood(context: &Context) -> (usize, usize, Program) {
    let stdout = context.setup().large_output;
    // Not the same, so that swapped or mixed streams show.
    let stderr = stdout - stdout / 8;
    (stdout, stderr, Program::Flood { stdout, stderr })
}

async fn a_command_may_write_much_on_both_streams(context: &Context) -> Verdict {
    let (stdout, stderr, program) = flood(context);
    let name = context.running("loud").await?;
    let output = context.execute(&name, &program).await?;
    same("the bytes on standard output", output.stdout.len(), stdout)?;
    same("the bytes on standard error", output.stderr.len(), stderr)?;
    same("its end", output.status, ExitStatus::Code(0))
}

/// Reads to the end and counts.
async fn count(mut session: CommandSession) -> Verdict<(usize, usize, Option<ExitStatus>)> {
    let (mut stdout, mut stderr, mut status) = (0, 0, None);
    while let Some(event) = session.output.next().await {
        ensure!(status.is_none(), "something came after the end of the command");
        match event? {
            CommandEvent::Stdout(data) => stdout += data.len(),
            CommandEvent::Stderr(data) => stderr += data.len(),
            CommandEvent::Exited(exit) => status = Some(exit),
        }
    }
    Ok((stdout, stderr, status))
}

async fn a_session_may_write_much_on_both_streams(context: &Context) -> Verdict {
    let (stdout, stderr, program) = flood(context);
    let name = context.running("loud").await?;
    let session = context.substrate().open_command(&name, &context.command(&program)?).await?;
    same("bytes and end", count(session).await?, (stdout, stderr, Some(ExitStatus::Code(0))))
}

async fn a_slow_reader_loses_nothing(context: &Context) -> Verdict {
    // Enough to fill every buffer on the way, so that the command has to wait for the reader.
    let size = (context.setup().large_output / 8).max(1 << 20);
    let name = context.running("patient").await?;
    let flood = context.command(&Program::Flood { stdout: size, stderr: 0 })?;
    let session = context.substrate().open_command(&name, &flood).await?;
    // Other calls go on while nobody reads this one.
    for _ in 0..20 {
        within(context.setup().patience, "get beside an unread stream", context.get(&name)).await??;
        let other = context.execute(&name, &Program::Exit(0));
        within(context.setup().patience, "a command beside an unread stream", other).await??;
    }
    same("bytes and end", count(session).await?, (size, 0, Some(ExitStatus::Code(0))))
}

async fn much_input_arrives_byte_for_byte(context: &Context) -> Verdict {
    let name = context.running("fed").await?;
    let input = large_input(context);
    let command = context.command(&Program::CopyInput)?.with_input(input.clone());
    let output = context.substrate().execute_command(&name, &command).await?;
    same("the bytes that came back", output.stdout.len(), input.len())?;
    ensure!(output.stdout == input, "the bytes that came back are not those that were sent");
    same("its end", output.status, ExitStatus::Code(0))
}

async fn much_input_of_a_session_arrives_byte_for_byte(context: &Context) -> Verdict {
    let name = context.running("fed").await?;
    let input = large_input(context);
    let command = context.command(&Program::CopyInput)?.interactive();
    let CommandSession { input: mut writer, mut output } =
        context.substrate().open_command(&name, &command).await?;
    let write = async {
        for start in (0..input.len()).step_by(100_000) {
            writer.write(input.slice(start..(start + 100_000).min(input.len()))).await?;
        }
        writer.close().await
    };
    let read = async {
        let (mut received, mut exit) = (Vec::with_capacity(input.len()), None);
        while let Some(event) = output.next().await {
            match event? {
                CommandEvent::Stdout(data) => received.extend_from_slice(&data),
                CommandEvent::Stderr(_) => {}
                CommandEvent::Exited(status) => exit = Some(status),
            }
        }
        Ok::<_, Error>((received, exit))
    };
    let (written, read) = tokio::join!(write, read);
    written?;
    let (received, exit) = read?;
    same("the bytes that came back", received.len(), input.len())?;
    ensure!(received == input, "the bytes that came back are not those that were sent");
    same("its end", exit, Some(ExitStatus::Code(0)))
}
