//! The provider against a scripted server on a unix socket: operations that are forgotten, answers that are lost or
//! odd, changes by others in between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, in its helping functions too"
)]

#[path = "wire/server.rs"]
mod server;

#[path = "wire/image_files.rs"]
mod image_files;
#[path = "wire/operations.rs"]
mod operations;
#[path = "wire/requests.rs"]
mod requests;
#[path = "wire/snapshots.rs"]
mod snapshots;
#[path = "wire/stopping.rs"]
mod stopping;
