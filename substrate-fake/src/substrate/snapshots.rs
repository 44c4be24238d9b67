//! Snapshots and clones.

use std::sync::Arc;

use substrate_core::{
    Capabilities, CloneConfig, EventKind, Feature, Instance, InstanceName, InstanceState, NetworkConfig,
    Result, Snapshot, SnapshotConfig, SnapshotName,
};

use super::{creation, lifecycle};
use crate::call::Call;
use crate::change::Change;
use crate::error::{no_snapshot, taken, wrong_state};
use crate::record::SnapshotRecord;
use crate::state::State;

/// Why an instance stopped.
const RESTORED: &str = "a snapshot was restored";

pub(super) fn create(
    change: &mut Change<'_>,
    capabilities: &Capabilities,
    name: &InstanceName,
    config: &SnapshotConfig,
) -> Result<Snapshot> {
    if config.memory {
        capabilities.require(Feature::SnapshotMemory)?;
    }
    if !config.labels.is_empty() {
        capabilities.require(Feature::ResourceLabels)?;
    }
    let record = change.state.instance(name)?;
    if record.snapshot(config.name.as_str()).is_some() {
        return Err(taken(&format!("of `{name}` a snapshot"), &config.name));
    }
    if record.is_up() && !capabilities.can(Feature::SnapshotWhileRunning) {
        return Err(wrong_state(name, record.state, "snapshots are taken only while it is stopped"));
    }
    let id = change.state.random.id();
    let created = change.tick();
    let record = change.state.instance_mut(name)?;
    let mut snapshot = Snapshot::new(config.name.clone(), record.config.name.clone());
    snapshot.id = Some(id);
    snapshot.created_at = Some(created.system_time());
    snapshot.memory = config.memory;
    snapshot.size_bytes = Some(record.files.size());
    snapshot.description.clone_from(&config.description);
    snapshot.labels.clone_from(&config.labels);
    let saved =
        SnapshotRecord { snapshot: snapshot.clone(), files: record.files.clone(), state: record.state };
    record.snapshots.push(saved);
    change.happened(EventKind::SnapshotCreated, &snapshot.instance, Some(config.name.to_string()));
    Ok(snapshot)
}

pub(super) fn list(state: &State, name: &InstanceName) -> Result<Vec<Snapshot>> {
    Ok(state.instance(name)?.snapshots.iter().map(|record| record.snapshot.clone()).collect())
}

pub(super) async fn restore(call: &Call<'_>, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
    let look = |state: &mut State, _| {
        let record = state.instance(name)?;
        record.snapshot(snapshot.as_str()).map(drop).ok_or_else(|| no_snapshot(name, snapshot))
    };
    call.inner.read(None, look).await?;
    let main = lifecycle::main_of(call.inner, name).await;
    call.change(|change| {
        let (time, now) = (change.tick(), change.now);
        let record = change.state.instance(name)?;
        let saved = record.snapshot(snapshot.as_str()).ok_or_else(|| no_snapshot(name, snapshot))?;
        let (files, memory) = (saved.files.clone(), saved.snapshot.memory);
        let (before, after) = (record.state, if memory { saved.state } else { record.state });
        let is_up = |state| matches!(state, InstanceState::Running | InstanceState::Paused);
        // Without memory the main program begins anew: that it can is known before anything is changed.
        let main = if is_up(after) && !memory { Some(main?) } else { None };

        let record = change.state.instance_mut(name)?;
        record.files = files;
        let name = record.config.name.clone();
        if let Some(main) = main {
            record.end_run(InstanceState::Stopped, "restoring".to_owned());
            change.happened(EventKind::Stopped, &name, Some(RESTORED.to_owned()));
            lifecycle::run(change, &name, main)?;
            let record = change.state.instance_mut(&name)?;
            if after == InstanceState::Paused && record.is_up() {
                record.state = InstanceState::Paused;
                "paused".clone_into(&mut record.provider_state);
                record.settle_usage(now);
                change.happened(EventKind::Paused, &name, None);
            }
        } else if is_up(after) {
            // With memory the program goes on where it was: nothing is written to the log anew.
            record.begin_run(time, now);
            record.state = after;
            after.as_str().clone_into(&mut record.provider_state);
            record.settle_usage(now);
            if !is_up(before) {
                change.happened(EventKind::Started, &name, None);
            }
        } else if is_up(before) {
            record.end_run(after, "exited (137)".to_owned());
            change.happened(EventKind::Stopped, &name, Some(RESTORED.to_owned()));
        }
        change.happened(EventKind::SnapshotRestored, &name, Some(snapshot.to_string()));
        Ok(())
    })
    .await
}

pub(super) fn delete(change: &mut Change<'_>, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
    let record = change.state.instance(name)?;
    if record.snapshot(snapshot.as_str()).is_none() {
        return Err(no_snapshot(name, snapshot));
    }
    let record = change.state.instance_mut(name)?;
    record.snapshots.retain(|record| record.snapshot.name != *snapshot);
    let name = record.config.name.clone();
    change.happened(EventKind::SnapshotDeleted, &name, Some(snapshot.to_string()));
    Ok(())
}

pub(super) fn clone(
    change: &mut Change<'_>,
    capabilities: &Capabilities,
    source: &InstanceName,
    config: &CloneConfig,
) -> Result<Arc<Instance>> {
    if !config.labels.is_empty() {
        capabilities.require(Feature::Labels)?;
    }
    let original = change.state.instance(source)?;
    let files = match &config.snapshot {
        None => original.files.clone(),
        Some(snapshot) => {
            original.snapshot(snapshot.as_str()).ok_or_else(|| no_snapshot(source, snapshot))?.files.clone()
        }
    };
    if original.is_up() && !capabilities.can(Feature::CloneWhileRunning) {
        return Err(wrong_state(source, original.state, "clones are made only while it is stopped"));
    }
    let mut copy = original.config.clone();
    copy.name = config.name.clone();
    copy.labels = config.labels.clone();
    // The networks that it is on now, whatever it was created with; the addresses are its own.
    copy.networks = original
        .attachments
        .iter()
        .map(|attachment| {
            let mut place = NetworkConfig::new(attachment.network_name.clone());
            place.gateway = attachment.gateway;
            place.dns_servers.clone_from(&attachment.dns_servers);
            place
        })
        .collect();
    for port in &mut copy.ports {
        port.host_port = None;
    }
    copy.validate()?;
    let (kind, options) = (original.kind, original.options);
    let name = creation::insert(change, kind, copy, options)?;
    change.state.instance_mut(&name)?.files = files;
    change.happened(EventKind::Cloned, &name, Some(format!("from {source}")));
    let now = change.now;
    change.state.view(&name, now)
}
