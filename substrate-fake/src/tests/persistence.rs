use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use substrate_core::{
    InstanceState, LogOptions, NetworkName, NetworkSpec, SnapshotConfig, SnapshotName, StopMode, Substrate,
    SubstrateExt, VolumeName, VolumeSpec, WatchItem, WatchOptions,
};

use super::{config, execute, get, name, running, state, stdout};
use crate::{Fake, Fault};

/// A folder that is removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("substrate-fake-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state.json")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path) -> Fake {
    Fake::builder().state_file(path).try_build().unwrap()
}

#[tokio::test]
async fn everything_survives_the_process() {
    let folder = Folder::new("everything");
    let first = open(&folder.file());
    let web = running(&first, "web", &["serve", "line"]).await;
    execute(&first, "web", &["write", "/note", "kept ☃"]).await.unwrap();
    first.create_snapshot(&web, &SnapshotConfig::new(SnapshotName::new("one").unwrap())).await.unwrap();
    first.create_network(&NetworkSpec::new(NetworkName::new("blue").unwrap())).await.unwrap();
    first.create_volume(&VolumeSpec::new(VolumeName::new("data").unwrap())).await.unwrap();
    let binary = substrate_core::Command::new(["cat"]).with_input(&b"\xff"[..]);
    first.execute_command(&web, &binary).await.unwrap();
    let before = get(&first, "web").await;
    let networks = first.list_networks().await.unwrap();
    drop(first);

    let second = open(&folder.file());
    assert_eq!(*get(&second, "web").await, *before);
    assert_eq!(before.state, InstanceState::Running);
    assert_eq!(stdout(&second, "web", &["cat", "/note"]).await, "kept ☃");
    assert_eq!(second.tail_logs(&web, 9).await.unwrap()[0].message, "line");
    assert_eq!(second.list_snapshots(&web).await.unwrap().len(), 1);
    assert_eq!(second.list_networks().await.unwrap(), networks);
    assert_eq!(second.list_volumes().await.unwrap().len(), 1);
    // Ids and times go on where they were.
    let next = second.create_instance(&config("next")).await.unwrap();
    assert_ne!(next.id, before.id);
    assert!(next.created_at > before.started_at);
    assert_eq!(second.get_instance(&name(&before.id)).await.unwrap().name, web);
}

