//! Test programs: building them, and running one with its output shown and understood.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::harness::{Counts, Failures, TestLine, counts, test_line};
use crate::command::{command, shown};
use crate::leak_checker;
use crate::workspace::Workspace;

/// One program with tests.
pub struct TestBinary {
    package: String,
    /// What it is built from, as in `test conformance`: a package may have a library and a program of the
    /// same name.
    target: String,
    executable: PathBuf,
    directory: PathBuf,
    environment: Vec<(String, String)>,
}

/// What one run of a test program gave.
#[derive(Default)]
pub struct Run {
    pub tests: Vec<TestLine>,
    pub counts: Counts,
    pub failures: Failures,
    /// Why the run as a whole failed, which a crash or a hang does without any failed test.
    pub problem: Option<String>,
    pub duration: Duration,
}

/// A line of cargo's build messages; those of other kinds have none of these fields.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds all test programs (and the examples), and gives them in cargo's order of names.
pub fn build(workspace: &Workspace) -> Result<Vec<TestBinary>> {
    let mut cargo = workspace.cargo();
    cargo.args([
        "test",
        "--workspace",
        "--all-features",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(&cargo), output.status);
    }
    let mut programs: HashMap<String, Vec<(String, String)>> = HashMap::new();
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).context("cannot read cargo's build messages")?;
        let ("compiler-artifact", Some(id), Some(target), Some(profile), Some(executable)) = (
            message.reason.as_str(),
            message.package_id,
            message.target,
            message.profile,
            message.executable,
        ) else {
            continue;
        };
        let Some(package) = workspace.packages().iter().find(|package| package.id == id) else { continue };
        if profile.test {
            binaries.push(TestBinary {
                package: package.name.clone(),
                target: format!("{} {}", target.kind.join(" "), target.name),
                executable,
                directory: package.directory()?.to_owned(),
                environment: vec![
                    ("CARGO_MANIFEST_DIR".to_owned(), package.directory()?.display().to_string()),
                    ("CARGO_PKG_NAME".to_owned(), package.name.clone()),
                    ("CARGO_PKG_VERSION".to_owned(), package.version.clone()),
                ],
            });
        } else if target.kind.iter().any(|kind| kind == "bin") {
            let variable = format!("CARGO_BIN_EXE_{}", target.name);
            programs
                .entry(package.name.clone())
                .or_default()
                .push((variable, executable.display().to_string()));
        }
    }
    for binary in &mut binaries {
        binary.environment.extend(programs.get(&binary.package).cloned().unwrap_or_default());
    }
    binaries.sort_by(|one, other| (&one.package, &one.target).cmp(&(&other.package, &other.target)));
    Ok(binaries)
}

impl TestBinary {
    /// As it is shown to a person.
    pub fn label(&self) -> String {
        format!("{} ({})", self.package, self.target)
    }

    /// Whether it is a provider's conformance suite.
    pub fn is_suite(&self) -> bool {
        self.target.starts_with("test conformance")
    }

    /// Whether its tests are about leaks.
    fn looks_for_leaks(&self) -> bool {
        self.target == "test leaks"
    }

    /// Runs with arguments for the test harness, in the folder and with the variables that cargo would give.
    pub fn run(
        &self,
        arguments: &[&str],
        environment: &[(String, String)],
        patience: Duration,
        show: impl FnMut(&str),
    ) -> Result<Run> {
        let mut program = command(&self.executable.display().to_string());
        program.args(arguments).current_dir(&self.directory);
        program.envs(self.environment.iter().chain(environment).map(|(name, value)| (name, value)));
        if self.looks_for_leaks() {
            leak_checker::around(&mut program);
        }
        run(&mut program, patience, show)
    }
}

/// Shows a line at once.
pub fn print(line: &str) {
    println!("{line}");
}

/// Runs any program that prints as a test harness does: shows its output and understands it.
pub fn run(program: &mut Command, patience: Duration, mut show: impl FnMut(&str)) -> Result<Run> {
    // Tests name the server that they talk to; none may get there because a shell says so.
    for variable in
        ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "LIBVIRT_DEFAULT_URI"]
    {
        program.env_remove(variable);
    }
    let mut child =
        program.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", shown(program)))?;
    let lines = lines_of(&mut child)?;
    let start = Instant::now();
    let mut run = Run::default();
    let mut ended = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                show(&line);
                run.failures.read(&line);
                if let Some(test) = test_line(&line) {
                    run.tests.push(test);
                } else if let Some(counts) = counts(&line) {
                    run.counts.passed += counts.passed;
                    run.counts.failed += counts.failed;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // Something that the program left running may hold its output open for ever.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        ended = child.try_wait()?;
        run.duration = start.elapsed();
        if ended.is_none() && run.duration > patience {
            child.kill()?;
            child.wait()?;
            run.problem = Some(format!("still running after {} s; ended", patience.as_secs()));
            return Ok(run);
        }
    }
    let status = child.wait()?;
    if !status.success() && run.counts.failed == 0 {
        run.problem = Some(format!("ended with {status}"));
    }
    Ok(run)
}

fn lines_of(child: &mut Child) -> Result<Receiver<String>> {
    let output = child.stdout.take().context("the program has no output")?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // A test may print bytes that are no text; losing the rest of the output for it would be worse.
        while matches!(reader.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    Ok(receiver)
}
