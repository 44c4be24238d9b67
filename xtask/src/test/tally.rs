//! The sum of a test run, and how it is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::binary::Run;
use super::harness::Verdict;
use crate::report::{self, Outcome, Report};
use crate::workspace::Workspace;

/// How many programs are named that took the time.
const LONGEST: usize = 20;

pub struct Tally {
    passed: usize,
    failed: usize,
    /// Failed tests with their last words, and what is wrong with the run as a whole.
    problems: Vec<String>,
    /// Tests that did not run, with their program and reason.
    ignored: Vec<(String, String, String)>,
    reports: Vec<String>,
    /// How long each program ran.
    times: Vec<(Duration, String)>,
}

impl Tally {
    /// Empty; also forgets the summary of the run before.
    pub fn new(workspace: &Workspace) -> Result<Self> {
        let file = summary_file(workspace);
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
        Ok(Self {
            passed: 0,
            failed: 0,
            problems: Vec::new(),
            ignored: Vec::new(),
            reports: Vec::new(),
            times: Vec::new(),
        })
    }

    /// Counts a run; a run that failed as a whole is one failure more.
    pub fn add(&mut self, label: &str, run: &Run) {
        self.passed += run.counts.passed;
        self.failed += run.counts.failed;
        self.times.push((run.duration, label.to_owned()));
        for test in run.tests.iter().filter(|test| test.verdict == Verdict::Failed) {
            let mut problem = format!("{label}: {} failed", test.name);
            for line in run.failures.of(&test.name) {
                problem.extend(["\n    ", line]);
            }
            self.problems.push(problem);
        }
        if let Some(problem) = &run.problem {
            self.problem(format!("{label}: {problem}"));
        }
    }

    /// A failure that is no failed test.
    pub fn problem(&mut self, problem: String) {
        self.failed += 1;
        self.problems.push(problem);
    }

    pub fn ignored(&mut self, label: &str, test: &str, reason: &str) {
        self.ignored.push((label.to_owned(), test.to_owned(), reason.to_owned()));
    }

    /// Whether a test of this program stays ignored.
    pub fn has_ignored(&self, label: &str) -> bool {
        self.ignored.iter().any(|(ignored, _, _)| ignored == label)
    }

    /// Lists conformance reports. A trial that failed in a report of a run that passed is a failure.
    pub fn add_reports(&mut self, reports: &BTreeMap<PathBuf, Report>) {
        for (path, report) in reports {
            let tally = report::Tally::of(&report.trials);
            self.reports.push(format!(
                "{} {}: {} passed, {} failed, {} skipped: {}",
                report.provider,
                report.version,
                tally.passed,
                tally.failed,
                tally.skipped,
                path.display()
            ));
            for trial in report.trials.iter().filter(|trial| trial.outcome == Outcome::Failed) {
                let reason = trial.reason.as_deref().unwrap_or("no reason given");
                let told = self.problems.iter().any(|problem| problem.contains(&trial.name));
                if !told {
                    self.problem(format!("{}: trial {} failed: {reason}", report.provider, trial.name));
                }
            }
        }
    }

    /// Prints everything and writes the last line to a file, for a script that has more to print after it.
    /// True when nothing failed.
    pub fn print(&self, workspace: &Workspace) -> Result<bool> {
        section(
            "ignored",
            self.ignored.iter().map(|(label, test, reason)| format!("{label}: {test}: {reason}")),
        );
        let mut times: Vec<_> = self.times.iter().collect();
        times.sort_by(|one, other| other.cmp(one));
        let longest = times.into_iter().take(LONGEST);
        section("longest", longest.map(|(time, label)| format!("{:5} s  {label}", time.as_secs())));
        section("conformance", self.reports.iter().cloned());
        section("FAILED", self.problems.iter().cloned());
        let summary = format!("{} passed, {} failed", self.passed, self.failed);
        println!("\n{summary}, {} ignored", self.ignored.len());
        write(&summary_file(workspace), &summary)?;
        Ok(self.failed == 0 && self.problems.is_empty())
    }
}

fn section(title: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            println!("\n{title}:");
        }
        println!("  {line}");
    }
}

fn summary_file(workspace: &Workspace) -> PathBuf {
    workspace.target_directory().join("test-summary.txt")
}

fn write(path: &Path, summary: &str) -> Result<()> {
    fs::write(path, format!("{summary}\n")).with_context(|| format!("cannot write {}", path.display()))
}
