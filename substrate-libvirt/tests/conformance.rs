//! The conformance suite over a real hypervisor with machines that really boot.

use std::sync::Arc;
use std::time::Duration;

use substrate_conformance::{Guest, Setup};
use substrate_core::{Error, Result};
use substrate_libvirt::{DomainType, ImageConfig, LibvirtConfig, LibvirtSubstrate};

async fn setup() -> Result<Setup> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| Error::invalid_input(format!("{name} is not set: is the lab up?")))
    };
    let image = ImageConfig::new(variable("SUBSTRATES_LAB_LIBVIRT_VOLUME")?).with_kernel(
        variable("SUBSTRATES_LAB_LIBVIRT_KERNEL")?,
        variable("SUBSTRATES_LAB_LIBVIRT_INITRD")?,
        variable("SUBSTRATES_LAB_LIBVIRT_KERNEL_ARGUMENTS")?,
    );
    let config = LibvirtConfig::default()
        .with_uri(variable("SUBSTRATES_LAB_LIBVIRT")?)
        .with_pool("machines")
        .with_image_pool("images")
        .with_image("busybox", image)
        .with_domain_type(DomainType::Qemu)
        .with_default_resources(96, 1.0)
        .with_live_memory_mb(192);
    let substrate = Arc::new(LibvirtSubstrate::new("libvirt", config)?);
    Ok(Setup::new(substrate, "busybox", Guest::busybox())
        .with_missing_image("sc-no-such-image")
        .with_trial_deadline(Duration::from_secs(300))
        .with_patience(Duration::from_secs(60))
        // It boots in software, beside others.
        .with_grace(Duration::from_secs(60))
        // More than libvirt carries in one answer of an agent; what is read is encoded in software.
        .with_large_output(5 << 20)
        .exclusive())
}

substrate_conformance::certify! { provider: "libvirt", ignore: "live: libvirt", setup: setup }
