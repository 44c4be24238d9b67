//! Measuring on this host, and not from afar.

use substrate_core::{ResourceUsage, Substrate};

use crate::lab::{Lab, SERVE, until};

#[tokio::test]
#[ignore = "live: supervisor"]
async fn the_processes_of_a_program_are_counted_together() {
    let lab = Lab::new().await;
    // The main process waits; the work is done by two that it started.
    let config = lab.config("a", "while :; do :; done & while :; do :; done & wait");
    lab.running_from(&config).await;
    let usage = async || lab.supervisor.get_metrics(&config.name).await.unwrap();
    let first = usage().await;
    assert!(first.cpu_percent.is_none(), "one reading is no rate");
    assert!(first.memory_mb.unwrap() > 0.1, "{first:?}");
    until("the work of the children is seen", async || usage().await.cpu_percent.is_some_and(|it| it > 20.0))
        .await;
    assert!(usage().await.disk_gb.is_none());
}

#[tokio::test]
#[ignore = "live: supervisor"]
async fn from_afar_nothing_is_measured() {
    let lab = Lab::new().await;
    let instance = lab.running("a", SERVE).await;
    let far = lab.other(|config| config.with_same_host(false));
    assert_eq!(far.get_metrics(&instance.name).await.unwrap(), ResourceUsage::default());
}
