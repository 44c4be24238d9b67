//! Processes that the lab started, so that it ends only its own.
//!
//! A process id alone is not proof: the kernel gives it to somebody else later. The id together with the
//! time at which the process started is.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::wait::until;

/// One process of this machine, for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks between the machine's start and the process's, from `/proc/PID/stat`.
    start_time: u64,
}

impl ProcessId {
    /// The process that has this id now, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, start_time) = state_and_start_time(&stat)?;
        Some(Self { pid, start_time })
    }

    /// True until the process has ended; one that only waits for its parent to look (a zombie) has ended.
    pub fn is_alive(self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .ok()
            .and_then(|stat| state_and_start_time(&stat))
            .is_some_and(|(state, start)| start == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    /// Sends a signal; a process that has gone is no error.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).context("a process id is greater than zero")?;
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// Asks the process to end, then ends it.
    pub fn end(self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        if until(patience, || Ok(!self.is_alive()))? {
            return Ok(());
        }
        self.kill()
    }

    /// Ends the process at once and waits until it is gone.
    pub fn kill(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if until(Duration::from_secs(10), || Ok(!self.is_alive()))? {
            return Ok(());
        }
        bail!("process {} is still there 10 s after SIGKILL", self.pid)
    }
}

/// Every process of this machine with its arguments.
pub fn all_with_arguments() -> Result<Vec<(ProcessId, Vec<String>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let (Some(process), Ok(arguments)) = (ProcessId::of(pid), fs::read(format!("/proc/{pid}/cmdline")))
        else {
            continue;
        };
        let arguments = arguments
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        found.push((process, arguments));
    }
    Ok(found)
}

/// The last lines of a log, for an error that says why a daemon did not come up.
pub fn tail(log: &Path, lines: usize) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all.iter().skip(all.len().saturating_sub(lines)).copied().collect::<Vec<_>>().join("\n")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => "(no log was written)".to_owned(),
        Err(error) => format!("(the log {} cannot be read: {error})", log.display()),
    }
}

/// State letter and start time from `/proc/PID/stat`. The command's name may hold anything, spaces and
/// brackets too, so counting starts behind the last bracket.
fn state_and_start_time(stat: &str) -> Option<(char, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3 of proc(5), the start time field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) S 9 (b) Z 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        assert_eq!(state_and_start_time(stat), Some(('Z', 777)));
    }

    #[test]
    fn this_process_is_alive_and_one_that_started_at_another_time_is_not() {
        let me = ProcessId::of(std::process::id().try_into().unwrap()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { start_time: me.start_time + 1, ..me }.is_alive());
    }
}
