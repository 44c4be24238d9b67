//! What every object of the API has.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;

use super::time;

/// The metadata of an object, as far as they are used here.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) creation_timestamp: Option<String>,
    pub(crate) deletion_timestamp: Option<String>,
    pub(crate) deletion_grace_period_seconds: Option<u64>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) owner_references: Vec<Owner>,
    pub(crate) finalizers: Vec<String>,
}

/// To whom an object belongs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Owner {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) controller: Option<bool>,
}

/// An object of which nothing but its version is of interest.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Versioned {
    pub(crate) metadata: Meta,
}

impl Meta {
    pub(crate) fn created_at(&self) -> Option<SystemTime> {
        self.creation_timestamp.as_deref().and_then(time::parse)
    }

    pub(crate) fn is_going(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Who made it and keeps it.
    pub(crate) fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }

    /// What keeps a thing that is deleted, in words; the server's own bookkeeping is left out.
    pub(crate) fn holders(&self) -> Vec<&str> {
        let own = ["foregroundDeletion", "orphan"];
        self.finalizers.iter().map(String::as_str).filter(|name| !own.contains(name)).collect()
    }
}
