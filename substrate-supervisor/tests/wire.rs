//! The provider against a scripted server: faults, odd answers, lost answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, in its helping functions too"
)]

#[path = "wire/server.rs"]
mod server;

#[path = "wire/broken.rs"]
mod broken;
#[path = "wire/faults.rs"]
mod faults;
#[path = "wire/requests.rs"]
mod requests;
