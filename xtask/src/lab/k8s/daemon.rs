//! One daemon of the cluster: started with its arguments, known by its process, ended by it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::command::command;
use crate::lab::process::{ProcessId, tail};
use crate::wait::until;

const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What must be known about a cluster that another run of this tool started.
#[derive(Default, Clone, Serialize, Deserialize)]
pub struct Record {
    pub processes: BTreeMap<String, ProcessId>,
    /// The same over all starts, so that addresses stay valid.
    pub ports: BTreeMap<String, u16>,
    /// What the node's agent changes on the machine.
    pub sysctl: BTreeMap<String, String>,
}

/// The daemons of one home.
pub struct Daemons {
    home: PathBuf,
}

/// As of `nice`.
const FAVOUR: &str = "-5";

impl Daemons {
    pub fn new(home: PathBuf) -> Self {
        Self { home }
    }

    pub fn running(&self, name: &str) -> Result<Option<ProcessId>> {
        Ok(self.record()?.processes.get(name).copied().filter(|process| process.is_alive()))
    }

    /// Starts it unless it runs; true when it had to.
    pub fn start(&self, name: &str, program: &Path, arguments: &[String]) -> Result<bool> {
        if let Some(process) = self.running(name)? {
            // It may be frozen by a test that was itself ended.
            process.signal(Signal::CONT)?;
            return Ok(false);
        }
        let log = File::options().create(true).append(true).open(self.log(name))?;
        // A session of its own, so that neither the end of this tool nor a Ctrl-C reaches it.
        let mut daemon = command("setsid");
        daemon.arg(program).args(arguments).current_dir("/").stdout(log.try_clone()?).stderr(log);
        for variable in ["KUBECONFIG", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "TMPDIR"] {
            daemon.env_remove(variable);
        }
        let child = daemon.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let process = ProcessId::of(pid).with_context(|| self.with_log(name, "it ended at once"))?;
        let mut record = self.record()?;
        record.processes.insert(name.to_owned(), process);
        self.write_record(&record)?;
        Ok(true)
    }

    /// Until it is ready; an early end of the process is an error at once.
    pub fn wait(&self, name: &str, patience: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let came = until(patience, || {
            if self.running(name)?.is_none() {
                bail!(self.with_log(name, "it ended before it was ready"));
            }
            Ok(ready())
        })?;
        if !came {
            bail!(self.with_log(name, &format!("it is not ready after {} s", patience.as_secs())));
        }
        Ok(())
    }

    /// Lets it have a little more of a busy machine than one session of somebody who builds beside, where the kernel
    /// shares by sessions: six daemons that each wait for each other would be six times as late.
    pub fn favour(&self, name: &str) -> Result<()> {
        if let Some(process) = self.running(name)? {
            // Not every kernel has it, nor may everybody do it; nothing but time depends on it.
            let _ = fs::write(format!("/proc/{}/autogroup", process.pid), FAVOUR);
        }
        Ok(())
    }

    pub fn stop(&self, name: &str) -> Result<()> {
        if let Some(process) = self.running(name)? {
            process.signal(Signal::CONT)?;
            process.end(STOP_PATIENCE)?;
        }
        Ok(())
    }

    pub fn kill(&self, name: &str) -> Result<()> {
        self.running(name)?.map_or(Ok(()), ProcessId::kill)
    }

    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        self.running(name)?.with_context(|| format!("{name} does not run"))?.signal(signal)
    }

    pub fn with_log(&self, name: &str, what: &str) -> String {
        let log = self.log(name);
        format!("{name}: {what}; the end of {}:\n{}", log.display(), tail(&log, 20))
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }

    pub fn has_record(&self) -> bool {
        self.record_file().exists()
    }

    pub fn record(&self) -> Result<Record> {
        let file = self.record_file();
        if !file.exists() {
            return Ok(Record::default());
        }
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is torn", file.display()))
    }

    pub fn write_record(&self, record: &Record) -> Result<()> {
        let file = self.record_file();
        let new_file = file.with_extension("new");
        fs::write(&new_file, serde_json::to_vec_pretty(record)?)
            .and_then(|()| fs::rename(&new_file, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn record_file(&self) -> PathBuf {
        self.home.join("cluster.json")
    }
}
