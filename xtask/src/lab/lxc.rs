//! LXD and Incus: of each, two real daemons. The first is for every live test; the victim may be killed and frozen
//! by tests of outages without harm to the others.

mod certificates;
mod daemon;
mod firewall;
mod image;
mod processes;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::packages::{Package, install, install_from_backports};
use super::{Action, DaemonStatus, Server, create_private_directory};
use daemon::{Daemon, Profile};

const COMMON: &[Package] = &[
    Package::of_program("dnsmasq-base", "dnsmasq"),
    Package::of_program("iproute2", "ip"),
    Package::of_program("iptables", "iptables"),
    Package::of_program("openssl", "openssl"),
    Package::new("busybox-static"),
];

const LXD: Product = Product {
    name: "lxd",
    packages: &[Package::new("lxd"), Package::of_program("lxd-client", "lxc")],
    backports: &[],
    program: "/usr/bin/lxd",
    leaves_rules: true,
    folder_variable: "LXD_DIR",
    client: "lxc",
    preseed: &["lxd", "init", "--preseed"],
};

const INCUS: Product = Product {
    name: "incus",
    packages: &[],
    // Debian 12 has it in its backports only.
    backports: &[Package::new("incus-base")],
    program: "/usr/libexec/incus/incusd",
    leaves_rules: false,
    folder_variable: "INCUS_DIR",
    client: "incus",
    preseed: &["incus", "admin", "init", "--preseed"],
};

const LXD_MAIN: Profile =
    Profile { name: "lxd", bridge: "substrates-lxd", bridge_address: "10.206.0.1/24", https: true };
const LXD_VICTIM: Profile =
    Profile { name: "lxd-victim", bridge: "substrates-lxv", bridge_address: "10.207.0.1/24", https: false };
const INCUS_MAIN: Profile =
    Profile { name: "incus", bridge: "substrates-inc", bridge_address: "10.208.0.1/24", https: true };
const INCUS_VICTIM: Profile =
    Profile { name: "incus-victim", bridge: "substrates-inv", bridge_address: "10.209.0.1/24", https: false };

/// What tells the two apart.
pub struct Product {
    pub name: &'static str,
    packages: &'static [Package],
    backports: &'static [Package],
    pub program: &'static str,
    /// Whether rules of deleted networks stay in the packet filter.
    leaves_rules: bool,
    /// Where the daemon and its client find its state.
    pub folder_variable: &'static str,
    pub client: &'static str,
    pub preseed: &'static [&'static str],
}

pub struct LxcServer {
    product: &'static Product,
    main: Daemon,
    victim: Daemon,
    image: PathBuf,
}

impl LxcServer {
    pub fn lxd(lab: &Path) -> Self {
        Self::new(&LXD, &LXD_MAIN, &LXD_VICTIM, lab)
    }

    pub fn incus(lab: &Path) -> Self {
        Self::new(&INCUS, &INCUS_MAIN, &INCUS_VICTIM, lab)
    }

    fn new(product: &'static Product, main: &'static Profile, victim: &'static Profile, lab: &Path) -> Self {
        Self {
            product,
            main: Daemon::new(product, main, lab),
            victim: Daemon::new(product, victim, lab),
            // The same for both products.
            image: lab.join("lxc-image"),
        }
    }

    fn daemons(&self) -> [&Daemon; 2] {
        [&self.main, &self.victim]
    }
}

impl Server for LxcServer {
    fn name(&self) -> &'static str {
        self.product.name
    }

    fn install(&self) -> Result<()> {
        create_private_directory(self.main.home())?;
        let log = self.main.home().join("apt.log");
        install(COMMON, &log)?;
        install(self.product.packages, &log)?;
        install_from_backports(self.product.backports, &log)
    }

    fn up(&self) -> Result<bool> {
        let mut started = false;
        let image = image::ensure(&self.image)?;
        for daemon in self.daemons() {
            started |= daemon.up()?;
            daemon.import(&image)?;
        }
        self.main.write_client_certificates()?;
        self.victim.write_control_script()?;
        Ok(started)
    }

    fn down(&self, keep_state: bool) -> Result<()> {
        let was_there = self.main.home().exists();
        for daemon in self.daemons() {
            daemon.down(keep_state)?;
        }
        if was_there && self.product.leaves_rules {
            firewall::remove_rules_of_gone_networks()?;
        }
        Ok(())
    }

    fn status(&self) -> Result<Vec<DaemonStatus>> {
        Ok(self.daemons().into_iter().map(Daemon::status).collect())
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let main = &self.main;
        let prefix = self.product.name.to_uppercase();
        let variables = [
            ("", main.address()),
            ("_IMAGE", image::ALIAS.to_owned()),
            ("_IMAGE_FILE", image::path(&self.image).display().to_string()),
            ("_BANDWIDTH", main.limits_bandwidth()?.to_owned()),
            ("_HTTPS", main.https_address()?),
            ("_CERTS", main.certificates().display().to_string()),
            ("_CLIENT", self.product.client.to_owned()),
            ("_FOLDER", main.data().display().to_string()),
            ("_VICTIM", self.victim.address()),
            ("_VICTIM_CONTROL", self.victim.control_script().display().to_string()),
        ];
        Ok(variables.map(|(name, value)| (format!("SUBSTRATES_LAB_{prefix}{name}"), value)).to_vec())
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
