//! Bounds, and changing them.

use bollard::models::ContainerUpdateBody;
use substrate_core::{Error, InstanceName, InstanceState, Outcome, ResourceLimits, Result};

use super::DockerSubstrate;
use crate::convert::create::{memory_bytes, nano_cpus};

impl DockerSubstrate {
    pub(super) async fn limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        Ok(self.inspect(name).await?.host_config.limits())
    }

    pub(super) async fn set_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        limits.validate()?;
        self.require_changeable(limits)?;
        let nano_cpus = limits.cpu_cores.map(nano_cpus).transpose()?;
        let memory = limits.memory_mb.map(memory_bytes).transpose()?;
        let container = self.inspect(name).await?;
        if limits.is_empty() {
            return Ok(());
        }
        let runs = matches!(container.instance_state(), InstanceState::Running | InstanceState::Paused);
        if let (Some(bound), true) = (memory, runs) {
            self.check_memory_in_use(&container.id, bound).await?;
        }
        let body = ContainerUpdateBody {
            nano_cpus,
            memory,
            // Memory alone is refused when it would pass the old bound of memory and swap together.
            memory_swap: memory,
            ..ContainerUpdateBody::default()
        };
        self.client
            .call("change the container's limits", async |docker| {
                docker.update_container(&container.id, body).await
            })
            .await
            .map_err(|error| {
                if is_in_use(error.message()) {
                    return in_use(error.message());
                }
                error
            })?;
        Ok(())
    }

    fn require_changeable(&self, limits: &ResourceLimits) -> Result<()> {
        if limits.disk_gb.is_some() {
            return Err(Error::unsupported(
                "disk_gb cannot be changed: Docker sets it when the container is created",
            ));
        }
        limits.require_features(&self.descriptor.get().capabilities)
    }

    /// A kernel with cgroup v1 refuses a bound below the usage after other bounds of the same call were set;
    /// with v2 it accepts it, and kills. Neither is what was asked for.
    async fn check_memory_in_use(&self, id: &str, bound: i64) -> Result<()> {
        let used = self.read_usage(id, true).await?.memory_bytes.unwrap_or(0);
        if i64::try_from(used).unwrap_or(i64::MAX) > bound {
            return Err(in_use(&format!("it uses {} MiB of memory now", used.div_ceil(1 << 20))));
        }
        Ok(())
    }
}

fn in_use(message: &str) -> Error {
    Error::conflict(message)
        .with_outcome(Outcome::Rejected)
        .with_hint("stop the instance first, or choose a higher bound")
}

/// How a kernel or a runtime says that more is in use than the bound would allow.
fn is_in_use(message: &str) -> bool {
    ["device or resource busy", "current usage", "unable to set memory limit", "invalid argument: unknown"]
        .iter()
        .any(|phrase| message.contains(phrase))
}
