//! Creating: what exists afterwards, and what does not when it failed.

use std::sync::atomic::{AtomicBool, Ordering};

use substrate_core::{
    CloudInit, ErrorKind, Feature, InstanceConfig, InstanceKind, InstanceState, InstanceTemplate, Labels,
    NetworkConfig, NetworkName, PortMapping, PortProtocol, SubstrateExt, VolumeMount, VolumeName,
    VolumeSource,
};

use crate::context::{Context, is_refusal};
use crate::guest::Program;
use crate::trial::trials;
use crate::verdict::{Failure, Verdict, ensure, not_found, refused, same};

trials! {
    create_leaves_the_instance_stopped => CreateInstance [Feature::CreateStopped];
    create_runs_the_instance_where_stopped_is_not_declared => CreateInstance;
    create_returns_what_get_returns => CreateInstance;
    create_makes_the_default_kind => CreateInstance;
    create_of_a_taken_name_is_already_exists_and_touches_nothing => CreateInstance;
    create_with_a_missing_image_is_not_found_and_leaves_nothing => CreateInstance;
    create_on_a_missing_network_is_not_found_and_leaves_nothing => CreateInstance [Feature::CreateNetworks];
    create_with_a_missing_volume_is_not_found_and_leaves_nothing => CreateInstance [Feature::CreateVolumes];
    create_with_invalid_input_is_refused_and_leaves_nothing => CreateInstance;
    create_with_an_unknown_option_is_refused_and_leaves_nothing => CreateInstance;
    create_of_a_foreign_kind_is_refused_and_leaves_nothing => CreateInstance;
    labels_are_on_the_instance_whenever_it_is_seen => CreateInstance [Feature::Labels];
    label_values_come_back_exactly => CreateInstance [Feature::Labels];
    metadata_comes_back_exactly => CreateInstance [Feature::Metadata];
    the_environment_reaches_the_instance_exactly
        => CreateInstance [Feature::CreateEnvironment, Operation::ExecuteCommand];
    cloud_init_data_reaches_the_instance_exactly
        => CreateInstance [Feature::CloudInit, Operation::ExecuteCommand];
    a_command_that_ends_leaves_the_instance_stopped => CreateInstance [Feature::CreateCommand];
    an_instance_with_a_published_port_runs => CreateInstance [Feature::CreatePorts];
    create_from_a_template_applies_overrides_last => CreateInstance;
    validate_has_no_side_effect => ValidateConfig;
    validate_agrees_with_create_on_invalid_input => ValidateConfig;
    validate_finds_a_missing_network => ValidateConfig [Feature::CreateNetworks];
    validate_finds_a_missing_volume => ValidateConfig [Feature::CreateVolumes];
}

async fn create_leaves_the_instance_stopped(context: &Context) -> Verdict {
    let created = context.created("new").await?;
    same("the state in the answer", created.state, InstanceState::Stopped)?;
    context.has_state(&created.name, InstanceState::Stopped).await
}

async fn create_runs_the_instance_where_stopped_is_not_declared(context: &Context) -> Verdict {
    context.only_without(Feature::CreateStopped)?;
    let created = context.created("new").await?;
    context.has_state(&created.name, InstanceState::Running).await
}

async fn create_returns_what_get_returns(context: &Context) -> Verdict {
    let mut config = context.config("new")?;
    if context.can(Feature::Labels) {
        config = config.with_label("role", "web");
    }
    let created = context.create(&config).await?;
    same("the name", &created.name, &config.name)?;
    ensure!(!created.id.is_empty(), "the id is empty");
    let found = context.get(&config.name).await?;
    same("the id", &found.id, &created.id)?;
    same("the kind", found.kind, created.kind)?;
    same("the state", found.state, created.state)?;
    same("the labels", &found.labels, &created.labels)?;
    ensure!(found.labels.contains_all(&config.labels), "labels are missing: {:?}", found.labels);
    same("the time of creation", found.created_at, created.created_at)
}

async fn create_makes_the_default_kind(context: &Context) -> Verdict {
    let created = context.created("new").await?;
    let kinds = &context.substrate().descriptor().kinds;
    same("the kind", Some(created.kind), kinds.first().copied())
}

async fn create_of_a_taken_name_is_already_exists_and_touches_nothing(context: &Context) -> Verdict {
    let name = context.running("taken").await?;
    let before = context.get(&name).await?;
    let again = context.substrate().create_instance(&context.config("taken")?).await;
    refused("creating it again", again, &[ErrorKind::AlreadyExists])?;
    context.is_untouched(&before).await
}

async fn create_with_a_missing_image_is_not_found_and_leaves_nothing(context: &Context) -> Verdict {
    let Some(image) = context.setup().missing_image.clone() else {
        return Err(Failure::skipped("the setup names no missing image"));
    };
    let config = context.config("imageless")?.with_image(image);
    not_found("create", context.create(&config).await)?;
    context.is_absent(&config.name).await
}

