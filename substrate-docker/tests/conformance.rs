//! The conformance suite over a real daemon.

use std::sync::Arc;
use std::time::Duration;

use substrate_conformance::{Guest, Setup};
use substrate_core::{Error, Result};
use substrate_docker::{DockerConfig, DockerSubstrate, PullPolicy};

async fn setup() -> Result<Setup> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| Error::invalid_input(format!("{name} is not set: is the lab up?")))
    };
    let config = DockerConfig::default()
        .with_host(variable("SUBSTRATES_LAB_DOCKER")?)
        // No registry is reachable from the lab: an image that is not there is nowhere.
        .with_pull_policy(PullPolicy::Never);
    let substrate = Arc::new(DockerSubstrate::new("docker", config)?);
    let setup = Setup::new(substrate, variable("SUBSTRATES_LAB_DOCKER_IMAGE")?, Guest::busybox())
        .with_missing_image("sc-no-such-image:1")
        .with_image_file(variable("SUBSTRATES_LAB_DOCKER_IMAGE_FILE")?)
        // Each network is some dozen calls of the firewall's program, for which all daemons of a machine take turns.
        .with_patience(Duration::from_secs(60))
        .with_grace(Duration::from_secs(60))
        .with_trial_deadline(Duration::from_secs(300));
    // Alone on the daemon, as it should be, an image without a name is found too.
    Ok(if std::env::var_os("SUBSTRATES_LAB_SHARED").is_some() { setup } else { setup.exclusive() })
}

substrate_conformance::certify! { provider: "docker", ignore: "live: docker", setup: setup }
