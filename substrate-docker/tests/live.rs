//! What a real daemon does: behaviours beyond the conformance suite. Run with `--ignored` and the variables
//! of the lab: `SUBSTRATES_LAB_DOCKER` and those that the single files name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, in its helping functions too"
)]

#[path = "live/lab.rs"]
mod lab;

#[path = "live/commands.rs"]
mod commands;
#[path = "live/connections.rs"]
mod connections;
#[path = "live/events.rs"]
mod events;
#[path = "live/image_files.rs"]
mod image_files;
#[path = "live/lifecycle.rs"]
mod lifecycle;
#[path = "live/logs.rs"]
mod logs;
#[path = "live/resources.rs"]
mod resources;
#[path = "live/snapshots.rs"]
mod snapshots;
