//! `files`: write files into the instance.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use substrate_core::config::{ConfigError, Problem, Section};
use substrate_core::{Command, Error, Feature, Operation, Result};

use super::{Action, CheckedDirective, Directive, DirectiveSite};
use crate::handler::Need;

/// Writes files into the instance after it was started: each with its path, its content and, if wanted, a mode.
///
/// ```yaml
/// - files:
///     - {path: /etc/motd, content: "hello\n", mode: "0644"}
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Files;

/// A file that is written into an instance.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneFile {
    path: String,
    content: String,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    owner: Option<String>,
}

#[async_trait]
impl Directive for Files {
    fn name(&self) -> &str {
        "files"
    }

    fn check(&self, settings: &Section) -> std::result::Result<CheckedDirective, ConfigError> {
        let files = read_files(settings)?;
        let properties = serde_json::to_value(&files).unwrap_or_default();
        Ok(CheckedDirective::new("files", [Action::Deploy], properties).needing(needs_of_files(settings)))
    }

    async fn run(&self, settings: &Value, on: &DirectiveSite<'_>) -> Result<()> {
        let files = Vec::<OneFile>::deserialize(settings)
            .map_err(|error| Error::internal(format!("the settings of `files` cannot be read: {error}")))?;
        for file in files {
            write(&file, on).await?;
        }
        Ok(())
    }
}

/// Reads a list of files.
pub(crate) fn read_files(settings: &Section) -> std::result::Result<Vec<OneFile>, ConfigError> {
    let files: Vec<OneFile> = settings.parse()?;
    let mut problems = Vec::new();
    let mut seen = HashSet::with_capacity(files.len());
    let mut wrong = |index: usize, key: &str, message: &str| {
        let path = format!("{index}.{key}");
        let place = settings.location_of(&path).or(settings.location()).cloned();
        problems.push(Problem::new(format!("{}[{index}].{key}", settings.name()), message).at(place));
    };
    for (index, file) in files.iter().enumerate() {
        if !file.path.starts_with('/') || file.path.ends_with('/') || file.path.contains('\0') {
            wrong(index, "path", "`path` must be the absolute path of a file");
        }
        if file.mode.as_deref().is_some_and(|mode| !is_mode(mode)) {
            wrong(index, "mode", "`mode` must be three or four octal digits, such as `0644`");
        }
        if !seen.insert(&file.path) {
            wrong(index, "path", "this file is written twice");
        }
    }
    if !problems.is_empty() {
        return Err(problems.into_iter().collect());
    }
    Ok(files)
}

/// Whether it is a mode of a file: three or four octal digits.
pub(crate) fn is_mode(mode: &str) -> bool {
    (3..=4).contains(&mode.len()) && mode.chars().all(|digit| digit.is_digit(8))
}

/// What a facility must be able to do so that files can be written. Content goes in through the standard input of a
/// command: as an argument it would be in the process list.
pub(crate) fn needs_of_files(settings: &Section) -> [Need; 2] {
    [Need::at(settings, "", Operation::ExecuteCommand), Need::at(settings, "", Feature::CommandInput)]
}

/// Writes beside the file and renames, so that nobody ever reads half of it.
pub(crate) async fn write(file: &OneFile, on: &DirectiveSite<'_>) -> Result<()> {
    let folder = file.path.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| !folder.is_empty());
    if let Some(folder) = folder {
        on.execute(&Command::new(["mkdir", "-p", folder])).await?;
    }
    let unfinished = format!("{}.substrate-new", file.path);
    let content = file.content.clone().into_bytes();
    on.execute(&Command::new(["cp", "/dev/stdin", &unfinished]).with_input(content)).await?;
    if let Some(mode) = &file.mode {
        on.execute(&Command::new(["chmod", mode, &unfinished])).await?;
    }
    if let Some(owner) = &file.owner {
        on.execute(&Command::new(["chown", owner, &unfinished])).await?;
    }
    on.execute(&Command::new(["mv", "-f", &unfinished, &file.path])).await
}
