//! What a connected substrate can do, and why not where it cannot.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::image_file::ImageFile;
use crate::operation::Operation;

/// A detail inside an operation that technologies differ in. Always phrased so that "yes" is the stronger
/// ability: what is not declared is refused, so a forgotten declaration is found by the conformance suite
/// and never turns into a silent difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[repr(u8)]
pub enum Feature {
    /// Instances carry labels, given in the create call.
    Labels,
    /// Instances keep `metadata`, given in the create call.
    Metadata,
    /// A created instance is stopped. Without it: the technology creates running instances.
    CreateStopped,
    /// `command` of an [`InstanceConfig`](crate::InstanceConfig) is honoured.
    CreateCommand,
    /// `environment` of an [`InstanceConfig`](crate::InstanceConfig) is honoured.
    CreateEnvironment,
    /// `networks` of an [`InstanceConfig`](crate::InstanceConfig) are honoured.
    CreateNetworks,
    /// `volumes` of an [`InstanceConfig`](crate::InstanceConfig) are honoured.
    CreateVolumes,
    /// `ports` of an [`InstanceConfig`](crate::InstanceConfig) are honoured.
    CreatePorts,
    /// `cloud_init` of an [`InstanceConfig`](crate::InstanceConfig) is laid where the instance finds it.
    CloudInit,
    /// An image can be a file on the machine where this program runs: `file:/absolute/path`, wherever an image is
    /// named. The substrate gets it when it does not have it ([`ImageFile`](crate::ImageFile)).
    ImageFiles,
    /// A fixed address can be asked for on a network.
    FixedAddress,
    /// A stop can ask the guest and report that it did not listen.
    GracefulStop,
    /// `cpu_cores` can be limited.
    CpuLimit,
    /// `memory_mb` can be limited.
    MemoryLimit,
    /// `disk_gb` can be limited.
    DiskLimit,
    /// `network_mbps` can be limited.
    NetworkLimit,
    /// Limits of a running instance change without a restart.
    LiveLimits,
    /// Commands run without an agent inside the instance.
    CommandWithoutAgent,
    /// A command can be given standard input.
    CommandInput,
    /// A command can have a terminal, with a size.
    CommandTerminal,
    /// A terminal's size can change while the command runs.
    CommandResize,
    /// A command can have its own environment variables.
    CommandEnvironment,
    /// A command can have its own working directory.
    CommandWorkingDirectory,
    /// A command can run as another user.
    CommandUser,
    /// Logs can be followed.
    LogFollow,
    /// Logs can be limited to lines since a time.
    LogSince,
    /// Logs keep standard output and standard error apart.
    LogStreamsApart,
    /// Running instances can be snapshotted.
    SnapshotWhileRunning,
    /// Snapshots can hold memory.
    SnapshotMemory,
    /// Running instances can be cloned.
    CloneWhileRunning,
    /// Networks, volumes and snapshots carry labels.
    ResourceLabels,
    /// `watch` is fed by native events. Without it: by polling.
    NativeEvents,
    /// `watch` can resume after a cursor.
    WatchResume,
}

