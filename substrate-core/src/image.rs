//! What instances are made from.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// An image that the substrate has at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Image {
    /// The technology's own id: a digest, a fingerprint, a path.
    pub id: String,
    /// The names under which it can be asked for; may be empty.
    pub names: Vec<String>,
    /// Its size, where known.
    pub size_bytes: Option<u64>,
    /// When it was made.
    #[serde(with = "crate::time_format::option")]
    pub created_at: Option<SystemTime>,
}

impl Image {
    /// An image of which nothing more is known.
    #[must_use]
    pub fn new(id: impl Into<String>, names: Vec<String>) -> Self {
        Self { id: id.into(), names, size_bytes: None, created_at: None }
    }
}
