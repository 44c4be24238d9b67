//! A program that runs libvirt's event loop itself: events come by its loop, and no thread of ours is started. Alone in
//! its process, for there is one loop in each.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, in its helping functions too")]

use std::time::Duration;

use futures_util::StreamExt;
use substrate_core::{EventKind, InstanceName, Substrate, WatchItem, WatchOptions};
use substrate_libvirt::{LibvirtConfig, LibvirtSubstrate, use_own_event_loop};

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect()
}

#[tokio::test]
async fn events_come_by_the_programs_own_loop() {
    virt::event::event_register_default_impl().unwrap();
    std::thread::Builder::new()
        .name("programs-loop".to_owned())
        .spawn(|| {
            loop {
                virt::event::event_run_default_impl().unwrap();
            }
        })
        .unwrap();
    use_own_event_loop().unwrap();
    use_own_event_loop().unwrap();

    let config = LibvirtConfig::default().with_uri("test:///default");
    let libvirt = LibvirtSubstrate::new("mock", config).unwrap();
    let mut events = libvirt.watch(&WatchOptions::from_now()).await.unwrap();
    let name: InstanceName = "test".parse().unwrap();
    libvirt.pause_instance(&name).await.unwrap();
    let paused = async {
        loop {
            match events.next().await.unwrap().unwrap() {
                WatchItem::Event { event, .. } if event.kind == EventKind::Paused => break,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), paused).await.unwrap();
    let threads = threads();
    assert!(threads.iter().any(|name| name.trim() == "programs-loop"), "{threads:?}");
    assert!(threads.iter().all(|name| name.trim() != "libvirt-events"), "{threads:?}");
}
