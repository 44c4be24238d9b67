//! What the servers need from the distribution.

use std::fs::{self, File};
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

/// Where a source of the distribution's backports goes, if the machine has none.
const BACKPORTS: &str = "/etc/apt/sources.list.d/substrates-lab-backports.sources";
/// What signs the distribution's archives.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Installs those that are missing; needs the network only then.
pub fn install(packages: &[Package], log: &Path) -> Result<()> {
    install_with(packages, &[], log)
}

/// The same from the backports of this release, where the release itself does not have them. A backport is only
/// taken when it is asked for, so the source changes nothing else on the machine.
pub fn install_from_backports(packages: &[Package], log: &Path) -> Result<()> {
    if packages.iter().all(is_there) {
        return Ok(());
    }
    if packages.iter().all(|package| has_candidate(package.name)) {
        return install(packages, log);
    }
    let release = codename()?;
    let suite = format!("{release}-backports");
    fs::write(BACKPORTS, backports_of(&release, &suite)?)
        .with_context(|| format!("cannot write {BACKPORTS}"))?;
    install_with(packages, &["-t", &suite], log)
}

fn has_candidate(package: &str) -> bool {
    output(command("apt-cache").args(["policy", package])).is_ok_and(|policy| {
        policy.lines().any(|line| line.contains("Candidate:") && !line.contains("(none)"))
    })
}

/// A source beside the one from which this machine gets the release itself: the same place, another suite.
fn backports_of(release: &str, suite: &str) -> Result<String> {
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    let targets =
        output(command("apt-get").args(["indextargets", "--format", format, "Identifier: Packages"]))?;
    let place = targets
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find_map(|fields| match fields.as_slice() {
            [place, codename, "main"] if *codename == release => Some((*place).to_owned()),
            _ => None,
        })
        .with_context(|| format!("apt has no source of {release} main to find its backports beside"))?;
    let mut source = format!("Types: deb\nURIs: {place}\nSuites: {suite}\nComponents: main\n");
    if Path::new(KEYRING).exists() {
        source.push_str(&format!("Signed-By: {KEYRING}\n"));
    }
    Ok(source)
}

/// The release's name, as in the names of its suites.
fn codename() -> Result<String> {
    let description = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = description.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("/etc/os-release names no release")?.trim_matches('"').to_owned())
}

fn install_with(packages: &[Package], options: &[&str], log: &Path) -> Result<()> {
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
    arguments.extend(options);
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
