//! What an instance uses.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use substrate_core::{InstanceName, InstanceState, ResourceUsage, Result, UsageCounters};
use tokio::time::Instant;

use super::K8sSubstrate;
use super::machines::Launcher;
use crate::client::Target;
use crate::convert::pod::Pod;
use crate::convert::state;
use crate::convert::usage::{Measured, PodMetrics, Summary, since};

/// Where the clock of the nodes meets ours: readings tell when they were taken, and rates need moments of ours.
#[derive(Default)]
pub(super) struct Clock(Mutex<Option<(SystemTime, Instant)>>);

impl Clock {
    fn moment(&self, at: SystemTime) -> Instant {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first reading of all is now; what is read later is later by its own clock.
        let (start, moment) = *anchor.get_or_insert_with(|| (at, Instant::now()));
        moment + since(start, at)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Clock").finish_non_exhaustive()
    }
}

impl K8sSubstrate {
    pub(super) async fn usage(&self, name: &InstanceName) -> Result<ResourceUsage> {
        let found = self.find(name).await?;
        let pods = found.pods();
        let Some(pod) = state::current(&pods) else { return Ok(ResourceUsage::default()) };
        if found.seen(self.workload()).state != InstanceState::Running {
            return Ok(ResourceUsage::default());
        }
        let launcher = self.launcher(pod).await?;
        let pod = match &launcher {
            Launcher::Awaited => return Ok(ResourceUsage::default()),
            Launcher::Pod(launcher) => launcher.as_ref(),
            Launcher::NotNeeded => pod,
        };
        let summary = self.measured_by_node(pod).await?;
        // The metrics API where it is: what an autoscaler sees. It knows nothing of the network.
        let api = if self.discovered().metrics { self.measured_by_api(pod).await? } else { None };
        let (api, summary) = (api.unwrap_or_default(), summary.unwrap_or_default());
        let mut usage = ResourceUsage {
            cpu_percent: api.cpu_percent.or(summary.cpu_percent),
            memory_mb: api.memory_mb.or(summary.memory_mb),
            ..ResourceUsage::default()
        };
        if let Some(network) = summary.network {
            let counters = UsageCounters {
                at: self.clock.moment(network.at),
                received_bytes: Some(network.received),
                sent_bytes: Some(network.sent),
                ..UsageCounters::now()
            };
            // By the pod's id: a new pod counts from zero.
            let rates = self.meter.record(&pod.metadata.uid, counters);
            usage.network_rx_mbps = rates.network_rx_mbps;
            usage.network_tx_mbps = rates.network_tx_mbps;
        }
        Ok(usage)
    }

    /// `None` when nothing is measured: a pod that is too young is not found for about a minute.
    async fn measured_by_api(&self, pod: &Pod) -> Result<Option<Measured>> {
        let target = Target::new("/apis/metrics.k8s.io/v1beta1/namespaces")
            .segment(self.client.namespace().await?)
            .segment("pods")
            .segment(&pod.metadata.name);
        unmeasured(self.client.get::<PodMetrics>("read the metrics", &target).await.map(|pod| pod.measured()))
    }

    async fn measured_by_node(&self, pod: &Pod) -> Result<Option<Measured>> {
        let Some(node) = &pod.spec.node_name else { return Ok(None) };
        let target =
            Target::new("/api/v1/nodes").segment(node).segment("proxy").segment("stats").segment("summary");
        let summary = self.client.get::<Summary>("read the node's summary", &target).await;
        Ok(unmeasured(summary)?.and_then(|summary| summary.measured(&pod.metadata.uid)))
    }
}

/// Metrics that are absent, broken or forbidden are not measured; that is no failure of the instance or the cluster.
fn unmeasured<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(measured) => Ok(Some(measured)),
        Err(error) if error.is_unauthenticated() => Err(error),
        // The server itself is asked for the instance first: it answers.
        Err(_) => Ok(None),
    }
}
