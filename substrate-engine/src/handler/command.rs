//! `kind: Command`: a program that runs on the machine of the engine.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use substrate_core::config::{ConfigError, Problem, Section, duration};
use substrate_core::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};
use crate::directive::last_line;
use crate::document::references_of;

/// Runs a program on this machine when it is applied. No shell is involved: `command` is an argument vector.
///
/// ```yaml
/// kind: Command
/// metadata: {name: migrate}
/// spec:
///   command: [migrate, --to, latest]
///   undo: [migrate, --to, zero]
///   environment: {DATABASE: "${common.database}"}
///   working_directory: /srv/shop
///   timeout: 2m
///   triggers: {schema: 7}
/// ```
///
/// `command` runs when it is applied first, and again when anything in the specs changes; `triggers` exist only to be
/// changed. `undo` runs when it is deleted, **not** before a changed `command`: the new one is made for what the old
/// one left, and taking the old one back first would be an outage that nobody asked for. Both must cope with being run
/// again, after a crash in the middle for instance.
///
/// The program inherits the environment of this process, with `environment` over it, and has no standard input. What it
/// prints is dropped, but for the last line of its standard error when it fails, from which the values of `environment`
/// are struck out. These values are in no journal either: whoever deletes one with an `undo` must give the documents.
#[derive(Debug, Clone, Copy)]
pub struct CommandHandler;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Specs {
    command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undo: Option<Vec<String>>,
    /// Secret by its key: the journal keeps digests of the values.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    working_directory: Option<String>,
    #[serde(default = "default_timeout", with = "duration")]
    timeout: Duration,
    #[serde(default)]
    triggers: Map<String, Value>,
}

/// Beside the specs, in the properties: the names of the variables, which tell whether all of the environment is known.
const VARIABLES: &str = "variables";

fn default_timeout() -> Duration {
    Duration::from_secs(300)
}

#[async_trait]
impl ResourceHandler for CommandHandler {
    fn kind(&self) -> &str {
        "Command"
    }

    fn needs_facility(&self) -> bool {
        false
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        let specs = subject.specs;
        let typed: Specs = specs.parse()?;
        let mut problems = Vec::new();
        for (key, argv) in [("command", Some(&typed.command)), ("undo", typed.undo.as_ref())] {
            let Some(argv) = argv else { continue };
            let place = specs.child(key).unwrap_or_else(|| specs.clone());
            let mut command = substrate_core::Command::new(argv.clone());
            command.environment = typed.environment.iter().collect();
            if let Err(error) = command.validate() {
                problems.push(place.problem(format!("`{key}`: {}", error.message())));
            }
            place.for_each_text(|at| {
                if at.hidden {
                    let message = "a secret must not be an argument, which everybody on the machine can see: give it \
                                   through `environment`";
                    problems.push(Problem::new(place.name(), message).at(at.location.cloned()));
                }
            });
        }
        if typed.working_directory.as_ref().is_some_and(|path| !path.starts_with('/')) {
            let place = specs.child("working_directory").unwrap_or_else(|| specs.clone());
            problems.push(place.problem("`working_directory` must be an absolute path"));
        }
        if typed.undo.is_some() {
            problems.extend(references_of_undo(specs));
        }
        if !problems.is_empty() {
            return Err(problems.into_iter().collect());
        }
        let mut properties = serde_json::to_value(&typed).unwrap_or_default();
        if let Value::Object(fields) = &mut properties {
            let names: Vec<&String> = typed.environment.keys().collect();
            fields.insert(VARIABLES.to_owned(), serde_json::json!(names));
        }
        Ok(Interpretation::new(properties))
    }

    fn effect_of(&self, _property: &str) -> ChangeEffect {
        ChangeEffect::Update
    }

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        Ok(site.recorded.map(|_| Found::default()))
    }

    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        let specs = specs_in(site, properties)?;
        run(&specs.command, &specs).await?;
        Ok(Found::default())
    }

    async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        self.create(site, properties).await
    }

    async fn delete(&self, site: &Site<'_>) -> Result<()> {
        let Some(record) = site.recorded else { return Ok(()) };
        let (properties, _) = site.properties_of(record);
        // Without an undo there is nothing to do, and so no need for its environment.
        if properties.get("undo").is_none_or(Value::is_null) {
            return Ok(());
        }
        let specs = specs_in(site, &properties)?;
        match &specs.undo {
            Some(undo) => run(undo, &specs).await,
            None => Ok(()),
        }
    }
}

