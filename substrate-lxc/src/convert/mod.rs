//! Pure functions between the servers' types and ours.

pub(crate) mod console;
pub(crate) mod create;
pub(crate) mod event;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod instance;
pub(crate) mod labels;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod snapshot;
pub(crate) mod time;
pub(crate) mod usage;
