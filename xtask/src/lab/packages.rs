//! What the servers need from the distribution.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::process::tail;
use crate::command::{command, exists, output, shown};

/// A package, and how to tell that what we want of it is there.
pub struct Package {
    pub name: &'static str,
    /// A program that is as good as the package: where another package brought it (Docker's own builds
    /// of `dockerd`), installing ours would remove that one.
    pub program: Option<&'static str>,
    /// From the release that this machine runs, never from its backports; all such packages together.
    pub of_release: bool,
}

impl Package {
    pub const fn new(name: &'static str) -> Self {
        Self { name, program: None, of_release: false }
    }

    /// A package that is only wanted for a program.
    pub const fn of_program(name: &'static str, program: &'static str) -> Self {
        Self { name, program: Some(program), of_release: false }
    }

    pub const fn of_release(mut self) -> Self {
        self.of_release = true;
        self
    }
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
    install_with(packages, &["-t", &add_backports()?], log)
}

/// Adds the source of the backports of this release; gives their suite's name.
fn add_backports() -> Result<String> {
    let release = release()?;
    let suite = format!("{release}-backports");
    fs::write(BACKPORTS, backports_of(&release, &suite)?)
        .with_context(|| format!("cannot write {BACKPORTS}"))?;
    Ok(suite)
}

/// The suite of this release's backports, known to apt with what is in it.
pub fn backports() -> Result<String> {
    let suite = format!("{}-backports", release()?);
    let lists = ["indextargets", "--format", "$(CODENAME) $(FILENAME)", "Identifier: Packages"];
    let is_known = output(command("apt-get").args(lists))?.lines().any(|line| {
        line.split_once(' ').is_some_and(|(name, file)| name == suite && Path::new(file).exists())
    });
    if is_known {
        return Ok(suite);
    }
    let suite = add_backports()?;
    output(command("apt-get").args(["update", "-qq"]))?;
    Ok(suite)
}

fn has_candidate(package: &str) -> bool {
    output(command("apt-cache").args(["policy", package])).is_ok_and(|policy| {
        policy.lines().any(|line| line.contains("Candidate:") && !line.contains("(none)"))
    })
}

/// Puts packages' files into the folder, without installing them: those of a suite, or what apt would choose.
pub fn download(packages: &[&str], suite: Option<&str>, folder: &Path) -> Result<()> {
    let named = |package: &&str| suite.map_or((*package).to_owned(), |suite| format!("{package}/{suite}"));
    let get = || {
        let mut apt = command("apt-get");
        // Its own user may not write here.
        apt.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download"]);
        output(apt.args(packages.iter().map(named)).current_dir(folder)).map(drop)
    };
    // Lists are absent on a fresh machine, and may be stale on another.
    get().or_else(|_| {
        output(command("apt-get").args(["update", "-qq"]))?;
        get()
    })
}

/// Puts the source of a package of this release into the folder, as it was released. Sources have a list of their own
/// here: those of the machine seldom name any.
pub fn download_source(package: &str, folder: &Path) -> Result<()> {
    let release = release()?;
    let place = place_of(&release)?;
    let list = folder.join("source.sources");
    fs::write(
        &list,
        signed(format!("Types: deb-src\nURIs: {place}\nSuites: {release}\nComponents: main\n")),
    )?;
    let lists = folder.join("lists");
    fs::create_dir_all(lists.join("partial"))?;
    for arguments in [&["update", "-qq"][..], &["source", "-qq", "--download-only", package]] {
        let mut apt = command("apt-get");
        apt.args(["-o", &format!("Dir::Etc::SourceList={}", list.display())])
            .args(["-o", "Dir::Etc::SourceParts=-", "-o", &format!("Dir::State::Lists={}", lists.display())])
            // The machine's own cache is of other lists.
            .args(["-o", "Dir::Cache::PkgCache=", "-o", "Dir::Cache::SrcPkgCache="])
            .args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"])
            .args(arguments);
        output(apt.current_dir(folder))?;
    }
    Ok(())
}

/// The one file of the folder whose name ends so.
pub fn file_ending(folder: &Path, ending: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(ending) {
            return Ok(path);
        }
    }
    bail!("there is no file *{ending} in {}", folder.display())
}

/// A source beside the one from which this machine gets the release itself: the same place, another suite.
fn backports_of(release: &str, suite: &str) -> Result<String> {
    let place = place_of(release)?;
    Ok(signed(format!("Types: deb\nURIs: {place}\nSuites: {suite}\nComponents: main\n")))
}

/// From where this machine gets the release.
fn place_of(release: &str) -> Result<String> {
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    let targets =
        output(command("apt-get").args(["indextargets", "--format", format, "Identifier: Packages"]))?;
    targets
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find_map(|fields| match fields.as_slice() {
            [place, codename, "main"] if *codename == release => Some((*place).to_owned()),
            _ => None,
        })
        .with_context(|| format!("apt has no source of {release} main to find another beside"))
}

fn signed(mut source: String) -> String {
    if Path::new(KEYRING).exists() {
        source.push_str(&format!("Signed-By: {KEYRING}\n"));
    }
    source
}

fn install_with(packages: &[Package], options: &[&str], log: &Path) -> Result<()> {
    let mut missing: Vec<String> =
        packages.iter().filter(|package| !is_there(package)).map(|package| package.name.to_owned()).collect();
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
    let of_release: Vec<&Package> = packages.iter().filter(|package| package.of_release).collect();
    if of_release.iter().any(|package| missing.iter().any(|name| name == package.name)) {
        // One that is there in a newer version stands in the way of the others.
        let release = release()?;
        missing.retain(|name| of_release.iter().all(|package| package.name != name));
        missing.extend(of_release.iter().map(|package| format!("{}/{release}", package.name)));
        arguments.push("--allow-downgrades");
    }
    arguments.extend(missing.iter().map(String::as_str));
    apt_get(&arguments, log)
}

/// The code name of the release that this machine runs.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned()).context("/etc/os-release names no release")
}

fn is_there(package: &Package) -> bool {
    package.program.is_some_and(|program| {
        Path::new(program).is_absolute() && Path::new(program).exists() || exists(program)
    }) || output(command("dpkg-query").args(["-W", "-f=${db:Status-Status}", package.name]))
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
