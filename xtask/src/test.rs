//! `cargo xtask test`: every test of the workspace, the live ones against the lab's real servers.
//!
//! Ordinary tests run first. They also tell which live tests exist, for a harness prints the reason of an
//! ignored test; those that were asked for are then run one by one, and one that did not run is a failure.

mod binary;
mod harness;
mod tally;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::lab::{Lab, Server};
use crate::report;
use crate::workspace::Workspace;
use binary::{TestBinary, build};
use harness::{TestLine, Verdict, live_servers};
use tally::Tally;

/// Tells conformance suites where to leave their reports.
const REPORT_VARIABLE: &str = "SUBSTRATES_REPORT_DIR";

const DOCUMENTATION: &str = "documentation";
const NO_REASON: &str = "no reason given";

#[derive(Args)]
pub struct TestArguments {
    /// Only tests that need no server; also on machines without root.
    #[arg(long, conflicts_with = "provider")]
    no_live: bool,
    /// Live tests of this provider only (may be repeated) [default: of all].
    #[arg(long)]
    provider: Vec<String>,
    /// How long one test program may run.
    #[arg(long, default_value_t = 15, value_name = "MINUTES")]
    patience: u64,
}

/// A live test that was asked for.
struct LiveTest {
    /// Index of its program.
    binary: usize,
    /// What it needs, all of them.
    servers: Vec<String>,
    name: String,
}

pub fn execute(workspace: &Workspace, arguments: &TestArguments) -> Result<()> {
    let lab = Lab::open(None)?;
    let servers = if arguments.no_live { Vec::new() } else { lab.select(&arguments.provider)? };
    let mut session = Session::start(workspace, arguments)?;

    session.ordinary_tests()?;
    session.documentation_tests()?;
    if !arguments.no_live {
        let mut started = Vec::new();
        if let Err(error) = session.with_servers(&lab, &servers, &mut started) {
            session.tally.problem(format!("live tests: {error:#}"));
        }
        // Also after a failure; what somebody else had started stays.
        for server in started {
            if let Err(error) = lab.down(server, false) {
                session.tally.problem(format!("lab {}: {error:#}", server.name()));
            }
        }
        session.check_reports(&servers)?;
    }
    session.finish()
}

struct Session<'a> {
    workspace: &'a Workspace,
    binaries: Vec<TestBinary>,
    patience: Duration,
    environment: Vec<(String, String)>,
    /// Providers whose live tests were asked for; None for all.
    providers: Option<BTreeSet<String>>,
    no_live: bool,
    live: Vec<LiveTest>,
    tally: Tally,
}

impl<'a> Session<'a> {
    fn start(workspace: &'a Workspace, arguments: &TestArguments) -> Result<Self> {
        let tally = Tally::new(workspace)?;
        let reports = workspace.report_directory();
        if reports.exists() {
            fs::remove_dir_all(&reports).with_context(|| format!("cannot empty {}", reports.display()))?;
        }
        fs::create_dir_all(&reports).with_context(|| format!("cannot make {}", reports.display()))?;
        let providers =
            (!arguments.provider.is_empty()).then(|| arguments.provider.iter().cloned().collect());
        Ok(Self {
            workspace,
            binaries: build(workspace)?,
            patience: Duration::from_secs(arguments.patience * 60),
            environment: vec![(REPORT_VARIABLE.to_owned(), reports.display().to_string())],
            providers,
            no_live: arguments.no_live,
            live: Vec::new(),
            tally,
        })
    }

    fn ordinary_tests(&mut self) -> Result<()> {
        for index in 0..self.binaries.len() {
            let Some(binary) = self.binaries.get(index) else { break };
            let label = binary.label();
            println!("\ntest: {label}");
            let run = binary.run(&[], &self.environment, self.patience)?;
            self.tally.add(&label, &run);
            for test in &run.tests {
                let Verdict::Ignored(reason) = &test.verdict else { continue };
                let servers = servers_of(test);
                if servers.is_empty() {
                    self.tally.ignored(&label, &test.name, reason.as_deref().unwrap_or(NO_REASON));
                } else if servers.iter().all(|server| self.is_wanted(server)) {
                    self.live.push(LiveTest { binary: index, servers, name: test.name.clone() });
                } else {
                    self.tally.ignored(&label, &test.name, &format!("live: {}", servers.join(" + ")));
                }
            }
        }
        Ok(())
    }

