//! The script with which a test does something to one daemon of the lab.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::quoted;

/// Where the script of a daemon is that lives in this folder.
pub fn path(home: &Path) -> PathBuf {
    home.join("control")
}

/// A script and a copy of this program, so that tests need neither cargo nor the folder it builds in.
pub fn write(home: &Path, daemon: &str) -> Result<()> {
    let lab = home.parent().context("the daemon's home has a parent")?.display().to_string();
    let program = home.join("xtask");
    let new_program = home.join("xtask.new");
    // Renamed into place: a program that runs at this moment cannot be written to. Not by the path of this
    // program: cargo may have replaced it since it was started.
    fs::copy("/proc/self/exe", &new_program)?;
    fs::rename(&new_program, &program)?;
    let script = format!(
        "#!/bin/sh\n# {{kill|stop|start|freeze|thaw}}: returns when it is done.\n\
         exec {} lab --directory {} control {} \"$1\"\n",
        quoted(&program.display().to_string()),
        quoted(&lab),
        daemon,
    );
    let path = path(home);
    fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    Ok(())
}
