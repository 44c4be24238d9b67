//! Who a substrate is, whether it is there, and how it is.

use futures_util::future::try_join_all;
use substrate_core::{Feature, HealthStatus, InstanceFilter, Operation};

use crate::context::Context;
use crate::trial::trials;
use crate::verdict::{Verdict, ensure, same};

trials! {
    connecting_again_is_success => Connect;
    a_connected_handle_says_so => Connect;
    connecting_while_calls_are_under_way_disturbs_none => Connect;
    the_descriptor_tells_type_name_and_kinds => Connect;
    every_required_operation_is_declared => Connect;
    asking_for_capabilities_changes_none => Connect;
    a_working_substrate_is_not_unhealthy => HealthCheck;
    health_figures_do_not_contradict_each_other => HealthCheck;
}

async fn connecting_again_is_success(context: &Context) -> Verdict {
    context.substrate().connect().await?;
    context.substrate().connect().await?;
    context.substrate().list_instances(&InstanceFilter::all()).await?;
    Ok(())
}

async fn a_connected_handle_says_so(context: &Context) -> Verdict {
    context.substrate().connect().await?;
    ensure!(context.substrate().is_connected(), "is_connected is false after connect succeeded");
    Ok(())
}

async fn connecting_while_calls_are_under_way_disturbs_none(context: &Context) -> Verdict {
    let name = context.stopped("calm").await?;
    let substrate = context.substrate();
    let rounds = (0..5).map(|_| async {
        let (connected, found) = tokio::join!(substrate.connect(), substrate.get_instance(&name));
        connected?;
        same("the name", &found?.name, &name)
    });
    try_join_all(rounds).await.map(drop)
}

async fn the_descriptor_tells_type_name_and_kinds(context: &Context) -> Verdict {
    let descriptor = context.substrate().descriptor();
    ensure!(!descriptor.provider_type.is_empty(), "the provider type is empty");
    ensure!(!descriptor.name.is_empty(), "the name is empty");
    ensure!(!descriptor.kinds.is_empty(), "no kind of instance is named");
    Ok(())
}

async fn every_required_operation_is_declared(context: &Context) -> Verdict {
    let capabilities = &context.substrate().descriptor().capabilities;
    for operation in Operation::ALL.iter().filter(|operation| operation.profile().required) {
        let stops = matches!(operation, Operation::StopInstance | Operation::RestartInstance);
        let is_wanted = !stops || context.setup().stops;
        ensure!(
            !is_wanted || capabilities.can(*operation),
            "{operation} is required, and declared as missing"
        );
    }
    // What ends with its deletion only is born running, too.
    let stops = capabilities.can(Operation::StopInstance);
    ensure!(stops || !capabilities.can(Feature::CreateStopped), "what is created stopped can be stopped");
    same("whether an instance can be stopped, by its setup", stops, context.setup().stops)
}

async fn asking_for_capabilities_changes_none(context: &Context) -> Verdict {
    let first = context.substrate().descriptor();
    context.substrate().health_check().await?;
    same("the descriptor", &*context.substrate().descriptor(), &*first)
}

async fn a_working_substrate_is_not_unhealthy(context: &Context) -> Verdict {
    let report = context.substrate().health_check().await?;
    ensure!(report.status != HealthStatus::Unhealthy, "it is unhealthy: {}", report.issues.join("; "));
    let told = report.status == HealthStatus::Healthy || !report.issues.is_empty();
    ensure!(told, "it is {} and does not say why", report.status);
    Ok(())
}

async fn health_figures_do_not_contradict_each_other(context: &Context) -> Verdict {
    context.running("counted").await?;
    let capacity = context.substrate().health_check().await?.capacity;
    if let (Some(used), Some(all)) = (capacity.memory_used_mb, capacity.memory_mb) {
        ensure!(used <= all, "{used} MiB of {all} MiB are in use");
    }
    if let (Some(used), Some(all)) = (capacity.disk_used_gb, capacity.disk_gb) {
        ensure!(used <= all, "{used} GiB of {all} GiB are in use");
    }
    if let (Some(running), Some(all)) = (capacity.instances_running, capacity.instances) {
        ensure!(running <= all, "{running} of {all} instances run");
        ensure!(running >= 1, "an instance runs, and none is counted");
    }
    Ok(())
}
