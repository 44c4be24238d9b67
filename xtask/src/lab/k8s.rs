//! Kubernetes: a real node with its own `dockerd`, and beside it a second API server on the same data, the victim,
//! which tests of outages may kill and freeze without harm to the others.
//!
//! The servers are built from the distribution's source with some changes, all of them in [`patch`]: the node's agent is made
//! to run without privileges that sandboxes lack and with shorter clocks, and it is taught the end of a command's input, which
//! nodes have since 1.30. Without that last one the provider refuses commands with input, as it does on every such cluster
//! that is not configured otherwise (a test over the wire shows it), and no live test could send any.

mod build;
mod certificates;
mod cluster;
mod daemon;
mod endpoint;
mod patch;
mod settings;
mod sysctl;

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::packages::{Package, install};
use super::{Action, DaemonStatus, Server, create_private_directory};
use cluster::Cluster;

const NAME: &str = "k8s";

const PACKAGES: &[Package] = &[
    Package::of_program("docker.io", "dockerd"),
    Package::of_program("iptables", "iptables"),
    Package::of_program("iproute2", "ip"),
    Package::of_program("openssl", "openssl"),
    Package::of_program("curl", "curl"),
    Package::new("busybox-static"),
];

pub struct K8sServer {
    cluster: Cluster,
    home: PathBuf,
}

impl K8sServer {
    pub fn new(lab: &Path) -> Self {
        Self { cluster: Cluster::new(lab), home: lab.join(NAME) }
    }
}

impl Server for K8sServer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn install(&self) -> Result<()> {
        create_private_directory(&self.home)?;
        let log = self.home.join("apt.log");
        install(PACKAGES, &log)?;
        self.cluster.programs().ensure(&log)
    }

    fn up(&self) -> Result<bool> {
        self.cluster.up()
    }

    fn down(&self, keep_state: bool) -> Result<()> {
        self.cluster.down(keep_state)
    }

    fn status(&self) -> Result<Vec<DaemonStatus>> {
        self.cluster.status()
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let cluster = &self.cluster;
        let variables = [
            ("", cluster.kubeconfig().display().to_string()),
            ("_IMAGE", super::docker::image::NAME.to_owned()),
            ("_NAMESPACE", cluster::NAMESPACE.to_owned()),
            ("_VICTIM", cluster.victim_kubeconfig().display().to_string()),
            ("_VICTIM_CONTROL", cluster.control_script().display().to_string()),
        ];
        Ok(variables.map(|(name, value)| (format!("SUBSTRATES_LAB_K8S{name}"), value)).to_vec())
    }

    fn control(&self, daemon: &str, action: Action) -> Result<bool> {
        self.cluster.control(daemon, action)
    }
}
