//! supervisord's processes, seen through this machine's own eyes, where they run here.

use std::fs;
use std::time::Duration;

use crate::convert::process::Process;
use crate::convert::usage::{Stat, boot_time, is_same_start, resident_kib};

/// What a program and the processes of its group use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_time: Duration,
    pub(crate) resident_kib: u64,
}

/// Whether the supervisord with this process id runs here: the process is there, and is one.
///
/// In another host's or container's counting the id would be somebody else's, or nobody's.
pub(crate) fn has_supervisord(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| {
        String::from_utf8_lossy(&arguments).split('\0').take(3).any(|it| it.ends_with("supervisord"))
    })
}

/// What a program uses; nothing when the process with its id is not the one that supervisord means.
///
/// Each program leads a process group of its own: what it started and did not move elsewhere is counted with it.
pub(crate) fn usage_of(process: &Process, supervisord: u32) -> Option<Usage> {
    let (pid, told) = (process.pid?, process.started?);
    let leader = stat_of(pid)?;
    let boot = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
    if leader.parent != supervisord || !is_same_start(boot, leader.started, told) {
        return None;
    }
    let mut usage = Usage { cpu_time: leader.cpu_time(), resident_kib: resident_of(pid).unwrap_or_default() };
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let other = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(other) = other.filter(|other| *other != pid) else { continue };
        // It may end while it is looked at.
        let Some(stat) = stat_of(other).filter(|stat| stat.group == pid) else { continue };
        usage.cpu_time += stat.cpu_time();
        usage.resident_kib += resident_of(other).unwrap_or_default();
    }
    Some(usage)
}

fn stat_of(pid: u32) -> Option<Stat> {
    Stat::read(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn resident_of(pid: u32) -> Option<u64> {
    resident_kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

#[cfg(test)]
mod tests {
    use dxr::Value;

    use super::*;
    use crate::convert::value::structure;

    /// This very process, as a supervisord would describe it that started it at `told`.
    fn this_process(told: u64) -> Process {
        let text = |text: &str| Value::String(text.to_owned());
        let number = |number: u64| Value::Integer(number.try_into().unwrap());
        Process::read(&structure([
            ("name", text("me")),
            ("group", text("me")),
            ("state", Value::Integer(20)),
            ("statename", text("RUNNING")),
            ("start", number(told)),
            ("pid", number(std::process::id().into())),
        ]))
        .unwrap()
    }

    #[test]
    fn only_the_process_that_supervisord_started_then_is_measured() {
        let me = stat_of(std::process::id()).unwrap();
        let boot = boot_time(&fs::read_to_string("/proc/stat").unwrap()).unwrap();
        let started = boot + me.started / crate::convert::usage::TICKS_PER_SECOND;
        assert!(usage_of(&this_process(started), me.parent).unwrap().resident_kib > 0);
        assert_eq!(usage_of(&this_process(started - 60), me.parent), None, "it got the id later");
        assert_eq!(usage_of(&this_process(started), me.parent + 1), None, "it is somebody else's child");
    }

    #[test]
    fn a_process_that_is_no_supervisord_is_not_taken_for_one() {
        assert!(!has_supervisord(std::process::id()));
        assert!(!has_supervisord(u32::MAX));
    }
}
