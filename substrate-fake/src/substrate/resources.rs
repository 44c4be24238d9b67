//! What instances use and may use.

use substrate_core::{
    Capabilities, Capacity, Error, EventKind, Feature, InstanceName, ResourceLimits, ResourceUsage, Result,
};
use tokio::time::Instant;

use crate::change::Change;
use crate::error::wrong_state;
use crate::record::Record;
use crate::state::State;

/// What a main program keeps in memory, in MiB.
const MEMORY_MB: f64 = 4.0;
/// What every instance has on its disk beside its files, in bytes.
const DISK_BYTES: u64 = 1 << 20;

fn memory(record: &Record) -> f64 {
    if !record.is_up() {
        return 0.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "no machine has so much memory")]
    let limit = record.config.limits.memory_mb.map_or(f64::INFINITY, |limit| limit as f64);
    MEMORY_MB.min(limit)
}

fn disk_bytes(record: &Record) -> u64 {
    DISK_BYTES + record.files.size()
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / (1_u64 << 30) as f64
}

pub(super) fn usage(state: &mut State, name: &InstanceName, now: Instant) -> Result<ResourceUsage> {
    let found = state.instance(name)?.config.name.clone();
    // Not by `instance_mut`: a reading changes nothing that anybody waits for.
    let Some(record) = state.instances.get_mut(&found) else {
        return Err(crate::error::no_instance(name));
    };
    let memory_mb = memory(record);
    let disk_gb = gigabytes(disk_bytes(record));
    let cpu_percent = record.usage.as_mut().map_or(0.0, |usage| usage.cpu_percent(now));
    Ok(ResourceUsage {
        cpu_percent: Some(cpu_percent),
        memory_mb: Some(memory_mb),
        disk_gb: Some(disk_gb),
        network_rx_mbps: Some(0.0),
        network_tx_mbps: Some(0.0),
    })
}

pub(super) fn set_limits(
    change: &mut Change<'_>,
    capabilities: &Capabilities,
    name: &InstanceName,
    limits: &ResourceLimits,
) -> Result<()> {
    limits.validate()?;
    limits.require_features(capabilities)?;
    let record = change.state.instance(name)?;
    if record.is_up() && !capabilities.can(Feature::LiveLimits) {
        return Err(wrong_state(name, record.state, "limits change only while it is stopped"));
    }
    #[allow(clippy::cast_precision_loss, reason = "no machine has so much memory")]
    if limits.memory_mb.is_some_and(|limit| memory(record) > limit as f64) {
        return Err(Error::conflict(format!("memory_mb: it uses {} MiB now", memory(record))));
    }
    if limits.disk_gb.is_some_and(|limit| disk_bytes(record) > limit.saturating_mul(1 << 30)) {
        return Err(Error::conflict(format!("disk_gb: it uses {} GiB now", gigabytes(disk_bytes(record)))));
    }
    let limits = record.config.limits.overlaid_with(limits);
    if limits == record.config.limits {
        return Ok(());
    }
    let now = change.now;
    let record = change.state.instance_mut(name)?;
    record.config.limits = limits;
    record.settle_usage(now);
    let name = record.config.name.clone();
    change.happened(EventKind::LimitsChanged, &name, None);
    Ok(())
}

/// A machine of 64 cores, 256 GiB and 4 TiB that never fills up: what is used is told, and bounded by what
/// there is.
pub(super) fn capacity(state: &State) -> Capacity {
    const MEMORY: u64 = 256 << 10;
    const DISK: f64 = 4096.0;
    let up = state.instances.values().filter(|record| record.is_up());
    let used: f64 = up.clone().map(memory).sum();
    let disk: u64 = state.instances.values().map(disk_bytes).sum();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of small positive numbers"
    )]
    let used = used as u64;
    Capacity {
        cpu_cores: Some(64.0),
        memory_mb: Some(MEMORY),
        memory_used_mb: Some(used.min(MEMORY)),
        disk_gb: Some(DISK),
        disk_used_gb: Some(gigabytes(disk).min(DISK)),
        instances: Some(state.instances.len() as u64),
        instances_running: Some(
            up.filter(|record| record.state == substrate_core::InstanceState::Running).count() as u64,
        ),
    }
}
