//! The provider against a scripted API server: versions that are gone, answers that are lost or odd, what older and newer
//! servers do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a test may panic, in its helping functions too"
)]

#[path = "wire/server.rs"]
mod server;

#[path = "wire/credentials.rs"]
mod credentials;
#[path = "wire/evictions.rs"]
mod evictions;
#[path = "wire/machines.rs"]
mod machines;
#[path = "wire/requests.rs"]
mod requests;
#[path = "wire/snapshots.rs"]
mod snapshots;
#[path = "wire/versions.rs"]
mod versions;
#[path = "wire/watching.rs"]
mod watching;
