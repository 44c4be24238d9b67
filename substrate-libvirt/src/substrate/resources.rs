//! Bounds, and changing them: what is defined, and what runs.

use std::sync::Arc;

use substrate_core::{Error, Feature, InstanceName, Operation, ResourceLimits, Result};
use virt::connect::Connect;
use virt::domain::{Domain, SchedBandwidth, SchedulerInfo};
use virt::storage_vol::StorageVol;
use virt::sys;

use super::LibvirtSubstrate;
use super::bandwidth::LiveBandwidth;
use super::lookup::{facts, find, is_active, live_facts, state_of, whole_facts};
use super::storage;
use crate::config::LibvirtConfig;
use crate::convert::bandwidth::{Bandwidth, set_bandwidth};
use crate::convert::domain::{Domain as Facts, period, processors, quota, set_cores, set_memory};
use crate::convert::note::Note;
use crate::error::Attempt;
use crate::name;

/// What changes while a machine runs.
struct Live {
    memory_kib: Option<u64>,
    quota: Option<i64>,
    bandwidth: LiveBandwidth,
}

impl LibvirtSubstrate {
    pub(super) async fn limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        self.require(Operation::GetResourceLimits)?;
        let wanted = name.clone();
        self.client.look(move |connection| Ok(facts(&find(connection, wanted.as_str())?)?.limits())).await
    }

    pub(super) async fn set_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        self.require(Operation::SetResourceLimits)?;
        limits.validate()?;
        let capabilities = self.descriptor.get().capabilities.clone();
        limits.require_features(&capabilities)?;
        let (limits, settings) = (*limits, Arc::clone(&self.config));
        let is_live = capabilities.can(Feature::LiveLimits);
        self.change_one(name, move |connect, domain| {
            if limits.is_empty() {
                return Ok(());
            }
            let active = is_active(state_of(domain)?);
            // Bandwidth changes while it runs, whatever else does.
            let others = ResourceLimits { network_mbps: None, ..limits };
            if active && !is_live && !others.is_empty() {
                let reason = capabilities.require(Feature::LiveLimits).err();
                let reason = reason.map(|error| error.message().to_owned()).unwrap_or_default();
                return Err(Error::conflict(format!("it runs: {reason}")).with_hint("stop it first"));
            }
            set_job(connect, &settings, domain, &limits, active)
        })
        .await
    }
}

fn set_job(
    connect: &Connect,
    settings: &LibvirtConfig,
    domain: &Domain,
    limits: &ResourceLimits,
    active: bool,
) -> Result<()> {
    let before = whole_facts(domain)?;
    let mut document = before.document.clone();
    if let Some(megabytes) = limits.memory_mb {
        set_memory(&mut document, megabytes, settings.live_memory_mb);
    }
    if let Some(cores) = limits.cpu_cores {
        set_cores(&mut document, cores);
    }
    if let Some(megabits) = limits.network_mbps {
        set_bandwidth(&mut document, Bandwidth::of(megabits)?)?;
    }
    let growth = limits.disk_gb.map(|gibibytes| growth(connect, settings, &before, gibibytes)).transpose()?;
    if growth.is_some() {
        let note = Note { disk_gb: limits.disk_gb, ..before.note.clone() };
        note.put(&mut document);
    }
    let live = if active { Some(live_change(domain, limits)?) } else { None };
    // The running machine first: where it cannot follow, the definition stays as it was.
    if let Some(live) = &live {
        live.apply(domain)?;
    }
    let changed = connect
        .define_domain_xml(&document.to_xml())
        .attempt("define the machine's limits")
        // Last: what a disk has grown cannot be taken back.
        .and_then(|_| growth.map_or(Ok(()), |growth| growth.apply(domain, active)));
    match changed {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = connect.define_domain_xml(&before.document.to_xml());
            if let Some(live) = &live {
                live.bandwidth.take_back(domain);
                if let Ok(back) =
                    live_change(domain, &ResourceLimits { network_mbps: None, ..before.limits() })
                {
                    let _ = back.apply(domain);
                }
            }
            Err(error)
        }
    }
}

