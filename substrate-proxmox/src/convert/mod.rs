//! Pure functions between the API's answers and the contract's types.

pub(crate) mod base64;
pub(crate) mod guest;
pub(crate) mod inventory;
pub(crate) mod limits;
pub(crate) mod marks;
pub(crate) mod network;
pub(crate) mod notes;
pub(crate) mod pending;
pub(crate) mod property;
pub(crate) mod subnet;
pub(crate) mod text;
pub(crate) mod volume;
