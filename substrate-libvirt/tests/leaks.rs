//! Nothing is left of a call: neither a thread nor a descriptor nor memory, over ten thousand of them. On libvirt's own
//! mock, which needs no daemon, and on a real one. `cargo xtask test` runs this program under LeakSanitizer, which
//! looks at the library's allocations too and fails the program at its end.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, in its helping functions too"
)]

use std::time::{Duration, Instant};

use substrate_core::{InstanceConfig, InstanceFilter, StopMode, Substrate, VolumeSpec, WatchOptions};
use substrate_libvirt::{DomainType, LibvirtConfig, LibvirtSubstrate};
use tokio::sync::Mutex;

const CALLS: usize = 10_000;
/// By how many threads a runtime's pool may grow meanwhile; leaked ones are hundreds.
const POOL: usize = 16;
/// What is counted is the whole program's: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

fn mock() -> LibvirtSubstrate {
    let config = LibvirtConfig::default().with_uri("test:///default").with_pool("default-pool");
    LibvirtSubstrate::new("mock", config).unwrap()
}

/// Threads and open descriptors of this process, and its resident memory in KiB.
fn holdings() -> (usize, usize, usize) {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
    (count("/proc/self/task"), count("/proc/self/fd"), resident)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_leave_no_thread_no_descriptor_and_no_memory() {
    let _alone = ALONE.lock().await;
    let libvirt = mock();
    let image: VolumeSpec = VolumeSpec::new("leaks.qcow2".parse().unwrap()).with_size_bytes(1 << 20);
    libvirt.create_volume(&image).await.unwrap();
    let config = InstanceConfig::new("leaks".parse().unwrap()).with_image("leaks.qcow2");
    let round = async || {
        for _ in 0..CALLS / 10 {
            libvirt.create_instance(&config).await.unwrap();
            libvirt.start_instance(&config.name).await.unwrap();
            for _ in 0..4 {
                libvirt.get_instance(&config.name).await.unwrap();
            }
            libvirt.get_metrics(&config.name).await.ok();
            libvirt.list_instances(&InstanceFilter::all()).await.unwrap();
            libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
            libvirt.delete_instance(&config.name, false).await.unwrap();
        }
    };
    // Once, so that pools of threads and of memory have their size.
    round().await;
    let before = holdings();
    round().await;
    assert_nothing_is_left_since(before).await;
}

/// Nothing but what a pool may keep; connections are closed soon after their handle is dropped, not with it.
async fn assert_nothing_is_left_since(before: (usize, usize, usize)) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut after = holdings();
    while after.1 > before.1 && Instant::now() < deadline {
        tokio::task::yield_now().await;
        after = holdings();
    }
    assert!(after.0 <= before.0 + POOL, "threads: {before:?} before, {after:?} after");
    assert!(after.1 <= before.1, "descriptors: {before:?} before, {after:?} after");
    // A leaked domain or document per call would be tens of megabytes.
    assert!(after.2 <= before.2 + 8 * 1024, "memory: {before:?} before, {after:?} after");
}

/// The same on a real daemon, over new connections every thousand calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "live: libvirt"]
async fn ten_thousand_calls_of_a_daemon_leave_nothing_either() {
    let _alone = ALONE.lock().await;
    let uri = std::env::var("SUBSTRATES_LAB_LIBVIRT").unwrap();
    let settings = LibvirtConfig::default()
        .with_uri(uri)
        .with_pool("machines")
        .with_image_pool("images")
        .with_domain_type(DomainType::Qemu)
        .with_default_resources(64, 1.0);
    let image = std::env::var("SUBSTRATES_LAB_LIBVIRT_VOLUME").unwrap();
    let name = format!("leaks-{}", std::process::id()).parse().unwrap();
    let config = InstanceConfig::new(name).with_image(image);
    let thousand = async || {
        let libvirt = LibvirtSubstrate::new("leaks", settings.clone()).unwrap();
        libvirt.connect().await.unwrap();
        let watch = libvirt.watch(&WatchOptions::from_now()).await.unwrap();
        libvirt.create_instance(&config).await.unwrap();
        libvirt.start_instance(&config.name).await.unwrap();
        for _ in 0..CALLS / 40 {
            libvirt.get_instance(&config.name).await.unwrap();
            libvirt.get_instance(&config.name).await.unwrap();
            libvirt.get_metrics(&config.name).await.unwrap();
            libvirt.list_instances(&InstanceFilter::all()).await.unwrap();
        }
        libvirt.stop_instance(&config.name, StopMode::Force).await.unwrap();
        libvirt.delete_instance(&config.name, false).await.unwrap();
        drop((watch, libvirt));
    };
    thousand().await;
    let before = holdings();
    for _ in 0..10 {
        thousand().await;
    }
    assert_nothing_is_left_since(before).await;
}

#[tokio::test]
async fn a_handle_that_is_dropped_closes_its_connections() {
    let _alone = ALONE.lock().await;
    let connected = || async {
        let libvirt = mock();
        libvirt.connect().await.unwrap();
        let watch = libvirt.watch(&WatchOptions::from_now()).await.unwrap();
        drop((watch, libvirt));
    };
    connected().await;
    let before = holdings();
    for _ in 0..200 {
        connected().await;
    }
    assert_nothing_is_left_since(before).await;
}
