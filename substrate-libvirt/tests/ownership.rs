//! A machine that is deleted takes what is its own, and nothing else, on libvirt's own mock, which needs no daemon.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helping functions too")]

use substrate_core::{InstanceConfig, Substrate, VolumeSpec};
use substrate_libvirt::{LibvirtConfig, LibvirtSubstrate, SnapshotForm};

const POOL: &str = "default-pool";

fn volume(name: &str) -> String {
    format!("<volume><name>{name}</name><capacity>4096</capacity></volume>")
}

/// Deletes a machine among volumes of others: only its own disk is gone.
async fn only_its_own_goes(mark: &str, config: LibvirtConfig) {
    let config = config.with_uri("test:///default").with_pool(POOL);
    let libvirt = LibvirtSubstrate::new("mock", config).unwrap();
    let image = format!("{mark}.img");
    libvirt.create_volume(&VolumeSpec::new(image.parse().unwrap()).with_size_bytes(1 << 20)).await.unwrap();
    let config = InstanceConfig::new(mark.parse().unwrap()).with_image(&image);
    let machine = libvirt.create_instance(&config).await.unwrap();
    let neighbour = InstanceConfig::new(format!("{mark}-2").parse().unwrap()).with_image(&image);
    let neighbour = libvirt.create_instance(&neighbour).await.unwrap();

    let raw = virt::connect::Connect::open(Some("test:///default")).unwrap();
    let pool = raw.lookup_storage_pool_by_name(POOL).unwrap();
    let own = format!("substrate.{}.disk.qcow2", machine.id);
    let others = [
        image,
        format!("substrate.{}.disk.qcow2", neighbour.id),
        // Named like ours by somebody, and like the machine.
        format!("{}.disk.qcow2", machine.id),
        format!("substrate.{}", machine.id),
        format!("{mark}-backup"),
    ];
    for other in &others {
        if pool.lookup_storage_vol_by_name(other).is_err() {
            virt::storage_vol::StorageVol::create_xml(&pool, &volume(other), 0).unwrap();
        }
    }
    let before = pool.list_volumes().unwrap();
    assert!(before.contains(&own) && others.iter().all(|other| before.contains(other)), "{before:?}");
    libvirt.delete_instance(&config.name, false).await.unwrap();
    let after = pool.list_volumes().unwrap();
    assert!(!after.contains(&own), "{after:?}");
    assert!(others.iter().all(|other| after.contains(other)), "{others:?} were there, {after:?} are left");
}

#[tokio::test]
async fn a_machine_takes_its_own_disk_and_nothing_else() {
    only_its_own_goes("owner", LibvirtConfig::default()).await;
}

#[tokio::test]
async fn a_machine_takes_nothing_else_where_snapshots_are_files_too() {
    only_its_own_goes("keeper", LibvirtConfig::default().with_snapshots(SnapshotForm::External)).await;
}
