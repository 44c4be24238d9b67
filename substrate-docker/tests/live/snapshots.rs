//! Snapshots, restores, copies.

use substrate_core::{
    CloneConfig, Command, InstanceFilter, InstanceState, NetworkConfig, NetworkSpec, SnapshotConfig,
    SnapshotName, Substrate,
};

use crate::lab::{Lab, SERVE};

fn snapshot(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

async fn write(lab: &Lab, name: &substrate_core::InstanceName, text: &str) {
    let command = Command::new(["sh", "-c", "printf %s \"$1\" > \"$0\"", "/state", text]);
    assert!(lab.docker.execute_command(name, &command).await.unwrap().success());
}

async fn read(lab: &Lab, name: &substrate_core::InstanceName) -> String {
    lab.docker.execute_command(name, &Command::new(["cat", "/state"])).await.unwrap().stdout_text()
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_restore_brings_content_back_and_keeps_everything_else() {
    let lab = Lab::new().await;
    let network = lab.named("net");
    let spec = NetworkSpec::new(network.as_str().parse().unwrap()).with_subnet("10.210.36.0/24");
    lab.docker.create_network(&spec).await.unwrap();
    let second = NetworkSpec::new(lab.named("net2").as_str().parse().unwrap()).with_subnet("10.210.37.0/24");
    lab.docker.create_network(&second).await.unwrap();
    let config = lab
        .config("a", SERVE)
        .with_network(NetworkConfig::new(spec.name.clone()).with_ip_address("10.210.36.7".parse().unwrap()))
        .with_network(NetworkConfig::new(second.name.clone()).with_ip_address("10.210.37.7".parse().unwrap()))
        .with_label("role", "web")
        .with_metadata("owner", "me")
        .with_memory_mb(64)
        .with_environment("A", "b");
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    write(&lab, &config.name, "one").await;
    let taken =
        SnapshotConfig::new(snapshot("before upgrade/ä")).with_label("k", "v").with_description("why");
    let made = lab.docker.create_snapshot(&config.name, &taken).await.unwrap();
    assert_eq!((&made.name, &made.labels, made.memory), (&taken.name, &taken.labels, false));
    assert!(lab.docker.create_snapshot(&config.name, &taken).await.unwrap_err().is_already_exists());
    write(&lab, &config.name, "two").await;
    lab.docker.create_snapshot(&config.name, &SnapshotConfig::new(snapshot("second"))).await.unwrap();
    let before = lab.docker.get_instance(&config.name).await.unwrap();
    for (name, text) in [("before upgrade/ä", "one"), ("second", "two"), ("before upgrade/ä", "one")] {
        lab.docker.restore_snapshot(&config.name, &snapshot(name)).await.unwrap();
        assert_eq!(read(&lab, &config.name).await, text);
    }
    let after = lab.docker.get_instance(&config.name).await.unwrap();
    assert_ne!(before.id, after.id);
    assert_eq!(after.state, InstanceState::Running);
    assert_eq!(
        (&before.labels, &before.metadata, &before.image),
        (&after.labels, &after.metadata, &after.image)
    );
    assert_eq!((&before.addresses, before.limits), (&after.addresses, after.limits));
    let names: Vec<_> = lab.docker.list_snapshots(&config.name).await.unwrap();
    assert_eq!(
        names.iter().map(|taken| taken.name.as_str()).collect::<Vec<_>>(),
        ["before upgrade/ä", "second"]
    );
    let env = lab.docker.execute_command(&config.name, &Command::new(["sh", "-c", "echo $A"])).await.unwrap();
    assert_eq!(env.stdout_text(), "b\n");
    let missing = lab.docker.restore_snapshot(&config.name, &snapshot("none")).await.unwrap_err();
    assert!(missing.is_not_found());
    lab.docker.delete_snapshot(&config.name, &snapshot("second")).await.unwrap();
    assert!(lab.docker.delete_snapshot(&config.name, &snapshot("second")).await.unwrap_err().is_not_found());
    // The snapshot that it runs on can be deleted too.
    lab.docker.delete_snapshot(&config.name, &snapshot("before upgrade/ä")).await.unwrap();
    assert!(lab.docker.list_snapshots(&config.name).await.unwrap().is_empty());
    lab.docker.delete_instance(&config.name, true).await.unwrap();
    let mine = InstanceFilter::all().with_name_prefix(&lab.prefix);
    assert!(lab.docker.list_instances(&mine).await.unwrap().is_empty());
    assert_no_images_of(&lab, &before.id).await;
}

/// Other tests make images at the same time: what counts is that none of this line is left.
async fn assert_no_images_of(lab: &Lab, lineage: &str) {
    let all = lab.docker.list_images().await.unwrap();
    assert!(!all.iter().any(|image| image.names.iter().any(|name| name.contains(lineage))));
}

#[tokio::test]
#[ignore = "live: docker"]
async fn power_is_as_it_was_before_a_restore() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    lab.docker.create_snapshot(&instance.name, &SnapshotConfig::new(snapshot("s"))).await.unwrap();
    lab.docker.pause_instance(&instance.name).await.unwrap();
    lab.docker.restore_snapshot(&instance.name, &snapshot("s")).await.unwrap();
    assert_eq!(lab.docker.get_instance(&instance.name).await.unwrap().state, InstanceState::Paused);
    lab.docker.stop_instance(&instance.name, substrate_core::StopMode::Force).await.unwrap();
    lab.docker.restore_snapshot(&instance.name, &snapshot("s")).await.unwrap();
    assert_eq!(lab.docker.get_instance(&instance.name).await.unwrap().state, InstanceState::Stopped);
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_copy_has_its_own_labels_and_goes_its_own_way() {
    let lab = Lab::new().await;
    let config = lab.config("a", SERVE).with_label("role", "web").with_label("substrate.key", "source");
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    write(&lab, &config.name, "one").await;
    lab.docker.create_snapshot(&config.name, &SnapshotConfig::new(snapshot("s"))).await.unwrap();
    write(&lab, &config.name, "two").await;
    let now = CloneConfig::new(lab.named("now")).with_label("role", "copy");
    let then = CloneConfig::new(lab.named("then")).from_snapshot(snapshot("s"));
    let copy = lab.docker.clone_instance(&config.name, &now).await.unwrap();
    assert_eq!(copy.labels, now.labels);
    assert_eq!(copy.state, InstanceState::Stopped);
    assert_eq!(copy.image, Some(crate::lab::image()));
    assert!(lab.docker.clone_instance(&config.name, &now).await.unwrap_err().is_already_exists());
    let old = lab.docker.clone_instance(&config.name, &then).await.unwrap();
    assert!(old.labels.is_empty(), "{:?}", old.labels);
    let marked = InstanceFilter::all().with_label("substrate.key", "source").with_name_prefix(&lab.prefix);
    assert_eq!(lab.docker.list_instances(&marked).await.unwrap().len(), 1, "a mark belongs to one instance");
    assert!(lab.docker.list_snapshots(&now.name).await.unwrap().is_empty());
    lab.docker.delete_instance(&config.name, true).await.unwrap();
    for (copy, text) in [(&now.name, "two"), (&then.name, "one")] {
        lab.docker.start_instance(copy).await.unwrap();
        assert_eq!(read(&lab, copy).await, text);
    }
    lab.docker.create_snapshot(&now.name, &SnapshotConfig::new(snapshot("own"))).await.unwrap();
    lab.docker.restore_snapshot(&now.name, &snapshot("own")).await.unwrap();
    assert_eq!(lab.docker.get_instance(&now.name).await.unwrap().labels, now.labels);
    for copy in [&now.name, &then.name] {
        lab.docker.delete_instance(copy, true).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_copy_that_is_broken_off_leaves_nothing_when_its_source_is_deleted() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let config = CloneConfig::new(lab.named("half"));
    for milliseconds in [20, 60, 100, 150] {
        let limit = std::time::Duration::from_millis(milliseconds);
        let _ = tokio::time::timeout(limit, lab.docker.clone_instance(&instance.name, &config)).await;
    }
    // The daemon finishes a commit that nobody waits for: until it has, its image is not there to be deleted.
    let mut before = usize::MAX;
    let mut quiet = 0;
    crate::lab::until("the daemon has worked off what was sent", async || {
        let _ = lab.docker.delete_instance(&config.name, true).await;
        let now = images_of(&instance.id).await;
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        quiet > 40
    })
    .await;
    lab.docker.delete_instance(&instance.name, true).await.unwrap();
    assert_eq!(images_of(&instance.id).await, 0);
}

/// How many images were made to copy this container.
async fn images_of(source: &str) -> usize {
    let filters = [("label".to_owned(), vec![format!("substrate.snapshot.source={source}")])].into();
    let options =
        bollard::query_parameters::ListImagesOptions { filters: Some(filters), ..Default::default() };
    crate::lab::raw().list_images(Some(options)).await.unwrap().len()
}

#[tokio::test]
#[ignore = "live: docker"]
async fn an_interrupted_restore_is_finished_by_the_next_one() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    write(&lab, &instance.name, "one").await;
    lab.docker.create_snapshot(&instance.name, &SnapshotConfig::new(snapshot("s"))).await.unwrap();
    write(&lab, &instance.name, "two").await;
    for milliseconds in [10, 30, 60, 100, 150, 200, 300, 400, 600, 800] {
        let limit = std::time::Duration::from_millis(milliseconds);
        let _ =
            tokio::time::timeout(limit, lab.docker.restore_snapshot(&instance.name, &snapshot("s"))).await;
    }
    lab.docker.restore_snapshot(&instance.name, &snapshot("s")).await.unwrap();
    let all = lab.docker.list_instances(&InstanceFilter::all().with_name_prefix(&lab.prefix)).await.unwrap();
    let names: Vec<_> = all.iter().map(|instance| instance.name.as_str()).collect();
    assert_eq!(names, [instance.name.as_str()]);
    lab.docker.start_instance(&instance.name).await.unwrap();
    assert_eq!(read(&lab, &instance.name).await, "one");
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_restore_that_fails_leaves_everything_as_it_was() {
    let lab = Lab::new().await;
    let spec = NetworkSpec::new(lab.named("net").as_str().parse().unwrap()).with_subnet("10.210.38.0/24");
    lab.docker.create_network(&spec).await.unwrap();
    let config = lab.config("a", SERVE).with_network(NetworkConfig::new(spec.name.clone()));
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    lab.docker.create_snapshot(&config.name, &SnapshotConfig::new(snapshot("s"))).await.unwrap();
    let before = lab.docker.get_instance(&config.name).await.unwrap();
    // Somebody holds the name that the old container would be put aside under.
    let aside = format!("{}.substrate-old-{}", config.name, &before.id[..12]);
    let mut squatter = lab.config("x", SERVE);
    squatter.name = aside.parse().unwrap();
    lab.docker.create_instance(&squatter).await.unwrap();
    let error = lab.docker.restore_snapshot(&config.name, &snapshot("s")).await.unwrap_err();
    assert_eq!(error.outcome(), substrate_core::Outcome::Rejected, "{error}");
    let after = lab.docker.get_instance(&config.name).await.unwrap();
    assert_eq!((&before.id, before.state), (&after.id, after.state));
    lab.docker.delete_instance(&squatter.name, true).await.unwrap();
    lab.docker.restore_snapshot(&config.name, &snapshot("s")).await.unwrap();
}

#[tokio::test]
#[ignore = "live: docker"]
async fn memory_is_not_snapshotted() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let config = SnapshotConfig::new(snapshot("s")).with_memory();
    assert!(lab.docker.create_snapshot(&instance.name, &config).await.unwrap_err().is_unsupported());
}
