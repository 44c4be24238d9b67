//! The conformance suite over containers, on the double of the API.
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
    let image = "local:vztmpl/labct_1.0_amd64.tar.gz";
    double::conformance("proxmox-lxc", InstanceKind::Container, image, "tank").await
}

substrate_conformance::certify! { provider: "proxmox-lxc", threads: 12, setup: setup }
