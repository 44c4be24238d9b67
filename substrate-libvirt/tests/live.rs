//! What a real hypervisor does: behaviours beyond the conformance suite. Run with `--ignored` and the variables of
//! the lab.

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

#[path = "live/bandwidth.rs"]
mod bandwidth;
#[path = "live/block.rs"]
mod block;
#[path = "live/commands.rs"]
mod commands;
#[path = "live/external_snapshots.rs"]
mod external_snapshots;
#[path = "live/firmware.rs"]
mod firmware;
#[path = "live/lifecycle.rs"]
mod lifecycle;
#[path = "live/logs.rs"]
mod logs;
#[path = "live/networks.rs"]
mod networks;
#[path = "live/outages.rs"]
mod outages;
#[path = "live/snapshots.rs"]
mod snapshots;
