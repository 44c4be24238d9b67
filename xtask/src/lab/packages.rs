//! What the servers need from the distribution.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::process::tail;
use crate::command::{command, exists, output, shown};

/// A package, and how to tell that what we want of it is there.
pub struct Package {
    pub name: &'static str,
    /// A program that is as good as the package: where another package brought it (Docker's own builds
    /// of `dockerd`), installing ours would remove that one.
    pub program: Option<&'static str>,
}

/// Installs those that are missing; needs the network only then.
pub fn install(packages: &[Package], log: &Path) -> Result<()> {
    let missing: Vec<&str> = packages.iter().filter(|package| !is_there(package)).map(|p| p.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !exists("apt-get") {
        bail!("{} missing, and there is no apt-get to install it with", missing.join(", "));
    }
    println!("lab: installing {}", missing.join(" "));
    // Stale lists are no reason to give up: what is wanted may be in them.
    if let Err(error) = apt_get(&["update", "-qq"], log) {
        println!("lab: {error:#}; trying with the package lists at hand");
    }
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(&missing);
    apt_get(&arguments, log)
}

fn is_there(package: &Package) -> bool {
    package.program.is_some_and(exists)
        || output(command("dpkg-query").args(["-W", "-f=${db:Status-Status}", package.name]))
            .is_ok_and(|status| status == "installed")
}

fn apt_get(arguments: &[&str], log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut apt = command("apt-get");
    apt.args(["-o", "DPkg::Lock::Timeout=600", "-o", "Acquire::Retries=3"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(file.try_clone()?)
        .stderr(file);
    let status = apt.status().context("cannot run apt-get")?;
    if !status.success() {
        bail!("{} ended with {status}:\n{}", shown(&apt), tail(log, 20));
    }
    Ok(())
}
