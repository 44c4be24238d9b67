//! The conformance suite over a real supervisord.

use std::sync::Arc;
use std::time::Duration;

use substrate_conformance::{Guest, Setup};
use substrate_core::{Error, Result};
use substrate_supervisor::{SupervisorConfig, SupervisorSubstrate};

async fn setup() -> Result<Setup> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| Error::invalid_input(format!("{name} is not set: is the lab up?")))
    };
    let config = SupervisorConfig::default()
        .with_url(variable("SUBSTRATES_LAB_SUPERVISOR")?)
        .with_include_folder(variable("SUBSTRATES_LAB_SUPERVISOR_INCLUDE")?)
        .with_log_folder(variable("SUBSTRATES_LAB_SUPERVISOR_LOGS")?)
        .with_poll_interval(Duration::from_millis(500));
    let substrate = Arc::new(SupervisorSubstrate::new("supervisor", config)?);
    // The guest's programs are a shell's: that is what they are made from.
    let setup = Setup::new(substrate, "/bin/sh", Guest::busybox()).with_missing_image("/no/such/program");
    Ok(if std::env::var_os("SUBSTRATES_LAB_SHARED").is_some() { setup } else { setup.exclusive() })
}

substrate_conformance::certify! { provider: "supervisor", ignore: "live: supervisor", setup: setup }
