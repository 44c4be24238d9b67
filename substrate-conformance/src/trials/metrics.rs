//! What an instance uses.

use substrate_core::ResourceUsage;

use crate::context::Context;
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, not_found};

trials! {
    metrics_of_a_running_instance_are_plausible => GetMetrics;
    metrics_of_a_stopped_instance_show_no_use => GetMetrics;
    metrics_of_a_missing_instance_are_not_found => GetMetrics;
    a_busy_core_is_measured_as_a_hundred_percent => GetMetrics [Feature::CreateCommand];
    a_restart_gives_no_spike => GetMetrics [Feature::CreateCommand, Operation::RestartInstance];
}

/// More than any machine has: 4,096 cores, 64 TiB.
const MOST_CPU: f64 = 409_600.0;
const MOST_MEMORY: f64 = 67_108_864.0;

fn plausible(usage: &ResourceUsage) -> Verdict {
    for (name, value, most) in [
        ("cpu_percent", usage.cpu_percent, MOST_CPU),
        ("memory_mb", usage.memory_mb, MOST_MEMORY),
        ("disk_gb", usage.disk_gb, f64::MAX),
        ("network_rx_mbps", usage.network_rx_mbps, f64::MAX),
        ("network_tx_mbps", usage.network_tx_mbps, f64::MAX),
    ] {
        if let Some(value) = value {
            ensure!(value.is_finite() && (0.0..=most).contains(&value), "{name} is {value}");
        }
    }
    Ok(())
}

async fn metrics_of_a_running_instance_are_plausible(context: &Context) -> Verdict {
    let name = context.running("measured").await?;
    for _ in 0..3 {
        plausible(&context.substrate().get_metrics(&name).await?)?;
    }
    Ok(())
}

async fn metrics_of_a_stopped_instance_show_no_use(context: &Context) -> Verdict {
    let name = context.stopped("idle").await?;
    let usage = context.substrate().get_metrics(&name).await?;
    for (field, value) in [
        ("cpu_percent", usage.cpu_percent),
        ("memory_mb", usage.memory_mb),
        ("network_rx_mbps", usage.network_rx_mbps),
        ("network_tx_mbps", usage.network_tx_mbps),
    ] {
        ensure!(value.is_none_or(|value| value == 0.0), "a stopped instance has {field} = {value:?}");
    }
    Ok(())
}

async fn metrics_of_a_missing_instance_are_not_found(context: &Context) -> Verdict {
    not_found("its metrics", context.substrate().get_metrics(&context.name("nobody")?).await)
}

async fn a_busy_core_is_measured_as_a_hundred_percent(context: &Context) -> Verdict {
    let name = context.running_program("busy", &Program::Busy).await?;
    let measured = context
        .eventually("a measurement of a busy core", || async {
            let usage = context.substrate().get_metrics(&name).await?;
            plausible(&usage)?;
            // It has to share the machine with other trials: a fifth of a core shows that it is no fraction
            // of one and no zero; what is above one core and a half counts something twice.
            Ok(usage.cpu_percent.filter(|percent| *percent > 20.0))
        })
        .await?;
    ensure!(measured < 150.0, "one busy core is measured as {measured} %");
    Ok(())
}

async fn a_restart_gives_no_spike(context: &Context) -> Verdict {
    let name = context.running_program("again", &Program::Busy).await?;
    plausible(&context.substrate().get_metrics(&name).await?)?;
    context.substrate().restart_instance(&name, substrate_core::StopMode::Force).await?;
    for _ in 0..2 {
        let usage = context.substrate().get_metrics(&name).await?;
        plausible(&usage)?;
        if usage.cpu_percent.is_some_and(|percent| percent >= 400.0) {
            return Err(Failure::broken(format!("one busy core is measured as {:?} %", usage.cpu_percent)));
        }
    }
    Ok(())
}
