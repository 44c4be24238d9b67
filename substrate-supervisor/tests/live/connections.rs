//! Transports, credentials, health, capabilities.

use substrate_core::{ErrorKind, Feature, HealthStatus, InstanceConfig, Operation, Outcome, Substrate};
use substrate_supervisor::{SupervisorConfig, SupervisorSubstrate};

use crate::lab::{Lab, SERVE, name, variable};

#[tokio::test]
#[ignore = "live: supervisor"]
async fn health_tells_version_state_and_counts() {
    let lab = Lab::new().await;
    lab.running("a", SERVE).await;
    let health = lab.supervisor.health_check().await.unwrap();
    assert_eq!(health.status, HealthStatus::Healthy, "{health:?}");
    assert!(health.version.as_deref().unwrap().starts_with("4."), "{health:?}");
    assert_eq!(health.properties["state"], "RUNNING");
    assert!(health.capacity.instances_running.unwrap() >= 1);
    assert!(lab.supervisor.is_connected());
}

fn http() -> SupervisorConfig {
    SupervisorConfig::default().with_url(variable("SUBSTRATES_LAB_SUPERVISOR_HTTP"))
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn http_with_credentials_works_and_without_them_is_refused() {
    let lab = Lab::new().await;
    let known = lab.running("a", SERVE).await;
    let username = variable("SUBSTRATES_LAB_SUPERVISOR_USERNAME");
    let password = variable("SUBSTRATES_LAB_SUPERVISOR_PASSWORD");
    let config = http().with_credentials(&username, &password);
    let supervisor = SupervisorSubstrate::new("http", config).unwrap();
    supervisor.connect().await.unwrap();
    assert_eq!(supervisor.get_instance(&known.name).await.unwrap().state, known.state);
    for wrong in [http(), http().with_credentials(&username, "wr0ng-pass")] {
        let stranger = SupervisorSubstrate::new("stranger", wrong).unwrap();
        let error = stranger.connect().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Unauthenticated, Outcome::Rejected),
            "{error}"
        );
        assert!(!format!("{error} {error:?} {stranger:?}").contains("wr0ng-pass"));
        assert!(!stranger.is_connected());
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn nobody_at_home_means_nothing_was_sent() {
    for url in ["unix:///no/such/supervisor.sock", "http://127.0.0.1:1"] {
        let supervisor =
            SupervisorSubstrate::new("nobody", SupervisorConfig::default().with_url(url)).unwrap();
        let error = supervisor.connect().await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotSent), "{error}");
        assert!(error.to_string().contains(url), "{error}");
    }
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn without_an_include_folder_nothing_is_created_or_deleted() {
    let lab = Lab::new().await;
    let known = lab.running("a", SERVE).await;
    let url = variable("SUBSTRATES_LAB_SUPERVISOR");
    let supervisor = SupervisorSubstrate::new("bare", SupervisorConfig::default().with_url(url)).unwrap();
    supervisor.connect().await.unwrap();
    let capabilities = supervisor.descriptor().capabilities.clone();
    for feature in [Feature::Labels, Feature::CreateCommand, Feature::GracefulStop] {
        assert!(!capabilities.can(feature), "{feature}");
    }
    let reason = capabilities.require(Operation::CreateInstance).unwrap_err();
    assert!(reason.message().contains("include_folder"), "{reason}");
    let config = InstanceConfig::new(name("x")).with_image("/bin/sh");
    assert!(supervisor.create_instance(&config).await.unwrap_err().is_unsupported());
    assert!(supervisor.validate_config(&config).await.unwrap_err().is_unsupported());
    assert!(supervisor.delete_instance(&known.name, true).await.unwrap_err().is_unsupported());
    // Everything else works, by name and by the full name.
    let seen = supervisor.get_instance(&name(&format!("{0}:{0}", known.name))).await.unwrap();
    assert_eq!((&seen.name, &*seen.id), (&known.name, format!("{0}:{0}", known.name).as_str()));
}
