//! What is not declared is refused before any side effect, whole operations and options alike.

use std::collections::BTreeSet;

use substrate_core::{
    CloneConfig, CloudInit, Command, ErrorKind, Feature, Instance, InstanceConfig, InstanceKind,
    InstanceState, LogOptions, NetworkConfig, NetworkName, NetworkSpec, Operation, PortMapping, PortProtocol,
    ResourceLimits, Result, SnapshotConfig, StopMode, TerminalSize, VolumeMount, VolumeName, VolumeSource,
    VolumeSpec, WatchCursor, WatchOptions,
};

use crate::context::{AMPLE, Context, optional_operations, snapshot_name};
use crate::guest::Program;
use crate::inventory::{Inventory, Thing};
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, refused, same};

trials! {
    undeclared_operations_are_refused_without_side_effect => GetInstance;
    undeclared_operations_are_refused_before_anything_is_looked_up => GetInstance;
    undeclared_features_of_a_creation_are_refused_and_leave_nothing => CreateInstance;
    undeclared_features_of_a_validation_are_refused => ValidateConfig;
    undeclared_features_of_a_command_are_refused => ExecuteCommand;
    undeclared_features_of_a_session_are_refused => OpenCommand;
    undeclared_features_of_logs_are_refused => GetLogs;
    undeclared_limits_are_refused_and_change_nothing => SetResourceLimits;
    undeclared_features_of_a_snapshot_are_refused_and_leave_nothing
        => CreateSnapshot [Operation::ListSnapshots];
    undeclared_labels_of_a_clone_are_refused_and_leave_nothing => CloneInstance;
    undeclared_labels_of_a_network_are_refused_and_leave_nothing => CreateNetwork [Operation::ListNetworks];
    undeclared_labels_of_a_volume_are_refused_and_leave_nothing => CreateVolume [Operation::ListVolumes];
    an_undeclared_fixed_address_is_refused_and_attaches_nothing
        => AttachNetwork [Operation::CreateNetwork];
    an_undeclared_graceful_stop_is_refused_and_stops_nothing => StopInstance;
    an_undeclared_cursor_is_refused => Watch;
}

fn unsupported<T>(what: &str, result: Result<T>) -> Verdict {
    refused(what, result, &[ErrorKind::Unsupported]).map(drop)
}

/// Skips the trial when everything that it would try is declared.
fn any<T>(undeclared: Vec<T>, what: &str) -> Verdict<Vec<T>> {
    if undeclared.is_empty() {
        return Err(Failure::skipped(format!("every {what} is declared: none need be refused")));
    }
    Ok(undeclared)
}

