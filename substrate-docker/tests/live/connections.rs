//! Transports, health, and a daemon that dies.
//!
//! `SUBSTRATES_LAB_DOCKER_TLS` with `SUBSTRATES_LAB_DOCKER_CERTS`; `SUBSTRATES_LAB_DOCKER_VICTIM` with
//! `SUBSTRATES_LAB_DOCKER_VICTIM_RESTART`, a program that takes `kill` or `start`.

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{
    Command, ErrorKind, Feature, HealthStatus, Outcome, Substrate, WatchItem, WatchOptions,
};
use substrate_docker::{DockerConfig, DockerSubstrate};

use crate::lab::{Lab, SERVE, until, variable};

#[tokio::test]
#[ignore = "live: docker"]
async fn health_tells_versions_and_capacity() {
    let lab = Lab::new().await;
    let health = lab.docker.health_check().await.unwrap();
    assert!(health.status <= HealthStatus::Degraded);
    assert!(health.version.as_deref().unwrap().contains('.'), "{health:?}");
    assert!(health.properties["api_version"].as_str().unwrap().starts_with("1."), "{health:?}");
    assert!(health.capacity.cpu_cores.unwrap() >= 1.0);
    assert!(health.capacity.memory_mb.unwrap() > 100);
    assert!(lab.docker.is_connected());
    let capabilities = lab.docker.descriptor().capabilities.clone();
    assert!(capabilities.can(Feature::MemoryLimit) && !capabilities.can(Feature::SnapshotMemory));
}

#[cfg(feature = "tls")]
#[tokio::test]
#[ignore = "live: docker"]
async fn tls_with_certificates_works_and_without_them_is_refused() {
    use substrate_docker::TlsConfig;
    let host = variable("SUBSTRATES_LAB_DOCKER_TLS");
    let folder = std::path::PathBuf::from(variable("SUBSTRATES_LAB_DOCKER_CERTS"));
    let full = TlsConfig::from_folder(&folder);
    let with = |tls: TlsConfig| {
        DockerSubstrate::new("tls", DockerConfig::default().with_host(&host).with_tls(tls)).unwrap()
    };
    let docker = with(full.clone());
    docker.connect().await.unwrap();
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let command = Command::new(["cat"]).with_input("through TLS");
    let output = docker.execute_command(&instance.name, &command).await.unwrap();
    assert_eq!(output.stdout_text(), "through TLS");
    let anonymous = with(TlsConfig { cert: None, key: None, ..full.clone() }).connect().await.unwrap_err();
    assert_eq!(
        (anonymous.kind(), anonymous.outcome()),
        (ErrorKind::Unauthenticated, Outcome::NotSent),
        "{anonymous}"
    );
    let stranger = TlsConfig { ca: full.cert.clone(), ..full.clone() };
    let refused = with(stranger).connect().await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.outcome()),
        (ErrorKind::Unauthenticated, Outcome::NotSent),
        "{refused}"
    );
    let unchecked = with(TlsConfig { ca: None, verify: false, ..full });
    let health = unchecked.health_check().await.unwrap();
    assert!(health.issues.iter().any(|issue| issue.contains("not checked")), "said aloud");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn nobody_at_home_means_nothing_was_sent() {
    let config = DockerConfig::default().with_host("unix:///no/such/docker.sock");
    let docker = DockerSubstrate::new("nobody", config).unwrap();
    let error = docker.connect().await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotSent));
    assert!(!docker.is_connected());
}

async fn control(verb: &str) {
    let status = tokio::process::Command::new(variable("SUBSTRATES_LAB_DOCKER_VICTIM_RESTART"))
        .arg(verb)
        .status()
        .await;
    assert!(status.unwrap().success(), "the victim's control said no to {verb}");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_daemon_that_dies_gives_clear_errors_and_the_same_handle_goes_on() {
    let lab = Lab::at(variable("SUBSTRATES_LAB_DOCKER_VICTIM")).await;
    let instance = lab.running("a", SERVE).await;
    let mut watch = lab.docker.watch(&WatchOptions::from_now()).await.unwrap();
    lab.docker.pause_instance(&instance.name).await.unwrap();
    lab.docker.resume_instance(&instance.name).await.unwrap();
    let mut cursor = None;
    while cursor.is_none() {
        if let WatchItem::Event { cursor: at, .. } = watch.next().await.unwrap().unwrap() {
            cursor = at;
        }
    }
    let mut session = lab.docker.open_command(&instance.name, &Command::new(["sleep", "60"])).await.unwrap();
    control("kill").await;
    let ended = session.output.next().await.unwrap().unwrap_err();
    assert_eq!((ended.kind(), ended.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{ended}");
    let ended = loop {
        match watch.next().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(ended.is_unavailable(), "{ended}");
    assert!(watch.next().await.is_none());
    let refused = lab.docker.pause_instance(&instance.name).await.unwrap_err();
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::Unavailable, Outcome::NotSent), "{refused}");
    assert!(!lab.docker.is_connected());
    control("start").await;
    until("the daemon answers again", async || lab.docker.get_instance(&instance.name).await.is_ok()).await;
    assert!(lab.docker.is_connected());
    let mut resumed = lab.docker.watch(&WatchOptions::after(cursor.unwrap())).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), resumed.next()).await.unwrap();
    assert!(matches!(first.unwrap().unwrap(), WatchItem::Gap { .. }), "a restarted daemon has no history");
}
