use substrate_core::{
    CloneConfig, InstanceState, Snapshot, SnapshotConfig, SnapshotName, StopMode, Substrate,
};

use super::{config, execute, get, name, running, state, stdout};
use crate::Fake;

fn snapshot_name(text: &str) -> SnapshotName {
    SnapshotName::new(text).unwrap()
}

async fn snapshot(fake: &Fake, text: &str) -> Snapshot {
    fake.create_snapshot(&name("web"), &SnapshotConfig::new(snapshot_name(text))).await.unwrap()
}

async fn restore(fake: &Fake, text: &str) {
    fake.restore_snapshot(&name("web"), &snapshot_name(text)).await.unwrap();
}

async fn write(fake: &Fake, text: &str) {
    assert!(execute(fake, "web", &["write", "/note", text]).await.unwrap().success());
}

#[tokio::test(start_paused = true)]
async fn the_content_comes_back_and_the_power_stays() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &[]).await;
    write(&fake, "old").await;
    snapshot(&fake, "one").await;
    write(&fake, "new").await;
    snapshot(&fake, "two").await;
    restore(&fake, "one").await;
    assert_eq!(stdout(&fake, "web", &["cat", "/note"]).await, "old");
    restore(&fake, "two").await;
    assert_eq!(stdout(&fake, "web", &["cat", "/note"]).await, "new");
    fake.pause_instance(&web).await.unwrap();
    restore(&fake, "one").await;
    assert_eq!(state(&fake, "web").await, InstanceState::Paused);
    fake.stop_instance(&web, StopMode::Force).await.unwrap();
    restore(&fake, "two").await;
    assert_eq!(state(&fake, "web").await, InstanceState::Stopped);
    let names: Vec<_> =
        fake.list_snapshots(&web).await.unwrap().into_iter().map(|snapshot| snapshot.name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn with_memory_the_power_is_the_snapshots() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &[]).await;
    let with_memory = SnapshotConfig::new(snapshot_name("up")).with_memory();
    assert!(fake.create_snapshot(&web, &with_memory).await.unwrap().memory);
    fake.stop_instance(&web, StopMode::Force).await.unwrap();
    let with_memory = SnapshotConfig::new(snapshot_name("down")).with_memory();
    fake.create_snapshot(&web, &with_memory).await.unwrap();
    restore(&fake, "up").await;
    assert_eq!(state(&fake, "web").await, InstanceState::Running);
    restore(&fake, "down").await;
    assert_eq!(state(&fake, "web").await, InstanceState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_missing_snapshot_touches_nothing() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &[]).await;
    let before = get(&fake, "web").await;
    assert!(fake.restore_snapshot(&web, &snapshot_name("none")).await.unwrap_err().is_not_found());
    assert!(fake.delete_snapshot(&web, &snapshot_name("none")).await.unwrap_err().is_not_found());
    assert_eq!(*get(&fake, "web").await, *before);
    snapshot(&fake, "one").await;
    let again = fake.create_snapshot(&web, &SnapshotConfig::new(snapshot_name("one"))).await;
    assert!(again.unwrap_err().is_already_exists());
    fake.delete_snapshot(&web, &snapshot_name("one")).await.unwrap();
    assert!(fake.list_snapshots(&web).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clone_is_independent_and_has_no_label_of_its_source() {
    let fake = Fake::new("fake");
    let source = config("web").with_label("owner", "source").with_memory_mb(96).with_environment("A", "b");
    fake.create_instance(&source).await.unwrap();
    fake.start_instance(&source.name).await.unwrap();
    write(&fake, "old").await;
    snapshot(&fake, "one").await;
    write(&fake, "new").await;
    let copy = CloneConfig::new(name("copy")).with_label("fresh", "yes");
    let made = fake.clone_instance(&source.name, &copy).await.unwrap();
    assert_eq!((made.state, made.limits.memory_mb), (InstanceState::Stopped, Some(96)));
    assert_eq!((made.labels.get("owner"), made.labels.get("fresh")), (None, Some("yes")));
    assert_ne!(made.id, get(&fake, "web").await.id);
    let old = CloneConfig::new(name("old")).from_snapshot(snapshot_name("one"));
    fake.clone_instance(&source.name, &old).await.unwrap();
    fake.delete_instance(&source.name, true).await.unwrap();
    for (text, content) in [("copy", "new"), ("old", "old")] {
        fake.start_instance(&name(text)).await.unwrap();
        assert_eq!(stdout(&fake, text, &["cat", "/note"]).await, content);
        assert_eq!(stdout(&fake, text, &["printenv", "A"]).await, "b\n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_cannot_be_made_leaves_nothing() {
    let fake = Fake::new("fake");
    let web = running(&fake, "web", &[]).await;
    let clone = |config: CloneConfig| {
        let fake = fake.clone();
        async move { fake.clone_instance(&name("web"), &config).await.unwrap_err() }
    };
    assert!(clone(CloneConfig::new(web.clone())).await.is_already_exists());
    let missing = CloneConfig::new(name("copy")).from_snapshot(snapshot_name("none"));
    assert!(clone(missing).await.is_not_found());
    assert!(fake.get_instance(&name("copy")).await.unwrap_err().is_not_found());
    assert!(
        fake.clone_instance(&name("nobody"), &CloneConfig::new(name("copy")))
            .await
            .unwrap_err()
            .is_not_found()
    );
}
