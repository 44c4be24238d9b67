//! `type: service`: replicas of an instance, with ports and a health check.

use async_trait::async_trait;
use serde_json::Value;
use substrate_core::Result;
use substrate_core::config::ConfigError;

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};
use super::{instance, workload};

/// One or more equal instances, with [`WorkloadSpecs`](super::WorkloadSpecs).
///
/// `replicas` makes resources with an index, exactly as `count` does: a replica is created, replaced and rolled back
/// by itself, and a plan that goes from three replicas to five has two steps.
#[derive(Debug, Clone, Copy)]
pub struct ServiceHandler;

#[async_trait]
impl ResourceHandler for ServiceHandler {
    fn kind(&self) -> &str {
        "service"
    }

    fn namespace(&self) -> &str {
        "compute"
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        workload::interpret(subject, true)
    }

    fn effect_of(&self, property: &str) -> ChangeEffect {
        workload::effect_of(property)
    }

    fn is_instance(&self) -> bool {
        true
    }

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        instance::read(site).await
    }

    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        instance::create(site, properties).await
    }

    async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        instance::update(site, properties).await
    }

    async fn delete(&self, site: &Site<'_>) -> Result<()> {
        instance::delete(site).await
    }
}
