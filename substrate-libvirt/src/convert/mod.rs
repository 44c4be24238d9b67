//! Pure functions between libvirt's documents and ours.

pub(crate) mod bandwidth;
pub(crate) mod block;
pub(crate) mod domain;
pub(crate) mod element;
pub(crate) mod event;
pub(crate) mod lines;
pub(crate) mod network;
pub(crate) mod note;
pub(crate) mod seed;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod volume;