#[tokio::test]
async fn a_change_is_on_the_disk_before_its_call_returns() {
    let folder = Folder::new("durable");
    let fake = open(&folder.file());
    fake.create_instance(&config("web")).await.unwrap();
    assert_eq!(open(&folder.file()).list_instances(&Default::default()).await.unwrap().len(), 1);
    // Also when the answer is lost.
    fake.inject(Fault::answer_lost());
    fake.start_instance(&name("web")).await.unwrap_err();
    assert_eq!(state(&open(&folder.file()), "web").await, InstanceState::Running);
    fake.world().crash("web", 1).await.unwrap();
    assert_eq!(state(&open(&folder.file()), "web").await, InstanceState::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_do_not_lose_each_others_changes() {
    let folder = Folder::new("two");
    let fakes = [open(&folder.file()), open(&folder.file())];
    let calls = (0..60_usize).map(|number| {
        let fake = fakes[number % 2].clone();
        tokio::spawn(async move { fake.create_instance(&config(&format!("i-{number}"))).await.unwrap() })
    });
    let mut ids = std::collections::BTreeSet::new();
    for call in calls.collect::<Vec<_>>() {
        ids.insert(call.await.unwrap().id.clone());
    }
    assert_eq!(ids.len(), 60);
    for fake in &fakes {
        assert_eq!(fake.list_instances(&Default::default()).await.unwrap().len(), 60);
    }
    // One handle's stop is the other one's stop, and what it watched has a gap.
    let mut watch = fakes[1].watch(&WatchOptions::from_now()).await.unwrap();
    fakes[0].start_instance(&name("i-1")).await.unwrap();
    assert_eq!(state(&fakes[1], "i-1").await, InstanceState::Running);
    let item = watch.next().await.unwrap().unwrap();
    assert!(matches!(item, WatchItem::Gap { .. }));
    fakes[1].stop_instance(&name("i-1"), StopMode::Force).await.unwrap();
    assert_eq!(state(&fakes[0], "i-1").await, InstanceState::Stopped);
}

#[tokio::test]
async fn a_follower_goes_on_when_another_process_changed_the_file() {
    let folder = Folder::new("follower");
    let (own, other) = (open(&folder.file()), open(&folder.file()));
    let web = running(&own, "web", &[]).await;
    let mut lines = own.get_logs(&web, &LogOptions::all().follow()).await.unwrap();
    execute(&other, "web", &["log", "theirs"]).await.unwrap();
    // Seen when this process looks at the file the next time.
    let (line, _) = tokio::join!(lines.next(), get(&own, "web"));
    assert_eq!(line.unwrap().unwrap().message, "theirs");
    let (line, _) = tokio::join!(lines.next(), execute(&own, "web", &["log", "own"]));
    assert_eq!(line.unwrap().unwrap().message, "own");
}

#[tokio::test]
async fn a_change_that_cannot_be_written_did_not_happen() {
    let folder = Folder::new("unwritable");
    let fake = open(&folder.file());
    // Where the new file would be written stands something that cannot be replaced.
    let obstacle = folder.0.join("state.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    assert!(fake.create_instance(&config("web")).await.is_err());
    assert!(!fake.instance_exists(&name("web")).await.unwrap());
    std::fs::remove_dir(&obstacle).unwrap();
    fake.create_instance(&config("web")).await.unwrap();
}

#[tokio::test]
async fn a_dropped_call_is_done_or_not_and_never_half() {
    let folder = Folder::new("dropped");
    let fake = open(&folder.file());
    for number in 0..20_u32 {
        let text = format!("i-{number}");
        let config = config(&text);
        let mut create = Box::pin(fake.create_instance(&config));
        for _ in 0..number {
            if futures_util::FutureExt::now_or_never(&mut create).is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(create);
        let here = fake.instance_exists(&config.name).await.unwrap();
        assert_eq!(here, open(&folder.file()).instance_exists(&config.name).await.unwrap());
        assert_eq!(fake.create_instance(&config).await.is_ok(), !here);
    }
}

#[tokio::test]
async fn a_file_that_is_none_is_refused() {
    let folder = Folder::new("foreign");
    let fake = open(&folder.file());
    fake.create_instance(&config("web")).await.unwrap();
    let whole = std::fs::read(folder.file()).unwrap();
    let newer = String::from_utf8(whole.clone()).unwrap().replace("\"version\":1", "\"version\":9");
    for (content, told) in [
        (&whole[..whole.len() / 2], "EOF"),
        (b"", "EOF"),
        (b"{\"name\": \"somebody else's\"}", "format"),
        (b"not json", "expected"),
        (newer.as_bytes(), "version is 9"),
    ] {
        std::fs::write(folder.file(), content).unwrap();
        let error = Fake::builder().state_file(folder.file()).try_build().unwrap_err();
        assert!(error.is_invalid_input() && error.message().contains(told), "{error}");
        assert!(error.message().contains("state.json"), "{error}");
        // What was built without asking fails at every call instead.
        let broken = Fake::builder().state_file(folder.file()).build();
        assert!(broken.connect().await.unwrap_err().message().contains(told));
        // And the file stays as it was found.
        assert_eq!(std::fs::read(folder.file()).unwrap(), content);
    }
    // A handle that is open tells, too, and goes on when the file is whole again.
    assert!(fake.get_instance(&name("web")).await.unwrap_err().is_invalid_input());
    std::fs::write(folder.file(), &whole).unwrap();
    assert!(fake.get_instance(&name("web")).await.is_ok());
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_refused() {
    let folder = Folder::new("nowhere");
    let error = Fake::builder().state_file(folder.0.join("no/state.json")).try_build().unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_and_a_state_file_get_on() {
    let folder = Folder::new("paused");
    let fake = open(&folder.file());
    let deaf = running(&fake, "deaf", &["deaf"]).await;
    let hour = std::time::Duration::from_secs(3_600);
    let begin = tokio::time::Instant::now();
    assert!(fake.stop_instance(&deaf, StopMode::Graceful(hour)).await.unwrap_err().is_timeout());
    assert_eq!(begin.elapsed(), hour);
}

const CHILD: &str = "SUBSTRATE_FAKE_STATE_FILE";

/// Not a test of its own: the process that is killed below.
#[tokio::test]
async fn a_process_that_creates_for_ever() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let fake = open(Path::new(&path));
    for number in 0_u64.. {
        fake.create_instance(&config(&format!("i-{number}"))).await.unwrap();
        println!("created i-{number}");
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_was_told() {
    use std::io::{BufRead, BufReader};
    let folder = Folder::new("killed");
    let mut told = Vec::new();
    // Several times: each kill hits another moment.
    for round in 1..=3 {
        let _ = std::fs::remove_file(folder.file());
        told.clear();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::persistence::a_process_that_creates_for_ever", "--nocapture"])
            .env(CHILD, folder.file())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines {
            // The last line may be cut off.
            let Ok(line) = line else { break };
            if let Some((_, created)) = line.split_once("created ") {
                told.push(created.to_owned());
            }
            if told.len() == round * 7 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let survivor = open(&folder.file());
        assert!(told.len() >= round * 7);
        for created in &told {
            assert_eq!(state(&survivor, created).await, InstanceState::Stopped);
        }
        // It holds no lock of the dead.
        survivor.create_instance(&config("next")).await.unwrap();
    }
}
