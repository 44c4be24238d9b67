//! Power, locks, agents and snapshots: what the suite cannot ask of every technology.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use substrate_core::{
    Command, EventKind, InstanceState, SnapshotConfig, StopMode, Substrate, SubstrateExt, WatchItem,
    WatchOptions,
};
use substrate_proxmox::ProxmoxSubstrate;
use substrate_proxmox_double::Fault;

use crate::double::{config, count_of, machine, name, number_of, pair};

#[tokio::test]
async fn a_deaf_guest_is_not_killed_unless_that_was_asked_for() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("deaf")).await.unwrap();
    substrate.start_instance(&name("deaf")).await.unwrap();
    let vmid = number_of(&double, "deaf");
    double.deafen(vmid);
    let begin = Instant::now();
    let grace = Duration::from_millis(300);
    let error = substrate.stop_instance(&name("deaf"), StopMode::Graceful(grace)).await.unwrap_err();
    assert!(error.is_timeout() && error.outcome() == substrate_core::Outcome::Rejected, "{error}");
    assert!(begin.elapsed() >= grace && double.is_running(vmid));
    let begin = Instant::now();
    substrate.stop_instance(&name("deaf"), StopMode::Force).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1) && !double.is_running(vmid));
    substrate.start_instance(&name("deaf")).await.unwrap();
    substrate.stop_instance(&name("deaf"), StopMode::GracefulThenForce(grace)).await.unwrap();
    assert!(!double.is_running(vmid));
}

#[tokio::test]
async fn a_force_stop_does_not_wait_for_a_graceful_one() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("deaf")).await.unwrap();
    substrate.start_instance(&name("deaf")).await.unwrap();
    double.deafen(number_of(&double, "deaf"));
    let begin = Instant::now();
    let deaf = name("deaf");
    let graceful = substrate.stop_instance(&deaf, StopMode::Graceful(Duration::from_secs(30)));
    let force = async {
        while !double.take_requests().iter().any(|one| one.contains("shutdown")) {
            tokio::task::yield_now().await;
        }
        substrate.stop_instance(&deaf, StopMode::Force).await
    };
    let (graceful, force) = tokio::join!(graceful, force);
    force.unwrap();
    graceful.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_backup_is_not_waited_for_and_a_short_lock_is() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    let vmid = number_of(&double, "web");
    double.change(vmid, "lock", Some(json!("backup")));
    let error = substrate.start_instance(&name("web")).await.unwrap_err();
    assert!(error.is_busy() && error.message().contains("backup"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("qm unlock")), "{error}");
    double.change(vmid, "lock", Some(json!("snapshot")));
    let release = async {
        while !double.tasks().iter().any(|(_, _, exit)| exit.contains("locked (snapshot)")) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        double.change(vmid, "lock", None);
    };
    let web = name("web");
    let (started, ()) = tokio::join!(substrate.start_instance(&web), release);
    started.unwrap();
    assert!(double.is_running(vmid));
}

#[tokio::test]
async fn a_lock_that_never_goes_is_busy_and_never_taken_away() {
    let (double, _) = pair().await;
    let mut settings = config(&double);
    settings.lock_timeout = Duration::from_millis(100);
    let substrate = ProxmoxSubstrate::new("pve", settings).unwrap();
    substrate.create_instance(&machine("web")).await.unwrap();
    let vmid = number_of(&double, "web");
    double.change(vmid, "lock", Some(json!("snapshot-delete")));
    let error = substrate.delete_instance(&name("web"), true).await.unwrap_err();
    assert!(error.is_busy(), "{error}");
    assert_eq!(double.guests()[&vmid]["lock"], "snapshot-delete");
    assert!(!double.take_requests().iter().any(|one| one.contains("skiplock")));
}

#[tokio::test]
async fn a_guest_under_high_availability_is_done_when_the_manager_has_done_it() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("ha")).await.unwrap();
    let vmid = number_of(&double, "ha");
    double.manage(vmid);
    substrate.start_instance(&name("ha")).await.unwrap();
    assert!(double.is_running(vmid));
    substrate.stop_instance(&name("ha"), StopMode::Force).await.unwrap();
    assert!(!double.is_running(vmid));
    substrate.delete_instance(&name("ha"), false).await.unwrap();
    assert!(double.guests().is_empty());
}

#[tokio::test]
async fn a_protected_guest_stays() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("kept").with_option("protection", true)).await.unwrap();
    let error = substrate.delete_instance(&name("kept"), true).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains("protection"), "{error}");
    assert_eq!(double.guests().len(), 1);
}

#[tokio::test]
async fn an_agent_that_comes_up_late_is_waited_for_and_a_missing_one_is_told() {
    let (double, substrate) = pair().await;
    double.set_times(|times| times.agent = 20.0);
    substrate.create_instance(&machine("web")).await.unwrap();
    substrate.start_instance(&name("web")).await.unwrap();
    let output = substrate.execute_command(&name("web"), &Command::new(["hostname"])).await.unwrap();
    assert_eq!(output.stdout_text(), "web\n");
    let found = substrate.get_instance(&name("web")).await.unwrap();
    assert_eq!(found.addresses.len(), 1, "only those of its own devices: {:?}", found.addresses);
    assert!(substrate.get_metrics(&name("web")).await.unwrap().memory_mb.is_some());
    substrate.write_file(&name("web"), "/etc/note", b"\x00\xff text").await.unwrap();
    let read = substrate.execute_command(&name("web"), &Command::new(["cat", "/etc/note"])).await.unwrap();
    assert_eq!(&read.stdout[..], b"\x00\xff text");
    substrate.create_instance(&machine("bare").with_option("agent", false)).await.unwrap();
    substrate.start_instance(&name("bare")).await.unwrap();
    let error = substrate.execute_command(&name("bare"), &Command::new(["true"])).await.unwrap_err();
    assert!(error.is_conflict() && error.hint().is_some_and(|hint| hint.contains("qemu-guest-agent")));
}

