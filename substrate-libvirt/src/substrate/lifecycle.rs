//! Starting, pausing, deleting.

use substrate_core::{Error, InstanceName, InstanceState, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use super::lookup::{facts, find, is_active, state_of};
use super::{LibvirtSubstrate, bandwidth, networks, snapshots, storage};
use crate::config::LibvirtConfig;
use crate::error::Attempt;

/// Everything that keeps a domain from being undefined. Older daemons do not know the later ones.
const UNDEFINE: [u32; 3] = [
    sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM
        | sys::VIR_DOMAIN_UNDEFINE_TPM,
    sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_NVRAM,
    sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
];

/// Takes a definition away with all that libvirt keeps with it, falling back where the daemon is older.
pub(super) fn undefine(domain: &Domain) -> Result<()> {
    let mut last = None;
    for flags in UNDEFINE {
        match domain.undefine_flags(flags).attempt_to_find("undefine the machine") {
            Ok(_) => return Ok(()),
            Err(error) if error.is_invalid_input() || error.is_unsupported() => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("no flags to undefine with")))
}

/// Cuts the power; off already = success.
pub(super) fn destroy(domain: &Domain) -> Result<()> {
    // Where it is started again at this moment by somebody else, that is another run with another id.
    let before = domain.id();
    match domain.destroy().attempt("cut the machine's power") {
        Ok(()) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => {
            let stopped = state_of(domain).is_ok_and(|state| !is_active(state));
            if stopped || domain.id() != before { Ok(()) } else { Err(error) }
        }
    }
}

fn start_job(domain: &Domain) -> Result<()> {
    match state_of(domain)? {
        InstanceState::Running | InstanceState::Creating => Ok(()),
        InstanceState::Paused => Err(Error::conflict("it is paused, not stopped").with_hint("resume it")),
        InstanceState::Stopping => {
            Err(Error::conflict("it is shutting down").with_hint("start it when it has stopped"))
        }
        _ => match domain.create().attempt("start the machine") {
            Ok(()) => Ok(()),
            // Somebody else was quicker.
            Err(error) if error.is_conflict() && state_of(domain)? == InstanceState::Running => Ok(()),
            Err(error) => Err(refused_start(error)),
        },
    }
}

/// A machine that cannot start as it is defined.
fn refused_start(error: Error) -> Error {
    let says = |words: &[&str]| words.iter().any(|word| error.message().contains(word));
    if says(&["network is not active", "is not active", "Network not found"]) {
        return Error::conflict(error.message()).with_hint("start the network that it is on");
    }
    if says(&["Cannot access storage file", "No such file or directory", "does not exist"]) {
        return Error::invalid_input(error.message())
            .with_outcome(substrate_core::Outcome::Rejected)
            .with_hint("a file that the machine is made of is gone");
    }
    if says(&["KVM", "invalid argument: could not find capabilities"]) {
        return Error::unsupported(error.message())
            .with_outcome(substrate_core::Outcome::Rejected)
            .with_hint("use the domain type `qemu` where the host has no KVM");
    }
    bandwidth::explained(error)
}

fn pause_job(domain: &Domain) -> Result<()> {
    match state_of(domain)? {
        InstanceState::Paused => Ok(()),
        InstanceState::Running => domain.suspend().attempt("pause the machine"),
        other => Err(Error::conflict(format!("it is {other}, and only what runs can be paused"))),
    }
}

fn resume_job(domain: &Domain) -> Result<()> {
    match state_of(domain)? {
        InstanceState::Running | InstanceState::Creating => Ok(()),
        InstanceState::Paused => match domain.resume().attempt("resume the machine") {
            // Asleep by its own power management: another call wakes it.
            Err(error) if error.is_conflict() => {
                domain.pm_wakeup(0).attempt("wake the machine").map_err(|_| error)
            }
            other => other,
        },
        other => Err(Error::conflict(format!("it is {other}, and only what is paused can be resumed"))),
    }
}

fn delete_job(connect: &Connect, settings: &LibvirtConfig, domain: &Domain, force: bool) -> Result<()> {
    let active = is_active(state_of(domain)?);
    if active && !force {
        return Err(Error::conflict("it runs or is paused").with_hint("stop it first, or delete with force"));
    }
    let facts = facts(domain)?;
    if active {
        destroy(domain)?;
    }
    // The definition goes last: a deletion that failed half-way is found again by its name, and repeated.
    let pool = facts.pool(settings);
    if snapshots::may_have_files(settings, domain, &facts)? {
        storage::delete_every_of(connect, pool, &facts.uuid)?;
    } else {
        storage::delete_all_of(connect, pool, &facts.uuid)?;
    }
    for interface in facts.interfaces() {
        if let (Some(network), Some(_)) = (&interface.network, facts.fixed_address(&interface.mac)) {
            networks::release(connect, network, &interface.mac)?;
        }
    }
    undefine(domain)
}

impl LibvirtSubstrate {
    /// Runs a change of one machine as a job that holds its name.
    pub(super) async fn change_one<T, F>(&self, name: &InstanceName, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connect, &Domain) -> Result<T> + Send + 'static,
    {
        let (wanted, held) = (name.clone(), self.names.hold("machine", name.as_str()).await);
        self.client
            .change(move |connection| {
                let _held = held;
                job(connection, &find(connection, wanted.as_str())?)
            })
            .await
    }

    pub(super) async fn start(&self, name: &InstanceName) -> Result<()> {
        self.change_one(name, |_, domain| start_job(domain)).await
    }

    pub(super) async fn pause(&self, name: &InstanceName) -> Result<()> {
        self.change_one(name, |_, domain| pause_job(domain)).await
    }

    pub(super) async fn resume(&self, name: &InstanceName) -> Result<()> {
        self.change_one(name, |_, domain| resume_job(domain)).await
    }

    pub(super) async fn delete(&self, name: &InstanceName, force: bool) -> Result<()> {
        let settings = std::sync::Arc::clone(&self.config);
        self.change_one(name, move |connect, domain| delete_job(connect, &settings, domain, force)).await
    }
}
