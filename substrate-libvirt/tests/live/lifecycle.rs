//! Lives that the suite does not lead.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use substrate_core::{
    CloudInit, EventKind, InstanceConfig, InstanceFilter, InstanceState, SnapshotConfig, StopMode, Substrate,
    VolumeSpec, WatchItem, WatchOptions,
};
use virt::sys;

use crate::lab::{Lab, raw, until};

const BRIEF: Duration = Duration::from_millis(300);

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_guest_that_does_not_listen_is_asked_again_and_never_killed_silently() {
    let lab = Lab::new().await;
    let config = lab.config_with("deaf", "substrates.deaf");
    lab.running(&config).await;
    let error = lab
        .libvirt
        .stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(6)))
        .await
        .unwrap_err();
    assert!(error.is_timeout() && error.message().contains("asked 3 times"), "{error}");
    assert_eq!(error.outcome(), substrate_core::Outcome::Rejected);
    let state = lab.libvirt.get_instance(&config.name).await.unwrap().state;
    assert_eq!(state, InstanceState::Running);
    lab.libvirt.stop_instance(&config.name, StopMode::GracefulThenForce(BRIEF)).await.unwrap();
    let stopped = lab.libvirt.get_instance(&config.name).await.unwrap();
    assert_eq!(stopped.provider_state, "shut off (destroyed)");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_guest_that_was_still_booting_hears_a_later_request() {
    let lab = Lab::new().await;
    let config = lab.config("early");
    lab.running(&config).await;
    // At once: nobody listens yet.
    lab.libvirt.stop_instance(&config.name, StopMode::Graceful(Duration::from_secs(90))).await.unwrap();
    let stopped = lab.libvirt.get_instance(&config.name).await.unwrap();
    assert_eq!(stopped.provider_state, "shut off (shutdown)");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_saved_machine_with_snapshots_is_deleted_with_everything() {
    let lab = Lab::new().await;
    let config = lab.config("saved");
    let machine = lab.running(&config).await;
    lab.libvirt.create_snapshot(&config.name, &SnapshotConfig::new("one".parse().unwrap())).await.unwrap();
    let connect = raw(&lab.uri);
    let domain = connect.lookup_domain_by_name(config.name.as_str()).unwrap();
    domain.managed_save(0).unwrap();
    assert!(domain.undefine().is_err(), "plain undefine refuses it");
    lab.libvirt.delete_instance(&config.name, false).await.unwrap();
    assert!(lab.libvirt.get_instance(&config.name).await.unwrap_err().is_not_found());
    let pool = connect.lookup_storage_pool_by_name("machines").unwrap();
    pool.refresh(0).unwrap();
    let left: Vec<String> = pool.list_volumes().unwrap();
    assert!(left.iter().all(|volume| !volume.contains(&machine.id)), "{left:?}");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_saved_machine_starts_where_it_was() {
    let lab = Lab::new().await;
    let config = lab.config("saved");
    lab.running(&config).await;
    lab.run(&config.name, &["sh", "-c", "echo here > /run/mark"]).await;
    let connect = raw(&lab.uri);
    connect.lookup_domain_by_name(config.name.as_str()).unwrap().managed_save(0).unwrap();
    let saved = lab.libvirt.get_instance(&config.name).await.unwrap();
    assert_eq!(saved.provider_state, "shut off (saved)");
    lab.libvirt.start_instance(&config.name).await.unwrap();
    let running = lab.libvirt.get_instance(&config.name).await.unwrap();
    assert_eq!(running.provider_state, "running (restored)");
    // A file system in memory: the machine went on, it did not boot.
    assert_eq!(lab.run(&config.name, &["cat", "/run/mark"]).await, "here\n");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_transient_machine_of_others_is_seen_and_vanishes_when_it_stops() {
    let lab = Lab::new().await;
    let connect = raw(&lab.uri);
    let named = lab.named("transient");
    let xml = format!(
        "<domain type='qemu'><name>{named}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64'>hvm</type></os></domain>"
    );
    connect.create_domain_xml(&xml, sys::VIR_DOMAIN_NONE).unwrap();
    let found = lab.libvirt.get_instance(&named).await.unwrap();
    assert_eq!(found.state, InstanceState::Running);
    assert!(found.labels.is_empty() && found.created_at.is_none());
    lab.libvirt.stop_instance(&named, StopMode::Force).await.unwrap();
    assert!(lab.libvirt.get_instance(&named).await.unwrap_err().is_not_found());
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_machine_from_given_xml_keeps_its_disk_when_it_is_deleted() {
    let lab = Lab::new().await;
    let mut spec = VolumeSpec::new(format!("{}-disk", lab.prefix).parse().unwrap()).with_size_bytes(1 << 20);
    spec.options.insert("format".into(), "raw".into());
    let volume = lab.libvirt.create_volume(&spec).await.unwrap();
    let xml = format!(
        "<domain type='qemu'><name>x</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64'>hvm</type></os><devices><disk type='file' device='disk'>\
         <driver name='qemu' type='raw'/><source file='{}'/><target dev='vda' bus='virtio'/></disk></devices></domain>",
        volume.id
    );
    let config = InstanceConfig::new(lab.named("given")).with_option("xml", xml).with_label("role", "odd");
    let made = lab.libvirt.create_instance(&config).await.unwrap();
    assert_eq!((made.name.as_str(), made.labels.get("role")), (config.name.as_str(), Some("odd")));
    // Raw disks have no internal snapshots, and libvirt says so before anything happens.
    let snapshot = SnapshotConfig::new("one".parse().unwrap());
    let error = lab.libvirt.create_snapshot(&config.name, &snapshot).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert!(lab.libvirt.delete_volume(&volume.name).await.unwrap_err().is_conflict());
    lab.libvirt.delete_instance(&config.name, true).await.unwrap();
    lab.libvirt.delete_volume(&volume.name).await.unwrap();
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_copied_disk_depends_on_no_image() {
    let lab = Lab::new().await;
    let config = lab.config("whole").with_option("disk", "copy");
    let machine = lab.running(&config).await;
    let connect = raw(&lab.uri);
    let pool = connect.lookup_storage_pool_by_name("machines").unwrap();
    let disk = pool.lookup_storage_vol_by_name(&format!("substrate.{}.disk.qcow2", machine.id)).unwrap();
    assert!(!disk.xml_desc(0).unwrap().contains("backingStore"));
    assert_eq!(lab.run(&config.name, &["cat", "/etc/group"]).await.lines().count(), 2);
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_reset_is_no_stop_and_no_start() {
    let lab = Lab::new().await;
    let config = lab.config("reset");
    lab.running(&config).await;
    let mut events = lab.libvirt.watch(&WatchOptions::from_now()).await.unwrap();
    let connect = raw(&lab.uri);
    connect.lookup_domain_by_name(config.name.as_str()).unwrap().reset().unwrap();
    lab.libvirt.pause_instance(&config.name).await.unwrap();
    loop {
        let Some(Ok(WatchItem::Event { event, .. })) = events.next().await else { panic!("the watch ended") };
        if event.instance.as_ref() != Some(&config.name) {
            continue;
        }
        assert!(!matches!(event.kind, EventKind::Stopped | EventKind::Started), "{event}");
        if event.kind == EventKind::Paused {
            break;
        }
    }
}

#[tokio::test]
#[ignore = "live: libvirt, alone"]
async fn two_hundred_defined_machines_are_listed_with_their_state() {
    const MACHINES: usize = 200;
    // Where nobody else makes anything meanwhile.
    let victim = crate::outages::victim().await;
    let lab = &victim.lab;
    let connect = raw(&lab.uri);
    for number in 0..MACHINES {
        let xml = format!(
            "<domain type='qemu'><name>{}-{number:03}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64'>hvm</type></os></domain>",
            lab.prefix
        );
        connect.define_domain_xml(&xml).unwrap();
    }
    let filter = InstanceFilter::all().with_name_prefix(&lab.prefix);
    // The fastest of each, in turns: what else goes on on this machine only adds to both. The first list also reads.
    let (mut ours, mut theirs) = (Duration::MAX, Duration::MAX);
    let mut ratio = f64::MAX;
    for round in 0..200 {
        let begin = Instant::now();
        let listed = lab.libvirt.list_instances(&filter).await.unwrap();
        let own = begin.elapsed();
        assert_eq!(listed.len(), MACHINES);
        assert!(listed.iter().all(|machine| machine.state == InstanceState::Stopped));
        let begin = Instant::now();
        // The library's own bulk call for the states, and what describes each.
        let states = connect.all_domain_stats(sys::VIR_DOMAIN_STATS_STATE, 0).unwrap();
        assert!(states.len() >= MACHINES);
        for domain in connect.list_all_domains(0).unwrap() {
            assert!(!domain.xml_desc(sys::VIR_DOMAIN_XML_INACTIVE).unwrap().is_empty());
        }
        theirs = theirs.min(begin.elapsed());
        if round > 0 {
            ours = ours.min(own);
            ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        }
        if round >= 10 && ratio <= 1.2 {
            break;
        }
    }
    println!("{MACHINES} machines: ours {ours:?}, the library's bare calls {theirs:?}, ratio {ratio:.2}");
    assert!(ratio <= 1.2, "the list takes {ratio:.2} of its bare calls' time");
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_busy_core_is_measured_and_a_restart_gives_no_spike() {
    let lab = Lab::new().await;
    let config = lab.config("busy");
    lab.running(&config).await;
    lab.run(&config.name, &["sh", "-c", "while :; do :; done >/dev/null 2>&1 &"]).await;
    until("a busy core is measured", async || {
        let usage = lab.libvirt.get_metrics(&config.name).await.unwrap();
        assert!(usage.cpu_percent.is_none_or(|percent| (0.0..150.0).contains(&percent)), "{usage:?}");
        usage.cpu_percent.is_some_and(|percent| percent > 20.0)
    })
    .await;
    lab.libvirt.restart_instance(&config.name, StopMode::Force).await.unwrap();
    for _ in 0..2 {
        let usage = lab.libvirt.get_metrics(&config.name).await.unwrap();
        assert!(usage.cpu_percent.is_none_or(|percent| (0.0..300.0).contains(&percent)), "{usage:?}");
        assert!(usage.memory_mb.is_some_and(|used| used > 1.0), "{usage:?}");
    }
}

#[tokio::test]
#[ignore = "live: libvirt"]
async fn a_machine_finds_its_cloud_init_data_and_so_does_its_copy() {
    let lab = Lab::new().await;
    let user_data = "#cloud-config\nhostname: größe\n";
    let mut data = CloudInit::new(user_data);
    data.network_config = Some("version: 2\n".to_owned());
    let config = lab.config("seeded").with_cloud_init(data);
    let machine = lab.libvirt.create_instance(&config).await.unwrap();
    let copy = substrate_core::CloneConfig::new(lab.named("copy"));
    lab.libvirt.clone_instance(&config.name, &copy).await.unwrap();
    let look = "for m in fat vfat nls_cp437 nls_ascii; do insmod /lib/$m.ko; done; \
                mount -t vfat -o ro,iocharset=ascii /dev/vdb /mnt || exit 1; cat /mnt/$0";
    for name in [&config.name, &copy.name] {
        lab.libvirt.start_instance(name).await.unwrap();
        let read = lab.run(name, &["sh", "-c", look, "user-data"]).await;
        assert_eq!(read, user_data);
        let meta = lab.run(name, &["cat", "/mnt/meta-data"]).await;
        assert!(meta.contains(&machine.id) && meta.contains(config.name.as_str()), "{meta}");
        assert_eq!(lab.run(name, &["cat", "/mnt/network-config"]).await, "version: 2\n");
        lab.libvirt.delete_instance(name, true).await.unwrap();
    }
    let connect = raw(&lab.uri);
    let left = connect.lookup_storage_pool_by_name("machines").unwrap().list_volumes().unwrap();
    assert!(left.iter().all(|volume| !volume.contains(&machine.id)), "{left:?}");
}
