//! Volumes and images.

use substrate_core::{
    InstanceConfig, InstanceKind, NetworkSpec, SnapshotConfig, Substrate, VolumeMount, VolumeName,
    VolumeSource, VolumeSpec, mark,
};
use substrate_proxmox::ProxmoxSubstrate;
use substrate_proxmox_double::Setup;

use crate::double::{config, machine, name, number_of, pair, pair_of};

fn volume(text: &str) -> VolumeSpec {
    VolumeSpec::new(VolumeName::new(text).unwrap())
}

#[tokio::test]
async fn only_a_disk_that_is_nobodys_is_deleted() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    double.add_orphan("local:999/vm-999-disk-0.qcow2", 1 << 30, 999);
    let volumes = substrate.list_volumes().await.unwrap();
    assert_eq!(volumes.len(), 2);
    for volume in volumes {
        let deleted = substrate.delete_volume(&volume.name).await;
        if volume.name == "local:999/vm-999-disk-0.qcow2" {
            deleted.unwrap();
        } else {
            assert!(deleted.unwrap_err().is_conflict());
        }
    }
    let again = VolumeName::new("local:999/vm-999-disk-0.qcow2").unwrap();
    assert!(substrate.delete_volume(&again).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_volume_carries_its_name_and_marks_from_the_call_that_makes_it() {
    let (double, substrate) = pair().await;
    let spec =
        volume("data").with_size_bytes(3 << 30).with_label(mark::DEPLOYMENT, "shop").with_label("a", "b c");
    double.take_requests();
    let made = substrate.create_volume(&spec).await.unwrap();
    let changes: Vec<String> =
        double.take_requests().into_iter().filter(|one| !one.starts_with("GET")).collect();
    assert_eq!(changes, ["POST /nodes/pve/storage/local/content"]);
    assert_eq!((made.size_bytes, made.location.as_deref()), (Some(3 << 30), Some("pve/local")));
    assert!(
        made.id.starts_with("local:999999999/vm-999999999-data.") && made.id.ends_with(".qcow2"),
        "{}",
        made.id
    );
    // Another handle sees the same.
    let fresh = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    assert_eq!(fresh.list_volumes().await.unwrap(), [made]);
}

#[tokio::test]
async fn a_volume_of_an_ambiguous_name_is_left_alone() {
    let (double, substrate) = pair().await;
    for storage in ["local:999999999/vm-999999999-data.qcow2", "tank:vm-999999999-data"] {
        double.add_orphan(storage, 1 << 30, 999_999_999);
    }
    let both = VolumeName::new("data").unwrap();
    let error = substrate.delete_volume(&both).await.unwrap_err();
    assert!(error.is_conflict() && error.hint().is_some_and(|hint| hint.contains("tank:")), "{error}");
    assert!(substrate.create_volume(&volume("data")).await.unwrap_err().is_already_exists());
    substrate.delete_volume(&VolumeName::new("tank:vm-999999999-data").unwrap()).await.unwrap();
    substrate.delete_volume(&both).await.unwrap();
}

#[tokio::test]
async fn a_machine_gets_a_volume_as_a_disk_and_the_volume_outlives_it() {
    let (double, substrate) = pair().await;
    let made = substrate.create_volume(&volume("data")).await.unwrap();
    let config = machine("web").with_option("disks", vec!["data"]);
    substrate.create_instance(&config).await.unwrap();
    let guest = double.guests()[&number_of(&double, "web")].clone();
    assert_eq!(guest["scsi1"], made.id.as_str());
    let error = substrate.delete_volume(&made.name).await.unwrap_err();
    assert!(error.is_conflict() && error.message().contains("web"), "{error}");
    substrate.delete_instance(&name("web"), false).await.unwrap();
    assert_eq!(substrate.list_volumes().await.unwrap().len(), 1);
    substrate.delete_volume(&made.name).await.unwrap();
    // A mount point is refused, before anything is made.
    let source = VolumeSource::Volume("data".parse().unwrap());
    let mount = VolumeMount { source, target: "/data".into(), read_only: false };
    assert!(
        substrate.create_instance(&machine("web").with_volume(mount)).await.unwrap_err().is_unsupported()
    );
    assert!(double.guests().is_empty());
}

#[tokio::test]
async fn a_container_is_made_on_the_node_that_has_its_volume() {
    let nodes = vec!["pve1".to_owned(), "pve2".to_owned()];
    let (double, substrate) = pair_of(Setup { nodes, ..Setup::default() }).await;
    let mut spec = volume("data").with_size_bytes(1 << 30);
    spec.location = Some("pve2/tank".to_owned());
    spec.options.insert("format".to_owned(), "subvol".into());
    let made = substrate.create_volume(&spec).await.unwrap();
    assert_eq!(made.id, "tank:subvol-999999999-data");
    let source = VolumeSource::Volume(made.name.clone());
    let config = InstanceConfig::new(name("ct"))
        .with_kind(InstanceKind::Container)
        .with_image("local:vztmpl/labct_1.0_amd64.tar.gz")
        .with_volume(VolumeMount { source, target: "/data".into(), read_only: true });
    substrate.create_instance(&config).await.unwrap();
    let vmid = number_of(&double, "ct");
    assert_eq!(double.node_of(vmid).as_deref(), Some("pve2"));
    assert_eq!(double.guests()[&vmid]["mp0"], "tank:subvol-999999999-data,mp=/data,ro=1");
    let mut elsewhere = config.with_option("node", "pve1");
    elsewhere.name = name("ct2");
    assert!(substrate.create_instance(&elsewhere).await.unwrap_err().is_conflict());
}

#[tokio::test]
async fn an_image_is_fetched_by_a_node_once() {
    let (double, substrate) = pair().await;
    for reference in
        ["local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst", "https://example.org/debian.qcow2#sha256:0a"]
    {
        double.take_requests();
        let first = substrate.ensure_image(reference).await.unwrap();
        assert_eq!(substrate.ensure_image(reference).await.unwrap(), first);
        let sent = double.take_requests();
        assert_eq!(sent.iter().filter(|one| one.starts_with("POST")).count(), 1, "{sent:?}");
    }
    let error = substrate.ensure_image("https://example.org/missing.iso").await.unwrap_err();
    assert!(error.message().contains("404"), "{error}");
}

#[tokio::test]
async fn snapshots_and_networks_keep_labels() {
    let (double, substrate) = pair().await;
    substrate.create_instance(&machine("web")).await.unwrap();
    let snapshot = SnapshotConfig::new("s1".parse().unwrap()).with_label("role", "before \"upgrade\"");
    let made = substrate.create_snapshot(&name("web"), &snapshot).await.unwrap();
    assert_eq!((made.labels, made.description), (snapshot.labels, None));
    let spec = NetworkSpec::new("a network".parse().unwrap()).with_label("role", "front");
    substrate.create_network(&spec).await.unwrap();
    let fresh = ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    let networks = fresh.list_networks().await.unwrap();
    assert_eq!(networks[0].labels, spec.labels);
}
