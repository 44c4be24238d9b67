//! How an engine works.

use std::collections::BTreeMap;
use std::time::Duration;

use substrate_core::StopMode;

use crate::journal::DEFAULT_LEASE;

/// What can be chosen about an engine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EngineSettings {
    /// How many steps are taken at once on one facility.
    pub parallelism: usize,
    /// The same for single facilities, by name.
    pub parallelism_of: BTreeMap<String, usize>,
    /// How instances are stopped before they are changed or removed.
    pub stop: StopMode,
    /// How long an owner of a deployment may be silent before another engine takes over.
    pub lease: Duration,
    /// How long is waited for an output that comes later, such as an address.
    pub output_timeout: Duration,
    /// The environment that is worked in, for manifests that are only for some.
    pub environment: Option<String>,
}

impl Default for EngineSettings {
    /// 16 steps at once, ten seconds to stop before force, a lease of 15 s, a minute for outputs.
    fn default() -> Self {
        Self {
            parallelism: 16,
            parallelism_of: BTreeMap::new(),
            stop: StopMode::default(),
            lease: DEFAULT_LEASE,
            output_timeout: Duration::from_secs(60),
            environment: None,
        }
    }
}

impl EngineSettings {
    /// How many steps are taken at once on a facility: at least one.
    #[must_use]
    pub fn parallelism_on(&self, facility: &str) -> usize {
        self.parallelism_of.get(facility).copied().unwrap_or(self.parallelism).max(1)
    }
}
