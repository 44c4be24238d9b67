//! The conformance suite over libvirt's own mock hypervisor, which needs no daemon.

use std::sync::Arc;

use substrate_conformance::{Guest, Setup};
use substrate_core::{Result, Substrate, VolumeSpec};
use substrate_libvirt::{LibvirtConfig, LibvirtSubstrate};

/// A volume to make disks from: what is on it does not matter to a mock.
const IMAGE: &str = "image.qcow2";

async fn setup() -> Result<Setup> {
    let config = LibvirtConfig::default()
        .with_uri("test:///default")
        .with_pool("default-pool")
        .with_default_resources(96, 1.0)
        .with_bandwidth_limits(true);
    let substrate = Arc::new(LibvirtSubstrate::new("libvirt-test", config)?);
    substrate.create_volume(&VolumeSpec::new(IMAGE.parse()?).with_size_bytes(1 << 20)).await?;
    Ok(Setup::new(substrate, IMAGE, Guest::new("mock", |_| None))
        .with_missing_image("sc-no-such-image")
        .exclusive())
}

substrate_conformance::certify! { provider: "libvirt-test", setup: setup }
