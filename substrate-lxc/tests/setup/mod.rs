//! The lab's servers, as the suite needs them.

use std::sync::Arc;
use std::time::Duration;

use substrate_conformance::{Guest, Setup};
use substrate_core::{Error, Result};
use substrate_lxc::{LxcConfig, LxcSubstrate, ServerKind};

pub(crate) fn conformance(kind: ServerKind) -> Result<Setup> {
    let prefix = format!("SUBSTRATES_LAB_{}", kind.as_str().to_uppercase());
    let variable = |name: &str| {
        let name = format!("{prefix}{name}");
        std::env::var(&name).map_err(|_| Error::invalid_input(format!("{name} is not set: is the lab up?")))
    };
    let config = LxcConfig::default()
        .with_address(variable("")?)
        .with_server(kind)
        // The lab says whether its kernel has what bandwidth limits need.
        .with_bandwidth_limits(variable("_BANDWIDTH")? == "yes");
    let substrate = Arc::new(LxcSubstrate::new(kind.as_str(), config)?);
    let second = match kind {
        ServerKind::Lxd => 211,
        ServerKind::Incus => 212,
    };
    let setup = Setup::new(substrate, variable("_IMAGE")?, Guest::busybox())
        .with_missing_image("sc-no-such-image")
        .with_image_file(variable("_IMAGE_FILE")?)
        .with_subnets(10, second)
        // Every change is several programs that the server runs one after the other, on two cores beside all others.
        .with_patience(Duration::from_secs(60))
        .with_grace(Duration::from_secs(60))
        .with_trial_deadline(Duration::from_secs(300));
    // Alone on the server, as it should be, what bears no name of the run is found too.
    Ok(if std::env::var_os("SUBSTRATES_LAB_SHARED").is_some() { setup } else { setup.exclusive() })
}