/// Calls an operation that is not declared on an instance that exists, with arguments that make sense.
async fn call(context: &Context, operation: Operation, instance: &Instance) -> Result<()> {
    let substrate = context.substrate();
    let name = &instance.name;
    let command = Command::new(["true"]);
    let snapshot = SnapshotConfig::new("sc-undeclared".parse()?);
    let network = NetworkName::new(context.unique("network"))?;
    let volume = VolumeName::new(context.unique("volume"))?;
    let copy = CloneConfig::new(context.unique("copy").parse()?);
    let limits = ResourceLimits { cpu_cores: Some(0.5), memory_mb: Some(96), ..ResourceLimits::default() };
    // What is made by mistake is removed all the same.
    context.remember(Thing::Instance(copy.name.clone()));
    match operation {
        Operation::PauseInstance => substrate.pause_instance(name).await,
        Operation::ResumeInstance => substrate.resume_instance(name).await,
        Operation::ExecuteCommand => substrate.execute_command(name, &command).await.map(drop),
        Operation::OpenCommand => substrate.open_command(name, &command).await.map(drop),
        Operation::GetLogs => substrate.get_logs(name, &LogOptions::all()).await.map(drop),
        Operation::GetResourceLimits => substrate.get_resource_limits(name).await.map(drop),
        Operation::SetResourceLimits => substrate.set_resource_limits(name, &limits).await,
        Operation::CreateSnapshot => substrate.create_snapshot(name, &snapshot).await.map(drop),
        Operation::ListSnapshots => substrate.list_snapshots(name).await.map(drop),
        Operation::RestoreSnapshot => substrate.restore_snapshot(name, &snapshot.name).await,
        Operation::DeleteSnapshot => substrate.delete_snapshot(name, &snapshot.name).await,
        Operation::CloneInstance => substrate.clone_instance(name, &copy).await.map(drop),
        Operation::ListNetworks => substrate.list_networks().await.map(drop),
        Operation::CreateNetwork => substrate.create_network(&NetworkSpec::new(network)).await.map(drop),
        Operation::DeleteNetwork => substrate.delete_network(&network).await,
        Operation::AttachNetwork => substrate.attach_network(name, &NetworkConfig::new(network)).await,
        Operation::DetachNetwork => substrate.detach_network(name, &network).await,
        Operation::ListVolumes => substrate.list_volumes().await.map(drop),
        Operation::CreateVolume => substrate.create_volume(&VolumeSpec::new(volume)).await.map(drop),
        Operation::DeleteVolume => substrate.delete_volume(&volume).await,
        Operation::ListImages => substrate.list_images().await.map(drop),
        Operation::EnsureImage => substrate.ensure_image(&context.setup().image).await.map(drop),
        Operation::Watch => substrate.watch(&WatchOptions::from_now()).await.map(drop),
        // An operation that is newer than this list: nothing calls it, so nothing is proved about it.
        _ => context.substrate().descriptor().require(operation),
    }
}

fn undeclared_operations(context: &Context) -> Verdict<Vec<Operation>> {
    any(optional_operations().filter(|operation| !context.can(*operation)).collect(), "operation")
}

async fn own_things(context: &Context) -> Verdict<BTreeSet<Thing>> {
    let all = Inventory::take(context.substrate(), context.run().mark()).await?;
    let own = context.unique("");
    Ok(all.things.into_iter().filter(|thing| thing.text().contains(&own)).collect())
}

async fn undeclared_operations_are_refused_without_side_effect(context: &Context) -> Verdict {
    let undeclared = undeclared_operations(context)?;
    let name = context.running("subject").await?;
    let before = context.get(&name).await?;
    let things = own_things(context).await?;
    for operation in undeclared {
        unsupported(operation.name(), call(context, operation, &before).await)?;
        same(&format!("the instance after {operation}"), &context.get(&name).await?, &before)?;
    }
    same("what there is", own_things(context).await?, things)
}

async fn undeclared_operations_are_refused_before_anything_is_looked_up(context: &Context) -> Verdict {
    // An instance that does not exist: who looks first says "not found".
    let nobody = Instance::new("x", context.name("nobody")?, InstanceKind::Container, InstanceState::Unknown);
    for operation in undeclared_operations(context)? {
        unsupported(operation.name(), call(context, operation, &nobody).await)?;
    }
    Ok(())
}

/// Configurations of which each asks for one feature.
fn features_of_a_creation(context: &Context) -> Verdict<Vec<(Feature, InstanceConfig)>> {
    let config = || context.config("asking");
    let limits = |limits: ResourceLimits| Verdict::Ok(config()?.with_limits(limits));
    let network = NetworkConfig::new(NetworkName::new(context.unique("network"))?);
    let source = VolumeSource::HostPath("/".to_owned());
    let mount = VolumeMount { source, target: "/data".to_owned(), read_only: true };
    let port = PortMapping { port: 80, host_port: None, host_address: None, protocol: PortProtocol::Tcp };
    let none = ResourceLimits::default();
    let all = vec![
        (Feature::Labels, config()?.with_label("role", "web")),
        (Feature::Metadata, config()?.with_metadata("role", "web")),
        (Feature::CreateCommand, config()?.with_command(["serve"])),
        (Feature::CreateEnvironment, config()?.with_environment("ROLE", "web")),
        (Feature::CreateNetworks, config()?.with_network(network)),
        (Feature::CreateVolumes, config()?.with_volume(mount)),
        (Feature::CreatePorts, config()?.with_port(port)),
        (Feature::CloudInit, config()?.with_cloud_init(CloudInit::new("#cloud-config\n"))),
        (Feature::ImageFiles, config()?.with_image("file:/nonexistent/sc-no-such-image")),
        (Feature::CpuLimit, limits(ResourceLimits { cpu_cores: Some(0.5), ..none })?),
        (Feature::MemoryLimit, limits(ResourceLimits { memory_mb: Some(96), ..none })?),
        (Feature::DiskLimit, limits(ResourceLimits { disk_gb: Some(2), ..none })?),
        (Feature::NetworkLimit, limits(ResourceLimits { network_mbps: Some(100.0), ..none })?),
    ];
    any(all.into_iter().filter(|(feature, _)| !context.can(*feature)).collect(), "feature of a creation")
}

