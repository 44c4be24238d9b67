//! Copies: a name and labels of their own, the source's content, and no tie afterwards.

use std::sync::Arc;
use substrate_core::{
    CloneConfig, ErrorKind, Feature, Instance, InstanceName, InstanceState, NetworkConfig, Operation,
    SnapshotConfig, StopMode,
};

use crate::context::{Context, NOTE, snapshot_name};
use crate::guest::Program;
use crate::inventory::Thing;
use crate::trial::trials;
use crate::verdict::{Verdict, conflict, ensure, not_found, refused, same};

trials! {
    a_clone_is_stopped_and_has_its_own_id => CloneInstance;
    a_clone_has_its_own_labels_and_not_the_sources => CloneInstance [Feature::Labels];
    a_clone_has_the_sources_content => CloneInstance [Operation::ExecuteCommand];
    a_clone_is_independent_of_its_source => CloneInstance [Operation::ExecuteCommand];
    a_clone_has_the_sources_configuration => CloneInstance;
    a_clone_of_a_snapshot_has_its_content
        => CloneInstance [Operation::CreateSnapshot, Operation::ExecuteCommand];
    a_clone_outlives_its_source => CloneInstance [Operation::ExecuteCommand];
    a_clone_of_a_running_instance_does_not_disturb_it => CloneInstance [Feature::CloneWhileRunning];
    a_clone_of_a_running_instance_is_a_conflict_where_it_is_not_declared => CloneInstance;
    a_clone_has_no_fixed_address_of_its_source
        => CloneInstance [Feature::FixedAddress, Feature::CreateNetworks, Operation::CreateNetwork];
    a_clone_with_a_taken_name_is_already_exists => CloneInstance;
    a_clone_of_a_missing_instance_is_not_found => CloneInstance;
    a_clone_of_a_missing_snapshot_is_not_found_and_leaves_nothing => CloneInstance;
}

async fn copy(context: &Context, source: &InstanceName, config: &CloneConfig) -> Verdict<Arc<Instance>> {
    context.remember(Thing::Instance(config.name.clone()));
    Ok(context.substrate().clone_instance(source, config).await?)
}

fn config(context: &Context) -> Verdict<CloneConfig> {
    Ok(CloneConfig::new(context.name("copy")?))
}

/// A source with a file in it, stopped: every technology can copy that.
async fn source_with_note(context: &Context, text: &str) -> Verdict<InstanceName> {
    let name = context.running("source").await?;
    context.write_file(&name, NOTE, text).await?;
    context.substrate().stop_instance(&name, StopMode::Force).await?;
    Ok(name)
}

async fn a_clone_is_stopped_and_has_its_own_id(context: &Context) -> Verdict {
    let source = context.stopped("source").await?;
    let before = context.get(&source).await?;
    let copy = copy(context, &source, &config(context)?).await?;
    same("the state in the answer", copy.state, InstanceState::Stopped)?;
    context.has_state(&copy.name, InstanceState::Stopped).await?;
    ensure!(copy.id != before.id, "it has the id of its source");
    same("its kind", copy.kind, before.kind)?;
    context.is_untouched(&before).await
}

async fn a_clone_has_its_own_labels_and_not_the_sources(context: &Context) -> Verdict {
    let source = context.config("source")?.with_label("role", "web").with_label("owner", "source");
    context.stopped_from(&source).await?;
    let config = config(context)?.with_label("owner", "copy").with_label("fresh", "yes");
    copy(context, &source.name, &config).await?;
    let labels = context.get(&config.name).await?.labels.clone();
    ensure!(labels.contains_all(&config.labels), "its labels are {labels:?}");
    same("a label of the source", labels.get("role"), None)?;
    let of_source = context.get(&source.name).await?.labels.clone();
    ensure!(of_source.contains_all(&source.labels), "the source's labels are {of_source:?}");
    same("a label of the copy", of_source.get("fresh"), None)
}

async fn a_clone_has_the_sources_content(context: &Context) -> Verdict {
    let source = source_with_note(context, "copied").await?;
    let copy = copy(context, &source, &config(context)?).await?;
    context.substrate().start_instance(&copy.name).await?;
    same("the file", context.read_file(&copy.name, NOTE).await?.as_deref(), Some("copied"))
}

async fn a_clone_is_independent_of_its_source(context: &Context) -> Verdict {
    let source = source_with_note(context, "common").await?;
    let copy = copy(context, &source, &config(context)?).await?;
    context.substrate().start_instance(&copy.name).await?;
    context.substrate().start_instance(&source).await?;
    context.write_file(&copy.name, NOTE, "of the copy").await?;
    same("the source's file", context.read_file(&source, NOTE).await?.as_deref(), Some("common"))?;
    context.write_file(&source, NOTE, "of the source").await?;
    same("the copy's file", context.read_file(&copy.name, NOTE).await?.as_deref(), Some("of the copy"))
}