impl Feature {
    /// Every feature, in declaration order.
    pub const ALL: &'static [Self] = &[
        Self::Labels,
        Self::Metadata,
        Self::CreateStopped,
        Self::CreateCommand,
        Self::CreateEnvironment,
        Self::CreateNetworks,
        Self::CreateVolumes,
        Self::CreatePorts,
        Self::CloudInit,
        Self::ImageFiles,
        Self::FixedAddress,
        Self::GracefulStop,
        Self::CpuLimit,
        Self::MemoryLimit,
        Self::DiskLimit,
        Self::NetworkLimit,
        Self::LiveLimits,
        Self::CommandWithoutAgent,
        Self::CommandInput,
        Self::CommandTerminal,
        Self::CommandResize,
        Self::CommandEnvironment,
        Self::CommandWorkingDirectory,
        Self::CommandUser,
        Self::LogFollow,
        Self::LogSince,
        Self::LogStreamsApart,
        Self::SnapshotWhileRunning,
        Self::SnapshotMemory,
        Self::CloneWhileRunning,
        Self::ResourceLabels,
        Self::NativeEvents,
        Self::WatchResume,
    ];

    /// The feature in `snake_case`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Metadata => "metadata",
            Self::CreateStopped => "create_stopped",
            Self::CreateCommand => "create_command",
            Self::CreateEnvironment => "create_environment",
            Self::CreateNetworks => "create_networks",
            Self::CreateVolumes => "create_volumes",
            Self::CreatePorts => "create_ports",
            Self::CloudInit => "cloud_init",
            Self::ImageFiles => "image_files",
            Self::FixedAddress => "fixed_address",
            Self::GracefulStop => "graceful_stop",
            Self::CpuLimit => "cpu_limit",
            Self::MemoryLimit => "memory_limit",
            Self::DiskLimit => "disk_limit",
            Self::NetworkLimit => "network_limit",
            Self::LiveLimits => "live_limits",
            Self::CommandWithoutAgent => "command_without_agent",
            Self::CommandInput => "command_input",
            Self::CommandTerminal => "command_terminal",
            Self::CommandResize => "command_resize",
            Self::CommandEnvironment => "command_environment",
            Self::CommandWorkingDirectory => "command_working_directory",
            Self::CommandUser => "command_user",
            Self::LogFollow => "log_follow",
            Self::LogSince => "log_since",
            Self::LogStreamsApart => "log_streams_apart",
            Self::SnapshotWhileRunning => "snapshot_while_running",
            Self::SnapshotMemory => "snapshot_memory",
            Self::CloneWhileRunning => "clone_while_running",
            Self::ResourceLabels => "resource_labels",
            Self::NativeEvents => "native_events",
            Self::WatchResume => "watch_resume",
        }
    }

    const fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// An operation or a feature: what can be asked about and declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ability {
    /// A whole operation.
    Operation(Operation),
    /// A detail.
    Feature(Feature),
}

impl From<Operation> for Ability {
    fn from(operation: Operation) -> Self {
        Self::Operation(operation)
    }
}

impl From<Feature> for Ability {
    fn from(feature: Feature) -> Self {
        Self::Feature(feature)
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(operation) => operation.fmt(formatter),
            Self::Feature(feature) => feature.fmt(formatter),
        }
    }
}

/// The answer to "can it?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// It can.
    Yes,
    /// It cannot, because of this.
    No(Arc<str>),
}

impl Support {
    /// Whether the answer is yes.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// What a substrate can do: an immutable value, found out at connect, free to ask.
///
/// ```
/// use substrate_core::{Capabilities, Feature, Operation};
/// let capabilities = Capabilities::required_only()
///     .with([Operation::PauseInstance, Operation::ResumeInstance])
///     .with([Feature::Labels])
///     .without(Operation::Watch, "the daemon is older than 5.0, which has no event stream");
/// assert!(capabilities.can(Operation::PauseInstance));
/// assert!(!capabilities.can(Operation::Watch));
/// assert!(!capabilities.can(Feature::SnapshotMemory));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Capabilities {
    // One bit per ability: asked on every call by the capability gate.
    operations: u64,
    features: u64,
    reasons: BTreeMap<Ability, Arc<str>>,
}

impl Capabilities {
    /// The operations that every provider must have, and no feature.
    #[must_use]
    pub fn required_only() -> Self {
        let mut operations = 0;
        for operation in Operation::ALL {
            if operation.profile().required {
                operations |= 1 << operation.index();
            }
        }
        Self { operations, features: 0, reasons: BTreeMap::new() }
    }

    /// Every operation and every feature: a starting point for a technology that can nearly everything.
    #[must_use]
    pub fn all() -> Self {
        Self::required_only().with(Operation::ALL.iter().copied()).with(Feature::ALL.iter().copied())
    }

    /// Adds abilities.
    #[must_use]
    pub fn with<A: Into<Ability>>(mut self, abilities: impl IntoIterator<Item = A>) -> Self {
        for ability in abilities {
            let ability = ability.into();
            match ability {
                Ability::Operation(operation) => self.operations |= 1 << operation.index(),
                Ability::Feature(feature) => self.features |= feature.bit(),
            }
            self.reasons.remove(&ability);
        }
        self
    }

