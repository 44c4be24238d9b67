//! `cargo xtask test`: every test of the workspace, the live ones against the lab's real servers.
//!
//! Ordinary tests run first, some programs side by side. They also tell which live tests exist, for a harness prints the
//! reason of an ignored test; those that were asked for are then run, server after server, and one that did not run is
//! a failure.

mod binary;
mod harness;
mod schedule;
mod stage;
mod tally;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build_packages;
use crate::lab::{Lab, Server};
use crate::leak_checker;
use crate::report;
use crate::workspace::Workspace;
use binary::{Run, TestBinary, build, print};
use harness::{TestLine, Verdict, live_servers, runs_alone};
use schedule::{Job, LiveTest, listed};
use stage::{Environment, Stage};
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
    /// How many test programs that need different servers run side by side [default: half as many as processors: a
    /// server's own work takes one more, and where there is too little of it, deadlines pass].
    #[arg(long, value_name = "PROGRAMS")]
    side_by_side: Option<usize>,
}

pub fn execute(workspace: &Workspace, arguments: &TestArguments) -> Result<()> {
    build_packages::ensure()?;
    leak_checker::ensure()?;
    let lab = Lab::open(None)?;
    let servers = if arguments.no_live { Vec::new() } else { lab.select(&arguments.provider)? };
    let mut session = Session::start(workspace, arguments)?;

    session.ordinary_tests()?;
    session.documentation_tests()?;
    if !arguments.no_live {
        if let Err(error) = session.live_tests(&lab, &servers) {
            session.tally.problem(format!("live tests: {error:#}"));
        }
        session.check_reports(&servers)?;
    }
    session.finish()
}

struct Session<'a> {
    workspace: &'a Workspace,
    binaries: Vec<TestBinary>,
    patience: Duration,
    side_by_side: usize,
    environment: Environment,
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
            side_by_side: arguments.side_by_side.unwrap_or_else(|| processors() / 2),
            environment: vec![(REPORT_VARIABLE.to_owned(), reports.display().to_string())],
            providers,
            no_live: arguments.no_live,
            live: Vec::new(),
            tally,
        })
    }

    fn ordinary_tests(&mut self) -> Result<()> {
        // Suites first: they take longest.
        let mut order: Vec<usize> = (0..self.binaries.len()).collect();
        order.sort_by_key(|index| self.binaries.get(*index).is_none_or(|binary| !binary.is_suite()));
        let jobs = order.into_iter().map(Job::without_servers).collect();
        let (providers, no_live) = (self.providers.as_ref(), self.no_live);
        let is_wanted = |server: &String| !no_live && providers.is_none_or(|wanted| wanted.contains(server));
        let (tally, live) = (&mut self.tally, &mut self.live);
        // They wait more than they compute, for clocks and answers that come late on purpose.
        let programs = Programs {
            binaries: &self.binaries,
            environment: &self.environment,
            patience: self.patience,
            side_by_side: processors() + 1,
        };
        programs.run(
            jobs,
            |_| Ok(Environment::new()),
            |_| Vec::new(),
            |job, label, run| {
                tally.add(label, &run);
                for test in run.tests {
                    let Verdict::Ignored(reason) = &test.verdict else { continue };
                    let servers = servers_of(&test);
                    let alone = reason.as_deref().is_some_and(runs_alone);
                    if servers.is_empty() {
                        tally.ignored(label, &test.name, reason.as_deref().unwrap_or(NO_REASON));
                    } else if servers.iter().all(is_wanted) {
                        live.push(LiveTest { binary: job.binary, servers, alone, name: test.name });
                    } else {
                        tally.ignored(label, &test.name, &format!("live: {}", listed(&servers)));
                    }
                }
            },
        )
    }

    fn documentation_tests(&mut self) -> Result<()> {
        println!("\ntest: examples in the documentation");
        let mut cargo = self.workspace.cargo();
        cargo.args(["test", "--workspace", "--all-features", "--doc", "--no-fail-fast"]);
        // All crates' examples are built in this one run.
        let run = binary::run(&mut cargo, self.patience * 2, print)?;
        self.tally.add(DOCUMENTATION, &run);
        for test in &run.tests {
            if let Verdict::Ignored(reason) = &test.verdict {
                self.tally.ignored(DOCUMENTATION, &test.name, reason.as_deref().unwrap_or(NO_REASON));
            }
        }
        Ok(())
    }

    fn live_tests(&mut self, lab: &Lab, servers: &[&dyn Server]) -> Result<()> {
        let jobs = self.live_jobs(servers);
        // By name, only when a part is wanted: libtest-mimic takes no more than one name.
        let in_parts: BTreeSet<usize> = (0..self.binaries.len())
            .filter(|index| {
                jobs.iter().filter(|job| job.binary == *index).count() > 1
                    || self.tally.has_ignored(&self.label(*index))
            })
            .collect();
        let tally = RefCell::new(&mut self.tally);
        let stage = RefCell::new(Stage::new(lab, servers, &jobs));
        let programs = Programs {
            binaries: &self.binaries,
            environment: &self.environment,
            patience: self.patience,
            side_by_side: self.side_by_side,
        };
        let report = |problems: Vec<anyhow::Error>| {
            problems.iter().for_each(|problem| tally.borrow_mut().problem(format!("{problem:#}")));
        };
        let done = programs.run(
            jobs,
            |job| stage.borrow_mut().enter(job),
            |job| {
                let mut arguments = vec!["--ignored"];
                if in_parts.contains(&job.binary) {
                    arguments.push("--exact");
                    arguments.extend(job.tests.iter().map(String::as_str));
                }
                if job.alone {
                    arguments.push("--test-threads=1");
                }
                arguments
            },
            |job, label, run| {
                account(&mut tally.borrow_mut(), label, job, &run);
                report(stage.borrow_mut().leave(job));
            },
        );
        report(stage.borrow_mut().clear());
        done
    }

    /// The live tests by program and servers, without those that the lab has no server for.
    fn live_jobs(&mut self, servers: &[&dyn Server]) -> Vec<Job> {
        let known: BTreeSet<&str> = servers.iter().map(|server| server.name()).collect();
        let (possible, impossible): (Vec<LiveTest>, Vec<LiveTest>) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|test| test.servers.iter().all(|server| known.contains(server.as_str())));
        for test in impossible {
            let label = self.label(test.binary);
            let reason = format!("the lab does not have all of: {}", listed(&test.servers));
            self.tally.problem(format!("{label}: {} was asked for: {reason}", test.name));
            self.tally.ignored(&label, &test.name, &reason);
        }
        schedule::jobs(possible)
    }

    fn label(&self, binary: usize) -> String {
        self.binaries.get(binary).map(TestBinary::label).unwrap_or_default()
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
}

