//! What a journal holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::owner::Owner;
use crate::model::ResourceId;
use crate::plan::{Canonical, RecordedResource, StepAction};

/// One thing that happened, in the order in which it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// The first of all.
    Founded {
        /// How the records are to be read.
        format: u32,
        /// What the resources of this deployment are marked with: the name, and what makes it unique.
        identity: String,
    },
    /// From here on this owner writes, and no other.
    Acquired {
        /// Who.
        owner: Owner,
    },
    /// The owner is alive.
    Renewed,
    /// The owner is done.
    Released,
    /// Something is done to the deployment.
    Began {
        /// The number of the run, from 1.
        run: u64,
        /// What is done.
        purpose: Purpose,
        /// How many steps there are.
        steps: usize,
        /// For people: nothing is decided by it.
        #[serde(with = "seconds")]
        at: SystemTime,
    },
    /// A step is about to be taken. It is durable before the first call of the step is made.
    Intended {
        /// Of which resource.
        resource: ResourceId,
        /// What is about to be done.
        action: StepAction,
        /// What it shall be afterwards; `None` when it shall be gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Arc<RecordedResource>>,
    },
    /// A part of the step that must not be done twice without need is done.
    Progressed {
        /// Of which resource.
        resource: ResourceId,
        /// Which directive, by its number.
        directive: usize,
    },
    /// The step is done: the resource is as it was intended.
    Finished {
        /// Of which resource.
        resource: ResourceId,
        /// What is known of it only now; `None` when it is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<Made>,
    },
    /// The step went wrong. What became of the resource is found out when it is looked at next.
    Failed {
        /// Of which resource.
        resource: ResourceId,
        /// Why.
        reason: String,
    },
    /// The run is over.
    Ended {
        /// How.
        status: RunStatus,
    },
}

/// What is known of a resource once it was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// Its identity on the facility.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What the facility reports of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Box<Canonical>>,
    /// What it gives to others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Value>,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// To bring about what the documents say.
    Deploy,
    /// To bring back what was before a run.
    Rollback {
        /// Before which.
        before: u64,
    },
    /// To remove everything, or what was selected.
    Destroy,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunStatus {
    /// Everything was done.
    Done,
    /// Something failed; the rest that could be done was done.
    Failed,
    /// It was asked to stop, and finished what it had begun.
    Cancelled,
}

impl RunStatus {
    /// The status in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::fmt::Display for RunStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Times as whole seconds since 1970: enough for people, and short.
mod seconds {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let seconds = u64::deserialize(deserializer)?;
        UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .ok_or_else(|| serde::de::Error::custom("no such time"))
    }
}
