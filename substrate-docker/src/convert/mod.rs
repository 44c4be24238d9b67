//! Pure functions between Docker's types and ours. Nothing here talks to anybody.

pub(crate) mod archive;
pub(crate) mod create;
pub(crate) mod event;
pub(crate) mod frame;
pub(crate) mod instance;
pub(crate) mod inventory;
pub(crate) mod labels;
pub(crate) mod lines;
pub(crate) mod snapshot;
pub(crate) mod stats;
pub(crate) mod time;
