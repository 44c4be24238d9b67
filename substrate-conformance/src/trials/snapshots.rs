//! Snapshots: the content comes back, the power stays, and nothing else is touched.

use substrate_core::{
    ErrorKind, Feature, InstanceName, InstanceState, Operation, Snapshot, SnapshotConfig, StopMode,
};

use crate::context::{Context, NOTE, snapshot_name};
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, conflict, ensure, not_found, refused, same};

trials! {
    a_snapshot_is_listed_with_what_it_was_given => CreateSnapshot [Operation::ListSnapshots];
    a_taken_snapshot_name_is_already_exists => CreateSnapshot [Operation::ListSnapshots];
    a_snapshot_of_a_missing_instance_is_not_found => CreateSnapshot;
    a_snapshot_of_a_running_instance_does_not_disturb_it => CreateSnapshot [Feature::SnapshotWhileRunning];
    a_snapshot_of_a_running_instance_is_a_conflict_where_it_is_not_declared => CreateSnapshot;
    a_snapshot_carries_its_labels
        => CreateSnapshot [Feature::ResourceLabels, Operation::ListSnapshots];
    snapshots_are_listed_oldest_first => ListSnapshots [Operation::CreateSnapshot];
    snapshot_names_belong_to_their_instance
        => ListSnapshots [Operation::CreateSnapshot, Operation::DeleteSnapshot];
    snapshots_of_a_missing_instance_are_not_found => ListSnapshots;
    restore_brings_the_content_back
        => RestoreSnapshot [Operation::CreateSnapshot, Operation::ExecuteCommand];
    restore_leaves_a_running_instance_running => RestoreSnapshot [Operation::CreateSnapshot];
    restore_leaves_a_stopped_instance_stopped => RestoreSnapshot [Operation::CreateSnapshot];
    restore_keeps_name_labels_and_limits => RestoreSnapshot [Operation::CreateSnapshot];
    restore_keeps_every_snapshot
        => RestoreSnapshot [Operation::CreateSnapshot, Operation::ListSnapshots, Operation::ExecuteCommand];
    restore_of_a_missing_snapshot_is_not_found_and_touches_nothing => RestoreSnapshot;
    restore_of_a_missing_instance_is_not_found => RestoreSnapshot;
    restore_with_memory_brings_the_power_back
        => RestoreSnapshot [Operation::CreateSnapshot, Feature::SnapshotMemory, Feature::SnapshotWhileRunning];
    a_deleted_snapshot_is_gone_and_its_instance_is_not
        => DeleteSnapshot [Operation::CreateSnapshot, Operation::ListSnapshots];
    delete_of_a_missing_snapshot_is_not_found => DeleteSnapshot;
    the_name_of_a_deleted_snapshot_is_free => DeleteSnapshot [Operation::CreateSnapshot];
}

async fn snapshot(context: &Context, name: &InstanceName, word: &str) -> Verdict<Snapshot> {
    Ok(context.substrate().create_snapshot(name, &SnapshotConfig::new(snapshot_name(word)?)).await?)
}

async fn listed(context: &Context, name: &InstanceName) -> Verdict<Vec<String>> {
    let snapshots = context.substrate().list_snapshots(name).await?;
    Ok(snapshots.into_iter().map(|snapshot| snapshot.name.to_string()).collect())
}

/// An instance in which files can be written, in the state in which this substrate takes snapshots. Without
/// snapshots of running instances it is stopped for each.
async fn snapshot_of_running(context: &Context, name: &InstanceName, word: &str) -> Verdict {
    if context.can(Feature::SnapshotWhileRunning) {
        snapshot(context, name, word).await?;
        return Ok(());
    }
    context.substrate().stop_instance(name, StopMode::Force).await?;
    snapshot(context, name, word).await?;
    Ok(context.substrate().start_instance(name).await?)
}

async fn a_snapshot_is_listed_with_what_it_was_given(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    same("the snapshots before", listed(context, &name).await?, [] as [&str; 0])?;
    let config = SnapshotConfig::new(snapshot_name("one")?).with_description("before the \"upgrade\" ☃");
    let made = context.substrate().create_snapshot(&name, &config).await?;
    same("the name", &made.name, &config.name)?;
    same("the instance", &made.instance, &name)?;
    ensure!(!made.memory, "it says that it holds memory, which was not asked for");
    let snapshots = context.substrate().list_snapshots(&name).await?;
    let [found] = &*snapshots else {
        return Err(Failure::broken(format!("{} snapshots are listed instead of 1", snapshots.len())));
    };
    same("the listed name", &found.name, &config.name)?;
    same("the listed instance", &found.instance, &name)?;
    same("the listed id", &found.id, &made.id)?;
    same("the listed description", &found.description, &config.description)
}

