//! What can happen to a resource.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An action on a selection of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Bring it to what the blueprint says.
    Deploy,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
    /// Stop and start it.
    Restart,
    /// Take a snapshot of it.
    Snapshot,
    /// Remove it.
    Destroy,
    /// Ask how it is.
    Health,
    /// List it.
    Inventory,
}

impl Action {
    /// Every action.
    pub const ALL: &'static [Self] = &[
        Self::Deploy,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Snapshot,
        Self::Destroy,
        Self::Health,
        Self::Inventory,
    ];

    /// The action in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Snapshot => "snapshot",
            Self::Destroy => "destroy",
            Self::Health => "health",
            Self::Inventory => "inventory",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which of a resource's directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Those that say how the instance is made: a change of them makes it anew.
    Creating,
    /// Those that are carried out on an instance that is there.
    Acting,
}

impl When {
    /// What they are kept under in the `resource` part of its properties.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Creating => "creation",
            Self::Acting => "directives",
        }
    }
}
