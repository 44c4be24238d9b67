//! Bounds: what was set is what is told, and nothing else changes.

use substrate_core::{ErrorKind, Feature, InstanceState, ResourceLimits};

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, conflict, ensure, not_found, refused, same};

trials! {
    limits_given_at_creation_come_back => GetResourceLimits;
    what_is_not_limited_is_none => GetResourceLimits;
    limits_of_a_missing_instance_are_not_found => GetResourceLimits;
    limits_that_are_set_come_back => SetResourceLimits [Operation::GetResourceLimits];
    limits_that_are_not_given_stay => SetResourceLimits [Operation::GetResourceLimits];
    setting_no_limits_changes_nothing => SetResourceLimits [Operation::GetResourceLimits];
    impossible_limits_are_refused_and_change_nothing => SetResourceLimits [Operation::GetResourceLimits];
    limits_change_while_it_runs => SetResourceLimits [Feature::LiveLimits, Operation::GetResourceLimits];
    limits_of_a_running_instance_are_a_conflict_without_live_limits => SetResourceLimits;
    limits_survive_a_restart => SetResourceLimits [Operation::GetResourceLimits];
    setting_limits_of_a_missing_instance_is_not_found => SetResourceLimits;
}

/// Limits that a small instance can live with, each only where it is declared.
fn limits(context: &Context, cores: f64, memory: u64) -> Verdict<ResourceLimits> {
    let limits = ResourceLimits {
        cpu_cores: context.can(Feature::CpuLimit).then_some(cores),
        memory_mb: context.can(Feature::MemoryLimit).then_some(memory),
        disk_gb: context.can(Feature::DiskLimit).then_some(2),
        network_mbps: context.can(Feature::NetworkLimit).then_some(100.0),
    };
    if limits.is_empty() {
        return Err(Failure::skipped("nothing can be limited"));
    }
    Ok(limits)
}

/// Equal but for what is lost when cores become a quota of microseconds.
fn close(what: &str, actual: &ResourceLimits, expected: &ResourceLimits) -> Verdict {
    let near = |actual: Option<f64>, expected: Option<f64>| match (actual, expected) {
        (Some(actual), Some(expected)) => (actual - expected).abs() <= expected * 0.01,
        (actual, expected) => actual == expected,
    };
    ensure!(
        near(actual.cpu_cores, expected.cpu_cores)
            && near(actual.network_mbps, expected.network_mbps)
            && actual.memory_mb == expected.memory_mb
            && actual.disk_gb == expected.disk_gb,
        "{what} are {actual:?}, they should be {expected:?}"
    );
    Ok(())
}

async fn limits_given_at_creation_come_back(context: &Context) -> Verdict {
    let limits = limits(context, 0.5, 96)?;
    let config = context.config("bound")?.with_limits(limits);
    context.create(&config).await?;
    close("the limits", &context.substrate().get_resource_limits(&config.name).await?, &limits)?;
    context.substrate().start_instance(&config.name).await?;
    close("the limits while it runs", &context.substrate().get_resource_limits(&config.name).await?, &limits)
}

async fn what_is_not_limited_is_none(context: &Context) -> Verdict {
    let name = context.stopped("free").await?;
    let found = context.substrate().get_resource_limits(&name).await?;
    // Technologies that must bound processors, memory or disk do so for every instance.
    let bounded = found.cpu_cores.is_some_and(|cores| cores <= 0.0) || found.memory_mb == Some(0);
    ensure!(!bounded, "what is not bounded is told as a bound of nothing: {found:?}");
    Ok(())
}

async fn limits_of_a_missing_instance_are_not_found(context: &Context) -> Verdict {
    not_found("its limits", context.substrate().get_resource_limits(&context.name("nobody")?).await)
}

async fn limits_that_are_set_come_back(context: &Context) -> Verdict {
    let config = context.config("bound")?.with_limits(limits(context, 0.5, 96)?);
    let name = context.stopped_from(&config).await?;
    let mut change = limits(context, 0.75, 128)?;
    // Disks only grow, and not everywhere while they exist.
    change.disk_gb = None;
    context.substrate().set_resource_limits(&name, &change).await?;
    let expected = config.limits.overlaid_with(&change);
    close("the limits", &context.substrate().get_resource_limits(&name).await?, &expected)
}

