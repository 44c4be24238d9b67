//! Names that try to be something else: they work exactly, or they are refused. Never do they reach
//! another thing.

use std::sync::Arc;

use futures_util::TryStreamExt;
use substrate_core::{
    CloneConfig, ErrorKind, Feature, Instance, InstanceConfig, InstanceFilter, InstanceName, LogOptions,
    MAX_NAME_BYTES, NetworkConfig, NetworkName, Operation, SnapshotConfig, SnapshotName, StopMode,
    VolumeName, VolumeSpec,
};

use crate::context::{Context, snapshot_name};
use crate::inventory::Thing;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, refused, same};

trials! {
    a_hostile_instance_name_works_exactly_or_is_refused => CreateInstance;
    reading_by_a_hostile_name_finds_nothing => GetInstance;
    changing_by_a_hostile_name_changes_nothing => DeleteInstance;
    a_hostile_prefix_finds_nothing => ListInstances;
    a_hostile_snapshot_name_works_exactly_or_is_refused => CreateSnapshot [Operation::ListSnapshots];
    a_hostile_network_name_works_exactly_or_is_refused => CreateNetwork [Operation::ListNetworks];
    a_hostile_volume_name_works_exactly_or_is_refused => CreateVolume [Operation::ListVolumes];
    a_hostile_image_is_refused => CreateInstance;
    a_hostile_clone_name_works_exactly_or_is_refused => CloneInstance;
}

/// What a name is refused with.
const REFUSALS: [ErrorKind; 2] = [ErrorKind::InvalidInput, ErrorKind::Unsupported];
/// What a name that is nobody's is answered with.
const NOBODY: [ErrorKind; 2] = [ErrorKind::NotFound, ErrorKind::InvalidInput];

/// Names that end a path, a URL, a query, a command line, a document, an option or a buffer early.
fn hostile(unique: &str) -> Vec<String> {
    let mut names: Vec<String> = [
        "../{}",
        "../../{}",
        "{}/../x",
        "/{}",
        "{}/",
        "a/{}",
        "..%2f{}",
        "%2e%2e%2f{}",
        "%2e{}",
        "{}%00",
        "a;b{}",
        "{};id",
        "$(id){}",
        "`id`{}",
        "a&b={}",
        "{}?force=true",
        "{}#x",
        "]]>{}",
        "<x>{}",
        "\"{}",
        "'{}",
        "\\{}",
        "-{}",
        "--force={}",
        "🦀{}",
        "größe{}",
        "{} x",
        " {}",
        "*{}",
        "{}:1",
        "{}@x",
        "{},x",
        "{}\u{202e}x",
    ]
    .into_iter()
    .map(|pattern| pattern.replace("{}", unique))
    .collect();
    let fill = MAX_NAME_BYTES.saturating_sub(unique.len());
    names.push(format!("{unique}{}", "n".repeat(fill)));
    names
}

/// An instance beside which all this happens, and which none of it may touch.
async fn bystander(context: &Context) -> Verdict<Arc<Instance>> {
    let name = context.running("x").await?;
    context.get(&name).await
}

async fn a_hostile_instance_name_works_exactly_or_is_refused(context: &Context) -> Verdict {
    let bystander = bystander(context).await?;
    let substrate = context.substrate();
    for text in hostile(&context.unique("h")) {
        let name = InstanceName::new(&text)?;
        let step = |what: &str| format!("{what} `{text:.40}`");
        let config = context.config_named(name.clone())?;
        let validated = substrate.validate_config(&config).await;
        match context.create(&config).await {
            Err(error) => {
                refused(&step("creating"), Err::<(), _>(error), &REFUSALS)?;
                refused(&step("validating"), validated, &REFUSALS)?;
                refused(&step("getting"), substrate.get_instance(&name).await, &NOBODY)?;
            }
            Ok(created) => {
                same(&step("the created name of"), &created.name, &name)?;
                same(&step("the found name of"), &context.get(&name).await?.name, &name)?;
                let filter = InstanceFilter::all().with_name_prefix(name.as_str());
                let listed = substrate.list_instances(&filter).await?;
                same(&step("the number listed of"), listed.len(), 1)?;
                substrate.delete_instance(&name, true).await?;
                refused(&step("getting"), substrate.get_instance(&name).await, &NOBODY)?;
            }
        }
    }
    context.is_untouched(&bystander).await
}

/// Hostile forms of the bystander's own name: a careless client would reach it.
fn disguises(bystander: &Instance) -> Verdict<Vec<InstanceName>> {
    let name = bystander.name.as_str();
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
    [
        format!("/{name}"),
        format!("../containers/{name}"),
        format!("x/../{name}"),
        format!("./{name}"),
        format!("{name}/"),
        format!("{name}/."),
        format!("{name}?"),
        format!("{name}#"),
        format!("{name}%20"),
        format!("{name}%00"),
        format!("{name}/json?x="),
        format!(" {name}"),
        format!("{name} "),
        name.to_uppercase(),
        encoded,
    ]
    .iter()
    .map(|text| Ok(InstanceName::new(text)?))
    .collect()
}

