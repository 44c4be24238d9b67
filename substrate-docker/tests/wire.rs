//! The provider against a scripted server on a unix socket: errors, odd answers, broken ones, none.

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

#[path = "wire/broken.rs"]
mod broken;
#[path = "wire/image_files.rs"]
mod image_files;
#[path = "wire/odd.rs"]
mod odd;
#[path = "wire/refusals.rs"]
mod refusals;
