//! Snapshots, inside the machine's qcow2 disk or in files beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use substrate_core::{
    Error, InstanceName, InstanceState, Operation, Result, Snapshot, SnapshotConfig, SnapshotName,
};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::sys;

use super::LibvirtSubstrate;
use super::lifecycle::destroy;
use super::lookup::{find, is_active, state_of, whole_facts};
use super::storage;
use crate::config::{LibvirtConfig, SnapshotForm};
use crate::convert::domain::{Disk, Domain as Facts};
use crate::convert::snapshot::{self, ExternalDisk, ExternalPlace, SnapshotFacts};
use crate::error::Attempt;
use crate::name;

/// A machine's snapshot by its name.
pub(super) fn find_snapshot(domain: &Domain, name: &str) -> Result<DomainSnapshot> {
    Domain::lookup_snapshot_by_name(domain, name, 0).attempt_to_find("look for the snapshot")?.ok_or_else(
        || Error::not_found(format!("the machine has no snapshot called `{}`", name.escape_debug())),
    )
}

pub(super) fn facts(snapshot: &DomainSnapshot) -> Result<SnapshotFacts> {
    SnapshotFacts::read(&snapshot.xml_desc(0).attempt("describe the snapshot")?)
}

/// All of a machine's snapshots, oldest first: parents before children, for times are in whole seconds.
pub(super) fn all(domain: &Domain) -> Result<Vec<(DomainSnapshot, SnapshotFacts)>> {
    let listed =
        domain.list_all_snapshots(sys::VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL).attempt("list the snapshots")?;
    let mut found = Vec::with_capacity(listed.len());
    for snapshot in listed {
        let facts = facts(&snapshot)?;
        found.push((snapshot, facts));
    }
    found.sort_by_key(|(_, facts)| facts.created);
    Ok(found)
}

/// What libvirt says to machines that internal snapshots cannot be taken of, and of snapshots that others depend on.
fn cannot(error: Error) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| error.message().contains(word));
    if says(&["not a leaf snapshot", "has multiple children", "multiple external children"]) {
        return Error::conflict(error.message())
            .with_outcome(error.outcome())
            .with_hint("later snapshots depend on it: delete those first");
    }
    if says(&["unsupported for storage type", "internal snapshots of a VM with pflash", "not supported"]) {
        return Error::unsupported(error.message()).with_hint(
            "internal snapshots need qcow2 disks, and with UEFI firmware libvirt 10.9 to take and 10.10 to restore",
        );
    }
    error
}

/// Whether the hypervisor may have made files beside the machine's disk.
pub(super) fn may_have_files(settings: &LibvirtConfig, domain: &Domain, facts: &Facts) -> Result<bool> {
    let own = name::disk_of(&facts.uuid);
    let stands_elsewhere =
        |disk: &Disk| name::is_disk_of(&facts.uuid, &disk.path) && !disk.path.ends_with(&format!("/{own}"));
    if settings.snapshots == SnapshotForm::External || facts.disks().iter().any(stands_elsewhere) {
        return Ok(true);
    }
    let external = sys::VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL;
    Ok(!domain.list_all_snapshots(external).attempt("list the snapshots")?.is_empty())
}

fn take_internal(domain: &Domain, config: &SnapshotConfig, active: bool) -> Result<DomainSnapshot> {
    // Of a running machine libvirt saves the memory in any case: what was asked for is remembered.
    let disks_only = active && !config.memory;
    let document = snapshot::document(config.name.as_str(), config.description.as_deref(), disks_only);
    domain.create_snapshot_xml(&document.to_xml(), 0).attempt("take the snapshot").map_err(cannot)
}

/// The machine's own files are in its pool and called by its UUID. Those of other disks are beside these and stay with
/// them, for the disk alone would lack what was written since.
fn take_external(
    connect: &Connect,
    settings: &LibvirtConfig,
    domain: &Domain,
    config: &SnapshotConfig,
) -> Result<DomainSnapshot> {
    let facts = whole_facts(domain)?;
    let folder = storage::folder(&storage::pool(connect, facts.pool(settings))?)?;
    let mark = Uuid::new_v4().simple().to_string();
    let place = |disk: &Disk| match disk {
        disk if disk.read_only => ExternalPlace::Nowhere,
        disk if name::is_disk_of(&facts.uuid, &disk.path) => {
            ExternalPlace::File(format!("{folder}/{}", name::overlay_of(&facts.uuid, &mark)))
        }
        _ => ExternalPlace::Beside,
    };
    let disks: Vec<ExternalDisk> = facts
        .disks()
        .iter()
        .map(|disk| ExternalDisk { target: disk.target.clone(), place: place(disk) })
        .collect();
    let memory = config.memory.then(|| format!("{folder}/{}", name::memory_of(&facts.uuid, &mark)));
    let document = snapshot::external_document(
        config.name.as_str(),
        config.description.as_deref(),
        &disks,
        memory.as_deref(),
    );
    // Without memory a running machine goes on; all its disks are of one moment, or nothing is changed.
    let of_disks = sys::VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC;
    let flags = if config.memory { 0 } else { of_disks };
    domain.create_snapshot_xml(&document.to_xml(), flags).attempt("take the snapshot").map_err(cannot)
}

