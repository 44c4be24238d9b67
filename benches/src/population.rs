//! Instances to measure with: there before, gone afterwards.

use substrates::{InstanceConfig, InstanceName, Substrate, SubstrateExt};
use tokio::runtime::Runtime;

use crate::{Failure, say};

/// Makes so many instances, each as `configured`, starts the first, does something with them, and deletes them whatever
/// came of it. What is done is given the one that runs and the last, which does not.
///
/// # Errors
///
/// Fewer than two instances, one that could not be made or started, or what `measured` says. One that cannot be deleted is only told of.
pub fn among<T>(
    runtime: &Runtime,
    substrate: &dyn Substrate,
    count: usize,
    configured: impl Fn(InstanceConfig) -> InstanceConfig,
    measured: impl FnOnce(&InstanceName, &InstanceName) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let names: Vec<InstanceName> = (0..count)
        .map(|number| format!("bench-{}-{number}", std::process::id()).parse())
        .collect::<substrates::Result<_>>()?;
    let configs: Vec<_> = names.iter().map(|name| configured(InstanceConfig::new(name.clone()))).collect();
    let made = runtime.block_on(substrate.create_instances(&configs));
    let result = made.into_iter().collect::<substrates::Result<Vec<_>>>().map_err(Failure::from);
    let result = result.and_then(|_| {
        let [first, .., last] = names.as_slice() else { return Err("one runs, and one does not".into()) };
        runtime.block_on(substrate.start_instance(first))?;
        measured(first, last)
    });
    for deleted in runtime.block_on(substrate.delete_instances(&names, true)) {
        if let Err(error) = deleted {
            say(&format!("left behind: {error}"));
        }
    }
    result
}