async fn a_taken_snapshot_name_is_already_exists(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    let config = SnapshotConfig::new(snapshot_name("one")?);
    context.substrate().create_snapshot(&name, &config).await?;
    let again = context.substrate().create_snapshot(&name, &config).await;
    refused("a second snapshot of the name", again, &[ErrorKind::AlreadyExists])?;
    same("the snapshots", listed(context, &name).await?, ["one"])
}

async fn a_snapshot_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let config = SnapshotConfig::new(snapshot_name("one")?);
    not_found("a snapshot", context.substrate().create_snapshot(&context.name("nobody")?, &config).await)
}

async fn a_snapshot_of_a_running_instance_does_not_disturb_it(context: &Context) -> Verdict {
    let name = context.running("up").await?;
    let before = context.get(&name).await?;
    snapshot(context, &name, "one").await?;
    context.is_untouched(&before).await
}

async fn a_snapshot_of_a_running_instance_is_a_conflict_where_it_is_not_declared(
    context: &Context,
) -> Verdict {
    context.only_without(Feature::SnapshotWhileRunning)?;
    let name = context.running("up").await?;
    let before = context.get(&name).await?;
    let config = SnapshotConfig::new(snapshot_name("one")?);
    conflict("a snapshot", context.substrate().create_snapshot(&name, &config).await)?;
    context.is_untouched(&before).await
}

async fn a_snapshot_carries_its_labels(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    let config = SnapshotConfig::new(snapshot_name("one")?).with_label("why", "an \"upgrade\" = risk");
    context.substrate().create_snapshot(&name, &config).await?;
    let snapshots = context.substrate().list_snapshots(&name).await?;
    let labels = snapshots.first().map(|snapshot| snapshot.labels.clone()).unwrap_or_default();
    ensure!(labels.contains_all(&config.labels), "its labels are {labels:?}");
    Ok(())
}

async fn snapshots_are_listed_oldest_first(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    // Not in the order of their names; some technologies want at least two letters.
    for word in ["bee", "cee", "ay"] {
        snapshot(context, &name, word).await?;
    }
    same("the snapshots", listed(context, &name).await?, ["bee", "cee", "ay"])?;
    let snapshots = context.substrate().list_snapshots(&name).await?;
    ensure!(
        snapshots.is_sorted_by(|one, other| one.created_at <= other.created_at),
        "their times say otherwise"
    );
    Ok(())
}

async fn snapshot_names_belong_to_their_instance(context: &Context) -> Verdict {
    // One name is the beginning of the other.
    let (one, other) = (context.stopped("web").await?, context.stopped("web-2").await?);
    snapshot(context, &one, "same").await?;
    snapshot(context, &other, "same").await?;
    snapshot(context, &other, "more").await?;
    same("the snapshots of the one", listed(context, &one).await?, ["same"])?;
    context.substrate().delete_snapshot(&one, &snapshot_name("same")?).await?;
    same("the snapshots of the one", listed(context, &one).await?, [] as [&str; 0])?;
    same("the snapshots of the other", listed(context, &other).await?, ["same", "more"])
}

async fn snapshots_of_a_missing_instance_are_not_found(context: &Context) -> Verdict {
    not_found("its snapshots", context.substrate().list_snapshots(&context.name("nobody")?).await)
}

async fn restore_brings_the_content_back(context: &Context) -> Verdict {
    let name = context.running("content").await?;
    let (removed, added) = ("/sc-removed", "/sc-added");
    context.write_file(&name, NOTE, "old").await?;
    context.write_file(&name, removed, "still here").await?;
    snapshot_of_running(context, &name, "one").await?;
    context.write_file(&name, NOTE, "new").await?;
    let program = crate::guest::Program::RemoveFile(removed.to_owned());
    ensure!(context.execute(&name, &program).await?.success(), "a file could not be removed");
    context.write_file(&name, added, "not yet here").await?;
    context.substrate().restore_snapshot(&name, &snapshot_name("one")?).await?;
    context.has_state(&name, InstanceState::Running).await?;
    same("the changed file", context.read_file(&name, NOTE).await?.as_deref(), Some("old"))?;
    same("the removed file", context.read_file(&name, removed).await?.as_deref(), Some("still here"))?;
    same("the added file", context.read_file(&name, added).await?, None)
}

async fn restore_leaves_a_running_instance_running(context: &Context) -> Verdict {
    let name = context.stopped("power").await?;
    // Taken while it was stopped: what counts is how it is when it is restored.
    snapshot(context, &name, "one").await?;
    context.substrate().start_instance(&name).await?;
    context.substrate().restore_snapshot(&name, &snapshot_name("one")?).await?;
    context.has_state(&name, InstanceState::Running).await
}

