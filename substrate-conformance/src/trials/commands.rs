//! Commands with captured output.

use std::time::Duration;

use bytes::Bytes;
use substrate_core::{Command, ErrorKind, ExitStatus, InstanceState};
use tokio::time::Instant;

use crate::context::{BRIEF, Context, NOTE};
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, conflict, ensure, not_found, refused, same, within};

trials! {
    a_command_that_fails_is_a_success_of_the_call => ExecuteCommand;
    every_exit_code_comes_back => ExecuteCommand;
    both_streams_come_back_apart => ExecuteCommand;
    arguments_arrive_exactly => ExecuteCommand;
    bytes_arrive_exactly => ExecuteCommand [Feature::CommandInput];
    input_that_nobody_reads_is_no_failure => ExecuteCommand [Feature::CommandInput];
    without_input_a_command_reads_end_of_file => ExecuteCommand;
    a_command_has_its_environment => ExecuteCommand [Feature::CommandEnvironment];
    a_command_has_its_working_directory => ExecuteCommand [Feature::CommandWorkingDirectory];
    a_command_has_its_user => ExecuteCommand [Feature::CommandUser];
    a_user_that_does_not_exist_is_invalid_input => ExecuteCommand [Feature::CommandUser];
    a_program_that_does_not_exist_is_invalid_input => ExecuteCommand;
    a_command_that_nobody_can_mean_is_invalid_input => ExecuteCommand;
    a_command_in_a_stopped_instance_is_a_conflict => ExecuteCommand;
    a_command_in_a_paused_instance_is_a_conflict => ExecuteCommand [Operation::PauseInstance];
    a_command_in_a_missing_instance_is_not_found => ExecuteCommand;
    a_command_beyond_its_timeout_is_a_timeout => ExecuteCommand;
    output_beyond_its_limit_is_exhausted_and_not_cut => ExecuteCommand;
    a_command_ended_by_a_signal_says_so => ExecuteCommand;
    a_command_ends_with_its_exit_and_not_with_its_children => ExecuteCommand;
    what_one_command_wrote_the_next_one_reads => ExecuteCommand;
    a_command_leaves_the_instance_as_it_is => ExecuteCommand;
}

async fn a_command_that_fails_is_a_success_of_the_call(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let output = context.execute(&name, &Program::Exit(1)).await?;
    same("its end", output.status, ExitStatus::Code(1))?;
    ensure!(!output.success(), "exit code 1 counts as success");
    ensure!(
        context.execute(&name, &Program::Exit(0)).await?.success(),
        "exit code 0 does not count as success"
    );
    Ok(())
}

async fn every_exit_code_comes_back(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    for code in [0, 1, 2, 7, 100, 126, 127, 128, 200, 255] {
        let output = context.execute(&name, &Program::Exit(code)).await?;
        same("its end", output.status, ExitStatus::Code(code))?;
    }
    Ok(())
}

async fn both_streams_come_back_apart(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let emit = Program::Emit { stdout: "to out\n".to_owned(), stderr: "to err".to_owned(), code: 5 };
    let output = context.execute(&name, &emit).await?;
    same("standard output", output.stdout_text(), "to out\n")?;
    same("standard error", output.stderr_text(), "to err")?;
    same("its end", output.status, ExitStatus::Code(5))
}

async fn arguments_arrive_exactly(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let arguments = [
        "plain",
        "two words",
        "",
        "  edges  ",
        r#""double""#,
        "'single'",
        "$HOME",
        "$(id)",
        "`id`",
        "a;b",
        "a&&b",
        "a|b",
        ">/tmp/x",
        "*",
        "?",
        "~",
        "#",
        r"back\slash",
        r"\n",
        "%s",
        "-n",
        "--",
        "tab\there",
        "größe ☃ 🦀",
        "{a,b}",
        "!x",
    ]
    .map(str::to_owned);
    let output = context.execute(&name, &Program::Arguments(arguments.to_vec())).await?;
    let text = output.stdout_text();
    let lines: Vec<&str> = text.split('\n').collect();
    for (index, argument) in arguments.iter().enumerate() {
        same(&format!("argument {index}"), lines.get(index).copied(), Some(argument.as_str()))?;
    }
    let broken = Program::Arguments(vec!["two\nlines".to_owned()]);
    same("an argument with a line end", context.execute(&name, &broken).await?.stdout_text(), "two\nlines\n")
}

