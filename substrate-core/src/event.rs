//! What happened.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::InstanceName;
use crate::stream::BoxStream;

/// What sort of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// An instance came to be.
    Created,
    /// An instance started.
    Started,
    /// An instance stopped, for whatever reason.
    Stopped,
    /// An instance was frozen.
    Paused,
    /// A frozen instance goes on.
    Resumed,
    /// An instance is gone.
    Deleted,
    /// An instance crashed, or an own call failed.
    Failed,
    /// An instance was restarted.
    Restarted,
    /// A snapshot was taken.
    SnapshotCreated,
    /// A snapshot was restored.
    SnapshotRestored,
    /// A snapshot was deleted.
    SnapshotDeleted,
    /// An instance came to be as a copy.
    Cloned,
    /// Limits changed.
    LimitsChanged,
    /// A network was attached.
    NetworkAttached,
    /// A network was detached.
    NetworkDetached,
    /// A command ran inside.
    CommandExecuted,
    /// A network came to be.
    NetworkCreated,
    /// A network is gone.
    NetworkDeleted,
    /// A volume came to be.
    VolumeCreated,
    /// A volume is gone.
    VolumeDeleted,
    /// An image became available.
    ImageAvailable,
    /// The substrate was connected.
    Connected,
    /// Something else changed; the detail says what.
    Changed,
}

impl EventKind {
    /// The kind in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
            Self::Restarted => "restarted",
            Self::SnapshotCreated => "snapshot_created",
            Self::SnapshotRestored => "snapshot_restored",
            Self::SnapshotDeleted => "snapshot_deleted",
            Self::Cloned => "cloned",
            Self::LimitsChanged => "limits_changed",
            Self::NetworkAttached => "network_attached",
            Self::NetworkDetached => "network_detached",
            Self::CommandExecuted => "command_executed",
            Self::NetworkCreated => "network_created",
            Self::NetworkDeleted => "network_deleted",
            Self::VolumeCreated => "volume_created",
            Self::VolumeDeleted => "volume_deleted",
            Self::ImageAvailable => "image_available",
            Self::Connected => "connected",
            Self::Changed => "changed",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// How we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOrigin {
    /// A call through this handle did it.
    Own,
    /// It was observed on the substrate; somebody else may have done it, or we.
    Observed,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When, on the substrate's clock where it was observed there.
    #[serde(with = "crate::time_format")]
    pub time: SystemTime,
    /// The substrate's name.
    pub substrate: Arc<str>,
    /// What happened.
    pub kind: EventKind,
    /// How we know.
    pub origin: EventOrigin,
    /// The instance, where it was about one.
    pub instance: Option<InstanceName>,
    /// More for a person: an exit code, a snapshot's name, an error. Never a secret.
    pub detail: Option<String>,
}

impl Event {
    /// An event about the substrate itself.
    #[must_use]
    pub fn new(
        time: SystemTime,
        substrate: impl Into<Arc<str>>,
        kind: EventKind,
        origin: EventOrigin,
    ) -> Self {
        Self { time, substrate: substrate.into(), kind, origin, instance: None, detail: None }
    }

    /// Sets the instance.
    #[must_use]
    pub fn with_instance(mut self, instance: InstanceName) -> Self {
        self.instance = Some(instance);
        self
    }

    /// Sets the detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.substrate, self.kind)?;
        if let Some(instance) = &self.instance {
            write!(formatter, " {instance}")?;
        }
        if let Some(detail) = &self.detail {
            write!(formatter, ": {detail}")?;
        }
        Ok(())
    }
}

/// A position in a substrate's event stream, to resume after. Opaque: only the provider reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WatchCursor(pub String);

/// Where [`watch`](crate::Substrate::watch) begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchOptions {
    /// Resume after this position; from now on when left out. Needs
    /// [`Feature::WatchResume`](crate::Feature::WatchResume).
    pub after: Option<WatchCursor>,
}

impl WatchOptions {
    /// From now on.
    #[must_use]
    pub fn from_now() -> Self {
        Self::default()
    }

    /// After a position.
    #[must_use]
    pub fn after(cursor: WatchCursor) -> Self {
        Self { after: Some(cursor) }
    }
}

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WatchItem {
    /// Something happened.
    Event {
        /// What.
        event: Event,
        /// Resume here, where the substrate can.
        cursor: Option<WatchCursor>,
    },
    /// Events may be missing before the next item: whoever keeps a picture must list again.
    Gap {
        /// Why.
        reason: String,
    },
}

/// Native events. After `watch` returned, no change is missed without a [`WatchItem::Gap`].
pub type WatchStream = BoxStream<Result<WatchItem>>;
