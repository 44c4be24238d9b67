//! Snapshots of claims on the real API server, with a stand-in for CSI's controller: no disk is behind them.

use std::time::Duration;

use serde_json::json;
use substrate_core::{
    Operation, SnapshotConfig, Substrate, VolumeMount, VolumeName, VolumeSource, VolumeSpec,
};

use crate::lab::{Lab, variable};
use crate::stand_in::Snapshotter;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: k8s"]
async fn the_claims_of_an_instance_are_snapshotted_and_a_volume_is_made_of_a_snapshot() {
    let lab = Lab::new();
    let _snapshotter = Snapshotter::up(&variable(""), &variable("_NAMESPACE"), &lab.prefix).await;
    let cluster = lab.cluster().await;
    let impatient = lab.connected(lab.settings().with_start_timeout(Duration::from_secs(8))).await;
    assert!(cluster.descriptor().capabilities.can(Operation::CreateSnapshot));
    let mut config = lab.config("kept");
    for part in ["data", "logs"] {
        let claim: VolumeName = lab.named(part).as_str().parse().unwrap();
        cluster.create_volume(&VolumeSpec::new(claim.clone())).await.unwrap();
        let source = VolumeSource::Volume(claim);
        config = config.with_volume(VolumeMount { source, target: format!("/{part}"), read_only: false });
    }
    // Stopped: the lab has no storage that a claim could be bound to.
    cluster.create_instance(&config).await.unwrap();
    let snapshot = |name: &str, fate: &str| {
        SnapshotConfig::new(name.parse().unwrap()).with_description("a text").with_label("stand-in", fate)
    };
    let made = cluster.create_snapshot(&config.name, &snapshot("good", "succeeds")).await.unwrap();
    assert_eq!(made.size_bytes, Some(2 << 30), "of both claims");
    let again = cluster.create_snapshot(&config.name, &snapshot("good", "succeeds")).await.unwrap_err();
    assert!(again.is_already_exists(), "{again}");
    let error = impatient.create_snapshot(&config.name, &snapshot("bad", "fails")).await.unwrap_err();
    assert!(error.is_timeout() && error.message().contains("told to fail"), "{error}");
    let error = impatient.create_snapshot(&config.name, &snapshot("late", "never")).await.unwrap_err();
    assert!(error.is_timeout() && error.message().contains("says nothing"), "{error}");
    let listed = cluster.list_snapshots(&config.name).await.unwrap();
    assert_eq!(listed.len(), 1, "those that failed left nothing: {listed:?}");
    assert_eq!(listed[0].description.as_deref(), Some("a text"));

    let copy: VolumeName = lab.named("copy").as_str().parse().unwrap();
    let mut spec = VolumeSpec::new(copy.clone());
    spec.options.insert("snapshot".to_owned(), json!(format!("{}.good.0", config.name)));
    cluster.create_volume(&spec).await.unwrap();
    let claim = lab.ask("GET", "/api/v1", &format!("persistentvolumeclaims/{copy}"), None).await;
    assert_eq!(claim["spec"]["dataSource"]["name"], format!("{}.good.0", config.name));
    let restore = cluster.restore_snapshot(&config.name, &"good".parse().unwrap()).await.unwrap_err();
    assert!(restore.is_unsupported() && restore.to_string().contains("option `snapshot`"), "{restore}");

    cluster.delete_snapshot(&config.name, &"good".parse().unwrap()).await.unwrap();
    assert!(cluster.list_snapshots(&config.name).await.unwrap().is_empty());
    let gone = cluster.delete_snapshot(&config.name, &"good".parse().unwrap()).await.unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
}
