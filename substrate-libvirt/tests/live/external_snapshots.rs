//! Snapshots in files beside the disk, on a libvirt that can bring them back.

use substrate_core::{
    CloneConfig, InstanceConfig, InstanceName, InstanceState, Snapshot, SnapshotConfig, StopMode, Substrate,
    VolumeSpec,
};
use substrate_libvirt::SnapshotForm;

use crate::lab::{Lab, raw, variable};

async fn lab() -> Lab {
    let uri = variable("SUBSTRATES_LAB_LIBVIRT_NEW");
    Lab::at(uri, |settings| settings.with_snapshots(SnapshotForm::External)).await
}

async fn take(lab: &Lab, name: &InstanceName, snapshot: SnapshotConfig) -> Snapshot {
    lab.libvirt.create_snapshot(name, &snapshot).await.unwrap()
}

fn called(name: &str) -> SnapshotConfig {
    SnapshotConfig::new(name.parse().unwrap())
}

async fn write(lab: &Lab, name: &InstanceName, text: &str) {
    lab.run(name, &["sh", "-c", r#"echo "$0" > /note"#, text]).await;
}

async fn read(lab: &Lab, name: &InstanceName) -> String {
    lab.run(name, &["cat", "/note"]).await.trim().to_owned()
}

/// The files of the pool whose names hold this.
fn files(lab: &Lab, part: &str) -> Vec<String> {
    let pool = raw(&lab.uri).lookup_storage_pool_by_name("machines").unwrap();
    pool.refresh(0).unwrap();
    let mut files = pool.list_volumes().unwrap();
    files.retain(|file| file.contains(part));
    files
}

#[tokio::test]
#[ignore = "live: libvirt-new"]
async fn a_running_machine_goes_back_and_forth_and_leaves_no_file() {
    let lab = lab().await;
    let config = lab.config("travels");
    let machine = lab.running(&config).await;
    let name = &config.name;
    write(&lab, name, "first").await;
    let taken = take(&lab, name, called("one").with_description("before the \"upgrade\"")).await;
    assert!(!taken.memory);
    assert_eq!(lab.libvirt.get_instance(name).await.unwrap().state, InstanceState::Running);
    write(&lab, name, "second").await;
    take(&lab, name, called("two")).await;
    write(&lab, name, "third").await;
    for (snapshot, text) in [("one", "first"), ("two", "second"), ("one", "first")] {
        lab.libvirt.restore_snapshot(name, &snapshot.parse().unwrap()).await.unwrap();
        assert_eq!(lab.libvirt.get_instance(name).await.unwrap().state, InstanceState::Running);
        assert_eq!(read(&lab, name).await, text);
    }
    // The machine stands on the first, and the second was taken of what came after it.
    let error = lab.libvirt.delete_snapshot(name, &"one".parse().unwrap()).await.unwrap_err();
    assert!(error.is_conflict(), "{error:?}");
    let listed = lab.libvirt.list_snapshots(name).await.unwrap();
    let names: Vec<&str> = listed.iter().map(|snapshot| snapshot.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(listed[0].description.as_deref(), Some("before the \"upgrade\""));
    lab.libvirt.delete_snapshot(name, &"two".parse().unwrap()).await.unwrap();
    lab.libvirt.delete_snapshot(name, &"one".parse().unwrap()).await.unwrap();
    assert_eq!(read(&lab, name).await, "first");
    // Disk and log.
    assert_eq!(files(&lab, &machine.id).len(), 2, "{:?}", files(&lab, &machine.id));
    lab.libvirt.delete_instance(name, true).await.unwrap();
    assert!(files(&lab, &machine.id).is_empty(), "{:?}", files(&lab, &machine.id));
}

#[tokio::test]
#[ignore = "live: libvirt-new"]
async fn memory_is_saved_where_it_is_asked_for_and_comes_back_running() {
    let lab = lab().await;
    let config = lab.config("asleep");
    let machine = lab.running(&config).await;
    let name = &config.name;
    lab.run(name, &["sh", "-c", "mount -t tmpfs tmpfs /mnt && echo kept > /mnt/note"]).await;
    assert!(take(&lab, name, called("one").with_memory()).await.memory);
    assert!(lab.libvirt.list_snapshots(name).await.unwrap()[0].memory);
    lab.run(name, &["rm", "/mnt/note"]).await;
    lab.libvirt.stop_instance(name, StopMode::Force).await.unwrap();
    lab.libvirt.restore_snapshot(name, &"one".parse().unwrap()).await.unwrap();
    assert_eq!(lab.run(name, &["cat", "/mnt/note"]).await, "kept\n");
    // With its snapshot, and all files of it, also by a handle that knows nothing of external snapshots.
    assert!(files(&lab, &machine.id).len() > 2);
    let plain = Lab::at(lab.uri.clone(), |settings| settings).await;
    plain.libvirt.delete_instance(name, true).await.unwrap();
    assert!(files(&lab, &machine.id).is_empty(), "{:?}", files(&lab, &machine.id));
}

#[tokio::test]
#[ignore = "live: libvirt-new"]
async fn a_copy_of_a_snapshot_begins_as_it_was_and_depends_on_nothing_of_its_source() {
    let lab = lab().await;
    let config = lab.config("source");
    lab.running(&config).await;
    write(&lab, &config.name, "first").await;
    take(&lab, &config.name, called("one")).await;
    write(&lab, &config.name, "second").await;
    lab.libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
    let mut of_then = CloneConfig::new(lab.named("then"));
    of_then.snapshot = Some("one".parse().unwrap());
    let of_now = CloneConfig::new(lab.named("now"));
    for copy in [&of_then, &of_now] {
        lab.libvirt.clone_instance(&config.name, copy).await.unwrap();
    }
    for _ in 0..4 {
        // Several within one second.
        lab.libvirt.restore_snapshot(&config.name, &"one".parse().unwrap()).await.unwrap();
    }
    assert_eq!(lab.libvirt.get_instance(&config.name).await.unwrap().state, InstanceState::Stopped);
    lab.libvirt.delete_instance(&config.name, false).await.unwrap();
    for (copy, text) in [(&of_then, "first"), (&of_now, "second")] {
        assert!(lab.libvirt.list_snapshots(&copy.name).await.unwrap().is_empty());
        lab.libvirt.start_instance(&copy.name).await.unwrap();
        assert_eq!(read(&lab, &copy.name).await, text);
    }
}

#[tokio::test]
#[ignore = "live: libvirt-new"]
async fn a_raw_disk_that_is_nobodys_stays_with_what_was_written_since() {
    let lab = lab().await;
    let mut spec = VolumeSpec::new(format!("{}-disk", lab.prefix).parse().unwrap()).with_size_bytes(1 << 20);
    spec.options.insert("format".into(), "raw".into());
    let volume = lab.libvirt.create_volume(&spec).await.unwrap();
    let xml = format!(
        "<domain type='qemu'><name>x</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64'>hvm</type></os><devices><disk type='file' device='disk'>\
         <driver name='qemu' type='raw'/><source file='{}'/><target dev='vda' bus='virtio'/></disk></devices></domain>",
        volume.id
    );
    let config = InstanceConfig::new(lab.named("given")).with_option("xml", xml);
    let machine = lab.running(&config).await;
    take(&lab, &config.name, called("one")).await;
    take(&lab, &config.name, called("two").with_memory()).await;
    lab.libvirt.restore_snapshot(&config.name, &"one".parse().unwrap()).await.unwrap();
    // The disk is in use below what stands in its place.
    assert!(lab.libvirt.delete_volume(&volume.name).await.unwrap_err().is_conflict());
    lab.libvirt.delete_instance(&config.name, true).await.unwrap();
    assert!(files(&lab, &machine.id).is_empty(), "{:?}", files(&lab, &machine.id));
    // The disk, what came after the first snapshot, and where it stood at last.
    let left = files(&lab, &format!("{}-disk", lab.prefix));
    assert_eq!(left.len(), 3, "{left:?}");
    for file in left {
        lab.libvirt.delete_volume(&file.parse().unwrap()).await.unwrap();
    }
}
