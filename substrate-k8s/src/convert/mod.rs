//! Pure functions between Kubernetes' types and ours.

pub(crate) mod claim;
pub(crate) mod create;
pub(crate) mod exit;
pub(crate) mod labels;
pub(crate) mod lines;
pub(crate) mod machine;
pub(crate) mod machine_state;
pub(crate) mod meta;
pub(crate) mod picture;
pub(crate) mod pod;
pub(crate) mod quantity;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod time;
pub(crate) mod usage;
pub(crate) mod workload;
