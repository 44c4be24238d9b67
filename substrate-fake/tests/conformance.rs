//! The conformance suite over the fake: the executable specification keeps its own rules.

use std::sync::Arc;

use substrate_conformance::{Guest, Setup};
use substrate_core::Result;
use substrate_fake::Fake;

async fn setup() -> Result<Setup> {
    let substrate = Arc::new(Fake::new("fake"));
    Ok(Setup::new(substrate, "busybox:local", Guest::fake())
        .with_missing_image("missing:1")
        // What is in a file makes no difference to the fake.
        .with_image_file(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .exclusive())
}

substrate_conformance::certify! { provider: "fake", setup: setup }
