//! The conformance suite over a real LXD.

#[path = "setup/mod.rs"]
mod setup;

use substrate_conformance::Setup;
use substrate_core::Result;
use substrate_lxc::ServerKind;

async fn setup() -> Result<Setup> {
    setup::conformance(ServerKind::Lxd)
}

substrate_conformance::certify! { provider: "lxd", ignore: "live: lxd", setup: setup }
