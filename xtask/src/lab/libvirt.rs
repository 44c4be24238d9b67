//! libvirt: two real `libvirtd` with QEMU. `libvirt` is for every live test; `libvirt-restart`, the victim, may be
//! killed and frozen by tests of outages without harm to the other. A third one, of a newer version, is a server of
//! its own.

mod daemon;
mod guest;
mod newer;
mod traffic_control;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::packages::{Package, install};
use super::{Action, DaemonStatus, Server, control_script, create_private_directory};
use daemon::Daemon;
use guest::Guest;
pub use newer::NewerLibvirtServer;

const NAME: &str = "libvirt";
const VICTIM: &str = "libvirt-restart";

const PACKAGES: &[Package] = &[
    Package::new("libvirt-daemon-system"),
    Package::new("libvirt-clients"),
    Package::new("dnsmasq-base"),
    Package::of_program("iptables", "iptables"),
    Package::of_program("iproute2", "ip"),
    Package::of_program("util-linux", "nsenter"),
    Package::of_program("e2fsprogs", "mke2fs"),
    Package::of_program("cpio", "cpio"),
    Package::new("busybox-static"),
    // Of one release: a newer one of the tools, from the backports, contradicts the emulator.
    Package::new("qemu-system-x86").of_release(),
    Package::new("qemu-utils").of_release(),
];

pub struct LibvirtServer {
    main: Daemon,
    victim: Daemon,
    guest: Guest,
    cache: PathBuf,
}

impl LibvirtServer {
    pub fn new(lab: &Path) -> Self {
        let cache = lab.join("libvirt-guest");
        Self {
            main: Daemon::new(NAME, lab),
            victim: Daemon::new(VICTIM, lab),
            guest: Guest::new(&cache),
            cache,
        }
    }

    fn daemons(&self) -> [&Daemon; 2] {
        [&self.main, &self.victim]
    }
}

/// What tests must know of the guest, which every daemon has in the same places.
fn guest_environment() -> Vec<(String, String)> {
    let variables = [
        ("VOLUME", guest::VOLUME.to_owned()),
        ("KERNEL", format!("{}/{}", daemon::BOOT, guest::KERNEL)),
        ("INITRD", format!("{}/{}", daemon::BOOT, guest::INITRD)),
        ("KERNEL_ARGUMENTS", guest::KERNEL_ARGUMENTS.to_owned()),
    ];
    variables.map(|(name, value)| (format!("SUBSTRATES_LAB_LIBVIRT_{name}"), value)).to_vec()
}

impl Server for LibvirtServer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn install(&self) -> Result<()> {
        create_private_directory(&self.cache)?;
        install(PACKAGES, &self.cache.join("apt.log"))
    }

    fn up(&self) -> Result<bool> {
        self.guest.ensure()?;
        let mut started = false;
        for daemon in self.daemons() {
            started |= daemon.up(&self.guest)?;
        }
        control_script::write(self.victim.home(), VICTIM)?;
        Ok(started)
    }

    /// What the guest is made of stays: it is costly to make, and holds nothing of a run.
    fn down(&self, keep_state: bool) -> Result<()> {
        self.daemons().into_iter().try_for_each(|daemon| daemon.down(keep_state))
    }

    fn status(&self) -> Result<Vec<DaemonStatus>> {
        Ok(self.daemons().into_iter().map(Daemon::status).collect())
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let control = control_script::path(self.victim.home());
        let own = [
            ("LIBVIRT", self.main.uri()),
            ("LIBVIRT_VICTIM", self.victim.uri()),
            ("LIBVIRT_VICTIM_RESTART", control.display().to_string()),
        ];
        let mut variables = guest_environment();
        variables.extend(own.map(|(name, value)| (format!("SUBSTRATES_LAB_{name}"), value)));
        Ok(variables)
    }

    fn control(&self, daemon: &str, action: Action) -> Result<bool> {
        let Some(daemon) = self.daemons().into_iter().find(|candidate| candidate.name() == daemon) else {
            return Ok(false);
        };
        match action {
            Action::Kill => daemon.kill()?,
            Action::Stop => daemon.stop()?,
            Action::Start => daemon.start()?,
            Action::Freeze => daemon.freeze()?,
            Action::Thaw => daemon.thaw()?,
        }
        Ok(true)
    }
}
