//! Docker: two real `dockerd`. `docker` is for every live test; `docker-restart`, the victim, may be killed
//! and frozen by tests of outages without harm to the others.

mod certificates;
pub mod cgroups;
pub mod daemon;
mod endpoint;
mod firewall;
pub mod image;
mod network;

use std::path::Path;

use anyhow::Result;

use super::packages::{Package, install};
use super::{Action, DaemonStatus, Server, control_script, create_private_directory};
use daemon::{Daemon, Profile};

const PACKAGES: &[Package] = &[
    Package::of_program("docker.io", "dockerd"),
    Package::of_program("iptables", "iptables"),
    Package::of_program("iproute2", "ip"),
    Package::of_program("openssl", "openssl"),
    // Not by its program: the package `busybox` brings the same one, but not the static build that alone
    // fits into an image.
    Package::new("busybox-static"),
];

const MAIN: Profile = Profile {
    name: "docker",
    bridge: "substrates0",
    bridge_address: "10.201.0.1/16",
    address_pools: &["10.202.0.0/16", "10.203.0.0/16"],
    firewall: true,
    tls: true,
};

/// Without firewall: a `dockerd` that starts empties Docker's chains, those of the other daemon too.
/// Containers still reach each other and published ports are served by docker-proxy.
const VICTIM: Profile = Profile {
    name: "docker-restart",
    bridge: "substrates1",
    bridge_address: "10.204.0.1/16",
    address_pools: &["10.205.0.0/16"],
    firewall: false,
    tls: false,
};

pub struct DockerServer {
    main: Daemon,
    victim: Daemon,
}

impl DockerServer {
    pub fn new(lab: &Path) -> Self {
        Self { main: Daemon::new(&MAIN, lab), victim: Daemon::new(&VICTIM, lab) }
    }

    fn daemons(&self) -> [&Daemon; 2] {
        [&self.main, &self.victim]
    }
}

impl Server for DockerServer {
    fn name(&self) -> &'static str {
        MAIN.name
    }

    fn install(&self) -> Result<()> {
        create_private_directory(self.main.home())?;
        install(PACKAGES, &self.main.home().join("apt.log"))
    }

    fn up(&self) -> Result<bool> {
        let mut started = false;
        for daemon in self.daemons() {
            started |= daemon.up()?;
            image::ensure(daemon)?;
        }
        control_script::write(self.victim.home(), self.victim.name())?;
        Ok(started)
    }

    fn down(&self, keep_state: bool) -> Result<()> {
        for daemon in self.daemons() {
            daemon.down(keep_state)?;
        }
        Ok(())
    }

    fn status(&self) -> Result<Vec<DaemonStatus>> {
        Ok(self.daemons().into_iter().map(Daemon::status).collect())
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let main = &self.main;
        let variables = [
            ("DOCKER", main.address()),
            ("DOCKER_TLS", main.tls_address()?),
            ("DOCKER_CERTS", main.certificates().display().to_string()),
            ("DOCKER_PID", main.pid_file().display().to_string()),
            ("DOCKER_IMAGE", image::NAME.to_owned()),
            ("DOCKER_IMAGE_FILE", image::file(main).display().to_string()),
            ("DOCKER_VICTIM", self.victim.address()),
            ("DOCKER_VICTIM_RESTART", control_script::path(self.victim.home()).display().to_string()),
        ];
        Ok(variables.map(|(name, value)| (format!("SUBSTRATES_LAB_{name}"), value)).to_vec())
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
