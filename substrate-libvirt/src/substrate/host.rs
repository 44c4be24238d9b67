//! What the server on the other side is.

use std::sync::{Mutex, PoisonError};

use substrate_core::Result;
use virt::connect::Connect;

use crate::config::{DomainType, LibvirtConfig};
use crate::convert::element::Element;
use crate::error::Attempt;

/// A hypervisor's driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    /// QEMU, with or without KVM.
    Qemu,
    /// libvirt's own mock, within this process.
    Test,
}

/// What was found out about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) driver: Driver,
    /// The word that libvirt has for it: `QEMU`, `TEST`.
    pub(super) driver_name: String,
    /// The server's version: 9.0.0 is 9000000.
    pub(super) library: u32,
    /// Whether it runs machines with the processor's help.
    pub(super) has_kvm: bool,
}

impl Host {
    pub(super) fn of(connect: &Connect) -> Result<Self> {
        let driver_name = connect.driver_type().attempt("ask for the hypervisor's type")?;
        let driver = if driver_name.eq_ignore_ascii_case("test") { Driver::Test } else { Driver::Qemu };
        let has_kvm = driver == Driver::Qemu
            && offers_kvm(&connect.capabilities().attempt("ask for the host's capabilities")?)?;
        let library = connect.lib_version().attempt("ask for the library's version")?;
        Ok(Self { driver, driver_name, library, has_kvm })
    }

    /// The type of a new domain: as the machine wants it, as the settings want it, or the best there is.
    pub(super) fn domain_type(&self, wanted: Option<DomainType>, settings: &LibvirtConfig) -> &'static str {
        match (self.driver, wanted.or(settings.domain_type)) {
            (Driver::Test, _) => "test",
            (Driver::Qemu, Some(wanted)) => wanted.as_str(),
            (Driver::Qemu, None) if self.has_kvm => DomainType::Kvm.as_str(),
            (Driver::Qemu, None) => DomainType::Qemu.as_str(),
        }
    }
}

/// Whether machines of the host's own architecture can run with KVM.
pub(super) fn offers_kvm(capabilities: &str) -> Result<bool> {
    let document = Element::parse(capabilities)?;
    let native = document.text_at("host/cpu/arch").unwrap_or_default().to_owned();
    Ok(document.all("guest").filter_map(|guest| guest.find("arch")).any(|arch| {
        arch.attribute("name") == Some(&native)
            && arch.all("domain").any(|domain| domain.attribute("type") == Some("kvm"))
    }))
}

/// What was found out last.
#[derive(Debug, Default)]
pub(super) struct Hosts(Mutex<Option<Host>>);

impl Hosts {
    pub(super) fn known(&self) -> Option<Host> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, host: Host) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(native: &str, kinds: &str) -> String {
        format!(
            "<capabilities><host><cpu><arch>{native}</arch></cpu></host><guest><os_type>hvm</os_type>\
             <arch name='x86_64'>{kinds}</arch></guest></capabilities>"
        )
    }

    #[test]
    fn kvm_counts_for_the_hosts_own_architecture() {
        let both = "<domain type='qemu'/><domain type='kvm'/>";
        assert!(offers_kvm(&capabilities("x86_64", both)).unwrap());
        assert!(!offers_kvm(&capabilities("aarch64", both)).unwrap());
        assert!(!offers_kvm(&capabilities("x86_64", "<domain type='qemu'/>")).unwrap());
    }

    #[test]
    fn what_is_told_wins_over_what_is_possible() {
        let host =
            Host { driver: Driver::Qemu, driver_name: "QEMU".into(), library: 9_000_000, has_kvm: true };
        let settings = LibvirtConfig::default();
        assert_eq!(host.domain_type(None, &settings), "kvm");
        assert_eq!(host.domain_type(Some(DomainType::Qemu), &settings), "qemu");
        let settings = settings.with_domain_type(DomainType::Qemu);
        assert_eq!(host.domain_type(None, &settings), "qemu");
        assert_eq!(host.domain_type(Some(DomainType::Kvm), &settings), "kvm");
        assert_eq!(Host { has_kvm: false, ..host }.domain_type(None, &LibvirtConfig::default()), "qemu");
    }
}
