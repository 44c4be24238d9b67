//! `libvirt-new`: a libvirt of the backports, for what the release's is too old for.
//!
//! It is not installed: that would replace the other. Its packages are unpacked into a folder, which the daemon's own
//! name space sees over the machine's. Libraries and the emulator are those of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::daemon::Daemon;
use super::guest::Guest;
use super::{PACKAGES, guest_environment};
use crate::command::{command, run};
use crate::lab::packages::{backports, download, install};
use crate::lab::{Action, DaemonStatus, Server, create_private_directory};

const NAME: &str = "libvirt-new";

/// All that a system's daemon for QEMU is made of.
const PROGRAMS: [&str; 14] = [
    "libvirt0",
    "libvirt-common",
    "libvirt-daemon",
    "libvirt-daemon-common",
    "libvirt-daemon-config-nwfilter",
    "libvirt-daemon-driver-interface",
    "libvirt-daemon-driver-network",
    "libvirt-daemon-driver-nodedev",
    "libvirt-daemon-driver-nwfilter",
    "libvirt-daemon-driver-qemu",
    "libvirt-daemon-driver-secret",
    "libvirt-daemon-driver-storage",
    "libvirt-daemon-log",
    "libvirt-daemon-system",
];

pub struct NewerLibvirtServer {
    daemon: Daemon,
    guest: Guest,
    guest_cache: PathBuf,
    programs: PathBuf,
}

impl NewerLibvirtServer {
    pub fn new(lab: &Path) -> Self {
        let guest_cache = lab.join("libvirt-guest");
        let programs = lab.join("libvirt-new-programs");
        Self {
            daemon: Daemon::new(NAME, lab).with_programs(&programs).with_recorded_traffic_control(),
            guest: Guest::new(&guest_cache),
            guest_cache,
            programs,
        }
    }

    /// Unpacks the packages, unless they are there.
    fn ensure_programs(&self) -> Result<()> {
        let mark = self.programs.join("packages");
        let wanted = PROGRAMS.join("\n");
        if fs::read_to_string(&mark).is_ok_and(|known| known == wanted) {
            return Ok(());
        }
        if self.programs.exists() {
            fs::remove_dir_all(&self.programs)?;
        }
        create_private_directory(&self.programs)?;
        println!("lab: fetching a newer libvirt");
        let archives = self.programs.join("archives");
        fs::create_dir_all(&archives)?;
        download(&PROGRAMS, Some(&backports()?), &archives)?;
        for archive in fs::read_dir(&archives)?.flatten() {
            run(command("dpkg").arg("-x").arg(archive.path()).arg(&self.programs))?;
        }
        fs::remove_dir_all(&archives)?;
        fs::write(&mark, wanted).context("cannot note what was unpacked")
    }
}

impl Server for NewerLibvirtServer {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The provider is certified on the release's libvirt; here is what that one cannot.
    fn is_substrate(&self) -> bool {
        false
    }

    fn install(&self) -> Result<()> {
        create_private_directory(&self.guest_cache)?;
        install(PACKAGES, &self.guest_cache.join("apt.log"))?;
        self.ensure_programs()
    }

    fn up(&self) -> Result<bool> {
        self.guest.ensure()?;
        self.daemon.up(&self.guest)
    }

    /// The programs stay: they hold nothing of a run.
    fn down(&self, keep_state: bool) -> Result<()> {
        self.daemon.down(keep_state)
    }

    fn status(&self) -> Result<Vec<DaemonStatus>> {
        Ok(vec![self.daemon.status()])
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let mut variables = guest_environment();
        variables.push(("SUBSTRATES_LAB_LIBVIRT_NEW".to_owned(), self.daemon.uri()));
        if let Some(folder) = self.daemon.recorded_traffic_control() {
            let name = "SUBSTRATES_LAB_LIBVIRT_NEW_TRAFFIC_CONTROL";
            variables.push((name.to_owned(), folder.display().to_string()));
        }
        Ok(variables)
    }

    fn control(&self, _: &str, _: Action) -> Result<bool> {
        Ok(false)
    }
}
