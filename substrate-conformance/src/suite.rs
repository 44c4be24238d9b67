//! Running the trials from a program.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::report::{Report, TrialOutcome, TrialReport};
use crate::run::Run;
use crate::setup::Setup;
use crate::trial::Trial;
use crate::trials;

/// The trials over one substrate.
///
/// A provider's own test uses [`certify!`](crate::certify); this is for tests of what stands around a
/// provider, and for programs.
#[derive(Debug, Clone)]
pub struct Suite {
    setup: Setup,
    parallelism: usize,
    selection: Option<Vec<String>>,
}

impl Suite {
    /// All trials, four at a time.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self { setup, parallelism: 4, selection: None }
    }

    /// Sets how many trials run at once.
    #[must_use]
    pub fn with_parallelism(mut self, trials: usize) -> Self {
        self.parallelism = trials.max(1);
        self
    }

    /// Runs only the trials with these names.
    #[must_use]
    pub fn only<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.selection = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The names of all trials, in the order in which they begin.
    pub fn trial_names() -> impl Iterator<Item = &'static str> {
        trials::all().map(|trial| trial.name)
    }

    fn selects(&self, trial: &Trial) -> bool {
        self.selection.as_ref().is_none_or(|names| names.iter().any(|name| name == trial.name))
    }

    /// Runs the trials, removes what they left, and reports. Needs a tokio runtime with time and I/O.
    ///
    /// A substrate that cannot be used at all gives a report in which every trial failed for that reason.
    pub async fn run(&self) -> Report {
        let provider = self.setup.substrate.descriptor().provider_type.to_string();
        let selected = || trials::all().enumerate().filter(|(_, trial)| self.selects(trial));
        let run = match Run::begin(self.setup.clone()).await {
            Ok(run) => Arc::new(run),
            Err(reason) => {
                let trials = selected().map(|(_, trial)| TrialReport::failed(trial, &reason)).collect();
                return Report::unusable(provider, trials);
            }
        };
        let (last, others): (Vec<_>, Vec<_>) =
            selected().partition(|(_, trial)| trial.name == trials::LEAVES_NOTHING_BEHIND);
        let mut reports: Vec<TrialReport> = stream::iter(others)
            .map(|(number, trial)| {
                let run = Arc::clone(&run);
                async move {
                    // A task of its own: trials run in parallel, and one that blocks harms only itself.
                    let task = tokio::spawn(trial.report(number, run));
                    task.await.unwrap_or_else(|error| TrialReport::failed(trial, &error.to_string()))
                }
            })
            .buffered(self.parallelism)
            .collect()
            .await;
        for (number, trial) in last {
            reports.push(trial.report(number, Arc::clone(&run)).await);
        }
        // Also when the trial that does it was not selected. What is found then was asked for by nobody.
        let _ = run.reap().await;
        Report::of(provider, &run, reports)
    }
}

impl TrialReport {
    /// A trial that did not get as far as being tried.
    pub(crate) fn failed(trial: &Trial, reason: &str) -> Self {
        Self {
            name: trial.name.to_owned(),
            operation: trial.operation,
            outcome: TrialOutcome::Failed,
            reason: Some(reason.to_owned()),
            seconds: 0.0,
        }
    }
}
