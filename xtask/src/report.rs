//! What a conformance suite leaves behind: one JSON file per run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Report {
    pub provider: String,
    /// Of the server, as it says itself.
    pub version: String,
    /// The day of the run, in UTC.
    pub date: String,
    /// What it declares that it has not, with the reason.
    pub absent: BTreeMap<String, String>,
    pub trials: Vec<Trial>,
}

#[derive(Debug, Deserialize)]
pub struct Trial {
    pub name: String,
    /// The trait method that the trial is about.
    pub operation: String,
    pub outcome: Outcome,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// Trials by outcome.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Tally {
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Self {
        let mut tally = Self::default();
        for trial in trials {
            match trial.outcome {
                Outcome::Passed => tally.passed += 1,
                Outcome::Failed => tally.failed += 1,
                Outcome::Skipped => tally.skipped += 1,
            }
        }
        tally
    }
}

/// Every report of the folder with its file, by file name; none when there is no such folder.
pub fn all(folder: &Path) -> Result<BTreeMap<PathBuf, Report>> {
    let mut reports = BTreeMap::new();
    if !folder.exists() {
        return Ok(reports);
    }
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let report = serde_json::from_slice(&text)
                .with_context(|| format!("{} is no conformance report", path.display()))?;
            reports.insert(path, report);
        }
    }
    Ok(reports)
}

/// One report per provider. A provider that was run in several ways (the fake below each layer) has its own
/// in the file of its name.
pub fn by_provider(folder: &Path) -> Result<BTreeMap<String, Report>> {
    let mut found: BTreeMap<String, Vec<(PathBuf, Report)>> = BTreeMap::new();
    for (path, report) in all(folder)? {
        found.entry(report.provider.clone()).or_default().push((path, report));
    }
    let mut reports = BTreeMap::new();
    for (provider, mut candidates) in found {
        if candidates.len() > 1 {
            candidates.retain(|(path, _)| path.file_stem().is_some_and(|stem| *stem == *provider));
        }
        let Some((_, report)) = candidates.pop() else {
            bail!("several reports are about {provider}, and none of them is {provider}.json");
        };
        reports.insert(provider, report);
    }
    Ok(reports)
}
