//! Deleting: when it returns, the name is free.

use substrate_core::{InstanceState, SnapshotConfig, StopMode};

use crate::context::{Context, snapshot_name};
use crate::trial::trials;
use crate::verdict::{Verdict, conflict, ensure, not_found, same};

trials! {
    delete_removes_the_instance => DeleteInstance;
    delete_frees_the_name_at_once => DeleteInstance;
    delete_of_a_running_instance_without_force_is_a_conflict => DeleteInstance;
    delete_with_force_ends_a_running_instance => DeleteInstance;
    delete_of_a_paused_instance_without_force_is_a_conflict => DeleteInstance [Operation::PauseInstance];
    delete_with_force_ends_a_paused_instance => DeleteInstance [Operation::PauseInstance];
    delete_of_a_missing_instance_is_not_found => DeleteInstance;
    deleting_twice_is_not_found => DeleteInstance;
    delete_takes_the_snapshots_with_it => DeleteInstance [Operation::CreateSnapshot, Operation::ListSnapshots];
    delete_touches_no_other_instance => DeleteInstance [Operation::StopInstance];
}

async fn delete_removes_the_instance(context: &Context) -> Verdict {
    let name = context.stopped("gone").await?;
    context.substrate().delete_instance(&name, false).await?;
    context.is_absent(&name).await
}

async fn delete_frees_the_name_at_once(context: &Context) -> Verdict {
    let config = context.config("reborn")?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        context.running_from(&config).await?;
        ids.push(context.get(&config.name).await?.id.clone());
        context.substrate().delete_instance(&config.name, true).await?;
    }
    ids.sort();
    ids.dedup();
    same("the number of different ids", ids.len(), 3)
}

async fn delete_of_a_running_instance_without_force_is_a_conflict(context: &Context) -> Verdict {
    let name = context.running("busy").await?;
    let before = context.get(&name).await?;
    conflict("delete", context.substrate().delete_instance(&name, false).await)?;
    context.is_untouched(&before).await
}

async fn delete_with_force_ends_a_running_instance(context: &Context) -> Verdict {
    let name = context.running("busy").await?;
    context.substrate().delete_instance(&name, true).await?;
    context.is_absent(&name).await
}

async fn delete_of_a_paused_instance_without_force_is_a_conflict(context: &Context) -> Verdict {
    let name = context.running("frozen").await?;
    context.pause(&name).await?;
    let before = context.get(&name).await?;
    conflict("delete", context.substrate().delete_instance(&name, false).await)?;
    context.is_untouched(&before).await
}

async fn delete_with_force_ends_a_paused_instance(context: &Context) -> Verdict {
    let name = context.running("frozen").await?;
    context.pause(&name).await?;
    context.substrate().delete_instance(&name, true).await?;
    context.is_absent(&name).await
}

async fn delete_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let name = context.name("nobody")?;
    for force in [false, true] {
        not_found("delete", context.substrate().delete_instance(&name, force).await)?;
    }
    Ok(())
}

async fn deleting_twice_is_not_found(context: &Context) -> Verdict {
    let name = context.stopped("gone").await?;
    context.substrate().delete_instance(&name, true).await?;
    not_found("the second delete", context.substrate().delete_instance(&name, true).await)
}

async fn delete_takes_the_snapshots_with_it(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    context.substrate().create_snapshot(&name, &SnapshotConfig::new(snapshot_name("one")?)).await?;
    context.substrate().delete_instance(&name, false).await?;
    not_found("the list of snapshots", context.substrate().list_snapshots(&name).await)?;
    context.stopped("saved").await?;
    let snapshots = context.substrate().list_snapshots(&name).await?;
    ensure!(snapshots.is_empty(), "a new instance of the name has the snapshots of the old one");
    Ok(())
}

async fn delete_touches_no_other_instance(context: &Context) -> Verdict {
    // Names of which one is the beginning of the other.
    let (one, other) = (context.stopped("web").await?, context.running("web-2").await?);
    let before = context.get(&other).await?;
    context.substrate().delete_instance(&one, true).await?;
    context.is_untouched(&before).await?;
    same("its state", before.state, InstanceState::Running)?;
    Ok(context.substrate().stop_instance(&other, StopMode::Force).await?)
}
