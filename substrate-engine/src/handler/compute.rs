//! `type: compute`: an instance that runs.

use async_trait::async_trait;
use serde_json::Value;
use substrate_core::Result;
use substrate_core::config::ConfigError;

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};
use super::{instance, workload};

/// An instance, with [`WorkloadSpecs`](super::WorkloadSpecs).
#[derive(Debug, Clone, Copy)]
pub struct ComputeHandler;

#[async_trait]
impl ResourceHandler for ComputeHandler {
    fn kind(&self) -> &str {
        "compute"
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        workload::interpret(subject, false)
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
