//! One instance: its configuration and, while it runs, its process.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use substrates::{
    Error, Instance, InstanceConfig, InstanceKind, InstanceState, ResourceUsage, Result, UsageCounters,
};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::provider::IMAGE;

/// The kernel counts processor time in ticks of some 10 ms: rates over less time are noise.
const READING: Duration = Duration::from_millis(200);

pub(crate) struct Managed {
    pub(crate) id: String,
    pub(crate) config: InstanceConfig,
    pub(crate) created_at: SystemTime,
    /// Where it writes. Named by the id, which we choose: the name may be `../x`.
    pub(crate) log: PathBuf,
    /// Held by who changes the instance, so that changes come one after the other and reads never wait.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    pub(crate) process: Mutex<Process>,
}

#[derive(Default)]
pub(crate) struct Process {
    child: Option<Child>,
    started_at: Option<SystemTime>,
    end: Option<String>,
    measured: Option<(UsageCounters, ResourceUsage)>,
}

/// A panic while such a lock was held left nothing half done: each change is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Managed {
    /// The process as it is now: one that has ended is noticed here.
    fn look(&self) -> MutexGuard<'_, Process> {
        let mut process = lock(&self.process);
        if let Some(Ok(Some(status))) = process.child.as_mut().map(Child::try_wait) {
            process.end = Some(status.to_string());
            process.child = None;
        }
        process
    }

    pub(crate) async fn start(&self) -> Result<()> {
        let Some((program, arguments)) = self.config.command.split_first() else {
            return Err(Error::internal("it was created without a command"));
        };
        let log = File::options().create(true).append(true).open(&self.log);
        let (stdout, stderr) = log
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| Error::unavailable(format!("cannot open its log: {error}")))?;
        let child = Command::new(program)
            .args(arguments)
            // Nothing of our own environment, which may hold secrets, but the way to programs.
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.config.environment.iter())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            // A group of its own, so that its children can be ended with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::invalid_input(format!("cannot run `{program}`: {error}")))?;
        *lock(&self.process) =
            Process { child: Some(child), started_at: Some(SystemTime::now()), ..Process::default() };
        Ok(())
    }

    /// Held until it is sent: a process that was not yet collected keeps its number, so this hits no stranger.
    fn signal(&self, send: fn(Pid, Signal) -> rustix::io::Result<()>, signal: Signal) {
        let process = self.look();
        let id = process.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            let _ = send(pid, signal);
        }
    }

    /// Asks the process to end. What it started is its own affair.
    pub(crate) fn ask_to_end(&self) {
        self.signal(kill_process, Signal::TERM);
    }

    pub(crate) fn runs(&self) -> bool {
        self.look().child.is_some()
    }

    pub(crate) async fn ends_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.runs() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }

    pub(crate) async fn kill(&self) -> Result<()> {
        // Its children too: nobody else would end them.
        self.signal(kill_process_group, Signal::KILL);
        let ended = self.ends_within(Duration::from_secs(30)).await;
        ended.then_some(()).ok_or_else(|| Error::timeout("the process did not end within 30 s of a kill"))
    }

    pub(crate) fn describe(&self) -> Instance {
        let process = self.look();
        let runs = process.child.is_some();
        let state = if runs { InstanceState::Running } else { InstanceState::Stopped };
        let mut instance = Instance::new(&self.id, self.config.name.clone(), InstanceKind::Process, state);
        if let (false, Some(end)) = (runs, &process.end) {
            instance.provider_state.clone_from(end);
        }
        instance.image = Some(IMAGE.to_owned());
        instance.labels = self.config.labels.clone();
        instance.metadata = self.config.metadata.clone();
        instance.created_at = Some(self.created_at);
        instance.started_at = process.started_at;
        instance
    }

    /// What it uses. Where there is no `/proc` nothing is measured, which is not zero.
    pub(crate) fn measure(&self) -> Option<ResourceUsage> {
        let mut process = self.look();
        let number = process.child.as_ref().and_then(Child::id)?;
        let last = process.measured;
        let mut counters = UsageCounters::now();
        if let Some((_, usage)) = last.filter(|(before, _)| counters.at - before.at < READING) {
            return Some(usage);
        }
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // Counted from behind the program's name, which may hold anything: user and system time are 11 and
        // 12, resident pages 21.
        let (_, fields) = stat.rsplit_once(')')?;
        let field = |index| fields.split_whitespace().nth(index).and_then(|field| field.parse::<u64>().ok());
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        counters.cpu_time = Some(Duration::from_millis((field(11)? + field(12)?) * 1000 / ticks));
        #[allow(clippy::cast_precision_loss, reason = "no memory has 2^52 bytes")]
        let mebibytes = |pages| (pages * rustix::param::page_size() as u64) as f64 / f64::from(1 << 20);
        let usage = ResourceUsage {
            cpu_percent: last.and_then(|(before, _)| counters.rates_since(&before).cpu_percent),
            memory_mb: field(21).map(mebibytes),
            ..ResourceUsage::default()
        };
        process.measured = Some((counters, usage));
        Some(usage)
    }
}
