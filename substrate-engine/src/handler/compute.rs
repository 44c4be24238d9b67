//! `type: compute`: an instance that runs.

use substrate_core::config::ConfigError;

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::registry::ResourceHandler;
use super::workload;

/// An instance, with [`WorkloadSpecs`](super::WorkloadSpecs).
#[derive(Debug, Clone, Copy)]
pub struct ComputeHandler;

impl ResourceHandler for ComputeHandler {
    fn kind(&self) -> &str {
        "compute"
    }

    fn interpret(&self, subject: Subject<'_>) -> Result<Interpretation, ConfigError> {
        workload::interpret(subject, false)
    }

    fn effect_of(&self, property: &str) -> ChangeEffect {
        workload::effect_of(property)
    }
}