async fn reading_by_a_hostile_name_finds_nothing(context: &Context) -> Verdict {
    let bystander = bystander(context).await?;
    let substrate = context.substrate();
    for name in disguises(&bystander)? {
        let step = |what: &str| format!("{what} `{name}`");
        refused(&step("getting"), substrate.get_instance(&name).await, &NOBODY)?;
        refused(&step("measuring"), substrate.get_metrics(&name).await, &NOBODY)?;
        if context.can(Operation::GetResourceLimits) {
            refused(&step("the limits of"), substrate.get_resource_limits(&name).await, &NOBODY)?;
        }
        if context.can(Operation::ListSnapshots) {
            refused(&step("the snapshots of"), substrate.list_snapshots(&name).await, &NOBODY)?;
        }
        if context.can(Operation::GetLogs) {
            let log = match substrate.get_logs(&name, &LogOptions::tail(1)).await {
                Ok(stream) => stream.try_collect::<Vec<_>>().await,
                Err(error) => Err(error),
            };
            refused(&step("the log of"), log, &NOBODY)?;
        }
    }
    Ok(())
}

async fn changing_by_a_hostile_name_changes_nothing(context: &Context) -> Verdict {
    let bystander = bystander(context).await?;
    let substrate = context.substrate();
    for name in disguises(&bystander)? {
        let step = |what: &str| format!("{what} `{name}`");
        refused(&step("starting"), substrate.start_instance(&name).await, &NOBODY)?;
        if context.can(Operation::StopInstance) {
            refused(&step("stopping"), substrate.stop_instance(&name, StopMode::Force).await, &NOBODY)?;
        }
        if context.can(Operation::RestartInstance) {
            refused(&step("restarting"), substrate.restart_instance(&name, StopMode::Force).await, &NOBODY)?;
        }
        refused(&step("deleting"), substrate.delete_instance(&name, true).await, &NOBODY)?;
        if context.can(Operation::PauseInstance) {
            refused(&step("pausing"), substrate.pause_instance(&name).await, &NOBODY)?;
        }
        if context.can(Operation::ExecuteCommand) {
            let command = context.command(&crate::guest::Program::Exit(0))?;
            refused(&step("a command in"), substrate.execute_command(&name, &command).await, &NOBODY)?;
        }
        if context.can(Operation::CreateSnapshot) {
            let config = SnapshotConfig::new(snapshot_name("one")?);
            refused(&step("a snapshot of"), substrate.create_snapshot(&name, &config).await, &NOBODY)?;
        }
        if context.can(Operation::CloneInstance) {
            let config = CloneConfig::new(context.name("copy")?);
            refused(&step("a clone of"), substrate.clone_instance(&name, &config).await, &NOBODY)?;
        }
    }
    context.is_untouched(&bystander).await
}

async fn a_hostile_prefix_finds_nothing(context: &Context) -> Verdict {
    let bystander = bystander(context).await?;
    let name = bystander.name.as_str();
    for prefix in
        ["*", ".*", "^", "\"", "\\", "[", "(", "%", "{\"", "a&all=1", "', '", name.to_uppercase().as_str()]
    {
        let filter = InstanceFilter::all().with_name_prefix(prefix);
        let found = context.substrate().list_instances(&filter).await?;
        let reached = found.iter().any(|instance| instance.name == bystander.name);
        ensure!(!reached, "the prefix `{prefix}` found `{name}`");
    }
    if context.can(Feature::Labels) {
        for (key, value) in [("a=b", "c"), ("\"", "\""), ("{}", "]"), ("a,b", "c,d"), ("", "x")] {
            let filter = InstanceFilter::all().with_label(key, value);
            match context.substrate().list_instances(&filter).await {
                Ok(found) => same(&format!("what has the label `{key}`"), found.len(), 0)?,
                Err(error) => ensure!(error.is_invalid_input(), "the label `{key}`: {error}"),
            }
        }
    }
    Ok(())
}

async fn a_hostile_snapshot_name_works_exactly_or_is_refused(context: &Context) -> Verdict {
    let name = context.stopped("saved").await?;
    let substrate = context.substrate();
    substrate.create_snapshot(&name, &SnapshotConfig::new(snapshot_name("kept")?)).await?;
    for text in hostile("h") {
        let config = SnapshotConfig::new(SnapshotName::new(&text)?);
        let step = |what: &str| format!("{what} `{text:.40}`");
        match substrate.create_snapshot(&name, &config).await {
            Err(error) => drop(refused(&step("creating"), Err::<(), _>(error), &REFUSALS)?),
            Ok(made) => {
                same(&step("the name of"), &made.name, &config.name)?;
                let listed = substrate.list_snapshots(&name).await?;
                let found = listed.iter().filter(|snapshot| snapshot.name == config.name).count();
                same(&step("the number listed of"), found, 1)?;
                if context.can(Operation::DeleteSnapshot) {
                    substrate.delete_snapshot(&name, &config.name).await?;
                }
            }
        }
        if context.can(Operation::RestoreSnapshot) && context.can(Operation::DeleteSnapshot) {
            let restore = substrate.restore_snapshot(&name, &config.name).await;
            refused(&step("restoring"), restore, &NOBODY)?;
        }
    }
    let kept = substrate.list_snapshots(&name).await?;
    ensure!(kept.iter().any(|snapshot| snapshot.name == "kept"), "another snapshot is gone");
    Ok(())
}