/// `undo` runs when what it refers to may be gone already, and from a record, which holds no outputs of others.
fn references_of_undo(specs: &Section) -> impl Iterator<Item = Problem> {
    let parts = ["undo", "environment", "working_directory"].into_iter().filter_map(|key| specs.child(key));
    parts.flat_map(|part| {
        let (references, _) = references_of(&part);
        references.into_iter().map(move |reference| {
            let message = format!(
                "`${{{reference}}}` cannot be used with an `undo`, which may run when it has no value any more: leave \
                 `undo` out, or write the value"
            );
            Problem::new(part.name(), message).at(reference.location)
        })
    })
}

fn specs_in(site: &Site<'_>, properties: &Value) -> Result<Specs> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Error::invalid_input(format!("the command of `{}` cannot be read: {why}", site.id))
    };
    let mut fields = properties.as_object().cloned().unwrap_or_default();
    fields.remove("resource");
    let variables = fields.remove(VARIABLES).unwrap_or_default();
    // As documents are read: where a text belongs, an output that is a number is one.
    let specs: Specs =
        Section::from_value(Value::Object(fields)).parse().map_err(|error| unreadable(&error))?;
    let variables = variables.as_array().map(Vec::as_slice).unwrap_or_default();
    let unknown =
        variables.iter().filter_map(Value::as_str).find(|name| !specs.environment.contains_key(*name));
    match unknown {
        None => Ok(specs),
        Some(name) => Err(Error::invalid_input(format!(
            "the command of `{}` cannot be run: the journal holds no secrets, and the value of `{name}` in its \
             environment is one",
            site.id
        ))
        .with_hint("give the documents that it was made from, with the same values")),
    }
}

/// Runs a program to its end. It is killed when this future is dropped, or when its time is over.
async fn run(argv: &[String], specs: &Specs) -> Result<()> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Error::invalid_input("the command is empty"));
    };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).envs(&specs.environment).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(folder) = &specs.working_directory {
        command.current_dir(folder);
    }
    let mut child = command.spawn().map_err(|error| {
        Error::invalid_input(format!("`{program}` could not be started: {error}"))
            .with_hint("see that the program and `working_directory` are there")
    })?;
    let mut complaint = Tail::default();
    let mut stderr = child.stderr.take();
    let ended = tokio::time::timeout(specs.timeout, async {
        tokio::select! {
            status = child.wait() => return status,
            () = complaint.follow(&mut stderr) => {}
        }
        child.wait().await
    });
    let Ok(status) = ended.await else {
        // Killed and reaped here, so that it is gone when this returns.
        let _ = child.kill().await;
        return Err(Error::timeout(format!(
            "`{program}` was not done within {:?} and was killed",
            specs.timeout
        )));
    };
    let status =
        status.map_err(|error| Error::internal(format!("`{program}` could not be waited for: {error}")))?;
    if status.success() {
        return Ok(());
    }
    // What it wrote just before its end may still be in the pipe, which what it has started may hold open for ever.
    let _ = tokio::time::timeout(REMAINDER, complaint.follow(&mut stderr)).await;
    let said = without_values(&last_line(&complaint.text()), &specs.environment);
    Err(Error::internal(format!("`{program}` ended with {status}{said}"))
        .with_hint("run it by hand, with the same environment, to see all that it prints"))
}

/// How long is waited for the rest of what a program has written when it has ended.
const REMAINDER: Duration = Duration::from_millis(200);
/// How much of it is kept.
const LONGEST_TAIL: usize = 16 * 1024;

/// The end of what a program writes.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// Reads to the end. Nothing is lost when it is dropped and called again.
    async fn follow(&mut self, from: &mut Option<impl AsyncRead + Unpin>) {
        let Some(reader) = from else { return };
        let mut buffer = [0; 4096];
        while let Ok(read) = reader.read(&mut buffer).await
            && read > 0
        {
            self.bytes.extend(buffer.iter().take(read));
            let too_many = self.bytes.len().saturating_sub(LONGEST_TAIL);
            self.bytes.drain(..too_many);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Strikes values out that the program was given and may have said again.
fn without_values(text: &str, environment: &BTreeMap<String, String>) -> String {
    /// Shorter ones are no secrets, and would be struck out of the middle of words.
    const SHORTEST: usize = 4;
    let mut values: Vec<&str> =
        environment.values().map(String::as_str).filter(|value| value.len() >= SHORTEST).collect();
    // One may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.into_iter().fold(text.to_owned(), |text, value| text.replace(value, "***"))
}
