//! A double of the API, and substrates on it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use substrate_conformance::{Guest, Setup};
use substrate_core::{InstanceConfig, InstanceKind, InstanceName, Result};
use substrate_proxmox::{ProxmoxConfig, ProxmoxSubstrate};
use substrate_proxmox_double::{Double, Kind, Setup as DoubleSetup};

pub(crate) const TOKEN: &str = "root@pam!lab";
pub(crate) const SECRET: &str = "57441adc-20c6-4869-a7ac-1f8500670747";

/// Settings for a double, with a token.
pub(crate) fn config(double: &Double) -> ProxmoxConfig {
    let mut config = ProxmoxConfig::default().with_token(TOKEN, SECRET.to_owned());
    config.hosts = double.urls();
    config.watch_interval = Duration::from_millis(20);
    config
}

/// A certified setup: machines or containers of a cluster of two nodes.
pub(crate) async fn conformance(name: &str, kind: InstanceKind, image: &str, storage: &str) -> Result<Setup> {
    let nodes = vec!["pve1".to_owned(), "pve2".to_owned()];
    // It lives as long as the test program does.
    let double = Box::leak(Box::new(Double::start(DoubleSetup { nodes, ..DoubleSetup::default() }).await));
    let mut config = config(double);
    config.kinds = vec![kind];
    config.storage = Some(storage.to_owned());
    let substrate = Arc::new(ProxmoxSubstrate::new(name, config)?);
    let missing = image.replace("lab", "no-such-");
    // The double runs its own guests, whatever is in a file.
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(image.replace([':', '/'], "-"));
    std::fs::write(&file, format!("an image for {name}")).unwrap();
    Ok(Setup::new(substrate, image, Guest::fake())
        .with_missing_image(missing)
        .with_image_file(file.to_str().unwrap())
        .with_large_output(256 << 10)
        .with_many_calls(300)
        .exclusive())
}

/// A double with one node, and a substrate on it.
pub(crate) async fn pair() -> (Double, ProxmoxSubstrate) {
    pair_of(DoubleSetup::default()).await
}

pub(crate) async fn pair_of(setup: DoubleSetup) -> (Double, ProxmoxSubstrate) {
    let double = Double::start(setup).await;
    let substrate = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    (double, substrate)
}

/// A double with two nodes and two API hosts.
pub(crate) fn cluster() -> DoubleSetup {
    DoubleSetup { nodes: vec!["pve1".to_owned(), "pve2".to_owned()], hosts: 2, ..DoubleSetup::default() }
}

pub(crate) fn name(text: &str) -> InstanceName {
    InstanceName::new(text).unwrap()
}

pub(crate) fn machine(text: &str) -> InstanceConfig {
    InstanceConfig::new(name(text)).with_image("local:import/labguest.qcow2")
}

/// A template of a machine, of which the disk is copied.
pub(crate) fn add_template(double: &Double, vmid: u64) {
    let settings = [
        ("name", json!("debian")),
        ("template", json!(1)),
        ("memory", json!("512")),
        ("agent", json!("1")),
        ("net0", json!("virtio=BC:24:11:00:00:01,bridge=vmbr0")),
        ("description", json!("the source's notes")),
        ("tags", json!("base")),
        ("boot", json!("order=scsi0")),
    ];
    let node = "pve";
    double.add_guest(vmid, Kind::Qemu, node, &settings);
    double.change(vmid, "scsi0", Some(json!(format!("local:{vmid}/base-{vmid}-disk-0.qcow2,size=1G"))));
}

/// The number of the guest of this name.
pub(crate) fn number_of(double: &Double, wanted: &str) -> u64 {
    let guests = double.guests();
    let found = guests.iter().find(|(_, config)| {
        ["name", "hostname"].iter().any(|key| config.get(*key).is_some_and(|name| name == wanted))
    });
    *found.unwrap_or_else(|| panic!("no guest called {wanted}")).0
}

/// How many guests of this name there are.
pub(crate) fn count_of(double: &Double, wanted: &str) -> usize {
    let guests = double.guests();
    guests.values().filter(|config| config.get("name").is_some_and(|name| name == wanted)).count()
}