async fn bytes_arrive_exactly(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let every: Bytes = (0..=u8::MAX).chain((0..=u8::MAX).rev()).chain(*b"\r\n\n\r\x04\x1a\x00").collect();
    for input in [every, Bytes::from_static(b"no line end"), Bytes::from_static(b"\n"), Bytes::new()] {
        let command = context.command(&Program::CopyInput)?.with_input(input.clone());
        let output = context.substrate().execute_command(&name, &command).await?;
        same("what came back", &output.stdout, &input)?;
        same("its end", output.status, ExitStatus::Code(0))?;
    }
    Ok(())
}

async fn input_that_nobody_reads_is_no_failure(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let command = context.command(&Program::Exit(0))?.with_input(vec![b'x'; 1 << 20]);
    let run = context.substrate().execute_command(&name, &command);
    let output = within(context.setup().patience, "a command that does not read its input", run).await??;
    same("its end", output.status, ExitStatus::Code(0))
}

async fn without_input_a_command_reads_end_of_file(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let copy = context.execute(&name, &Program::CopyInput);
    let output = within(context.setup().patience, "a command that reads its input", copy).await??;
    same("what it read", output.stdout_text(), "")?;
    same("its end", output.status, ExitStatus::Code(0))
}

async fn a_command_has_its_environment(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    for value in ["web", r#" a=b "c" $HOME ; ☃ "#, ""] {
        let print = context.command(&Program::PrintEnvironment("SC_VALUE".to_owned()))?;
        let command = print.with_environment("SC_VALUE", value).with_environment("SC_OTHER", "other");
        let output = context.substrate().execute_command(&name, &command).await?;
        same("the variable", output.stdout_text(), format!("{value}\n"))?;
    }
    Ok(())
}

async fn a_command_has_its_working_directory(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let folder = context.guest().folder();
    let command = context.command(&Program::PrintDirectory)?.with_working_directory(folder);
    let output = context.substrate().execute_command(&name, &command).await?;
    same("the working directory", output.stdout_text(), format!("{folder}\n"))
}

async fn a_command_has_its_user(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let user = context.guest().user();
    let before = context.execute(&name, &Program::PrintUser).await?;
    ensure!(before.stdout_text().trim_end() != user, "the setup's user is what commands run as anyway");
    let command = context.command(&Program::PrintUser)?.with_user(user);
    let output = context.substrate().execute_command(&name, &command).await?;
    same("the user", output.stdout_text(), format!("{user}\n"))
}

async fn a_user_that_does_not_exist_is_invalid_input(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let command = context.command(&Program::PrintUser)?.with_user("sc-no-such-user");
    let run = context.substrate().execute_command(&name, &command).await;
    could_not_start("a command of a user that does not exist", run)
}

/// A command that could not be started is an error; where it is found out, it has been sent.
fn could_not_start<T>(what: &str, result: substrate_core::Result<T>) -> Verdict {
    refused(what, result, &[ErrorKind::InvalidInput]).map(drop)
}

async fn a_program_that_does_not_exist_is_invalid_input(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let command = context.command(&Program::Missing)?;
    could_not_start("a missing program", context.substrate().execute_command(&name, &command).await)?;
    // A name without a path is looked up elsewhere, and not found elsewhere.
    let bare = Command::new(["sc-no-such-program"]);
    could_not_start(
        "a missing program without a path",
        context.substrate().execute_command(&name, &bare).await,
    )
}

async fn a_command_that_nobody_can_mean_is_invalid_input(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    let substrate = context.substrate();
    for (what, command) in [
        ("an empty command", Command::new([] as [&str; 0])),
        ("an empty program", Command::new([""])),
        ("a NUL byte in an argument", Command::new(["true", "a\0b"])),
    ] {
        could_not_start(what, substrate.execute_command(&name, &command).await)?;
    }
    Ok(())
}