async fn restore_leaves_a_stopped_instance_stopped(context: &Context) -> Verdict {
    let name = context.running("power").await?;
    snapshot_of_running(context, &name, "one").await?;
    context.substrate().stop_instance(&name, StopMode::Force).await?;
    context.substrate().restore_snapshot(&name, &snapshot_name("one")?).await?;
    context.has_state(&name, InstanceState::Stopped).await
}

async fn restore_keeps_name_labels_and_limits(context: &Context) -> Verdict {
    let mut config = context.config("same")?;
    if context.can(Feature::Labels) {
        config = config.with_label("role", "web");
    }
    if context.can(Feature::MemoryLimit) {
        config = config.with_memory_mb(96);
    }
    let name = context.stopped_from(&config).await?;
    let before = context.get(&name).await?;
    snapshot(context, &name, "one").await?;
    context.substrate().restore_snapshot(&name, &snapshot_name("one")?).await?;
    let after = context.get(&name).await?;
    same("the name", &after.name, &before.name)?;
    same("the labels", &after.labels, &before.labels)?;
    if context.can(Feature::MemoryLimit) && context.can(Operation::GetResourceLimits) {
        let limits = context.substrate().get_resource_limits(&name).await?;
        same("the memory limit", limits.memory_mb, Some(96))?;
    }
    Ok(())
}

async fn restore_keeps_every_snapshot(context: &Context) -> Verdict {
    let name = context.running("twice").await?;
    context.write_file(&name, NOTE, "one").await?;
    snapshot_of_running(context, &name, "one").await?;
    context.write_file(&name, NOTE, "two").await?;
    snapshot_of_running(context, &name, "two").await?;
    // Back, forth and back again.
    for word in ["one", "two", "one"] {
        context.substrate().restore_snapshot(&name, &snapshot_name(word)?).await?;
        same("the file", context.read_file(&name, NOTE).await?.as_deref(), Some(word))?;
        same("the snapshots", listed(context, &name).await?, ["one", "two"])?;
    }
    Ok(())
}

async fn restore_of_a_missing_snapshot_is_not_found_and_touches_nothing(context: &Context) -> Verdict {
    let name = context.running("kept").await?;
    let before = context.get(&name).await?;
    not_found("restore", context.substrate().restore_snapshot(&name, &snapshot_name("none")?).await)?;
    context.is_untouched(&before).await
}

async fn restore_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let restore =
        context.substrate().restore_snapshot(&context.name("nobody")?, &snapshot_name("one")?).await;
    not_found("restore", restore)
}

async fn restore_with_memory_brings_the_power_back(context: &Context) -> Verdict {
    let name = context.running("asleep").await?;
    let config = SnapshotConfig::new(snapshot_name("one")?).with_memory();
    let made = match context.substrate().create_snapshot(&name, &config).await {
        // A substrate of several kinds can what one of them can.
        Err(error) if error.is_unsupported() && context.substrate().descriptor().kinds.len() > 1 => {
            return Err(Failure::skipped(format!("not of this kind of instance: {}", error.message())));
        }
        made => made?,
    };
    ensure!(made.memory, "it says that it holds no memory, which was asked for");
    context.substrate().stop_instance(&name, StopMode::Force).await?;
    context.substrate().restore_snapshot(&name, &config.name).await?;
    context.has_state(&name, InstanceState::Running).await
}

async fn a_deleted_snapshot_is_gone_and_its_instance_is_not(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    for word in ["one", "two"] {
        snapshot(context, &name, word).await?;
    }
    let before = context.get(&name).await?;
    let one = snapshot_name("one")?;
    context.substrate().delete_snapshot(&name, &one).await?;
    same("the snapshots", listed(context, &name).await?, ["two"])?;
    not_found("a second delete", context.substrate().delete_snapshot(&name, &one).await)?;
    if context.can(Operation::RestoreSnapshot) {
        not_found("a restore", context.substrate().restore_snapshot(&name, &one).await)?;
    }
    context.is_untouched(&before).await
}

async fn delete_of_a_missing_snapshot_is_not_found(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    let none = snapshot_name("none")?;
    not_found("delete", context.substrate().delete_snapshot(&name, &none).await)?;
    not_found("delete", context.substrate().delete_snapshot(&context.name("nobody")?, &none).await)
}

async fn the_name_of_a_deleted_snapshot_is_free(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    for _ in 0..3 {
        snapshot(context, &name, "one").await?;
        context.substrate().delete_snapshot(&name, &snapshot_name("one")?).await?;
    }
    Ok(())
}