async fn create_on_a_missing_network_is_not_found_and_leaves_nothing(context: &Context) -> Verdict {
    let config = on_missing_network(context)?;
    not_found("create", context.create(&config).await)?;
    context.is_absent(&config.name).await
}

async fn create_with_a_missing_volume_is_not_found_and_leaves_nothing(context: &Context) -> Verdict {
    let config = with_missing_volume(context)?;
    not_found("create", context.create(&config).await)?;
    context.is_absent(&config.name).await
}

fn on_missing_network(context: &Context) -> Verdict<InstanceConfig> {
    let network = NetworkName::new(context.unique("no-network"))?;
    Ok(context.config("stranded")?.with_network(NetworkConfig::new(network)))
}

fn with_missing_volume(context: &Context) -> Verdict<InstanceConfig> {
    let source = VolumeSource::Volume(VolumeName::new(context.unique("no-volume"))?);
    let mount = VolumeMount { source, target: "/data".to_owned(), read_only: false };
    Ok(context.config("empty")?.with_volume(mount))
}

/// Configurations that nobody can mean, as far as the substrate has the feature that they misuse.
fn invalid_configs(context: &Context) -> Verdict<Vec<(&'static str, InstanceConfig)>> {
    let config = || context.config("invalid");
    let mut invalid = vec![
        ("zero memory", config()?.with_memory_mb(0)),
        ("negative cores", config()?.with_cpu_cores(-1.0)),
        ("no finite number of cores", config()?.with_cpu_cores(f64::INFINITY)),
        ("an empty image", config()?.with_image("")),
        ("an image with a line end", config()?.with_image("a\nb")),
        ("a NUL byte in the command", config()?.with_command(["a\0b"])),
        ("an empty program", config()?.with_command([""])),
        ("`=` in an environment variable", config()?.with_environment("A=B", "x")),
    ];
    let relative = VolumeMount {
        source: VolumeSource::HostPath("/etc".to_owned()),
        target: "data".to_owned(),
        read_only: true,
    };
    invalid.push((
        "cloud-init data that does not say what it is",
        config()?.with_cloud_init(CloudInit::new("x")),
    ));
    invalid.push(("a relative mount target", config()?.with_volume(relative)));
    if context.can(Feature::Labels) {
        invalid.push(("an empty label key", config()?.with_label("", "x")));
    }
    Ok(invalid)
}

/// A substrate may see first that it lacks the feature, or first that the value is wrong: both are no.
const REFUSALS: [ErrorKind; 2] = [ErrorKind::InvalidInput, ErrorKind::Unsupported];

async fn create_with_invalid_input_is_refused_and_leaves_nothing(context: &Context) -> Verdict {
    for (what, config) in invalid_configs(context)? {
        refused(what, context.create(&config).await, &REFUSALS)?;
        context.is_absent(&config.name).await.map_err(|failure| failure.during(what))?;
    }
    Ok(())
}

async fn create_with_an_unknown_option_is_refused_and_leaves_nothing(context: &Context) -> Verdict {
    let config = context.config("optional")?.with_option("sc-no-such-option", true);
    refused("create with an option that nobody has", context.create(&config).await, &REFUSALS)?;
    context.is_absent(&config.name).await
}

async fn create_of_a_foreign_kind_is_refused_and_leaves_nothing(context: &Context) -> Verdict {
    let descriptor = context.substrate().descriptor();
    let all =
        [InstanceKind::VirtualMachine, InstanceKind::Container, InstanceKind::Pod, InstanceKind::Process];
    let Some(foreign) = all.into_iter().find(|kind| !descriptor.kinds.contains(kind)) else {
        return Err(Failure::skipped("the substrate runs every kind of instance"));
    };
    let config = context.config("foreign")?.with_kind(foreign);
    refused(&format!("create of a {foreign}"), context.create(&config).await, &REFUSALS)?;
    context.is_absent(&config.name).await
}

