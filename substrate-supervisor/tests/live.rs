//! What a real supervisord does: behaviours beyond the conformance suite. Run with `--ignored` and the variables of
//! the lab.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, in its helping functions too"
)]

#[path = "live/lab.rs"]
mod lab;

#[path = "live/connections.rs"]
mod connections;
#[path = "live/creation.rs"]
mod creation;
#[path = "live/groups.rs"]
mod groups;
#[path = "live/lifecycle.rs"]
mod lifecycle;
#[path = "live/logs.rs"]
mod logs;
#[path = "live/metrics.rs"]
mod metrics;
#[path = "live/outages.rs"]
mod outages;
