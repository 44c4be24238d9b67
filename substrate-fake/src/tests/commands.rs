use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use substrate_core::{
    Command, CommandEvent, CommandSession, ExitStatus, InstanceState, Outcome, StopMode, Substrate,
    TerminalSize,
};
use tokio::time::Instant;

use super::{config, execute, name, running, state, stdout};
use crate::{Fake, ProgramResult};

async fn fake() -> Fake {
    let fake = Fake::new("fake");
    running(&fake, "web", &[]).await;
    fake
}

async fn open(fake: &Fake, command: &Command) -> CommandSession {
    fake.open_command(&name("web"), command).await.unwrap()
}

fn command(argv: &[&str]) -> Command {
    Command::new(argv.iter().copied())
}

#[tokio::test(start_paused = true)]
async fn both_streams_and_the_code_come_back_apart() {
    let fake = fake().await;
    let output = execute(&fake, "web", &["emit", "out\n", "err", "5"]).await.unwrap();
    assert_eq!((output.stdout_text(), output.stderr_text()), ("out\n".to_owned(), "err".to_owned()));
    assert_eq!(output.status, ExitStatus::Code(5));
    assert_eq!(execute(&fake, "web", &["exit", "7"]).await.unwrap().status, ExitStatus::Code(7));
    assert_eq!(execute(&fake, "web", &["kill-self", "9"]).await.unwrap().status, ExitStatus::Signal(9));
}

#[tokio::test(start_paused = true)]
async fn arguments_are_never_words_of_a_shell() {
    let fake = fake().await;
    let odd = ["a b", "$HOME", "'x'", "\"", ";", "two\nlines", ""];
    let output = stdout(&fake, "web", &[&["arguments"], &odd[..]].concat()).await;
    assert_eq!(output, odd.map(|argument| format!("{argument}\n")).concat());
}