async fn labels_are_on_the_instance_whenever_it_is_seen(context: &Context) -> Verdict {
    let config = context.config("marked")?.with_label("role", "web").with_label("tier", "1");
    let created = AtomicBool::new(false);
    let create = async {
        let answer = context.create(&config).await;
        created.store(true, Ordering::SeqCst);
        answer
    };
    let look = async {
        loop {
            // Read before the look: the last look comes after the creation.
            let last = created.load(Ordering::SeqCst);
            match context.substrate().get_instance(&config.name).await {
                Ok(seen) => ensure!(
                    seen.labels.contains_all(&config.labels),
                    "it was seen {} with the labels {:?}",
                    seen.state,
                    seen.labels
                ),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
            if last {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    };
    let (answer, looked) = tokio::join!(create, look);
    answer?;
    looked
}

async fn label_values_come_back_exactly(context: &Context) -> Verdict {
    let labels: Labels = [
        ("plain", "web"),
        ("empty", ""),
        ("spaces", "  two words  "),
        ("equals", "a=b=c"),
        ("quotes", r#"a "b" 'c' \d"#),
        ("markup", "<b>&amp;]]></b>"),
        ("words", "größe ☃ 🦀"),
        ("json", r#"{"a": [1, 2]}"#),
        ("example.org/long-key.with_parts", "1"),
    ]
    .into_iter()
    .collect();
    let mut config = context.config("labelled")?;
    config.labels.extend(labels);
    context.create(&config).await?;
    let found = context.get(&config.name).await?;
    for (key, value) in config.labels.iter() {
        same(&format!("label `{key}`"), found.labels.get(key), Some(value))?;
    }
    Ok(())
}

async fn metadata_comes_back_exactly(context: &Context) -> Verdict {
    let config = context
        .config("described")?
        .with_metadata("note", "line one\nline two ☃")
        .with_metadata("nested", serde_json::json!({"list": [1, 2.5, null, true], "empty": {}}));
    context.create(&config).await?;
    same("the metadata", &context.get(&config.name).await?.metadata, &config.metadata)
}

async fn the_environment_reaches_the_instance_exactly(context: &Context) -> Verdict {
    let variables = [("SC_PLAIN", "web"), ("SC_ODD", r#" a=b "c" $HOME ; ☃ "#), ("SC_EMPTY", "")];
    let mut config = context.config("environed")?;
    for (key, value) in variables {
        config = config.with_environment(key, value);
    }
    let name = context.running_from(&config).await?;
    for (key, value) in variables {
        let output = context.execute(&name, &Program::PrintEnvironment(key.to_owned())).await?;
        same(&format!("variable {key}"), output.stdout_text(), format!("{value}\n"))?;
    }
    Ok(())
}

async fn cloud_init_data_reaches_the_instance_exactly(context: &Context) -> Verdict {
    let text = "#cloud-config\nmotd: \"a=b $HOME ; ☃ ]]> 'x'\"\n\n# no line end";
    let config = context.config("clouded")?.with_cloud_init(CloudInit::new(text));
    let name = context.running_from(&config).await?;
    same(
        "the user data",
        context.execute(&name, &Program::PrintUserData).await?.stdout_text(),
        text.to_owned(),
    )
}

async fn a_command_that_ends_leaves_the_instance_stopped(context: &Context) -> Verdict {
    let config = context.config("brief")?.with_command(context.program(&Program::End(0))?);
    let name = context.stopped_from(&config).await?;
    // It may have ended before the start returns: whether that is an error is the technology's affair.
    let _ = context.substrate().start_instance(&name).await;
    context
        .eventually("the command's end", || async {
            let state = context.get(&name).await?.state;
            Ok(matches!(state, InstanceState::Stopped | InstanceState::Failed).then_some(()))
        })
        .await
}

async fn an_instance_with_a_published_port_runs(context: &Context) -> Verdict {
    // Two of them, with ports outside that the substrate picks: they do not meet.
    for word in ["one", "two"] {
        let port = |port, protocol| PortMapping { port, host_port: None, host_address: None, protocol };
        let config = context
            .config(word)?
            .with_port(port(8080, PortProtocol::Tcp))
            .with_port(port(8080, PortProtocol::Udp));
        context.running_from(&config).await?;
    }
    for word in ["one", "two"] {
        context.has_state(&context.name(word)?, InstanceState::Running).await?;
    }
    Ok(())
}

async fn create_from_a_template_applies_overrides_last(context: &Context) -> Verdict {
    let template = InstanceTemplate::new(context.config_named("template".parse()?)?);
    let name = context.name("copy")?;
    context.remember(crate::inventory::Thing::Instance(name.clone()));
    let labels = context.can(Feature::Labels);
    let created = context
        .substrate()
        .create_from_template(&template, name.clone(), |config| {
            if labels {
                config.labels.insert("role", "override");
            }
        })
        .await?;
    same("the name", &created.name, &name)?;
    if labels {
        same("the label", context.get(&name).await?.labels.get("role"), Some("override"))?;
    }
    Ok(())
}

async fn validate_has_no_side_effect(context: &Context) -> Verdict {
    let config = context.config("imagined")?;
    context.substrate().validate_config(&config).await?;
    context.is_absent(&config.name).await
}

async fn validate_agrees_with_create_on_invalid_input(context: &Context) -> Verdict {
    let unknown = context.config("invalid")?.with_option("sc-no-such-option", true);
    let mut configs = invalid_configs(context)?;
    configs.push(("an unknown option", unknown));
    for (what, config) in configs {
        match context.substrate().validate_config(&config).await {
            Ok(()) => {
                return Err(Failure::broken(format!("{what} passes validation and is refused by create")));
            }
            Err(error) => ensure!(is_refusal(&error), "{what}: {error}"),
        }
    }
    Ok(())
}

async fn validate_finds_a_missing_network(context: &Context) -> Verdict {
    not_found("validation", context.substrate().validate_config(&on_missing_network(context)?).await)
}

async fn validate_finds_a_missing_volume(context: &Context) -> Verdict {
    not_found("validation", context.substrate().validate_config(&with_missing_volume(context)?).await)
}
