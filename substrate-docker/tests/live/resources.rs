//! Usage and limits.

use substrate_core::{ResourceLimits, Substrate};

use crate::lab::{Lab, SERVE};

#[tokio::test]
#[ignore = "live: docker"]
async fn a_busy_core_is_seen_at_the_first_look_and_at_the_next() {
    let lab = Lab::new().await;
    let instance = lab.running("a", "while :; do :; done").await;
    for _ in 0..3 {
        let usage = lab.docker.get_metrics(&instance.name).await.unwrap();
        let cpu = usage.cpu_percent.expect("measured");
        assert!((5.0..=220.0).contains(&cpu), "{cpu}");
        assert!(usage.memory_mb.expect("measured") > 0.0);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let usage = lab.docker.get_metrics(&instance.name).await.unwrap();
    assert!(usage.network_rx_mbps.expect("measured by now") >= 0.0);
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_stopped_container_uses_nothing() {
    let lab = Lab::new().await;
    let instance = lab.docker.create_instance(&lab.config("a", SERVE)).await.unwrap();
    let usage = lab.docker.get_metrics(&instance.name).await.unwrap();
    assert_eq!((usage.cpu_percent, usage.memory_mb), (Some(0.0), Some(0.0)));
}

#[tokio::test]
#[ignore = "live: docker"]
async fn limits_change_while_it_runs_and_memory_goes_with_swap() {
    let lab = Lab::new().await;
    let config = lab.config("a", SERVE).with_memory_mb(64).with_cpu_cores(0.5);
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    for (memory, cores) in [(Some(128), None), (None, Some(1.5)), (Some(32), Some(0.25))] {
        let change = ResourceLimits { memory_mb: memory, cpu_cores: cores, ..ResourceLimits::default() };
        lab.docker.set_resource_limits(&config.name, &change).await.unwrap();
    }
    let limits = lab.docker.get_resource_limits(&config.name).await.unwrap();
    assert_eq!((limits.memory_mb, limits.cpu_cores), (Some(32), Some(0.25)));
    assert_eq!(lab.docker.get_instance(&config.name).await.unwrap().limits, limits);
    let disk = ResourceLimits { disk_gb: Some(1), ..ResourceLimits::default() };
    assert!(lab.docker.set_resource_limits(&config.name, &disk).await.unwrap_err().is_unsupported());
}

#[tokio::test]
#[ignore = "live: docker"]
async fn a_bound_below_the_usage_is_refused_and_changes_nothing() {
    let lab = Lab::new().await;
    // 40 MiB in the shell's own memory.
    let script = format!("x=$(head -c 41943040 /dev/zero | tr '\\0' x); echo ready; {SERVE}");
    let config = lab.config("a", &script).with_memory_mb(256).with_cpu_cores(1.0);
    lab.docker.create_instance(&config).await.unwrap();
    lab.docker.start_instance(&config.name).await.unwrap();
    crate::lab::until("it holds its memory", async || {
        let usage = lab.docker.get_metrics(&config.name).await.unwrap();
        usage.memory_mb.is_some_and(|used| used > 39.0)
    })
    .await;
    let change = ResourceLimits { memory_mb: Some(16), cpu_cores: Some(0.5), ..ResourceLimits::default() };
    let error = lab.docker.set_resource_limits(&config.name, &change).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    let limits = lab.docker.get_resource_limits(&config.name).await.unwrap();
    assert_eq!((limits.memory_mb, limits.cpu_cores), (Some(256), Some(1.0)));
}
