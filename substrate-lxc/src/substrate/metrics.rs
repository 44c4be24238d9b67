//! What an instance uses.

use substrate_core::{InstanceName, InstanceState, ResourceUsage, Result};
use tokio::time::Instant;

use super::LxcSubstrate;
use super::lifecycle::missing;
use crate::convert::usage;

impl LxcSubstrate {
    pub(super) async fn usage(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let document = self.find(name.as_str()).await?;
        if !matches!(document.state(), InstanceState::Running | InstanceState::Paused) {
            self.meter.forget(document.id());
            // Nothing runs: that is known, not measured.
            return Ok(ResourceUsage {
                cpu_percent: Some(0.0),
                memory_mb: Some(0.0),
                ..ResourceUsage::default()
            });
        }
        let asked = Instant::now();
        let state = match self.inside(&document.name).await {
            // On its way down at this moment: nothing can be measured.
            Err(error) if error.is_invalid_input() || error.is_internal() || error.is_conflict() => {
                return Ok(ResourceUsage::default());
            }
            result => result?.ok_or_else(|| missing(&document.name))?,
        };
        let rates = self.meter.record(document.id(), usage::counters(&state, asked));
        Ok(ResourceUsage {
            cpu_percent: rates.cpu_percent,
            network_rx_mbps: rates.network_rx_mbps,
            network_tx_mbps: rates.network_tx_mbps,
            ..usage::usage(&state)
        })
    }
}