async fn limits_that_are_not_given_stay(context: &Context) -> Verdict {
    context.only_with(Feature::CpuLimit)?;
    context.only_with(Feature::MemoryLimit)?;
    let config = context.config("bound")?.with_limits(limits(context, 0.5, 96)?);
    let name = context.stopped_from(&config).await?;
    let substrate = context.substrate();
    let cores = ResourceLimits { cpu_cores: Some(0.25), ..ResourceLimits::default() };
    substrate.set_resource_limits(&name, &cores).await?;
    let expected = config.limits.overlaid_with(&cores);
    close("the limits", &substrate.get_resource_limits(&name).await?, &expected)?;
    let memory = ResourceLimits { memory_mb: Some(160), ..ResourceLimits::default() };
    substrate.set_resource_limits(&name, &memory).await?;
    close("the limits", &substrate.get_resource_limits(&name).await?, &expected.overlaid_with(&memory))
}

async fn setting_no_limits_changes_nothing(context: &Context) -> Verdict {
    let config = context.config("bound")?.with_limits(limits(context, 0.5, 96)?);
    let name = context.stopped_from(&config).await?;
    context.substrate().set_resource_limits(&name, &ResourceLimits::default()).await?;
    close("the limits", &context.substrate().get_resource_limits(&name).await?, &config.limits)
}

async fn impossible_limits_are_refused_and_change_nothing(context: &Context) -> Verdict {
    let config = context.config("bound")?.with_limits(limits(context, 0.5, 96)?);
    let name = context.stopped_from(&config).await?;
    let mut impossible = Vec::new();
    if context.can(Feature::CpuLimit) {
        for cores in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            impossible.push(ResourceLimits { cpu_cores: Some(cores), ..ResourceLimits::default() });
        }
    }
    if context.can(Feature::MemoryLimit) {
        // Also together with one that is possible: all or nothing.
        let cpu_cores = context.can(Feature::CpuLimit).then_some(0.25);
        impossible.push(ResourceLimits { memory_mb: Some(0), cpu_cores, ..ResourceLimits::default() });
    }
    for limits in impossible {
        let set = context.substrate().set_resource_limits(&name, &limits).await;
        refused(&format!("setting {limits:?}"), set, &[ErrorKind::InvalidInput])?;
    }
    close("the limits", &context.substrate().get_resource_limits(&name).await?, &config.limits)
}

async fn limits_change_while_it_runs(context: &Context) -> Verdict {
    let config = context.config("bound")?.with_limits(limits(context, 0.5, 96)?);
    let name = context.running_from(&config).await?;
    let before = context.get(&name).await?;
    let mut change = limits(context, 0.75, 128)?;
    change.disk_gb = None;
    context.substrate().set_resource_limits(&name, &change).await?;
    let expected = config.limits.overlaid_with(&change);
    close("the limits", &context.substrate().get_resource_limits(&name).await?, &expected)?;
    context.is_untouched(&before).await
}

async fn limits_of_a_running_instance_are_a_conflict_without_live_limits(context: &Context) -> Verdict {
    context.only_without(Feature::LiveLimits)?;
    let change = limits(context, 0.75, 128)?;
    let name = context.running("fixed").await?;
    let before = context.get(&name).await?;
    conflict("setting limits", context.substrate().set_resource_limits(&name, &change).await)?;
    context.is_untouched(&before).await
}

async fn limits_survive_a_restart(context: &Context) -> Verdict {
    let config = context.config("bound")?.with_limits(limits(context, 0.5, 96)?);
    let name = context.stopped_from(&config).await?;
    let mut change = limits(context, 0.75, 128)?;
    change.disk_gb = None;
    context.substrate().set_resource_limits(&name, &change).await?;
    context.substrate().start_instance(&name).await?;
    same("the state", context.get(&name).await?.state, InstanceState::Running)?;
    let expected = config.limits.overlaid_with(&change);
    close("the limits", &context.substrate().get_resource_limits(&name).await?, &expected)
}

async fn setting_limits_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let change = limits(context, 0.75, 128)?;
    let set = context.substrate().set_resource_limits(&context.name("nobody")?, &change).await;
    not_found("setting its limits", set)
}