async fn a_command_in_a_stopped_instance_is_a_conflict(context: &Context) -> Verdict {
    let name = context.stopped("down").await?;
    let command = context.command(&Program::Exit(0))?;
    conflict("a command", context.substrate().execute_command(&name, &command).await)?;
    context.has_state(&name, InstanceState::Stopped).await
}

async fn a_command_in_a_paused_instance_is_a_conflict(context: &Context) -> Verdict {
    let name = context.running("frozen").await?;
    context.pause(&name).await?;
    let command = context.command(&Program::Exit(0))?;
    let run = context.substrate().execute_command(&name, &command);
    conflict("a command", within(context.setup().patience, "a command in a paused instance", run).await?)
}

async fn a_command_in_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let command = context.command(&Program::Exit(0))?;
    not_found("a command", context.substrate().execute_command(&context.name("nobody")?, &command).await)
}

async fn a_command_beyond_its_timeout_is_a_timeout(context: &Context) -> Verdict {
    let name = context.running("slow").await?;
    let before = context.get(&name).await?;
    let command = context.command(&Program::Sleep(Duration::from_secs(30)))?.with_timeout(BRIEF);
    let begin = Instant::now();
    match context.substrate().execute_command(&name, &command).await {
        Ok(_) => return Err(Failure::broken("a command beyond its timeout succeeded")),
        // Its effect is open: it may have done half of its work.
        Err(error) => ensure!(error.is_timeout(), "a command beyond its timeout failed so: {error}"),
    }
    ensure!(begin.elapsed() < Duration::from_secs(10), "it took {:?} instead of {BRIEF:?}", begin.elapsed());
    ensure!(context.execute(&name, &Program::Exit(0)).await?.success(), "the next command failed");
    context.is_untouched(&before).await
}

async fn output_beyond_its_limit_is_exhausted_and_not_cut(context: &Context) -> Verdict {
    let name = context.running("loud").await?;
    let emit = Program::Emit { stdout: "12345".to_owned(), stderr: "67890".to_owned(), code: 0 };
    let command = context.command(&emit)?;
    match context.substrate().execute_command(&name, &command.clone().with_output_limit(9)).await {
        Ok(output) => {
            return Err(Failure::broken(format!("10 bytes against a limit of 9 succeeded: {output:?}")));
        }
        Err(error) => ensure!(error.kind() == ErrorKind::Exhausted, "too much output failed so: {error}"),
    }
    let output = context.substrate().execute_command(&name, &command.with_output_limit(10)).await?;
    same("standard output within the limit", output.stdout_text(), "12345")
}

async fn a_command_ended_by_a_signal_says_so(context: &Context) -> Verdict {
    let name = context.running("shell").await?;
    for signal in [9, 15] {
        let output = context.execute(&name, &Program::DieBySignal(signal)).await?;
        same("its end as a shell code", output.status.shell_code(), 128 + signal)?;
    }
    Ok(())
}

async fn a_command_ends_with_its_exit_and_not_with_its_children(context: &Context) -> Verdict {
    let name = context.running("parent").await?;
    let leave = Program::LeaveChild(Duration::from_secs(60), 4);
    let run = context.execute(&name, &leave);
    let output = within(context.setup().patience, "a command that left a child behind", run).await??;
    same("its end", output.status, ExitStatus::Code(4))
}

async fn what_one_command_wrote_the_next_one_reads(context: &Context) -> Verdict {
    let name = context.running("disk").await?;
    same("the file before", context.read_file(&name, NOTE).await?, None)?;
    context.write_file(&name, NOTE, "one\ntwo").await?;
    same("the file", context.read_file(&name, NOTE).await?.as_deref(), Some("one\ntwo"))?;
    ensure!(
        context.execute(&name, &Program::RemoveFile(NOTE.to_owned())).await?.success(),
        "removing it failed"
    );
    same("the file after its removal", context.read_file(&name, NOTE).await?, None)
}

async fn a_command_leaves_the_instance_as_it_is(context: &Context) -> Verdict {
    let name = context.running("same").await?;
    let before = context.get(&name).await?;
    for code in [0, 3] {
        context.execute(&name, &Program::Exit(code)).await?;
    }
    context.execute(&name, &Program::DieBySignal(9)).await?;
    context.is_untouched(&before).await
}