    /// Takes one ability away and says why.
    #[must_use]
    pub fn without(mut self, ability: impl Into<Ability>, reason: impl Into<Arc<str>>) -> Self {
        let ability = ability.into();
        match ability {
            Ability::Operation(operation) => self.operations &= !(1 << operation.index()),
            Ability::Feature(feature) => self.features &= !feature.bit(),
        }
        self.reasons.insert(ability, reason.into());
        self
    }

    /// Whether it can.
    #[must_use]
    pub fn can(&self, ability: impl Into<Ability>) -> bool {
        match ability.into() {
            Ability::Operation(operation) => self.operations & (1 << operation.index()) != 0,
            Ability::Feature(feature) => self.features & feature.bit() != 0,
        }
    }

    /// Whether it can, and if not, why not.
    #[must_use]
    pub fn support(&self, ability: impl Into<Ability>) -> Support {
        let ability = ability.into();
        if self.can(ability) {
            return Support::Yes;
        }
        Support::No(self.reasons.get(&ability).cloned().unwrap_or_else(|| {
            Arc::from(match ability {
                Ability::Operation(_) => "this technology has no such operation",
                Ability::Feature(_) => "this technology does not offer it",
            })
        }))
    }

    /// Nothing when it can.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the reason when it cannot.
    pub fn require(&self, ability: impl Into<Ability>) -> Result<()> {
        let ability = ability.into();
        match self.support(ability) {
            Support::Yes => Ok(()),
            Support::No(reason) => Err(match ability {
                Ability::Operation(operation) => {
                    Error::unsupported(reason.to_string()).with_operation(operation)
                }
                Ability::Feature(feature) => {
                    Error::unsupported(format!("{feature} is not supported: {reason}"))
                }
            }),
        }
    }
}

impl Capabilities {
    /// Nothing when an image may be asked for like this: without [`Feature::ImageFiles`], none that is a file.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the reason;
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a file by a path that is not absolute.
    pub fn require_image(&self, reference: &str) -> Result<()> {
        match ImageFile::in_reference(reference)? {
            Some(_) => self.require(Feature::ImageFiles),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes: Vec<Ability> = abilities().filter(|ability| self.can(*ability)).collect();
        formatter.debug_struct("Capabilities").field("yes", &yes).field("no", &self.reasons).finish()
    }
}

fn abilities() -> impl Iterator<Item = Ability> {
    let operations = Operation::ALL.iter().copied().map(Ability::Operation);
    operations.chain(Feature::ALL.iter().copied().map(Ability::Feature))
}

impl Serialize for Capabilities {
    /// A map from each ability to `true` or to the reason why not.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Answer {
            Yes(bool),
            No(Arc<str>),
        }
        serializer.collect_map(abilities().map(|ability| {
            let answer = match self.support(ability) {
                Support::Yes => Answer::Yes(true),
                Support::No(reason) => Answer::No(reason),
            };
            (ability.to_string(), answer)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ability_has_a_bit_of_its_own() {
        const { assert!(Operation::COUNT <= 64) };
        for (position, feature) in Feature::ALL.iter().enumerate() {
            assert_eq!(feature.bit(), 1 << position);
            assert_eq!(serde_json::to_string(feature).unwrap(), format!("\"{feature}\""));
        }
    }

    #[test]
    fn what_is_not_declared_is_refused_with_a_reason() {
        let capabilities = Capabilities::required_only().without(Operation::Watch, "too old");
        let error = capabilities.require(Operation::Watch).unwrap_err();
        assert!(error.is_unsupported());
        assert_eq!(error.message(), "too old");
        assert!(capabilities.require(Feature::Labels).unwrap_err().message().contains("labels"));
        assert!(capabilities.require(Operation::GetInstance).is_ok());
    }

    #[test]
    fn taking_away_and_giving_back_leaves_no_reason() {
        let capabilities = Capabilities::all().without(Feature::Labels, "x").with([Feature::Labels]);
        assert_eq!(capabilities, Capabilities::all());
    }
}
