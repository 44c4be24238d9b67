//! `files`: write files into the instance.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use substrate_core::config::{ConfigError, Problem, Section};
use substrate_core::{Feature, Operation};

use super::{Action, CheckedDirective, Directive};
use crate::handler::Need;

/// Writes files into the instance after it was started: each with its path, its content and, if wanted, a mode.
///
/// ```yaml
/// - files:
///     - {path: /etc/motd, content: "hello\n", mode: "0644"}
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Files;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct OneFile {
    path: String,
    content: String,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    owner: Option<String>,
}

impl Directive for Files {
    fn name(&self) -> &str {
        "files"
    }

    fn check(&self, settings: &Section) -> Result<CheckedDirective, ConfigError> {
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
            let is_octal =
                |mode: &str| (3..=4).contains(&mode.len()) && mode.chars().all(|digit| digit.is_digit(8));
            if file.mode.as_deref().is_some_and(|mode| !is_octal(mode)) {
                wrong(index, "mode", "`mode` must be three or four octal digits, such as `0644`");
            }
            if !seen.insert(&file.path) {
                wrong(index, "path", "this file is written twice");
            }
        }
        if !problems.is_empty() {
            return Err(problems.into_iter().collect());
        }
        // Content goes in through the standard input of a command: as an argument it would be in the process list.
        let needs = [
            Need::at(settings, "", Operation::ExecuteCommand),
            Need::at(settings, "", Feature::CommandInput),
        ];
        let properties = serde_json::to_value(&files).unwrap_or_default();
        Ok(CheckedDirective::new("files", [Action::Deploy], properties).needing(needs))
    }
}
