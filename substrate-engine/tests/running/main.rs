//! The engine at work, on the fake and in paused time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that failed"
)]

mod crashes;
mod deploying;
mod journals;
mod kinds;
mod lab;
mod living;
mod moments;
mod ownership;
mod rollbacks;
mod stops;
mod world;
