//! Commands, and the agent that carries them.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{Command, CommandEvent, Outcome, Substrate};

use crate::lab::Lab;

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_guest_without_an_agent_is_told_so_and_nothing_was_sent() {
    let lab = Lab::with(|settings| settings.with_agent_timeout(Duration::from_secs(8))).await;
    let config = lab.config_with("silent", "substrates.no-agent");
    lab.running(&config).await;
    let error = lab.libvirt.execute_command(&config.name, &Command::new(["true"])).await.unwrap_err();
    assert!(error.is_unavailable() && error.message().contains("guest agent"), "{error}");
    assert_eq!(error.outcome(), Outcome::NotSent);
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_command_waits_for_an_agent_that_is_still_coming() {
    let lab = Lab::new().await;
    let config = lab.config("booting");
    lab.running(&config).await;
    // The machine runs; its system comes up seconds later.
    assert_eq!(lab.run(&config.name, &["echo", "up"]).await, "up\n");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_command_goes_on_when_nobody_waits_for_it() {
    let lab = Lab::new().await;
    let config = lab.config("left");
    lab.running(&config).await;
    let script = "sleep 1; echo done > /left";
    let session = lab.libvirt.open_command(&config.name, &Command::new(["sh", "-c", script])).await.unwrap();
    drop(session);
    crate::lab::until("the command has done its work", async || {
        let look = Command::new(["cat", "/left"]);
        lab.libvirt.execute_command(&config.name, &look).await.unwrap().success()
    })
    .await;
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_file_is_written_byte_for_byte() {
    let lab = Lab::new().await;
    let config = lab.config("files");
    lab.running(&config).await;
    let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).take(700_000).collect();
    lab.libvirt.write_file(&config.name, "/data file", &content).await.unwrap();
    let read = lab.libvirt.execute_command(&config.name, &Command::new(["cat", "/data file"])).await.unwrap();
    assert!(read.stdout == content, "{} bytes came back", read.stdout.len());
    lab.libvirt.write_file(&config.name, "/data file", b"").await.unwrap();
    assert_eq!(lab.run(&config.name, &["cat", "/data file"]).await, "");
    let error = lab.libvirt.write_file(&config.name, "/no/such/folder/x", b"x").await.unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn output_of_any_length_comes_while_the_command_runs() {
    let lab = Lab::new().await;
    let config = lab.config("flood");
    lab.running(&config).await;
    let script = "echo begun; head -c 9000000 /dev/zero; sleep 3600";
    let mut session =
        lab.libvirt.open_command(&config.name, &Command::new(["sh", "-c", script])).await.unwrap();
    let mut seen = 0;
    while seen < 9_000_006 {
        match session.output.next().await.unwrap().unwrap() {
            CommandEvent::Stdout(data) => seen += data.len(),
            other => panic!("{other:?} after {seen} bytes"),
        }
    }
    drop(session);
    assert_eq!(lab.run(&config.name, &["ls", "/run/substrates"]).await, "", "no file is left");
}

// Where files cannot be laid the agent keeps the output, and libvirt cuts its channel at an answer beyond its limit until
// the machine starts again. Told as an error, never as cut output.
#[tokio::test]
#[ignore = "live: libvirt"]
async fn without_a_place_for_files_too_much_output_is_an_error_and_a_restart_mends_the_channel() {
    let lab = Lab::with(|settings| settings.with_agent_timeout(Duration::from_secs(60))).await;
    let config = lab.config("full");
    lab.running(&config).await;
    // Something else is where the files would be.
    lab.run(&config.name, &["sh", "-c", "rm -r /run/substrates; touch /run/substrates"]).await;
    assert_eq!(lab.run(&config.name, &["echo", "little"]).await, "little\n");
    let missing = lab.libvirt.execute_command(&config.name, &Command::new(["/no/such/program"])).await;
    assert!(missing.unwrap_err().is_invalid_input());
    let flood = Command::new(["head", "-c", "9000000", "/dev/zero"]);
    let error = lab.libvirt.execute_command(&config.name, &flood).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(error.hint().is_some_and(|hint| hint.contains("3 MiB")), "{error}");
    lab.libvirt.restart_instance(&config.name, substrate_core::StopMode::Force).await.unwrap();
    assert_eq!(lab.run(&config.name, &["echo", "well"]).await, "well\n");
}
