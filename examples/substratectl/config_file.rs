//! What shall be created: from the command line, or from a file.

use std::io::Read;
use std::path::Path;

use substrates::config::{Environment, Section};
use substrates::{Error, InstanceConfig, NetworkConfig, ResourceLimits};

use crate::arguments::{Create, Limits};
use crate::ending::Ending;

/// The configuration that was asked for.
pub(crate) fn requested(create: &Create) -> Result<InstanceConfig, Ending> {
    match (&create.file, &create.name) {
        (Some(file), _) => from_file(file),
        (None, Some(name)) => {
            let mut config = InstanceConfig::new(name.clone())
                .with_command(create.argv.iter().cloned())
                .with_limits(limits(&create.limits));
            config.image.clone_from(&create.image);
            config.kind = create.kind;
            config.networks = create.networks.iter().cloned().map(NetworkConfig::new).collect();
            config.labels = create.labels.iter().map(|label| (&label.key, &label.value)).collect();
            for variable in &create.environment {
                let (key, value) = variable_of(variable)?;
                config.environment.insert(key, value);
            }
            Ok(config)
        }
        (None, None) => Err(Ending::Usage("a name or a file is needed".to_owned())),
    }
}

/// The limits that were given.
pub(crate) fn limits(given: &Limits) -> ResourceLimits {
    ResourceLimits { cpu_cores: given.cpu, memory_mb: given.memory, ..ResourceLimits::default() }
}

/// Not parsed with the other arguments: what is wrong with those is repeated in the message.
fn variable_of(text: &str) -> Result<(String, String), Ending> {
    if let Some((key, value)) = text.split_once('=') {
        return Ok((key.to_owned(), value.to_owned()));
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err(Ending::Usage(format!(
            "--env {text}: the environment has no such variable; write {text}=VALUE to set one"
        ))),
    }
}

/// One configuration in YAML, of which JSON is a part. Variables are replaced as in every configuration.
fn from_file(path: &Path) -> Result<InstanceConfig, Ending> {
    let shown = path.display().to_string();
    let text = if shown == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(path)
            .map_err(|error| Error::invalid_input(format!("cannot read `{shown}`: {error}")))?
    };
    Ok(Section::from_yaml(&shown, &text, Environment::from_process())?.parse()?)
}
