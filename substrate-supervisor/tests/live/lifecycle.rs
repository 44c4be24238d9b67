//! Starting, stopping, what supervisord does by itself, and what deletion leaves.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    EventKind, InstanceConfig, InstanceState, Outcome, StopMode, Substrate, WatchItem, WatchOptions,
};

use crate::lab::{DEAF, Lab, SERVE, until};

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_program_that_does_not_stay_up_is_followed_until_supervisord_gives_up() {
    let lab = Lab::new().await;
    let config = lab.config("a", "echo no >&2; exit 3").with_option("startretries", 1);
    lab.supervisor.create_instance(&config).await.unwrap();
    let error = lab.supervisor.start_instance(&config.name).await.unwrap_err();
    assert!(error.is_invalid_input() && error.outcome() == Outcome::Rejected, "{error}");
    let instance = lab.supervisor.get_instance(&config.name).await.unwrap();
    assert_eq!(instance.state, InstanceState::Failed);
    assert!(instance.provider_state.starts_with("FATAL: Exited too quickly"), "{}", instance.provider_state);
    // It does not run: neither must it be stopped first, nor deleted with force.
    lab.supervisor.stop_instance(&config.name, StopMode::Force).await.unwrap();
    lab.supervisor.delete_instance(&config.name, false).await.unwrap();
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn what_is_tried_again_and_again_is_failed_and_can_be_stopped() {
    let lab = Lab::new().await;
    let config = lab.config("a", "exit 3").with_option("startretries", 1000);
    lab.supervisor.create_instance(&config).await.unwrap();
    let starting = lab.supervisor.clone();
    let name = config.name.clone();
    let start = tokio::spawn(async move { starting.start_instance(&name).await });
    let state = async || lab.supervisor.get_instance(&config.name).await.unwrap();
    let mut between = state().await;
    until("it is between two tries", async || {
        between = state().await;
        between.provider_state.starts_with("BACKOFF")
    })
    .await;
    assert_eq!(between.state, InstanceState::Failed);
    lab.supervisor.stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(5))).await.unwrap();
    assert_eq!(state().await.state, InstanceState::Stopped);
    assert!(start.await.unwrap().unwrap_err().is_conflict(), "whoever started it is told");
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_program_that_is_missing_or_cannot_be_executed_is_invalid_input() {
    let lab = Lab::new().await;
    for (suffix, program, words) in [
        ("a", "/no/such/program", "NO_FILE"),
        ("b", "/etc/passwd", "NOT_EXECUTABLE"),
        ("c", "no-such", "NO_FILE"),
    ] {
        let config = InstanceConfig::new(lab.named(suffix)).with_command([program]);
        lab.supervisor.create_instance(&config).await.unwrap();
        let error = lab.supervisor.start_instance(&config.name).await.unwrap_err();
        assert!(error.is_invalid_input() && error.message().contains(words), "{error}");
        assert_eq!(lab.supervisor.get_instance(&config.name).await.unwrap().state, InstanceState::Stopped);
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_graceful_stop_in_vain_kills_nothing_later_either() {
    let lab = Lab::new().await;
    // supervisord itself would kill after a second.
    let config = lab.config("a", DEAF).with_option("stopwaitsecs", 1);
    let before = lab.running_from(&config).await;
    let grace = StopMode::Graceful(Duration::from_millis(1500));
    let error = lab.supervisor.stop_instance(&config.name, grace).await.unwrap_err();
    assert!(error.is_timeout() && error.outcome() == Outcome::Rejected, "{error}");
    // Twice what supervisord would have waited is over, and once more.
    let again = lab.supervisor.stop_instance(&config.name, grace).await.unwrap_err();
    assert!(again.is_timeout(), "{again}");
    let after = lab.supervisor.get_instance(&config.name).await.unwrap();
    assert_eq!((&after.provider_state[..], &after.properties["pid"]), ("RUNNING", &before.properties["pid"]));
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_program_that_dies_of_the_stop_signal_stays_down() {
    let lab = Lab::new().await;
    let config = lab.config("a", "exec sleep 600");
    lab.running_from(&config).await;
    lab.supervisor.stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(10))).await.unwrap();
    let instance = lab.supervisor.get_instance(&config.name).await.unwrap();
    assert_eq!((instance.state, &*instance.provider_state), (InstanceState::Stopped, "EXITED (-1)"));
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn the_stop_signal_is_the_one_that_was_asked_for() {
    let lab = Lab::new().await;
    let script = "trap 'exit 0' INT; trap '' TERM; while :; do sleep 0.05; done";
    let config = lab.config("a", script).with_option("stopsignal", "INT");
    lab.running_from(&config).await;
    lab.supervisor.stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(10))).await.unwrap();
    assert_eq!(lab.supervisor.get_instance(&config.name).await.unwrap().provider_state, "EXITED (0)");
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_program_with_autorestart_is_not_stopped_gracefully_and_stays_down_otherwise() {
    let lab = Lab::new().await;
    let config = lab.config("a", "exec sleep 600").with_option("autorestart", "always");
    let before = lab.running_from(&config).await;
    let error = lab
        .supervisor
        .stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(1)))
        .await
        .unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("autorestart"), "{error}");
    assert_eq!(
        lab.supervisor.get_instance(&config.name).await.unwrap().properties["pid"],
        before.properties["pid"]
    );
    for mode in [StopMode::GracefulThenForce(Duration::from_secs(5)), StopMode::Force] {
        lab.supervisor.start_instance(&config.name).await.unwrap();
        lab.supervisor.stop_instance(&config.name, mode).await.unwrap();
        assert_eq!(lab.supervisor.get_instance(&config.name).await.unwrap().provider_state, "STOPPED");
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_crash_that_supervisord_mends_is_watched_as_a_stop_and_a_start() {
    let lab = Lab::new().await;
    let config = lab.config("a", "exec sleep 600").with_option("autorestart", "always");
    let before = lab.running_from(&config).await;
    let mut watch = lab.supervisor.watch(&WatchOptions::from_now()).await.unwrap();
    let pid = before.properties["pid"].to_string();
    assert!(tokio::process::Command::new("kill").args(["-9", &pid]).status().await.unwrap().success());
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let item =
            tokio::time::timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap().unwrap();
        if let WatchItem::Event { event, .. } = item
            && event.instance.as_ref() == Some(&config.name)
        {
            kinds.push(event.kind);
        }
    }
    assert_eq!(kinds, [EventKind::Stopped, EventKind::Started]);
    assert_ne!(
        lab.supervisor.get_instance(&config.name).await.unwrap().properties["pid"],
        before.properties["pid"]
    );
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_forced_stop_leaves_no_children_behind() {
    let lab = Lab::new().await;
    // Deaf itself, by a handler: what is ignored, children would ignore too.
    let config = lab.config("a", "trap : TERM; sleep 601 & echo $!; while :; do wait; done");
    lab.running_from(&config).await;
    until("the child is there", async || !lab.lines(&config.name).await.is_empty()).await;
    let child = lab.lines(&config.name).await[0].clone();
    let stat = format!("/proc/{child}/stat");
    assert!(std::fs::read_to_string(&stat).unwrap().contains("(sleep)"));
    lab.supervisor.stop_instance(&config.name, StopMode::Force).await.unwrap();
    until("the child is gone", async || {
        std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))
            || !std::path::Path::new(&stat).exists()
    })
    .await;
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn an_id_reaches_only_the_creation_that_it_is_of() {
    let lab = Lab::new().await;
    let first = lab.running("a", SERVE).await;
    lab.supervisor.delete_instance(&first.name, true).await.unwrap();
    let second = lab.running("a", SERVE).await;
    let old = first.id.parse().unwrap();
    assert!(lab.supervisor.delete_instance(&old, true).await.unwrap_err().is_not_found());
    assert!(lab.supervisor.stop_instance(&old, StopMode::Force).await.unwrap_err().is_not_found());
    assert_eq!(lab.supervisor.get_instance(&second.name).await.unwrap().state, InstanceState::Running);
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn deletion_takes_file_group_and_logs_and_also_those_that_supervisord_named() {
    let lab = Lab::new().await;
    let with_folder = lab.running("a", "echo x; exec sleep 600").await;
    let plain = substrate_supervisor::SupervisorConfig::default()
        .with_url(crate::lab::variable("SUBSTRATES_LAB_SUPERVISOR"))
        .with_include_folder(lab.include());
    let bare = substrate_supervisor::SupervisorSubstrate::new("bare", plain).unwrap();
    let config = lab.config("b", "echo x; exec sleep 600");
    bare.create_instance(&config).await.unwrap();
    bare.start_instance(&config.name).await.unwrap();
    assert_eq!(lab.files_in(lab.logs()).len(), 4, "{:?}", lab.files_in(lab.logs()));
    bare.delete_instance(&config.name, true).await.unwrap();
    lab.supervisor.delete_instance(&with_folder.name, true).await.unwrap();
    assert!(lab.files_in(lab.logs()).is_empty(), "{:?}", lab.files_in(lab.logs()));
    assert!(lab.files_in(lab.include()).is_empty());
    let available = lab.administrator(&["avail"]).await;
    assert!(!available.contains(&lab.prefix), "{available}");
}
