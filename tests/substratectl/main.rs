//! `substratectl` as scripts see it: what it prints, where, and how it exits. The fake keeps its state in a file,
//! so that each command is a process of its own.
//!
//! `cargo test` builds the examples first; alone, `cargo build --example substratectl` has to come before
//! `cargo test --test substratectl`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test may panic anywhere, and reads better with its values in place"
)]

mod blueprints;
mod commands;
mod facility;
mod failures;
mod instances;
mod interruptions;
#[cfg(feature = "docker")]
mod live;
#[cfg(feature = "journal-s3")]
mod live_s3;
#[cfg(any(
    feature = "docker",
    feature = "k8s",
    feature = "libvirt",
    feature = "lxc",
    feature = "supervisor"
))]
mod living;
mod providers;
mod selection;
mod streams;