#[tokio::test]
async fn a_command_ends_when_nobody_holds_its_output_any_more_as_the_agent_tells_it() {
    let (_double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    substrate.start_instance(&name("web")).await.unwrap();
    let leave = Command::new(["leave-child", "0.3", "4"]);
    let begin = std::time::Instant::now();
    let output = substrate.execute_command(&name("web"), &leave).await.unwrap();
    assert_eq!(output.status, substrate_core::ExitStatus::Code(4));
    assert!(begin.elapsed() >= std::time::Duration::from_millis(300));
    // Who does not want to wait for children says for how long.
    let leave = Command::new(["leave-child", "60", "4"]).with_timeout(std::time::Duration::from_millis(200));
    let error = substrate.execute_command(&name("web"), &leave).await.unwrap_err();
    assert!(error.is_timeout() && error.hint().is_some_and(|hint| hint.contains("goes on")), "{error}");
}

#[tokio::test]
async fn a_task_that_its_node_does_not_know_yet_is_asked_for_again() {
    let (double, substrate) = pair().await;
    double.plan("GET", "/tasks/UPID", Fault::Refuse(400, "no such task".into()), 3);
    substrate.create_instance(&machine("web")).await.unwrap();
    assert_eq!(count_of(&double, "web"), 1);
}

#[tokio::test]
async fn output_that_the_agent_cut_off_is_exhausted_and_not_short() {
    let (_double, substrate) = pair().await;
    substrate.create_instance(&machine("loud")).await.unwrap();
    substrate.start_instance(&name("loud")).await.unwrap();
    let flood = Command::new(["flood".to_owned(), ((16 << 20) + 1).to_string(), "0".to_owned()]);
    let error = substrate.execute_command(&name("loud"), &flood).await.unwrap_err();
    assert_eq!(error.kind(), substrate_core::ErrorKind::Exhausted, "{error}");
}

#[tokio::test]
async fn a_disk_that_cannot_be_snapshotted_says_what_to_do() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("raw")).await.unwrap();
    let vmid = number_of(&double, "raw");
    double.change(vmid, "scsi0", Some(json!(format!("local:{vmid}/vm-{vmid}-disk-0.raw,size=1G"))));
    let snapshot = SnapshotConfig::new("s1".parse().unwrap());
    let error = substrate.create_snapshot(&name("raw"), &snapshot).await.unwrap_err();
    assert!(error.is_unsupported() && error.hint().is_some_and(|hint| hint.contains("qcow2")), "{error}");
    let memory = SnapshotConfig::new("s2".parse().unwrap()).with_memory();
    let error = substrate.create_snapshot(&name("raw"), &memory).await.unwrap_err();
    assert!(error.is_conflict(), "a stopped machine has no memory, and the API would say nothing: {error}");
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_watched_although_no_task_says_so() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("self")).await.unwrap();
    substrate.start_instance(&name("self")).await.unwrap();
    let mut events = substrate.watch(&WatchOptions::from_now()).await.unwrap();
    double.switch(number_of(&double, "self"), false);
    let next = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap();
    let Some(Ok(WatchItem::Event { event, .. })) = next else { panic!("{next:?}") };
    assert_eq!((event.kind, event.instance), (EventKind::Stopped, Some(name("self"))));
    assert_eq!(substrate.get_instance(&name("self")).await.unwrap().state, InstanceState::Stopped);
}

#[tokio::test]
async fn a_task_with_warnings_is_a_success() {
    let (double, substrate) = pair().await;
    double.warn("qmstart");
    substrate.create_and_start(&machine("web")).await.unwrap();
    assert!(double.tasks().iter().any(|(_, _, exit)| exit == "WARNINGS: 1"));
}

#[tokio::test]
async fn a_task_that_was_killed_leaves_the_outcome_open() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    let vmid = number_of(&double, "web");
    double.set_times(|times| times.power = 1_000.0);
    let web = name("web");
    let kill = async {
        while double.kill_tasks(vmid) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (started, ()) = tokio::join!(substrate.start_instance(&web), kill);
    let error = started.unwrap_err();
    assert_eq!(error.outcome(), substrate_core::Outcome::Unknown, "{error}");
    assert!(error.message().contains("without a verdict"), "{error}");
}

#[tokio::test]
async fn what_refers_to_a_guest_goes_with_it() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    double.take_requests();
    substrate.delete_instance(&name("web"), false).await.unwrap();
    let requests = double.take_requests();
    let delete = requests.iter().find(|one| one.starts_with("DELETE")).unwrap();
    assert!(delete.contains("purge=1") && delete.contains("destroy-unreferenced-disks=1"), "{delete}");
}

#[tokio::test]
async fn a_task_whose_end_cannot_be_asked_for_leaves_the_outcome_open() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    // The answer to the question about the task is lost for good: it was accepted.
    double.plan("GET", "/tasks/", Fault::Refuse(500, "unknown".into()), 1);
    let error = substrate.start_instance(&name("web")).await.unwrap_err();
    assert_eq!(error.outcome(), substrate_core::Outcome::Unknown, "{error}");
}
