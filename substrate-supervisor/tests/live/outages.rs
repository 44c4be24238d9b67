//! A supervisord that dies, hangs or shuts down: the victim of the lab, one test at a time.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    ErrorKind, HealthStatus, InstanceFilter, InstanceState, Outcome, StopMode, Substrate, WatchOptions, mark,
};

use crate::lab::{DEAF, Lab, SERVE, until, variable};

async fn control(verb: &str) {
    let status = tokio::process::Command::new(variable("SUBSTRATES_LAB_SUPERVISOR_VICTIM_RESTART"))
        .arg(verb)
        .status()
        .await;
    assert!(status.unwrap().success(), "the victim's control said no to {verb}");
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_supervisord_that_dies_gives_clear_errors_and_the_same_handle_goes_on() {
    let lab = Lab::victim().await;
    let config = lab.config("a", SERVE).with_label(mark::KEY, "k1");
    let before = lab.running_from(&config).await;
    let mut watch = lab.supervisor.watch(&WatchOptions::from_now()).await.unwrap();
    control("kill").await;
    let refused = lab.supervisor.stop_instance(&config.name, StopMode::Force).await.unwrap_err();
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::Unavailable, Outcome::NotSent), "{refused}");
    assert!(!lab.supervisor.is_connected());
    assert!(watch.next().await.unwrap().unwrap_err().is_unavailable());
    assert!(watch.next().await.is_none());
    let create = lab.supervisor.create_instance(&lab.config("b", SERVE)).await.unwrap_err();
    assert!(create.is_unavailable() && create.outcome() == Outcome::NotSent, "{create}");
    assert_eq!(lab.files_in(lab.include()).len(), 1, "nothing was written for a creation that could not be");
    control("start").await;
    // The new one has read the file, knows nothing of the old one's process, and starts nothing by itself.
    let after = lab.supervisor.get_instance(&config.name).await.unwrap();
    assert_eq!(
        (after.state, &after.id, after.labels.get(mark::KEY)),
        (InstanceState::Stopped, &before.id, Some("k1"))
    );
    assert!(lab.supervisor.is_connected());
    lab.supervisor.start_instance(&config.name).await.unwrap();
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_supervisord_that_hangs_is_a_timeout_and_what_was_sent_may_have_happened() {
    let lab = Lab::victim().await;
    let instance = lab.running("a", SERVE).await;
    let hasty = lab.other(|config| config.with_request_timeout(Duration::from_millis(500)));
    control("freeze").await;
    let read = hasty.get_instance(&instance.name).await.unwrap_err();
    control("thaw").await;
    assert_eq!((read.kind(), read.outcome()), (ErrorKind::Timeout, Outcome::Unknown), "{read}");
    until("the same handle goes on", async || {
        hasty.get_instance(&instance.name).await.is_ok_and(|now| now.state == InstanceState::Running)
    })
    .await;
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn a_supervisord_that_shuts_down_says_so() {
    let lab = Lab::victim().await;
    // It holds the shutdown up for some seconds.
    let config = lab.config("a", DEAF).with_option("stopwaitsecs", 4);
    lab.running_from(&config).await;
    let stop = tokio::spawn(control("stop"));
    until("it says that it shuts down", async || {
        lab.supervisor.health_check().await.is_ok_and(|health| health.status == HealthStatus::Unhealthy)
    })
    .await;
    let refused = lab.supervisor.list_instances(&InstanceFilter::all()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::Unavailable, Outcome::Rejected), "{refused}");
    assert!(refused.message().contains("SHUTDOWN_STATE"), "{refused}");
    stop.await.unwrap();
    control("start").await;
    lab.supervisor.delete_instance(&config.name, true).await.unwrap();
}
