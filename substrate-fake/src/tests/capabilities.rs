use std::time::Duration;

use substrate_core::{
    Capabilities, CloneConfig, Command, Feature, InstanceState, LogOptions, LogSource, NetworkConfig,
    NetworkName, NetworkSpec, Operation, ResourceLimits, SnapshotConfig, SnapshotName, StopMode, Substrate,
    SubstrateExt, VolumeName, VolumeSpec, WatchCursor, WatchItem, WatchOptions,
};

use super::{config, execute, get, name, running, state};
use crate::{CallOutcome, Fake};

fn without(features: &[Feature]) -> Fake {
    let start = Fake::default_capabilities();
    let capabilities = features.iter().fold(start, |rest, feature| rest.without(*feature, "not here"));
    Fake::builder().capabilities(capabilities).build()
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_not_declared_is_refused_before_any_effect() {
    let fake = Fake::builder().capabilities(Capabilities::required_only()).build();
    let web = running_plain(&fake).await;
    let error = fake.pause_instance(&web).await.unwrap_err();
    assert!(error.is_unsupported());
    assert_eq!(error.operation(), Some(Operation::PauseInstance));
    assert!(
        fake.create_network(&NetworkSpec::new(NetworkName::new("n").unwrap()))
            .await
            .unwrap_err()
            .is_unsupported()
    );
    assert!(fake.execute_command(&web, &Command::new(["true"])).await.unwrap_err().is_unsupported());
    assert!(fake.watch(&WatchOptions::from_now()).await.err().unwrap().is_unsupported());
    assert!(fake.world().instances().await.unwrap().len() == 1);
    assert!(matches!(fake.calls().last().unwrap().outcome, CallOutcome::Failed { .. }));
}

/// An instance without anything that needs a feature; on such a substrate it runs from the start.
async fn running_plain(fake: &Fake) -> substrate_core::InstanceName {
    fake.create_instance(&config("web")).await.unwrap();
    name("web")
}

#[tokio::test(start_paused = true)]
async fn without_create_stopped_a_created_instance_runs() {
    let fake = without(&[Feature::CreateStopped]);
    let created = fake.create_instance(&config("web")).await.unwrap();
    assert_eq!(created.state, InstanceState::Running);
    let hollow = config("hollow").with_command(["/no/such/program"]);
    assert!(fake.create_instance(&hollow).await.unwrap_err().is_invalid_input());
    assert!(!fake.instance_exists(&hollow.name).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn without_graceful_stop_a_stop_cannot_only_ask() {
    let fake = without(&[Feature::GracefulStop]);
    let web = running(&fake, "web", &[]).await;
    let ask = StopMode::Graceful(Duration::from_secs(1));
    assert!(fake.stop_instance(&web, ask).await.unwrap_err().is_unsupported());
    assert!(fake.restart_instance(&web, ask).await.unwrap_err().is_unsupported());
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
    fake.stop_instance(&web, StopMode::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_feature_running_instances_are_not_copied_or_changed() {
    let fake = without(&[
        Feature::SnapshotWhileRunning,
        Feature::CloneWhileRunning,
        Feature::LiveLimits,
        Feature::SnapshotMemory,
        Feature::NetworkLimit,
    ]);
    let web = running(&fake, "web", &[]).await;
    let snapshot = SnapshotConfig::new(SnapshotName::new("one").unwrap());
    assert!(fake.create_snapshot(&web, &snapshot).await.unwrap_err().is_conflict());
    assert!(fake.create_snapshot(&web, &snapshot.clone().with_memory()).await.unwrap_err().is_unsupported());
    assert!(fake.clone_instance(&web, &CloneConfig::new(name("copy"))).await.unwrap_err().is_conflict());
    let limits = ResourceLimits { memory_mb: Some(64), ..ResourceLimits::default() };
    assert!(fake.set_resource_limits(&web, &limits).await.unwrap_err().is_conflict());
    let network = ResourceLimits { network_mbps: Some(1.0), ..limits };
    fake.stop_instance(&web, StopMode::Force).await.unwrap();
    assert!(fake.set_resource_limits(&web, &network).await.unwrap_err().is_unsupported());
    assert_eq!(fake.get_resource_limits(&web).await.unwrap().memory_mb, None);
    fake.set_resource_limits(&web, &limits).await.unwrap();
    fake.create_snapshot(&web, &snapshot).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn options_that_are_not_declared_are_refused_and_not_ignored() {
    let fake = without(&[
        Feature::Labels,
        Feature::ResourceLabels,
        Feature::FixedAddress,
        Feature::LogFollow,
        Feature::LogStreamsApart,
        Feature::CommandUser,
        Feature::CommandResize,
        Feature::WatchResume,
    ]);
    assert!(fake.create_instance(&config("a").with_label("a", "b")).await.unwrap_err().is_unsupported());
    let web = running(&fake, "web", &[]).await;
    let labelled = CloneConfig::new(name("copy")).with_label("a", "b");
    assert!(fake.clone_instance(&web, &labelled).await.unwrap_err().is_unsupported());
    let volume = VolumeSpec::new(VolumeName::new("v").unwrap()).with_label("a", "b");
    assert!(fake.create_volume(&volume).await.unwrap_err().is_unsupported());
    let fixed =
        NetworkConfig::new(NetworkName::new("default").unwrap()).with_ip_address([100, 64, 9, 9].into());
    assert!(fake.attach_network(&web, &fixed).await.unwrap_err().is_unsupported());
    let follow = LogOptions::all().follow();
    assert!(fake.get_logs(&web, &follow).await.err().unwrap().is_unsupported());
    let user = Command::new(["whoami"]).with_user("nobody");
    assert!(fake.execute_command(&web, &user).await.unwrap_err().is_unsupported());
    execute(&fake, "web", &["log-err", "x"]).await.unwrap();
    assert_eq!(fake.tail_logs(&web, 1).await.unwrap()[0].source, LogSource::Stdout);
    let terminal = Command::new(["cat"]).interactive().with_terminal(Default::default());
    let mut session = fake.open_command(&web, &terminal).await.unwrap();
    assert!(session.input.resize(Default::default()).await.unwrap_err().is_unsupported());
    let resume = WatchOptions::after(WatchCursor("1".to_owned()));
    assert!(fake.watch(&resume).await.err().unwrap().is_unsupported());
    let mut watch = fake.watch(&WatchOptions::from_now()).await.unwrap();
    fake.stop_instance(&web, StopMode::Force).await.unwrap();
    let item = futures_util::StreamExt::next(&mut watch).await.unwrap().unwrap();
    assert!(matches!(item, WatchItem::Event { cursor: None, .. }));
    assert_eq!(get(&fake, "web").await.networks.len(), 1);
}
