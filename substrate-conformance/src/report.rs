//! What a run found, for people and programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use substrate_core::{Feature, Operation, OperationGroup, Support};

use crate::run::Run;

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The technology.
    pub provider: String,
    /// The server's version as it says itself; `unknown` when it does not.
    pub version: String,
    /// The day on which the run ended, in UTC: `2026-11-21`.
    pub date: String,
    /// What the substrate declares that it has not, with the reason.
    pub absent: BTreeMap<&'static str, String>,
    /// Each trial.
    pub trials: Vec<TrialReport>,
}

/// The result of one trial.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TrialReport {
    /// The rule.
    pub name: String,
    /// The method that the rule is about.
    pub operation: Operation,
    /// How it went.
    pub outcome: TrialOutcome,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// How a trial went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// The rule holds.
    Passed,
    /// The rule is broken.
    Failed,
    /// The rule does not apply to this substrate, or cannot be tried on it.
    Skipped,
}

const GROUPS: [(OperationGroup, &str); 10] = [
    (OperationGroup::Connection, "connection"),
    (OperationGroup::Lifecycle, "lifecycle"),
    (OperationGroup::Interaction, "interaction"),
    (OperationGroup::Metrics, "metrics"),
    (OperationGroup::Resources, "resources"),
    (OperationGroup::Snapshots, "snapshots"),
    (OperationGroup::Networks, "networks"),
    (OperationGroup::Volumes, "volumes"),
    (OperationGroup::Images, "images"),
    (OperationGroup::Events, "events"),
];

impl Report {
    /// Of a substrate that could not be used at all.
    pub(crate) fn unusable(provider: String, trials: Vec<TrialReport>) -> Self {
        Self::new(provider, "unknown", BTreeMap::new(), trials)
    }

    pub(crate) fn of(provider: String, run: &Run, trials: Vec<TrialReport>) -> Self {
        let capabilities = &run.descriptor.capabilities;
        let mut absent = BTreeMap::new();
        let operations = Operation::ALL.iter().map(|one| (one.name(), capabilities.support(*one)));
        let features = Feature::ALL.iter().map(|one| (one.name(), capabilities.support(*one)));
        for (name, support) in operations.chain(features) {
            if let Support::No(reason) = support {
                absent.insert(name, reason.to_string());
            }
        }
        Self::new(provider, &run.version, absent, trials)
    }

    fn new(
        provider: String,
        version: &str,
        absent: BTreeMap<&'static str, String>,
        trials: Vec<TrialReport>,
    ) -> Self {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let date = now.split('T').next().unwrap_or(&now).to_owned();
        Self { provider, version: version.to_owned(), date, absent, trials }
    }

    /// Whether no trial failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.count(TrialOutcome::Failed) == 0
    }

    /// How many trials went so.
    #[must_use]
    pub fn count(&self, outcome: TrialOutcome) -> usize {
        self.trials.iter().filter(|trial| trial.outcome == outcome).count()
    }

    /// The trials that went so.
    pub fn with_outcome(&self, outcome: TrialOutcome) -> impl Iterator<Item = &TrialReport> {
        self.trials.iter().filter(move |trial| trial.outcome == outcome)
    }

    /// The trial of that name.
    #[must_use]
    pub fn trial(&self, name: &str) -> Option<&TrialReport> {
        self.trials.iter().find(|trial| trial.name == name)
    }

    /// One line of text for a matrix of providers: passed of tried trials per area of the contract, `–`
    /// where nothing could be tried.
    #[must_use]
    pub fn matrix_row(&self) -> String {
        let mut row = format!("{} {}", self.provider, self.version);
        for (group, name) in GROUPS {
            let of_group = |outcome| {
                self.with_outcome(outcome).filter(|trial| trial.operation.profile().group == group).count()
            };
            let (passed, failed) = (of_group(TrialOutcome::Passed), of_group(TrialOutcome::Failed));
            match passed + failed {
                0 => row.push_str(&format!(" | {name} –")),
                tried => row.push_str(&format!(" | {name} {passed}/{tried}")),
            }
        }
        row
    }

    /// Writes the report as JSON to `<folder>/<name>.json`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path, name: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        std::fs::write(folder.join(format!("{name}.json")), text)
    }
}

impl fmt::Display for Report {
    /// The counts, then each trial that failed or was skipped with its reason.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {}: {} passed, {} failed, {} skipped",
            self.provider,
            self.version,
            self.count(TrialOutcome::Passed),
            self.count(TrialOutcome::Failed),
            self.count(TrialOutcome::Skipped)
        )?;
        for (outcome, word) in [(TrialOutcome::Failed, "FAILED"), (TrialOutcome::Skipped, "skipped")] {
            for trial in self.with_outcome(outcome) {
                write!(formatter, "\n{word} {}: {}", trial.name, trial.reason.as_deref().unwrap_or(""))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let trial = |name: &str, outcome, reason: Option<&str>| TrialReport {
            name: name.to_owned(),
            operation: Operation::CreateInstance,
            outcome,
            reason: reason.map(str::to_owned),
            seconds: 0.5,
        };
        Report {
            provider: "docker".into(),
            version: "1".into(),
            date: "2026-11-21".into(),
            absent: BTreeMap::new(),
            trials: vec![
                trial("a", TrialOutcome::Passed, None),
                trial("b", TrialOutcome::Failed, Some("it lied")),
                trial("c", TrialOutcome::Skipped, Some("cannot")),
            ],
        }
    }

    #[test]
    fn the_json_form_is_what_the_matrix_is_made_from() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["provider"], "docker");
        let expected = serde_json::json!(
            {"name": "b", "operation": "create_instance", "outcome": "failed", "reason": "it lied", "seconds": 0.5}
        );
        assert_eq!(json["trials"][1], expected);
    }

    #[test]
    fn what_was_skipped_is_not_counted_as_tried() {
        assert!(report().matrix_row().contains("lifecycle 1/2"));
        assert!(report().matrix_row().contains("volumes –"));
        assert!(!report().passed());
    }
}
