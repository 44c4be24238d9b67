//! `type: configure`: settings inside an instance of the blueprint.

use async_trait::async_trait;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use substrate_core::config::{ConfigError, Section};
use substrate_core::{Command, Error, InstanceName, Operation, Result};

use super::interpretation::{ChangeEffect, Interpretation, Mention, Need, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};
use crate::directive::DirectiveSite;
use crate::directive::files::{OneFile, needs_of_files, read_files, write};
use crate::document::references_of;
use crate::model::Name;
use crate::plan::Property;
use crate::readiness::TcpProbe;
use crate::run::directives::is_running;

/// Files and commands for an instance that is there, or for all of a `count`.
///
/// ```yaml
/// - type: configure
///   name: motd
///   specs:
///     target: web
///     files: [{path: /etc/motd, content: "hello\n", mode: "0644"}]
///     commands: [[nginx, -s, reload]]
///     undo: [[rm, -f, /etc/motd]]
/// ```
///
/// The files are written, then the commands run, in order; all of it again when anything of it changes or the target is
/// made anew. `undo` runs when it is removed, in instances that are there and run. It lives where its target lives.
/// Unlike a directive it may come later than what else waits for the instance, and change without it.
#[derive(Debug, Clone, Copy)]
pub struct ConfigureHandler;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    target: Name,
    #[serde(default, rename = "files")]
    _files: IgnoredAny,
    #[serde(default)]
    commands: Vec<Vec<String>>,
    #[serde(default)]
    undo: Vec<Vec<String>>,
}

#[derive(Deserialize, Serialize)]
struct Properties {
    target: String,
    #[serde(default)]
    files: Vec<OneFile>,
    #[serde(default)]
    commands: Vec<Vec<String>>,
}

#[async_trait]
impl ResourceHandler for ConfigureHandler {
    fn kind(&self) -> &str {
        "configure"
    }

    fn part_of(&self, specs: &Section) -> Option<Name> {
        specs.get_optional("target").ok().flatten()
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        let specs = subject.specs;
        let head: Head = specs.parse()?;
        let mut problems = Vec::new();
        for (key, commands) in [("commands", &head.commands), ("undo", &head.undo)] {
            for (index, argv) in commands.iter().enumerate() {
                let Err(error) = Command::new(argv.clone()).validate() else { continue };
                let place = specs.child(&format!("{key}.{index}")).unwrap_or_else(|| specs.clone());
                problems.push(place.problem(format!("`{key}`: {}", error.message())));
            }
        }
        if let Some(undo) = specs.child("undo") {
            problems.extend(references_of(&undo).0.into_iter().map(|reference| {
                let message = "`undo` cannot use outputs of other resources: it may run when they are gone";
                undo.problem(message).at(reference.location)
            }));
        }
        let files = specs.child("files").filter(|files| !files.is_null());
        let mut written = Vec::new();
        match files.as_ref().map(read_files).transpose() {
            Ok(files) => written = files.unwrap_or_default(),
            Err(error) => problems.extend(error.into_problems()),
        }
        if written.is_empty() && head.commands.is_empty() && problems.is_empty() {
            problems.push(specs.problem("there is nothing to do: give `files` or `commands`"));
        }
        if !problems.is_empty() {
            return Err(problems.into_iter().collect());
        }
        let mut needs: Vec<Need> = files.iter().flat_map(needs_of_files).collect();
        let asked = [("commands", &head.commands), ("undo", &head.undo)];
        let asked = asked.into_iter().filter(|(_, commands)| !commands.is_empty());
        needs.extend(asked.map(|(key, _)| Need::at(specs, key, Operation::ExecuteCommand)));
        let mentions = vec![Mention {
            name: head.target.to_string(),
            location: specs.location_of("target").cloned(),
            must_exist: true,
        }];
        let properties = json!({
            "target": head.target.as_str(),
            "files": written,
            "commands": head.commands,
            "undo": head.undo,
        });
        let interpretation = Interpretation { needs, mentions, ..Interpretation::new(properties) };
        // Not under `target`: another target has to let go of this one first, the same made anew does not.
        Ok(interpretation.using("instance", [head.target]))
    }

    fn effect_of(&self, property: &str) -> ChangeEffect {
        if property == "target" { ChangeEffect::Replace } else { ChangeEffect::Update }
    }

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        Ok(site.recorded.map(|_| Found::default()))
    }

    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        // As documents are read: where a text belongs, an output that is a number is one.
        let properties: Properties = Section::from_value(properties.clone()).parse().map_err(|error| {
            Error::invalid_input(format!("the settings of `{}` cannot be read: {error}", site.id))
        })?;
        for instance in site.names_of(&properties.target) {
            let instance = instance.parse()?;
            let inside = inside(site, &instance)?;
            for file in &properties.files {
                write(file, &inside).await?;
            }
            for argv in &properties.commands {
                inside.execute(&Command::new(argv.clone())).await?;
            }
        }
        Ok(Found::default())
    }

    async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        self.create(site, properties).await
    }

    async fn delete(&self, site: &Site<'_>) -> Result<()> {
        let Some(record) = site.recorded else { return Ok(()) };
        let (properties, _) = site.properties_of(record);
        let undo = properties.get("undo").cloned().unwrap_or_else(|| json!([]));
        let undo = Vec::<Vec<String>>::deserialize(undo).map_err(|error| {
            Error::invalid_input(format!("`undo` of `{}` cannot be read: {error}", site.id))
        })?;
        let Some(Property::Value(Value::String(target))) = record.canonical.get("target") else {
            return Ok(());
        };
        if undo.is_empty() {
            return Ok(());
        }
        for instance in site.names_of(target) {
            let instance: InstanceName = instance.parse()?;
            // Inside one that does not run nothing can be undone, and one that is gone took everything with it.
            if !is_running(site.substrate()?, &instance).await? {
                continue;
            }
            let inside = inside(site, &instance)?;
            for argv in &undo {
                inside.execute(&Command::new(argv.clone())).await?;
            }
        }
        Ok(())
    }
}

fn inside<'s>(site: &'s Site<'_>, instance: &'s InstanceName) -> Result<DirectiveSite<'s>> {
    Ok(DirectiveSite { id: site.id, substrate: site.substrate()?, instance, probe: &TcpProbe })
}
