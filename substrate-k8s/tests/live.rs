//! What a real cluster does: behaviours beyond the conformance suite. Run with `--ignored` and the variables of the lab,
//! `SUBSTRATES_LAB_K8S…`.

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
mod stand_in;

#[path = "live/behaviour.rs"]
mod behaviour;
#[path = "live/kinds.rs"]
mod kinds;
#[path = "live/machines.rs"]
mod machines;
#[path = "live/outages.rs"]
mod outages;
#[path = "live/snapshots.rs"]
mod snapshots;
#[path = "live/speed.rs"]
mod speed;
