//! Bounds of disk input and output, and changing them: what is defined, and what runs.

use std::ffi::{CStr, CString};

use substrate_core::{Error, InstanceName, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use super::LibvirtSubstrate;
use super::lookup::{facts, find, is_active, live_facts, state_of, whole_facts};
use crate::block_limits::{BlockLimits, Group};
use crate::client::native::{self, Setting};
use crate::convert::block;
use crate::error::Attempt;

const BYTES: [&CStr; 3] = [
    sys::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC,
    sys::VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC,
    sys::VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC,
];
const OPERATIONS: [&CStr; 3] = [
    sys::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC,
    sys::VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC,
    sys::VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC,
];

impl LibvirtSubstrate {
    /// The bounds of a machine's disk input and output, as they are defined: those of its first disk that can be
    /// written to. What is not bounded is `None`.
    ///
    /// # Errors
    /// `NotFound` when there is no such machine.
    pub async fn block_limits(&self, name: &InstanceName) -> Result<BlockLimits> {
        let wanted = name.clone();
        self.client
            .look(move |connection| Ok(block::read(&facts(&find(connection, wanted.as_str())?)?.document)))
            .await
            .map_err(self.descriptor.about(Operation::GetResourceLimits, name))
    }

    /// Changes the bounds of a machine's disk input and output, in its definition and, if it runs, at once. Idempotent.
    /// Dropped while it runs, it is finished all the same.
    ///
    /// # Errors
    /// `InvalidInput` for bounds that contradict each other, and for a machine without a disk that can be written to;
    /// `NotFound` when there is no such machine; `Unsupported` where the host cannot. What the running machine
    /// refuses is not defined either.
    pub async fn set_block_limits(&self, name: &InstanceName, limits: &BlockLimits) -> Result<()> {
        let limits = *limits;
        let about = self.descriptor.about(Operation::SetResourceLimits, name);
        limits.validate().map_err(&about)?;
        self.change_one(name, move |connect, domain| set_job(connect, domain, &limits)).await.map_err(about)
    }
}

fn set_job(connect: &Connect, domain: &Domain, limits: &BlockLimits) -> Result<()> {
    let before = whole_facts(domain)?;
    let is_about_disks = limits.bytes().is_said() || limits.operations().is_said();
    if is_about_disks && block::targets(&before.document).is_empty() {
        return Err(Error::invalid_input("it has no disk that can be written to"));
    }
    let mut document = before.document;
    block::write(&mut document, limits);
    let running = if is_active(state_of(domain)?) { Some(live_facts(domain)?.document) } else { None };
    let apply = |limits: &BlockLimits| {
        running.as_ref().map_or(Ok(()), |running| set_live(domain, &block::targets(running), limits))
    };
    // The running machine first: where it cannot follow, the definition stays as it was.
    let changed = apply(limits).and_then(|()| {
        connect.define_domain_xml(&document.to_xml()).attempt("define the machine's bounds").map(drop)
    });
    changed.inspect_err(|_| {
        if let Some(running) = &running {
            let _ = apply(&to_go_back(limits, &block::read(running)));
        }
    })
}

/// What undoes a change: of each group that it spoke of, what was before.
fn to_go_back(change: &BlockLimits, before: &BlockLimits) -> BlockLimits {
    let mut back = BlockLimits { weight: change.weight.and(before.weight), ..BlockLimits::default() };
    if change.bytes().is_said() {
        let [total, read, written] = before.bytes().values().map(Some);
        (back.bytes_per_second, back.read_bytes_per_second, back.write_bytes_per_second) =
            (total, read, written);
    }
    if change.operations().is_said() {
        let [total, read, written] = before.operations().values().map(Some);
        (back.operations_per_second, back.read_operations_per_second, back.write_operations_per_second) =
            (total, read, written);
    }
    back
}

fn set_live(domain: &Domain, targets: &[String], limits: &BlockLimits) -> Result<()> {
    let of = |names: [&'static CStr; 3], group: Group| {
        let settings = names.into_iter().zip(group.values().map(Setting::Long));
        settings.filter(move |_| group.is_said())
    };
    let settings: Vec<(&CStr, Setting)> =
        of(BYTES, limits.bytes()).chain(of(OPERATIONS, limits.operations())).collect();
    if !settings.is_empty() {
        for target in targets {
            let disk = CString::new(target.as_str())
                .map_err(|_| Error::protocol("libvirt described a disk with an impossible target"))?;
            native::tune_disk(domain, &disk, &settings, sys::VIR_DOMAIN_AFFECT_LIVE)
                .attempt("bound the running machine's disk")?;
        }
    }
    if let Some(weight) = limits.weight {
        let settings = [(sys::VIR_DOMAIN_BLKIO_WEIGHT, Setting::Unsigned(weight))];
        native::tune_disks(domain, &settings, sys::VIR_DOMAIN_AFFECT_LIVE)
            .attempt("change the running machine's share of the disks")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_changed_is_taken_back() {
        let before =
            BlockLimits::default().with_bytes_per_second(5).with_operations_per_second(6).with_weight(7);
        let change = BlockLimits::default().with_bytes_per_second_apart(1, 2);
        let back = to_go_back(&change, &before);
        assert_eq!(back, BlockLimits::default().with_bytes_per_second(5).with_bytes_per_second_apart(0, 0));
    }
}
