//! Commands inside.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use substrate_core::{Command, CommandEvent, ExitStatus, Substrate, TerminalSize};

use crate::lab::{Lab, SERVE};

#[tokio::test]
#[ignore = "live: docker"]
async fn codes_streams_and_arguments_come_back_exactly() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    for code in [0, 1, 7, 126, 127, 128, 137, 255] {
        let command = Command::new(["sh", "-c", &format!("printf out; printf err >&2; exit {code}")]);
        let output = lab.docker.execute_command(&instance.name, &command).await.unwrap();
        assert_eq!(output.status, ExitStatus::Code(code));
        assert_eq!((&*output.stdout, &*output.stderr), (&b"out"[..], &b"err"[..]));
    }
    let odd = ["a b", "$HOME", ";", "'", "\"", "\n", "ä", ""];
    let command = Command::new(["printf", "[%s]"].into_iter().chain(odd));
    let output = lab.docker.execute_command(&instance.name, &command).await.unwrap();
    assert_eq!(output.stdout_text(), odd.map(|text| format!("[{text}]")).concat());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn what_cannot_start_is_an_error_and_what_returns_127_is_not() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    for command in [
        Command::new(["/no/such/program"]),
        Command::new(["no-such-program"]),
        Command::new(["/etc"]),
        Command::new(["true"]).with_user("nobody-at-all"),
        Command::new(["true"]).with_working_directory("/no/such/folder"),
        Command::new(["/no/such/program"]).with_input("unread"),
        Command::new(["/no/such/program"]).with_terminal(TerminalSize::default()),
    ] {
        let error = lab.docker.execute_command(&instance.name, &command).await.unwrap_err();
        assert!(error.is_invalid_input(), "{command:?}: {error}");
    }
    let pretender = Command::new(["sh", "-c", "echo OCI runtime exec failed: not really; exit 126"]);
    let output = lab.docker.execute_command(&instance.name, &pretender).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(126));
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_container_that_does_not_run_runs_no_command() {
    let lab = Lab::new().await;
    let instance = lab.docker.create_instance(&lab.config("a", SERVE)).await.unwrap();
    let command = Command::new(["true"]);
    assert!(lab.docker.execute_command(&instance.name, &command).await.unwrap_err().is_conflict());
    lab.docker.start_instance(&instance.name).await.unwrap();
    lab.docker.pause_instance(&instance.name).await.unwrap();
    assert!(lab.docker.execute_command(&instance.name, &command).await.unwrap_err().is_conflict());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn input_reaches_the_command_and_its_end_does_too() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let data: Vec<u8> = (0..3_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    let command = Command::new(["cat"]).with_input(data.clone());
    let output = lab.docker.execute_command(&instance.name, &command).await.unwrap();
    assert!(output.stdout == data, "the bytes differ");
    let empty =
        lab.docker.execute_command(&instance.name, &Command::new(["cat"]).with_input("")).await.unwrap();
    assert!(empty.success() && empty.stdout.is_empty());
    let without = lab.docker.execute_command(&instance.name, &Command::new(["cat"])).await.unwrap();
    assert!(without.success(), "without input it is empty, not open");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn dropping_the_input_closes_it() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let mut session =
        lab.docker.open_command(&instance.name, &Command::new(["cat"]).interactive()).await.unwrap();
    session.input.write(Bytes::from_static(b"hello\n")).await.unwrap();
    let first = session.output.next().await.unwrap().unwrap();
    assert_eq!(first, CommandEvent::Stdout(Bytes::from_static(b"hello\n")));
    drop(session.input);
    let last = session.output.next().await.unwrap().unwrap();
    assert_eq!(last, CommandEvent::Exited(ExitStatus::Code(0)));
    assert!(session.output.next().await.is_none());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn user_folder_and_environment_are_those_asked_for() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let command = Command::new(["sh", "-c", "id -u; pwd; echo \"$A\""])
        .with_user("12345")
        .with_working_directory("/tmp")
        .with_environment("A", "b c");
    let output = lab.docker.execute_command(&instance.name, &command).await.unwrap();
    assert_eq!(output.stdout_text(), "12345\n/tmp\nb c\n");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_terminal_shows_a_prompt_without_a_line_end_and_can_be_resized() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let size = TerminalSize { columns: 100, rows: 30 };
    let script = "printf 'prompt> '; read line; stty size; read line; stty size; exit 3";
    let command = Command::new(["sh", "-c", script]).interactive().with_terminal(size);
    let mut session = lab.docker.open_command(&instance.name, &command).await.unwrap();
    let mut seen = String::new();
    let mut read_until = async |output: &mut substrate_core::BoxStream<_>, what: &str| {
        while !seen.contains(what) {
            match tokio::time::timeout(Duration::from_secs(10), output.next()).await.expect(what) {
                Some(Ok(CommandEvent::Stdout(data))) => seen.push_str(&String::from_utf8_lossy(&data)),
                other => panic!("{other:?} while waiting for {what}; so far {seen:?}"),
            }
        }
    };
    read_until(&mut session.output, "prompt> ").await;
    session.input.write(Bytes::from_static(b"\n")).await.unwrap();
    read_until(&mut session.output, "30 100").await;
    session.input.resize(TerminalSize { columns: 132, rows: 50 }).await.unwrap();
    session.input.write(Bytes::from_static(b"\n")).await.unwrap();
    read_until(&mut session.output, "50 132").await;
    let rest: Vec<_> = session.output.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap(), &CommandEvent::Exited(ExitStatus::Code(3)));
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_terminal_s_first_bytes_may_look_like_a_frame() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let command = Command::new(["printf", r"\001\000\000\000\000\000\000\005xyz"])
        .with_terminal(TerminalSize::default());
    let output = lab.docker.execute_command(&instance.name, &command).await.unwrap();
    assert_eq!(&*output.stdout, b"\x01\0\0\0\0\0\0\x05xyz");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_child_in_the_background_does_not_keep_the_command_from_ending() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let command = Command::new(["sh", "-c", "sleep 60 & echo started; exit 4"]);
    let run = lab.docker.execute_command(&instance.name, &command);
    let output = tokio::time::timeout(Duration::from_secs(10), run).await.expect("it ended").unwrap();
    assert_eq!((output.status, output.stdout_text().as_str()), (ExitStatus::Code(4), "started\n"));
}

