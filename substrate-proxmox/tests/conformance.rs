//! The conformance suite over machines, on the double of the API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is wrong here is a failed test"
)]

mod double;

use substrate_conformance::Setup;
use substrate_core::{InstanceKind, Result};

async fn setup() -> Result<Setup> {
    double::conformance("proxmox-qemu", InstanceKind::VirtualMachine, "local:import/labguest.qcow2", "local")
        .await
}

substrate_conformance::certify! { provider: "proxmox-qemu", threads: 12, setup: setup }
