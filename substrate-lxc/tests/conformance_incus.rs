//! The conformance suite over a real Incus.

#[path = "setup/mod.rs"]
mod setup;

use substrate_conformance::Setup;
use substrate_core::Result;
use substrate_lxc::ServerKind;

async fn setup() -> Result<Setup> {
    setup::conformance(ServerKind::Incus)
}

substrate_conformance::certify! { provider: "incus", ignore: "live: incus", setup: setup }