#[tokio::test]
#[ignore = "live: docker"]
async fn sixty_four_megabytes_on_both_streams_are_read_with_bounded_memory() {
    const SIZE: usize = 64 << 20;
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let script = format!("head -c {SIZE} /dev/zero & head -c {SIZE} /dev/zero >&2; wait");
    let command = Command::new(["sh", "-c", &script]);
    let mut session = lab.docker.open_command(&instance.name, &command).await.unwrap();
    let (mut stdout, mut stderr, mut largest, mut status) = (0, 0, 0, None);
    while let Some(event) = session.output.next().await {
        match event.unwrap() {
            CommandEvent::Stdout(data) => {
                largest = largest.max(data.len());
                stdout += data.len();
            }
            CommandEvent::Stderr(data) => {
                largest = largest.max(data.len());
                stderr += data.len();
            }
            CommandEvent::Exited(exited) => status = Some(exited),
        }
    }
    assert_eq!((stdout, stderr, status), (SIZE, SIZE, Some(ExitStatus::Code(0))));
    assert!(largest <= 1 << 20, "a piece of {largest} bytes");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_command_dies_with_its_container() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let command = Command::new(["sh", "-c", "echo up; exec sleep 60"]);
    let mut session = lab.docker.open_command(&instance.name, &command).await.unwrap();
    session.output.next().await.unwrap().unwrap();
    lab.docker.stop_instance(&instance.name, substrate_core::StopMode::Force).await.unwrap();
    let last = tokio::time::timeout(Duration::from_secs(20), session.output.next()).await.expect("it ended");
    match last.unwrap() {
        Ok(CommandEvent::Exited(status)) => assert!(!status.success()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => assert!(error.outcome() == substrate_core::Outcome::Unknown, "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "live: docker"]
async fn a_thousand_calls_at_once_are_not_mixed_up() {
    let lab = Lab::new().await;
    let first = lab.running("a", SERVE).await;
    let second = lab.running("b", SERVE).await;
    let calls = (0..1000).map(|number| {
        let (docker, wanted) =
            (lab.docker.clone(), if number % 2 == 0 { first.clone() } else { second.clone() });
        tokio::spawn(async move {
            let found = docker.get_instance(&wanted.name).await.unwrap();
            assert_eq!(found.id, wanted.id);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(60), call).await.expect("no hang").unwrap();
    }
}