#[tokio::test(start_paused = true)]
async fn files_are_written_read_and_removed() {
    let fake = fake().await;
    assert!(execute(&fake, "web", &["write", "/tmp/note", "text"]).await.unwrap().success());
    assert_eq!(stdout(&fake, "web", &["cat", "/tmp/note"]).await, "text");
    let relative = command(&["cat", "note"]).with_working_directory("/tmp");
    assert_eq!(fake.execute_command(&name("web"), &relative).await.unwrap().stdout_text(), "text");
    assert!(execute(&fake, "web", &["rm", "/tmp/note"]).await.unwrap().success());
    let missing = execute(&fake, "web", &["cat", "/tmp/note"]).await.unwrap();
    assert_eq!(
        (missing.status, missing.stderr_text()),
        (ExitStatus::Code(1), "cat: /tmp/note: No such file or directory\n".to_owned())
    );
    assert!(!execute(&fake, "web", &["rm", "/tmp/note"]).await.unwrap().success());
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_full_at_its_limit() {
    let fake = Fake::new("fake");
    let mut small = config("web");
    small.limits.disk_gb = Some(1);
    fake.create_instance(&small).await.unwrap();
    fake.start_instance(&small.name).await.unwrap();
    // Contents are shared: these are 64 MiB of memory.
    let piece = Bytes::from(vec![0; 64 << 20]);
    for number in 0..16 {
        fake.world().write_file("web", &format!("/{number}"), piece.clone()).await.unwrap();
    }
    let full = execute(&fake, "web", &["write", "/note", "x"]).await.unwrap();
    assert!(full.stderr_text().contains("No space left"));
    // In place of something larger it fits.
    assert!(execute(&fake, "web", &["write", "/0", "x"]).await.unwrap().success());
}

#[tokio::test(start_paused = true)]
async fn a_command_has_its_surroundings() {
    let fake = Fake::new("fake");
    fake.create_instance(&config("web").with_environment("A", "instance").with_environment("B", "instance"))
        .await
        .unwrap();
    fake.start_instance(&name("web")).await.unwrap();
    let run = |command: Command| {
        let fake = fake.clone();
        async move { fake.execute_command(&name("web"), &command).await }
    };
    let with_b = |argv: &[&str]| command(argv).with_environment("B", "command");
    assert_eq!(run(with_b(&["printenv", "A"])).await.unwrap().stdout_text(), "instance\n");
    assert_eq!(run(with_b(&["printenv", "B"])).await.unwrap().stdout_text(), "command\n");
    assert!(!run(command(&["printenv", "C"])).await.unwrap().success());
    assert_eq!(run(command(&["pwd"])).await.unwrap().stdout_text(), "/\n");
    assert_eq!(run(command(&["whoami"]).with_user("nobody")).await.unwrap().stdout_text(), "nobody\n");
    assert!(run(command(&["pwd"]).with_user("sc-no-such-user")).await.unwrap_err().is_invalid_input());
    assert!(run(command(&["pwd"]).with_working_directory("/no/where")).await.unwrap_err().is_invalid_input());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_started_is_an_error() {
    let fake = fake().await;
    for argv in [&["/no/such/program"][..], &["sh", "-c", "true"], &[""], &[]] {
        assert!(execute(&fake, "web", argv).await.unwrap_err().is_invalid_input(), "{argv:?}");
    }
    fake.stop_instance(&name("web"), StopMode::Force).await.unwrap();
    assert!(execute(&fake, "web", &["true"]).await.unwrap_err().is_conflict());
    assert!(execute(&fake, "nobody", &["true"]).await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_command_takes_time_on_tokios_clock() {
    let fake = fake().await;
    let begin = Instant::now();
    execute(&fake, "web", &["sleep", "3600"]).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(3_600));
    let limited = command(&["sleep", "3600"]).with_timeout(Duration::from_secs(2));
    let error = fake.execute_command(&name("web"), &limited).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_session_answers_while_its_input_is_open() {
    let fake = fake().await;
    let mut session = open(&fake, &command(&["cat"]).interactive()).await;
    for text in [&b"one\n"[..], b"\xff\x00"] {
        session.input.write(Bytes::from_static(text)).await.unwrap();
        let answer = session.output.next().await.unwrap().unwrap();
        assert_eq!(answer, CommandEvent::Stdout(Bytes::from_static(text)));
    }
    session.input.close().await.unwrap();
    session.input.close().await.unwrap();
    assert!(session.input.write(Bytes::from_static(b"late")).await.unwrap_err().is_conflict());
    assert_eq!(session.output.next().await.unwrap().unwrap(), CommandEvent::Exited(ExitStatus::Code(0)));
    assert!(session.output.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_input_a_command_reads_end_of_file() {
    let fake = fake().await;
    assert_eq!(stdout(&fake, "web", &["cat"]).await, "");
    let mut session = open(&fake, &command(&["cat"])).await;
    assert_eq!(session.output.next().await.unwrap().unwrap(), CommandEvent::Exited(ExitStatus::Code(0)));
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_a_reader() {
    let fake = fake().await;
    let CommandSession { mut input, mut output } = open(&fake, &command(&["cat"]).interactive()).await;
    let much = Bytes::from(vec![7; 8 << 20]);
    let written = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        input.write(much.clone()).await.unwrap();
        written.store(true, std::sync::atomic::Ordering::SeqCst);
        input.close().await.unwrap();
    };
    let read = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        // Nobody has read so far: the writer has not got rid of all of it.
        assert!(!written.load(std::sync::atomic::Ordering::SeqCst));
        let mut received = 0;
        while let Some(Ok(CommandEvent::Stdout(data))) = output.next().await {
            received += data.len();
        }
        received
    };
    let (received, ()) = tokio::join!(read, write);
    assert_eq!(received, much.len());
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_made_as_it_is_read() {
    let fake = fake().await;
    // A petabyte: nobody has so much memory.
    let mut session = open(&fake, &command(&["flood", "1125899906842624", "1"])).await;
    for _ in 0..100 {
        let Some(Ok(CommandEvent::Stdout(data))) = session.output.next().await else { panic!("no output") };
        assert_eq!(data.len(), 65_536);
    }
    drop(session);
    let output = execute(&fake, "web", &["flood", "200000", "100001"]).await.unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (200_000, 100_001));
}

#[tokio::test(start_paused = true)]
async fn a_terminal_has_a_size_and_one_output() {
    let fake = fake().await;
    let size = TerminalSize { columns: 91, rows: 37 };
    let output =
        fake.execute_command(&name("web"), &command(&["stty", "size"]).with_terminal(size)).await.unwrap();
    assert_eq!(output.stdout_text(), "37 91\n");
    let emit = command(&["emit", "out", "err", "6"]).with_terminal(size);
    let output = fake.execute_command(&name("web"), &emit).await.unwrap();
    assert_eq!((output.stdout_text(), output.stderr_text()), ("outerr".to_owned(), String::new()));
    let mut session = open(&fake, &command(&["stty-per-line"]).interactive().with_terminal(size)).await;
    session.input.resize(TerminalSize { columns: 100, rows: 20 }).await.unwrap();
    session.input.write(Bytes::from_static(b"\n")).await.unwrap();
    let line = session.output.next().await.unwrap().unwrap();
    assert_eq!(line, CommandEvent::Stdout(Bytes::from_static(b"20 100\n")));
    let mut plain = open(&fake, &command(&["cat"]).interactive()).await;
    assert!(plain.input.resize(size).await.unwrap_err().is_unsupported());
}

#[tokio::test(start_paused = true)]
async fn a_command_ends_with_its_instance() {
    let fake = fake().await;
    for argv in [&["sleep", "3600"][..], &["cat"]] {
        let mut session = open(&fake, &command(argv).interactive()).await;
        let (event, ()) = tokio::join!(session.output.next(), async {
            fake.restart_instance(&name("web"), StopMode::Force).await.unwrap();
        });
        assert_eq!(event.unwrap().unwrap(), CommandEvent::Exited(ExitStatus::Signal(9)), "{argv:?}");
        assert!(session.input.write(Bytes::from_static(b"x")).await.unwrap_err().is_conflict());
    }
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_command_goes_on_when_it_is_thawed() {
    let fake = fake().await;
    let mut session = open(&fake, &command(&["sleep", "10"])).await;
    fake.pause_instance(&name("web")).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), session.output.next()).await.is_err());
    fake.resume_instance(&name("web")).await.unwrap();
    assert_eq!(session.output.next().await.unwrap().unwrap(), CommandEvent::Exited(ExitStatus::Code(0)));
}

#[tokio::test(start_paused = true)]
async fn users_bring_their_own_programs() {
    let fake = fake().await;
    let inside = fake.clone();
    fake.program("pg_dump", move |invocation| {
        // A script may ask the fake: no lock is held.
        assert!(!inside.calls().is_empty());
        ProgramResult::exit(2)
            .with_stdout(format!("{} {}", invocation.argv[1], invocation.input.len()))
            .with_stderr("careful")
            .with_file("/dump", "rows")
            .with_duration(Duration::from_secs(5))
    });
    let begin = Instant::now();
    let dump = command(&["/usr/bin/pg_dump", "shop"]).with_input(&b"12345"[..]);
    let output = fake.execute_command(&name("web"), &dump).await.unwrap();
    assert_eq!((output.stdout_text(), output.stderr_text()), ("shop 5".to_owned(), "careful".to_owned()));
    assert_eq!(output.status, ExitStatus::Code(2));
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert_eq!(stdout(&fake, "web", &["cat", "/dump"]).await, "rows");
}

#[tokio::test(start_paused = true)]
async fn users_bring_their_own_main_programs() {
    let fake = Fake::new("fake");
    fake.program("postgres", |_| ProgramResult::running().with_stdout("ready\n"));
    fake.program("migrate", |_| ProgramResult::exit(4));
    running(&fake, "db", &["postgres", "-D", "/data"]).await;
    running(&fake, "job", &["migrate"]).await;
    assert_eq!(state(&fake, "db").await, InstanceState::Running);
    assert_eq!(super::get(&fake, "job").await.provider_state, "exited (4)");
}
