//! What runs on a substrate.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::label::Labels;
use crate::name::{InstanceName, NetworkName};
use crate::resource::ResourceLimits;

/// What sort of thing an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstanceKind {
    /// A machine with a kernel of its own.
    VirtualMachine,
    /// A system or application container.
    Container,
    /// A workload of a cluster.
    Pod,
    /// A supervised process.
    Process,
}

impl InstanceKind {
    /// The kind in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VirtualMachine => "virtual_machine",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Process => "process",
        }
    }
}

impl fmt::Display for InstanceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstanceState {
    /// Being made; not usable yet.
    Creating,
    /// Running.
    Running,
    /// Frozen, with its memory kept.
    Paused,
    /// On its way down.
    Stopping,
    /// Exists and does not run.
    Stopped,
    /// Should run and cannot: crashed, restarting for ever, image missing.
    Failed,
    /// The substrate does not say.
    Unknown,
}

impl InstanceState {
    /// Every state, in declaration order.
    pub const ALL: [Self; 7] = [
        Self::Creating,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Unknown,
    ];

    /// The state in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for InstanceState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|state| state.as_str()).collect();
            Error::invalid_input(format!("`{text}` is no instance state; known: {}", known.join(", ")))
        })
    }
}

/// An instance as the substrate described it at one moment.
///
/// Answers hold it in an `Arc`: a cached answer costs a reference count, not a deep copy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// The technology's own, immutable id.
    pub id: String,
    /// The name.
    pub name: InstanceName,
    /// What sort of thing it is.
    pub kind: InstanceKind,
    /// Where it is in its life.
    pub state: InstanceState,
    /// The technology's own word for the state, with its reason where there is one: `exited (137)`.
    pub provider_state: String,
    /// What it was made from.
    pub image: Option<String>,
    /// Its addresses, as far as the substrate knows them.
    pub addresses: Vec<IpAddr>,
    /// The networks that it is attached to.
    pub networks: Vec<NetworkAttachment>,
    /// Its labels, ownership marks included.
    pub labels: Labels,
    /// What the creator kept with it, where the substrate has
    /// [`Feature::Metadata`](crate::Feature::Metadata).
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Its bounds, as far as the substrate reports them here; `get_resource_limits` asks for all of them.
    pub limits: ResourceLimits,
    /// When it was created.
    #[serde(with = "crate::time_format::option")]
    pub created_at: Option<SystemTime>,
    /// When it was last started.
    #[serde(with = "crate::time_format::option")]
    pub started_at: Option<SystemTime>,
    /// What only this technology has, as JSON.
    pub properties: serde_json::Map<String, serde_json::Value>,
    /// When the provider read this.
    #[serde(skip)]
    observed: Observed,
}

impl Instance {
    /// An instance observed now, with everything that is not always there left empty.
    #[must_use]
    pub fn new(id: impl Into<String>, name: InstanceName, kind: InstanceKind, state: InstanceState) -> Self {
        Self {
            id: id.into(),
            name,
            kind,
            state,
            provider_state: state.as_str().to_owned(),
            image: None,
            addresses: Vec::new(),
            networks: Vec::new(),
            labels: Labels::new(),
            metadata: BTreeMap::new(),
            limits: ResourceLimits::default(),
            created_at: None,
            started_at: None,
            properties: serde_json::Map::new(),
            observed: Observed::default(),
        }
    }

    /// How old this description is: nearly nothing when it was just read, up to the cache's time to live
    /// when it was answered from there.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.observed.0.elapsed()
    }
}

/// A moment of observation. It says how old a description is, not what it describes, so any two are equal.
#[derive(Debug, Clone, Copy)]
struct Observed(Instant);

impl Default for Observed {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl PartialEq for Observed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// An instance's end of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// The network.
    pub network_name: NetworkName,
    /// The address in it, where known.
    pub ip_address: Option<IpAddr>,
    /// The hardware address, where there is one.
    pub mac_address: Option<String>,
}

/// Which instances to list. Every condition must hold; an empty filter selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct InstanceFilter {
    /// These labels with these values.
    pub labels: Labels,
    /// One of these states; empty = any.
    pub states: Vec<InstanceState>,
    /// The name begins with this.
    pub name_prefix: Option<String>,
    /// This kind.
    pub kind: Option<InstanceKind>,
}

impl InstanceFilter {
    /// All instances.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Requires a label with a value.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key, value);
        self
    }

    /// Allows a state (beside those already allowed).
    #[must_use]
    pub fn with_state(mut self, state: InstanceState) -> Self {
        self.states.push(state);
        self
    }

    /// Requires a beginning of the name.
    #[must_use]
    pub fn with_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = Some(prefix.into());
        self
    }

    /// Requires a kind.
    #[must_use]
    pub fn with_kind(mut self, kind: InstanceKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Whether `instance` is selected. A provider lets the server filter what it can and applies this to
    /// the rest: servers match names as substrings or patterns.
    #[must_use]
    pub fn matches(&self, instance: &Instance) -> bool {
        (self.states.is_empty() || self.states.contains(&instance.state))
            && self.kind.is_none_or(|kind| kind == instance.kind)
            && self.name_prefix.as_deref().is_none_or(|prefix| instance.name.as_str().starts_with(prefix))
            && instance.labels.contains_all(&self.labels)
    }
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Ask, and fail with `Timeout` when the guest has not stopped after this time. Never kills.
    Graceful(Duration),
    /// Cut the power.
    Force,
    /// Ask, and cut the power after this time.
    GracefulThenForce(Duration),
}

impl StopMode {
    /// How long the guest is given: nothing for [`StopMode::Force`].
    #[must_use]
    pub const fn grace(self) -> Duration {
        match self {
            Self::Graceful(grace) | Self::GracefulThenForce(grace) => grace,
            Self::Force => Duration::ZERO,
        }
    }
}

impl Default for StopMode {
    /// What operators expect of "stop": ten seconds to end in order, then the power is cut.
    fn default() -> Self {
        Self::GracefulThenForce(Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str, state: InstanceState) -> Instance {
        let mut instance = Instance::new("1", name.parse().unwrap(), InstanceKind::Container, state);
        instance.labels.insert("role", "web");
        instance
    }

    #[test]
    fn an_empty_filter_selects_everything() {
        assert!(InstanceFilter::all().matches(&instance("a", InstanceState::Unknown)));
    }

    #[test]
    fn every_condition_must_hold() {
        let filter = InstanceFilter::all()
            .with_label("role", "web")
            .with_state(InstanceState::Running)
            .with_name_prefix("web-");
        assert!(filter.matches(&instance("web-1", InstanceState::Running)));
        assert!(!filter.matches(&instance("web-1", InstanceState::Stopped)));
        assert!(!filter.matches(&instance("my-web-1", InstanceState::Running)));
        assert!(!filter.with_label("role", "db").matches(&instance("web-1", InstanceState::Running)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_tells_its_age() {
        let instance = instance("a", InstanceState::Running);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(instance.age(), Duration::from_secs(7));
    }

    #[test]
    fn times_are_written_as_text() {
        let mut instance = instance("a", InstanceState::Running);
        instance.created_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        let json = serde_json::to_value(&instance).unwrap();
        assert_eq!(json["created_at"], "1970-01-01T00:00:01.000000Z");
        assert_eq!(serde_json::from_value::<Instance>(json).unwrap(), instance);
    }

    #[test]
    fn an_unknown_state_lists_the_known_ones() {
        assert!("runing".parse::<InstanceState>().unwrap_err().message().contains("running"));
    }
}
