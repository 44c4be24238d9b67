//! Which substrate is meant.

use std::sync::Arc;

use substrates::config::{Config, Environment};
use substrates::{Error, Substrate, SubstrateExt};

use crate::arguments::Global;
use crate::ending::Ending;
use crate::progress;

/// The configuration that was asked for.
pub(crate) fn config(global: &Global) -> Result<Config, Ending> {
    Ok(match &global.config {
        Some(file) => Config::from_file(file)?,
        None => Config::from_environment(Environment::from_process()),
    })
}

/// The substrate that was asked for, with the layers that the configuration asks for, and connected.
pub(crate) async fn open(global: &Global) -> Result<Arc<dyn Substrate>, Ending> {
    let config = config(global)?;
    let registry = substrates::registry();
    let name = match &global.substrate {
        Some(name) => name.as_str(),
        None => {
            let names: Vec<&str> = config.substrates().map(|one| one.name.as_str()).collect();
            match names.as_slice() {
                [only] => *only,
                [] => {
                    let types: Vec<&str> = registry.available().collect();
                    return Err(Ending::Usage(format!(
                        "no substrate is configured: give a configuration with -c, or a type with -s: {}",
                        types.join(", ")
                    )));
                }
                several => {
                    let names = several.join(", ");
                    return Err(Error::invalid_input(format!("several substrates are configured: {names}"))
                        .with_hint("choose one with -s")
                        .into());
                }
            }
        }
    };
    let substrate = registry.open(&config, name)?.substrate();
    progress::while_waiting("connecting", substrate.ensure_connected()).await?;
    Ok(substrate)
}