async fn undeclared_features_of_a_creation_are_refused_and_leave_nothing(context: &Context) -> Verdict {
    for (feature, config) in features_of_a_creation(context)? {
        unsupported(feature.name(), context.create(&config).await)?;
        context.is_absent(&config.name).await.map_err(|failure| failure.during(feature.name()))?;
    }
    Ok(())
}

async fn undeclared_features_of_a_validation_are_refused(context: &Context) -> Verdict {
    for (feature, config) in features_of_a_creation(context)? {
        unsupported(feature.name(), context.substrate().validate_config(&config).await)?;
    }
    Ok(())
}

fn features_of_a_command(context: &Context) -> Verdict<Vec<(Feature, Command)>> {
    let command = || context.command(&Program::Exit(0));
    let all = vec![
        (Feature::CommandInput, command()?.with_input("text")),
        (Feature::CommandInput, command()?.interactive()),
        (Feature::CommandTerminal, command()?.with_terminal(TerminalSize::default())),
        (Feature::CommandEnvironment, command()?.with_environment("ROLE", "web")),
        (Feature::CommandWorkingDirectory, command()?.with_working_directory("/")),
        (Feature::CommandUser, command()?.with_user(context.guest().user())),
    ];
    any(all.into_iter().filter(|(feature, _)| !context.can(*feature)).collect(), "feature of a command")
}

async fn undeclared_features_of_a_command_are_refused(context: &Context) -> Verdict {
    let asking = features_of_a_command(context)?;
    let name = context.running("subject").await?;
    for (feature, command) in asking {
        unsupported(feature.name(), context.substrate().execute_command(&name, &command).await)?;
    }
    Ok(())
}

async fn undeclared_features_of_a_session_are_refused(context: &Context) -> Verdict {
    let asking = features_of_a_command(context)?;
    let name = context.running("subject").await?;
    for (feature, command) in asking {
        unsupported(feature.name(), context.substrate().open_command(&name, &command).await)?;
    }
    Ok(())
}

async fn undeclared_features_of_logs_are_refused(context: &Context) -> Verdict {
    let all = vec![
        (Feature::LogFollow, LogOptions::all().follow()),
        (Feature::LogSince, LogOptions::all().since(std::time::SystemTime::UNIX_EPOCH)),
    ];
    let asking =
        any(all.into_iter().filter(|(feature, _)| !context.can(*feature)).collect(), "feature of logs")?;
    let name = context.running("subject").await?;
    for (feature, options) in asking {
        unsupported(feature.name(), context.substrate().get_logs(&name, &options).await)?;
    }
    Ok(())
}

async fn undeclared_limits_are_refused_and_change_nothing(context: &Context) -> Verdict {
    let none = ResourceLimits::default();
    let all = vec![
        (Feature::CpuLimit, ResourceLimits { cpu_cores: Some(0.5), ..none }),
        (Feature::MemoryLimit, ResourceLimits { memory_mb: Some(96), ..none }),
        (Feature::DiskLimit, ResourceLimits { disk_gb: Some(2), ..none }),
        (Feature::NetworkLimit, ResourceLimits { network_mbps: Some(100.0), ..none }),
    ];
    let asking = any(all.into_iter().filter(|(feature, _)| !context.can(*feature)).collect(), "limit")?;
    let name = context.stopped("subject").await?;
    let before = context.get(&name).await?;
    for (feature, mut limits) in asking {
        // Together with one that could be set: all or nothing.
        if context.can(Feature::MemoryLimit) {
            limits.memory_mb = Some(96);
        }
        unsupported(feature.name(), context.substrate().set_resource_limits(&name, &limits).await)?;
        same(&format!("the instance after {feature}"), &context.get(&name).await?, &before)?;
    }
    Ok(())
}

