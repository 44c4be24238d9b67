//! Memory, power, and what a snapshot remembers.

use substrate_core::{InstanceState, SnapshotConfig, StopMode, Substrate};

use crate::lab::Lab;

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_snapshot_with_memory_brings_running_programs_back() {
    let lab = Lab::new().await;
    let config = lab.config("asleep");
    lab.running(&config).await;
    // In a file system in memory: nothing of it is on the disk.
    lab.run(&config.name, &["sh", "-c", "mount -t tmpfs tmpfs /mnt && echo kept > /mnt/note"]).await;
    let snapshot = SnapshotConfig::new("one".parse().unwrap()).with_memory();
    assert!(lab.libvirt.create_snapshot(&config.name, &snapshot).await.unwrap().memory);
    lab.run(&config.name, &["rm", "/mnt/note"]).await;
    lab.libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
    lab.libvirt.restore_snapshot(&config.name, &snapshot.name).await.unwrap();
    assert_eq!(lab.run(&config.name, &["cat", "/mnt/note"]).await, "kept\n");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_snapshot_of_a_running_machine_without_memory_does_not_say_that_it_has_some() {
    let lab = Lab::new().await;
    let config = lab.config("plain");
    lab.running(&config).await;
    let snapshot = SnapshotConfig::new("one".parse().unwrap()).with_description("before");
    assert!(!lab.libvirt.create_snapshot(&config.name, &snapshot).await.unwrap().memory);
    let listed = lab.libvirt.list_snapshots(&config.name).await.unwrap();
    assert_eq!((listed[0].memory, listed[0].description.as_deref()), (false, Some("before")));
    lab.libvirt.pause_instance(&config.name).await.unwrap();
    lab.libvirt.restore_snapshot(&config.name, &snapshot.name).await.unwrap();
    // Power as it was before the call.
    assert_eq!(lab.libvirt.get_instance(&config.name).await.unwrap().state, InstanceState::Paused);
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn memory_of_a_machine_that_is_off_is_a_conflict() {
    let lab = Lab::new().await;
    let config = lab.config("off");
    lab.libvirt.create_instance(&config).await.unwrap();
    let snapshot = SnapshotConfig::new("one".parse().unwrap()).with_memory();
    assert!(lab.libvirt.create_snapshot(&config.name, &snapshot).await.unwrap_err().is_conflict());
    assert!(lab.libvirt.list_snapshots(&config.name).await.unwrap().is_empty());
}
