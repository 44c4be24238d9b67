//! Many at once, against the locks of Proxmox VE.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use substrate_core::{CloneConfig, Substrate};
use substrate_proxmox_double::{Double, Setup};

use crate::double::{add_template, config, machine, name, number_of};

const CLONES: usize = 50;
/// Slow enough that what is measured is the server's time and not our own.
const SCALE: f64 = 0.15;

/// How many tasks met a lock that they could not have.
fn locks_met(double: &Double) -> usize {
    double.tasks().iter().filter(|(_, _, exit)| exit.contains("lock")).count()
}

#[tokio::test]
async fn fifty_clones_of_a_template_at_once_meet_no_lock_error_and_take_little_longer_than_they_must() {
    let double = Double::start(Setup { scale: SCALE, ..Setup::default() }).await;
    let substrate = substrate_proxmox::ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    add_template(&double, 100);
    // Each disk is made under the storage's lock, which is waited for ten seconds, and copied without it.
    double.set_times(|times| {
        times.allocation = 1.0;
        times.copy = 4.0;
    });
    let begin = Instant::now();
    let configs: Vec<_> =
        (0..CLONES).map(|index| machine(&format!("clone-{index}")).with_image("debian")).collect();
    for result in join_all(configs.iter().map(|config| substrate.create_instance(config))).await {
        result.unwrap();
    }
    let took = begin.elapsed();
    // What was really held one after the other, and the last copy: a busy machine makes both longer.
    let optimum = double.storage_lock_held() + Duration::from_secs_f64(4.0 * SCALE);
    assert_eq!(double.guests().len(), CLONES + 1);
    assert!(
        took < optimum * 3 / 2,
        "it took {took:?}, the least is {optimum:?}; {} locks",
        locks_met(&double)
    );
}

#[tokio::test]
async fn clones_of_one_running_machine_at_once_wait_for_each_other() {
    let double = Double::start(Setup { scale: 0.02, ..Setup::default() }).await;
    let substrate = substrate_proxmox::ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    substrate.create_instance(&machine("source")).await.unwrap();
    substrate.start_instance(&name("source")).await.unwrap();
    // The lock of a running source is exclusive, held for the whole copy, and waited for one second.
    double.set_times(|times| times.copy = 3.0);
    let copies: Vec<_> = (0..8).map(|index| CloneConfig::new(name(&format!("copy-{index}")))).collect();
    let source = name("source");
    for result in join_all(copies.iter().map(|copy| substrate.clone_instance(&source, copy))).await {
        result.unwrap();
    }
    assert_eq!(double.guests().len(), 9);
    assert_eq!(locks_met(&double), 0, "they were begun one after the other");
}

#[tokio::test]
async fn a_storage_lock_that_cannot_be_had_is_waited_for_and_not_reported() {
    let double = Double::start(Setup { scale: 0.01, ..Setup::default() }).await;
    let substrate = substrate_proxmox::ProxmoxSubstrate::new("pve", config(&double)).unwrap();
    add_template(&double, 100);
    // So slow that ten of them cannot be had within ten seconds.
    double.set_times(|times| times.allocation = 3.0);
    let configs: Vec<_> =
        (0..20).map(|index| machine(&format!("clone-{index}")).with_image("debian")).collect();
    for result in join_all(configs.iter().map(|config| substrate.create_instance(config))).await {
        result.unwrap();
    }
    assert_eq!(double.guests().len(), 21);
    assert!(locks_met(&double) > 0, "the case is not one where locks are missed");
    // Nothing of those that failed is left.
    assert!((0..20).all(|index| number_of(&double, &format!("clone-{index}")) > 0));
}
