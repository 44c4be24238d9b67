//! Control groups of a daemon's containers: the daemon puts all of them below one parent, which is how the
//! lab knows processes that outlived their daemon as its own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::mounts::mounted;
use crate::lab::process::ProcessId;
use crate::wait::until;

/// Ends every process below the parent, in every hierarchy, and removes the groups.
pub fn clear(parent: &str) -> Result<()> {
    let roots: Vec<PathBuf> = mounted()?
        .into_iter()
        .filter(|(_, kind)| kind == "cgroup" || kind == "cgroup2")
        .map(|(point, _)| point.join(parent.trim_start_matches('/')))
        .filter(|root| root.exists())
        .collect();
    let emptied = until(Duration::from_secs(10), || {
        let mut empty = true;
        for root in &roots {
            for group in groups(root) {
                thaw(&group);
                empty &= kill_members(&group)?;
            }
        }
        Ok(empty)
    })?;
    if !emptied {
        bail!("processes in the control group {parent} do not end");
    }
    // What was killed leaves its group a moment after it is no process any more.
    let removed = until(Duration::from_secs(10), || {
        let mut all = true;
        for group in roots.iter().flat_map(|root| groups(root)) {
            all &= remove(&group)?;
        }
        Ok(all)
    })?;
    if !removed {
        bail!("the control group {parent} stays busy, although nothing runs in it");
    }
    Ok(())
}

/// False while it is busy.
fn remove(group: &Path) -> Result<bool> {
    match fs::remove_dir(group) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        result => {
            result.map(|()| true).with_context(|| format!("cannot remove the group {}", group.display()))
        }
    }
}

/// The groups at and below the root, children before their parents.
fn groups(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(root) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            found.extend(groups(&entry.path()));
        }
        found.push(root.to_owned());
    }
    found
}

/// A paused container does not see a signal, not even SIGKILL, in a version 1 hierarchy. The files exist
/// only in some hierarchies, and the group may just have gone.
fn thaw(group: &Path) {
    let _ = overwrite(&group.join("freezer.state"), "THAWED");
    let _ = overwrite(&group.join("cgroup.freeze"), "0");
}

fn overwrite(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes())
}

/// True when there was none.
fn kill_members(group: &Path) -> Result<bool> {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut empty = true;
    for process in members.lines().filter_map(|pid| pid.parse().ok()).filter_map(ProcessId::of) {
        process.signal(rustix::process::Signal::KILL)?;
        empty &= !process.is_alive();
    }
    Ok(empty)
}