async fn a_clone_has_the_sources_configuration(context: &Context) -> Verdict {
    let mut source = context.config("source")?;
    if context.can(Feature::MemoryLimit) {
        source = source.with_memory_mb(96);
    }
    if context.can(Feature::CreateEnvironment) {
        source = source.with_environment("SC_VALUE", "copied too");
    }
    context.stopped_from(&source).await?;
    let copy = copy(context, &source.name, &config(context)?).await?;
    if context.can(Feature::MemoryLimit) && context.can(Operation::GetResourceLimits) {
        let limits = context.substrate().get_resource_limits(&copy.name).await?;
        same("the memory limit", limits.memory_mb, Some(96))?;
    }
    // Its command, too: it runs and goes on running.
    context.substrate().start_instance(&copy.name).await?;
    if context.can(Feature::CreateEnvironment) && context.can(Operation::ExecuteCommand) {
        let output = context.execute(&copy.name, &Program::PrintEnvironment("SC_VALUE".to_owned())).await?;
        same("the environment", output.stdout_text(), "copied too\n")?;
    }
    context.has_state(&copy.name, InstanceState::Running).await
}

async fn a_clone_of_a_snapshot_has_its_content(context: &Context) -> Verdict {
    let source = source_with_note(context, "then").await?;
    let substrate = context.substrate();
    substrate.create_snapshot(&source, &SnapshotConfig::new(snapshot_name("one")?)).await?;
    substrate.start_instance(&source).await?;
    context.write_file(&source, NOTE, "now").await?;
    substrate.stop_instance(&source, StopMode::Force).await?;
    let copy = copy(context, &source, &config(context)?.from_snapshot(snapshot_name("one")?)).await?;
    substrate.start_instance(&copy.name).await?;
    same("the copy's file", context.read_file(&copy.name, NOTE).await?.as_deref(), Some("then"))?;
    substrate.start_instance(&source).await?;
    same("the source's file", context.read_file(&source, NOTE).await?.as_deref(), Some("now"))
}

async fn a_clone_outlives_its_source(context: &Context) -> Verdict {
    let source = source_with_note(context, "kept").await?;
    let copy = copy(context, &source, &config(context)?).await?;
    context.substrate().delete_instance(&source, true).await?;
    context.substrate().start_instance(&copy.name).await?;
    same("the file", context.read_file(&copy.name, NOTE).await?.as_deref(), Some("kept"))
}

async fn a_clone_of_a_running_instance_does_not_disturb_it(context: &Context) -> Verdict {
    let source = context.running("source").await?;
    let before = context.get(&source).await?;
    let copy = copy(context, &source, &config(context)?).await?;
    context.has_state(&copy.name, InstanceState::Stopped).await?;
    context.is_untouched(&before).await
}

async fn a_clone_of_a_running_instance_is_a_conflict_where_it_is_not_declared(context: &Context) -> Verdict {
    context.only_without(Feature::CloneWhileRunning)?;
    let source = context.running("source").await?;
    let before = context.get(&source).await?;
    let config = config(context)?;
    conflict("clone", context.substrate().clone_instance(&source, &config).await)?;
    context.is_absent(&config.name).await?;
    context.is_untouched(&before).await
}

async fn a_clone_has_no_fixed_address_of_its_source(context: &Context) -> Verdict {
    let (network, [first, second, third]) = context.network("shared").await?;
    let address = [first, second, third, 77].into();
    let place = NetworkConfig::new(network.name.clone()).with_ip_address(address);
    let source = context.config("source")?.with_network(place);
    context.stopped_from(&source).await?;
    let copy = copy(context, &source.name, &config(context)?).await?;
    // With the same address one of them could not start.
    context.substrate().start_instance(&source.name).await?;
    context.substrate().start_instance(&copy.name).await?;
    let copy = context.get(&copy.name).await?;
    let attachment = copy.networks.iter().find(|attachment| attachment.network_name == network.name);
    ensure!(attachment.is_some(), "the copy is not on the source's network: {:?}", copy.networks);
    ensure!(!copy.addresses.contains(&address), "the copy has its source's address {address}");
    ensure!(
        attachment.is_none_or(|attachment| attachment.ip_address != Some(address)),
        "the copy has its source's address {address}"
    );
    Ok(())
}

async fn a_clone_with_a_taken_name_is_already_exists(context: &Context) -> Verdict {
    let source = context.stopped("source").await?;
    let taken = context.stopped("taken").await?;
    let before = context.get(&taken).await?;
    for name in [&taken, &source] {
        let clone = context.substrate().clone_instance(&source, &CloneConfig::new(name.clone())).await;
        refused("a clone with a taken name", clone, &[ErrorKind::AlreadyExists])?;
    }
    context.is_untouched(&before).await
}

async fn a_clone_of_a_missing_instance_is_not_found(context: &Context) -> Verdict {
    let config = config(context)?;
    not_found("clone", context.substrate().clone_instance(&context.name("nobody")?, &config).await)?;
    context.is_absent(&config.name).await
}

async fn a_clone_of_a_missing_snapshot_is_not_found_and_leaves_nothing(context: &Context) -> Verdict {
    let source = context.stopped("source").await?;
    let config = config(context)?.from_snapshot(snapshot_name("none")?);
    not_found("clone", context.substrate().clone_instance(&source, &config).await)?;
    context.is_absent(&config.name).await
}
