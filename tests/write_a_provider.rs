//! The provider of the example is certified like every other one.

use std::sync::Arc;

use substrate_conformance::{Guest, Setup};

#[path = "../examples/write_a_provider/process.rs"]
mod process;
#[path = "../examples/write_a_provider/provider.rs"]
mod provider;

async fn setup() -> substrates::Result<Setup> {
    let logs = concat!(env!("CARGO_TARGET_TMPDIR"), "/write_a_provider");
    let substrate = Arc::new(provider::Processes::new("process", logs));
    Ok(Setup::new(substrate, "host", Guest::busybox()).with_missing_image("no-such-image").exclusive())
}

substrate_conformance::certify! { provider: "process", setup: setup }