/// A disk that becomes larger.
struct Growth {
    volume: StorageVol,
    target: String,
    bytes: u64,
}

/// The machine's own disk, and how large it is to be.
fn growth(connect: &Connect, settings: &LibvirtConfig, facts: &Facts, gibibytes: u64) -> Result<Growth> {
    let disk = facts.disks().into_iter().find(|disk| name::is_disk_of(&facts.uuid, &disk.path));
    let Some(disk) = disk else {
        return Err(Error::unsupported("the machine has no disk of its own that could be made larger"));
    };
    let volume = storage::volume_at(connect, facts.pool(settings), &disk.path)?
        .ok_or_else(|| Error::not_found(format!("the machine's disk {} is gone", disk.path)))?;
    let has = storage::facts(&volume)?.capacity;
    let bytes = gibibytes.saturating_mul(1 << 30);
    if bytes < has {
        return Err(Error::invalid_input(format!("the disk has {has} bytes, and disks only grow"))
            .with_outcome(substrate_core::Outcome::Rejected));
    }
    Ok(Growth { volume, target: disk.target, bytes })
}

impl Growth {
    fn apply(&self, domain: &Domain, active: bool) -> Result<()> {
        if active {
            let flags = sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES;
            return domain
                .block_resize(&self.target, self.bytes, flags)
                .attempt("make the running machine's disk larger");
        }
        self.volume.resize(self.bytes, 0).attempt("make the disk larger")
    }
}

/// What has to change in the running machine, if it can.
fn live_change(domain: &Domain, limits: &ResourceLimits) -> Result<Live> {
    let running: Facts = live_facts(domain)?;
    let memory_kib = match (limits.memory_mb, running.most_memory_mb()) {
        (Some(asked), Some(most)) if asked > most => {
            return Err(Error::conflict(format!(
                "it was started with at most {most} MiB, and runs: it cannot be given {asked} MiB"
            ))
            .with_hint("stop it first"));
        }
        (asked, _) => asked.map(|megabytes| megabytes.saturating_mul(1024)),
    };
    let quota = match limits.cpu_cores {
        None => None,
        Some(cores) => {
            let has =
                running.document.text_at("vcpu").and_then(|count| count.parse::<u32>().ok()).unwrap_or(1);
            let needs = processors(cores);
            if needs > has {
                return Err(Error::conflict(format!(
                    "it was started with {has} processors, and runs: it cannot be given {cores} cores"
                ))
                .with_hint("stop it first"));
            }
            // Fewer cores than processors: the rest is taken by the quota, whole numbers too.
            let share = if needs < has { Some((cores * 100_000.0).max(1_000.0)) } else { None };
            let granted = quota(cores).and_then(|quota| i64::try_from(quota).ok());
            #[allow(clippy::cast_possible_truncation, reason = "thousands of cores at most")]
            Some(granted.or(share.map(|share| share as i64)).unwrap_or(-1))
        }
    };
    let bandwidth = LiveBandwidth::of(&running, limits.network_mbps)?;
    Ok(Live { memory_kib, quota, bandwidth })
}

impl Live {
    fn apply(&self, domain: &Domain) -> Result<()> {
        let bandwidth = |quota| SchedulerInfo {
            global_bw: SchedBandwidth { period: Some(period()), quota: Some(quota) },
            ..SchedulerInfo::default()
        };
        if let Some(quota) = self.quota {
            domain
                .set_scheduler_parameters_flags(&bandwidth(quota), sys::VIR_DOMAIN_AFFECT_LIVE)
                .attempt("change the running machine's share of the processors")?;
        }
        if let Some(kibibytes) = self.memory_kib {
            domain
                .set_memory_flags(kibibytes, sys::VIR_DOMAIN_MEM_LIVE)
                .attempt("change the running machine's memory")?;
        }
        self.bandwidth.apply(domain)
    }
}
