//! The provider against the double: what goes wrong with a cluster, and what only Proxmox VE has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is wrong here is a failed test"
)]

mod double;

#[path = "wire/access.rs"]
mod access;
#[path = "wire/console.rs"]
mod console;
#[path = "wire/creation.rs"]
mod creation;
#[path = "wire/guests.rs"]
mod guests;
#[path = "wire/image_files.rs"]
mod image_files;
#[path = "wire/networks.rs"]
mod networks;
#[path = "wire/nodes.rs"]
mod nodes;
#[path = "wire/parallel.rs"]
mod parallel;
#[path = "wire/power.rs"]
mod power;
#[path = "wire/storage.rs"]
mod storage;