impl LibvirtSubstrate {
    pub(super) async fn take_snapshot(
        &self,
        name: &InstanceName,
        config: &SnapshotConfig,
    ) -> Result<Snapshot> {
        self.require(Operation::CreateSnapshot)?;
        let capabilities = self.descriptor.get().capabilities.clone();
        if config.memory {
            capabilities.require(substrate_core::Feature::SnapshotMemory)?;
        }
        if !config.labels.is_empty() {
            capabilities.require(substrate_core::Feature::ResourceLabels)?;
        }
        name::check_new("snapshot", config.name.as_str())?;
        let (config, instance, settings) = (config.clone(), name.clone(), Arc::clone(&self.config));
        self.change_one(name, move |connect, domain| {
            let active = is_active(state_of(domain)?);
            if config.memory && !active {
                return Err(Error::conflict("it does not run, and so has no memory to save")
                    .with_hint("start it first, or leave the memory out"));
            }
            let wanted = config.name.as_str();
            if Domain::lookup_snapshot_by_name(domain, wanted, 0)
                .attempt_to_find("look for the snapshot")?
                .is_some()
            {
                return Err(Error::already_exists(format!(
                    "the machine has a snapshot called `{wanted}` already"
                )));
            }
            let made = match settings.snapshots {
                SnapshotForm::Internal => take_internal(domain, &config, active),
                SnapshotForm::External => take_external(connect, &settings, domain, &config),
            }?;
            facts(&made)?.snapshot(&instance)
        })
        .await
    }

    pub(super) async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        self.require(Operation::ListSnapshots)?;
        let instance = name.clone();
        self.client
            .look(move |connection| {
                let domain = find(connection, instance.as_str())?;
                all(&domain)?.iter().map(|(_, facts)| facts.snapshot(&instance)).collect()
            })
            .await
    }

    pub(super) async fn restore(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.require(Operation::RestoreSnapshot)?;
        let wanted = snapshot.clone();
        self.change_one(name, move |_, domain| {
            let found = find_snapshot(domain, wanted.as_str())?;
            revert(domain, &found, &facts(&found)?)
        })
        .await
    }

    pub(super) async fn drop_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.require(Operation::DeleteSnapshot)?;
        let wanted = snapshot.clone();
        self.change_one(name, move |_, domain| {
            find_snapshot(domain, wanted.as_str())?.delete(0).attempt("delete the snapshot").map_err(cannot)
        })
        .await
    }
}

/// libvirt calls the file that is written after going back to an external snapshot by the time in seconds, and refuses a
/// second one of the same second before it changes anything.
const SAME_SECOND: Duration = Duration::from_secs(3);
const SAME_SECOND_AGAIN: Duration = Duration::from_millis(100);

fn is_of_same_second(error: &Error) -> bool {
    error.message().contains("external snapshot file") && error.message().contains("already exists")
}

/// Brings a machine back: its content, and its power as the contract has it.
fn revert(domain: &Domain, snapshot: &DomainSnapshot, facts: &SnapshotFacts) -> Result<()> {
    let before = state_of(domain)?;
    // What libvirt would otherwise refuse because the running process has to be replaced.
    let force = sys::VIR_DOMAIN_SNAPSHOT_REVERT_FORCE;
    let back = |flags: u32| {
        let begin = Instant::now();
        loop {
            match snapshot.revert(flags | force).attempt("restore the snapshot") {
                Err(error) if is_of_same_second(&error) && begin.elapsed() < SAME_SECOND => {
                    std::thread::sleep(SAME_SECOND_AGAIN);
                }
                result => return result.map_err(cannot),
            }
        }
    };
    if facts.has_asked_memory() {
        let paused = sys::VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED;
        return back(if facts.was_paused { paused } else { sys::VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING });
    }
    match before {
        InstanceState::Paused => back(sys::VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED),
        state if is_active(state) => {
            back(sys::VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING)?;
            // Not every driver heeds the flag for a snapshot of a machine that was off.
            if is_active(state_of(domain)?) {
                Ok(())
            } else {
                domain.create().attempt("start the machine again")
            }
        }
        _ if facts.holds_memory => {
            // Only a process can read the memory's snapshot: it is started frozen, and cut before the guest does
            // anything.
            back(sys::VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED)?;
            destroy(domain)
        }
        _ => back(0),
    }
}
