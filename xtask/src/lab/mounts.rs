//! Mounts that a server leaves behind when it does not end in order.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};

/// Mount points and file system types of this mount namespace, in mount order.
pub fn mounted() -> Result<Vec<(PathBuf, String)>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    Ok(table.lines().filter_map(entry).collect())
}

/// Unmounts everything at and below the folder, the last mounted first.
pub fn unmount_below(folder: &Path) -> Result<()> {
    for (point, _) in mounted()?.into_iter().rev().filter(|(point, _)| point.starts_with(folder)) {
        // Detached: a process that still stands inside must not keep the lab from going down.
        unmount(&point, UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount {}", point.display()))?;
    }
    Ok(())
}

/// Mount point and type from a line of `/proc/self/mountinfo`: fields 5 and the first behind the dash.
fn entry(line: &str) -> Option<(PathBuf, String)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let point = mount.split(' ').nth(4)?;
    let kind = filesystem.split(' ').next()?;
    Some((PathBuf::from(unescaped(point)), kind.to_owned()))
}

/// The kernel writes space, tab, newline and backslash in paths as octal numbers.
fn unescaped(path: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(path.to_owned(), |path, (code, character)| path.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_gives_point_and_type_whatever_optional_fields_it_has() {
        let line =
            "36 35 98:0 /mnt1 /a\\040b/c rw,noatime master:1 shared:2 - overlay overlay rw,lowerdir=/x";
        assert_eq!(entry(line), Some((PathBuf::from("/a b/c"), "overlay".to_owned())));
        let line = "24 1 0:22 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu";
        assert_eq!(entry(line), Some((PathBuf::from("/sys/fs/cgroup/cpu"), "cgroup".to_owned())));
    }
}