async fn a_hostile_network_name_works_exactly_or_is_refused(context: &Context) -> Verdict {
    let substrate = context.substrate();
    let (kept, _) = context.network("x").await?;
    for text in hostile(&context.unique("h")) {
        let name = NetworkName::new(&text)?;
        context.remember(Thing::Network(name.clone()));
        let spec =
            context.with_subnet(substrate_core::NetworkSpec::new(name.clone()), context.run().subnet());
        let step = |what: &str| format!("{what} `{text:.40}`");
        match substrate.create_network(&spec).await {
            Err(error) => {
                refused(&step("creating"), Err::<(), _>(error), &REFUSALS)?;
                refused(&step("deleting"), substrate.delete_network(&name).await, &NOBODY)?;
            }
            Ok(made) => {
                same(&step("the name of"), &made.name, &name)?;
                let listed = substrate.list_networks().await?;
                let found = listed.iter().filter(|network| network.name == name).count();
                same(&step("the number listed of"), found, 1)?;
                substrate.delete_network(&name).await?;
                refused(&step("deleting again"), substrate.delete_network(&name).await, &NOBODY)?;
            }
        }
    }
    let listed = substrate.list_networks().await?;
    ensure!(listed.iter().any(|network| network.id == kept.id), "another network is gone");
    if context.can(Feature::CreateNetworks) {
        let disguise = NetworkName::new(format!("../networks/{}", kept.name))?;
        let config: InstanceConfig = context.config("guest")?.with_network(NetworkConfig::new(disguise));
        refused("creating on a hostile network", context.create(&config).await, &NOBODY)?;
    }
    Ok(())
}

async fn a_hostile_volume_name_works_exactly_or_is_refused(context: &Context) -> Verdict {
    let substrate = context.substrate();
    let kept = context.volume("x").await?;
    for text in hostile(&context.unique("h")) {
        let name = VolumeName::new(&text)?;
        context.remember(Thing::Volume(name.clone()));
        let step = |what: &str| format!("{what} `{text:.40}`");
        match substrate.create_volume(&VolumeSpec::new(name.clone())).await {
            Err(error) => {
                refused(&step("creating"), Err::<(), _>(error), &REFUSALS)?;
                refused(&step("deleting"), substrate.delete_volume(&name).await, &NOBODY)?;
            }
            Ok(made) => {
                same(&step("the name of"), &made.name, &name)?;
                let listed = substrate.list_volumes().await?;
                let found = listed.iter().filter(|volume| volume.name == name).count();
                same(&step("the number listed of"), found, 1)?;
                substrate.delete_volume(&name).await?;
                refused(&step("deleting again"), substrate.delete_volume(&name).await, &NOBODY)?;
            }
        }
    }
    let listed = substrate.list_volumes().await?;
    ensure!(listed.iter().any(|volume| volume.name == kept.name), "another volume is gone");
    Ok(())
}

async fn a_hostile_image_is_refused(context: &Context) -> Verdict {
    for image in ["../../etc/passwd", "-x", "a b", "image?x=1", "%2e%2e/x", "]]>", "$(id)", "🦀"] {
        let config = context.config("imageless")?.with_image(image);
        refused(&format!("creating from `{image}`"), context.create(&config).await, &NOBODY)?;
        context.is_absent(&config.name).await?;
    }
    Ok(())
}

async fn a_hostile_clone_name_works_exactly_or_is_refused(context: &Context) -> Verdict {
    let source = context.stopped("x").await?;
    let before = context.get(&source).await?;
    for text in hostile(&context.unique("h")).into_iter().step_by(4) {
        let config = CloneConfig::new(InstanceName::new(&text)?);
        context.remember(Thing::Instance(config.name.clone()));
        match context.substrate().clone_instance(&source, &config).await {
            Err(error) => {
                refused(&format!("cloning to `{text}`"), Err::<(), _>(error), &REFUSALS)?;
            }
            Ok(copy) => {
                same("the name of the copy", &copy.name, &config.name)?;
                context.substrate().delete_instance(&config.name, true).await?;
            }
        }
        if context.substrate().get_instance(&config.name).await.is_ok() {
            return Err(Failure::broken(format!("`{text}` exists, and was refused or deleted")));
        }
    }
    context.is_untouched(&before).await
}
