//! `type: service`: replicas of an instance, with ports and a health check.

use substrate_core::config::ConfigError;

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::registry::ResourceHandler;
use super::workload;

/// One or more equal instances, with [`WorkloadSpecs`](super::WorkloadSpecs).
///
/// `replicas` makes resources with an index, exactly as `count` does: a replica is created, replaced and rolled back
/// by itself, and a plan that goes from three replicas to five has two steps.
#[derive(Debug, Clone, Copy)]
pub struct ServiceHandler;

impl ResourceHandler for ServiceHandler {
    fn kind(&self) -> &str {
        "service"
    }

    fn namespace(&self) -> &str {
        "compute"
    }

    fn interpret(&self, subject: Subject<'_>) -> Result<Interpretation, ConfigError> {
        workload::interpret(subject, true)
    }

    fn effect_of(&self, property: &str) -> ChangeEffect {
        workload::effect_of(property)
    }
}
