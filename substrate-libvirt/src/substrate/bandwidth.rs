//! Bandwidth of machines that run.

use std::ffi::{CStr, CString};

use substrate_core::{Error, Result};
use virt::domain::Domain;
use virt::sys;

use crate::client::native::{self, Setting};
use crate::convert::bandwidth::Bandwidth;
use crate::convert::domain::{Domain as Facts, Interface};
use crate::error::Attempt;

/// What changes at the interfaces of a running machine.
#[derive(Debug, Default)]
pub(super) struct LiveBandwidth {
    /// Interfaces as they are before.
    interfaces: Vec<Interface>,
    bandwidth: Option<Bandwidth>,
}

impl LiveBandwidth {
    pub(super) fn of(running: &Facts, megabits: Option<f64>) -> Result<Self> {
        let bandwidth = megabits.map(Bandwidth::of).transpose()?;
        let interfaces = if bandwidth.is_some() { running.interfaces() } else { Vec::new() };
        Ok(Self { interfaces, bandwidth })
    }

    /// Bounds every interface, or none.
    pub(super) fn apply(&self, domain: &Domain) -> Result<()> {
        let changed =
            self.interfaces.iter().try_for_each(|interface| set(domain, &interface.mac, self.bandwidth));
        changed.map_err(|error| {
            self.take_back(domain);
            explained(error)
        })
    }

    /// Every interface as it was.
    pub(super) fn take_back(&self, domain: &Domain) {
        for interface in &self.interfaces {
            let _ = set(domain, &interface.mac, interface.bandwidth);
        }
    }
}

fn set(domain: &Domain, mac: &str, bandwidth: Option<Bandwidth>) -> Result<()> {
    let mac = CString::new(mac)
        .map_err(|_| Error::protocol("libvirt described an interface with an impossible hardware address"))?;
    let average = Setting::Unsigned(bandwidth.map_or(0, Bandwidth::kilobytes));
    let both: [(&CStr, Setting); 2] =
        [(sys::VIR_DOMAIN_BANDWIDTH_IN_AVERAGE, average), (sys::VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE, average)];
    native::tune_interface(domain, &mac, &both, sys::VIR_DOMAIN_AFFECT_LIVE)
        .attempt("bound the running machine's bandwidth")
}

/// The words of the host's traffic control, which nobody can act on, with what to do.
pub(super) fn explained(error: Error) -> Error {
    let is_of_kernel =
        ["/tc ", "tc qdisc", "tc filter", "tc class"].iter().any(|words| error.message().contains(words));
    if !is_of_kernel {
        return error;
    }
    Error::unsupported(error.message()).with_outcome(error.outcome()).with_hint(
        "the host's kernel lacks a part of its traffic control (sch_htb, sch_sfq, cls_fw, sch_ingress, cls_u32, \
         act_police): load it, or leave `bandwidth_limits` off",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_is_named() {
        let told = Error::internal(
            "internal error: Child process (/usr/sbin/tc filter add dev vnet0) unexpected exit 2",
        );
        let error = explained(told);
        assert!(
            error.is_unsupported() && error.hint().is_some_and(|hint| hint.contains("act_police")),
            "{error}"
        );
        assert!(explained(Error::internal("something else")).is_internal());
    }
}