async fn undeclared_features_of_a_snapshot_are_refused_and_leave_nothing(context: &Context) -> Verdict {
    let config = || Verdict::Ok(SnapshotConfig::new(snapshot_name("asking")?));
    let all = vec![
        (Feature::SnapshotMemory, config()?.with_memory()),
        (Feature::ResourceLabels, config()?.with_label("role", "web")),
    ];
    let undeclared = all.into_iter().filter(|(feature, _)| !context.can(*feature)).collect();
    let asking = any(undeclared, "feature of a snapshot")?;
    let name = context.running("subject").await?;
    for (feature, config) in asking {
        unsupported(feature.name(), context.substrate().create_snapshot(&name, &config).await)?;
    }
    same("the snapshots", context.substrate().list_snapshots(&name).await?, [])
}

async fn undeclared_labels_of_a_clone_are_refused_and_leave_nothing(context: &Context) -> Verdict {
    context.only_without(Feature::Labels)?;
    let source = context.stopped("source").await?;
    let config = CloneConfig::new(context.name("copy")?).with_label("role", "web");
    context.remember(Thing::Instance(config.name.clone()));
    unsupported("a clone with labels", context.substrate().clone_instance(&source, &config).await)?;
    context.is_absent(&config.name).await
}

async fn undeclared_labels_of_a_network_are_refused_and_leave_nothing(context: &Context) -> Verdict {
    context.only_without(Feature::ResourceLabels)?;
    let spec = context.network_spec("labelled")?.with_label("role", "web");
    unsupported("a network with labels", context.substrate().create_network(&spec).await)?;
    let networks = context.substrate().list_networks().await?;
    same("the number of networks", networks.iter().filter(|network| network.name == spec.name).count(), 0)
}

async fn undeclared_labels_of_a_volume_are_refused_and_leave_nothing(context: &Context) -> Verdict {
    context.only_without(Feature::ResourceLabels)?;
    let spec = context.volume_spec("labelled")?.with_label("role", "web");
    unsupported("a volume with labels", context.substrate().create_volume(&spec).await)?;
    let volumes = context.substrate().list_volumes().await?;
    same("the number of volumes", volumes.iter().filter(|volume| volume.name == spec.name).count(), 0)
}

async fn an_undeclared_fixed_address_is_refused_and_attaches_nothing(context: &Context) -> Verdict {
    context.only_without(Feature::FixedAddress)?;
    let (network, [first, second, third]) = context.network("blue").await?;
    let name = context.running("subject").await?;
    let place = NetworkConfig::new(network.name.clone()).with_ip_address([first, second, third, 42].into());
    unsupported("a fixed address", context.substrate().attach_network(&name, &place).await)?;
    let networks: Vec<_> =
        context.get(&name).await?.networks.iter().map(|end| end.network_name.clone()).collect();
    same("whether it is attached", networks.contains(&network.name), false)
}

async fn an_undeclared_graceful_stop_is_refused_and_stops_nothing(context: &Context) -> Verdict {
    context.only_without(Feature::GracefulStop)?;
    let name = context.running("subject").await?;
    let before = context.get(&name).await?;
    unsupported(
        "a graceful stop",
        context.substrate().stop_instance(&name, StopMode::Graceful(AMPLE)).await,
    )?;
    context.is_untouched(&before).await
}

async fn an_undeclared_cursor_is_refused(context: &Context) -> Verdict {
    context.only_without(Feature::WatchResume)?;
    let options = WatchOptions::after(WatchCursor("1".to_owned()));
    unsupported("a cursor", context.substrate().watch(&options).await)
}