    fn documentation_tests(&mut self) -> Result<()> {
        println!("\ntest: examples in the documentation");
        let mut cargo = self.workspace.cargo();
        cargo.args(["test", "--workspace", "--all-features", "--doc", "--no-fail-fast"]);
        // All crates' examples are built in this one run.
        let run = binary::run(&mut cargo, self.patience * 2)?;
        self.tally.add(DOCUMENTATION, &run);
        for test in &run.tests {
            if let Verdict::Ignored(reason) = &test.verdict {
                self.tally.ignored(DOCUMENTATION, &test.name, reason.as_deref().unwrap_or(NO_REASON));
            }
        }
        Ok(())
    }

    fn with_servers<'s>(
        &mut self,
        lab: &Lab,
        servers: &[&'s dyn Server],
        started: &mut Vec<&'s dyn Server>,
    ) -> Result<()> {
        for server in servers {
            // Before it is up: one that came up half must come down too.
            let was_up = server.status()?.iter().any(|daemon| daemon.pid.is_some());
            if !was_up {
                started.push(*server);
            }
            lab.up(*server)?;
            self.environment.extend(server.environment()?);
        }
        let known: BTreeSet<&str> = servers.iter().map(|server| server.name()).collect();
        for index in 0..self.binaries.len() {
            self.live_tests_of(index, &known)?;
        }
        Ok(())
    }

    fn live_tests_of(&mut self, index: usize, servers: &BTreeSet<&str>) -> Result<()> {
        let Some(binary) = self.binaries.get(index) else { return Ok(()) };
        let label = binary.label();
        let (wanted, impossible): (Vec<&LiveTest>, Vec<&LiveTest>) = self
            .live
            .iter()
            .filter(|test| test.binary == index)
            .partition(|test| test.servers.iter().all(|server| servers.contains(server.as_str())));
        for test in impossible {
            let reason = format!("the lab does not have all of: {}", test.servers.join(", "));
            self.tally.problem(format!("{label}: {} was asked for: {reason}", test.name));
            self.tally.ignored(&label, &test.name, &reason);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        println!("\ntest: {label}, live");
        // By name, only when a part is wanted: libtest-mimic takes no more than one name.
        let mut arguments = vec!["--ignored"];
        if self.tally.has_ignored(&label) {
            arguments.push("--exact");
            arguments.extend(wanted.iter().map(|test| test.name.as_str()));
        }
        let run = binary.run(&arguments, &self.environment, self.patience)?;
        self.tally.add(&label, &run);
        for test in wanted {
            match run.tests.iter().find(|line| line.name == test.name).map(|line| &line.verdict) {
                Some(Verdict::Passed | Verdict::Failed) => {}
                // A trial of a suite that the provider's capabilities leave out says why.
                Some(Verdict::Ignored(Some(reason))) if live_servers(reason).is_empty() => {
                    self.tally.ignored(&label, &test.name, reason);
                }
                Some(Verdict::Ignored(_)) | None => {
                    self.tally.problem(format!(
                        "{}: {} was asked for and did not run",
                        binary.label(),
                        test.name
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_reports(&mut self, servers: &[&dyn Server]) -> Result<()> {
        let folder = self.workspace.report_directory();
        let reports = report::all(&folder)?;
        for server in servers.iter().filter(|server| server.is_substrate()) {
            if !reports.values().any(|report| report.provider == server.name()) {
                self.tally.problem(format!(
                    "no conformance report of {} in {}",
                    server.name(),
                    folder.display()
                ));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.tally.add_reports(&report::all(&self.workspace.report_directory())?);
        if self.tally.print(self.workspace)? { Ok(()) } else { bail!("tests failed") }
    }

    fn is_wanted(&self, provider: &str) -> bool {
        !self.no_live && self.providers.as_ref().is_none_or(|wanted| wanted.contains(provider))
    }
}

/// What a live test needs, from its reason, or from its kind in a harness that prints no reasons.
fn servers_of(test: &TestLine) -> Vec<String> {
    let reason = match &test.verdict {
        Verdict::Ignored(reason) => reason.as_deref(),
        _ => None,
    };
    let told = reason.into_iter().chain(test.kind.as_deref());
    let servers = told.map(live_servers).find(|servers| !servers.is_empty()).unwrap_or_default();
    servers.into_iter().map(str::to_owned).collect()
}