/// Test programs, and how they are run.
struct Programs<'a> {
    binaries: &'a [TestBinary],
    environment: &'a [(String, String)],
    patience: Duration,
    side_by_side: usize,
}

impl Programs<'_> {
    /// Runs jobs with variables of their own and arguments for the harness, and tells each one's program and what it
    /// gave.
    fn run(
        &self,
        jobs: Vec<Job>,
        mut variables: impl FnMut(&Job) -> Result<Environment>,
        arguments: impl for<'j> Fn(&'j Job) -> Vec<&'j str> + Sync,
        mut tell: impl FnMut(&Job, &str, Run),
    ) -> Result<()> {
        let alone = self.side_by_side < 2;
        schedule::run(
            jobs,
            self.side_by_side,
            |job| {
                let mut environment = self.environment.to_vec();
                environment.extend(variables(job)?);
                Ok(environment)
            },
            |job, environment| {
                let binary = self.binaries.get(job.binary).context("no such program")?;
                let label = job.on(&binary.label());
                println!("\ntest: {label} begins");
                // Lines of programs that run side by side say nothing among each other: those are shown as a whole.
                let mut output = String::new();
                let show = |line: &str| {
                    if alone {
                        print(line);
                    } else {
                        output.extend([line, "\n"]);
                    }
                };
                let run = binary.run(&arguments(job), &environment, self.patience, show)?;
                Ok((run, output))
            },
            |job, (run, output)| {
                let label = self.binaries.get(job.binary).map(TestBinary::label).unwrap_or_default();
                if !alone {
                    println!("\ntest: {}\n{output}", job.on(&label));
                }
                tell(job, &label, run);
            },
        )
    }
}

/// Counts a run of live tests; one that did not run is a failure.
fn account(tally: &mut Tally, label: &str, job: &Job, run: &Run) {
    tally.add(&job.on(label), run);
    for test in &job.tests {
        match run.tests.iter().find(|line| line.name == *test).map(|line| &line.verdict) {
            Some(Verdict::Passed | Verdict::Failed) => {}
            // A trial of a suite that the provider's capabilities leave out says why.
            Some(Verdict::Ignored(Some(reason))) if live_servers(reason).is_empty() => {
                tally.ignored(label, test, reason);
            }
            Some(Verdict::Ignored(_)) | None => {
                tally.problem(format!("{label}: {test} was asked for and did not run"));
            }
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a live test needs, from its reason, or from its kind in a harness that prints no reasons.
fn servers_of(test: &TestLine) -> BTreeSet<String> {
    let reason = match &test.verdict {
        Verdict::Ignored(reason) => reason.as_deref(),
        _ => None,
    };
    let told = reason.into_iter().chain(test.kind.as_deref());
    let servers = told.map(live_servers).find(|servers| !servers.is_empty()).unwrap_or_default();
    servers.into_iter().map(str::to_owned).collect()
}
