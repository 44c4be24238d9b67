//! What works for one daemon and outlives it: monitors of containers, DHCP servers. Known by the daemon's folder
//! in their arguments.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::lab::process::{ProcessId, all_with_arguments};

/// Ends all of them, containers first: a container whose monitor is gone would stay.
pub fn end(data: &Path) -> Result<()> {
    let mark = data.display().to_string();
    let all = all_with_arguments()?;
    let ours: Vec<ProcessId> = all
        .iter()
        .filter(|(process, arguments)| {
            process.pid != std::process::id().cast_signed()
                && is_of_a_daemon(arguments)
                && arguments.iter().any(|word| word.contains(&mark))
        })
        .map(|(process, _)| *process)
        .collect();
    for (process, _) in &all {
        if ours.iter().any(|own| Some(own.pid) == parent_of(process.pid)) {
            process.kill()?;
        }
    }
    for process in ours {
        process.kill()?;
    }
    Ok(())
}

/// Not the tests and tools that name the same folder.
fn is_of_a_daemon(arguments: &[String]) -> bool {
    let Some(program) = arguments.first() else { return false };
    let name = program.split(' ').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    matches!(name, "lxd" | "incusd" | "dnsmasq") || program.starts_with("[lxc monitor]")
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_daemon_s_own_programs_are_meant() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(is_of_a_daemon(&words(&["[lxc monitor] /lab/lxd/data/containers web"])));
        assert!(is_of_a_daemon(&words(&["/usr/bin/lxd", "forkstart"])));
        assert!(is_of_a_daemon(&words(&["dnsmasq", "--pid-file=/lab/x"])));
        assert!(!is_of_a_daemon(&words(&["tail", "-f", "/lab/lxd/lxd.log"])));
        assert!(!is_of_a_daemon(&[]));
    }
}
