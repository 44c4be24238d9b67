//! What a layer knows about a call.

use std::sync::Arc;
use std::time::Duration;

use crate::capability::Feature;
use crate::command::Command;
use crate::descriptor::Descriptor;
use crate::error::{Error, Result};
use crate::event::WatchOptions;
use crate::instance::{InstanceFilter, StopMode};
use crate::instance_config::InstanceConfig;
use crate::log::LogOptions;
use crate::name::{InstanceName, NetworkName, SnapshotName, VolumeName};
use crate::network::{NetworkConfig, NetworkSpec};
use crate::operation::Operation;
use crate::resource::ResourceLimits;
use crate::snapshot::{CloneConfig, SnapshotConfig};
use crate::volume::VolumeSpec;

/// One call on its way through the layers.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Which method.
    pub operation: Operation,
    /// Its arguments.
    pub target: Target<'a>,
    /// The substrate it goes to.
    pub descriptor: &'a Arc<Descriptor>,
}

/// The arguments of a call, borrowed.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Target<'a> {
    /// The substrate as a whole: `connect`, `health_check`, the lists without a filter.
    Substrate,
    /// `list_instances`.
    Selection(&'a InstanceFilter),
    /// Anything that needs no more than an instance.
    Instance(&'a InstanceName),
    /// `validate_config`, `create_instance`.
    Creation(&'a InstanceConfig),
    /// `stop_instance`, `restart_instance`.
    Stop(&'a InstanceName, StopMode),
    /// `delete_instance`, with its `force`.
    Deletion(&'a InstanceName, bool),
    /// `execute_command`, `open_command`.
    Command(&'a InstanceName, &'a Command),
    /// `get_logs`.
    Logs(&'a InstanceName, &'a LogOptions),
    /// `set_resource_limits`.
    Limits(&'a InstanceName, &'a ResourceLimits),
    /// `create_snapshot`.
    SnapshotCreation(&'a InstanceName, &'a SnapshotConfig),
    /// `restore_snapshot`, `delete_snapshot`.
    Snapshot(&'a InstanceName, &'a SnapshotName),
    /// `clone_instance`.
    Clone(&'a InstanceName, &'a CloneConfig),
    /// `create_network`.
    NetworkCreation(&'a NetworkSpec),
    /// `delete_network`.
    Network(&'a NetworkName),
    /// `attach_network`.
    Attachment(&'a InstanceName, &'a NetworkConfig),
    /// `detach_network`.
    Detachment(&'a InstanceName, &'a NetworkName),
    /// `create_volume`.
    VolumeCreation(&'a VolumeSpec),
    /// `delete_volume`.
    Volume(&'a VolumeName),
    /// `ensure_image`.
    Image(&'a str),
    /// `watch`.
    Watch(&'a WatchOptions),
}

impl<'a> Target<'a> {
    /// The instance that it is about, where it is about one: for a clone the source.
    #[must_use]
    pub fn instance(&self) -> Option<&'a InstanceName> {
        match *self {
            Self::Instance(name)
            | Self::Stop(name, _)
            | Self::Deletion(name, _)
            | Self::Command(name, _)
            | Self::Logs(name, _)
            | Self::Limits(name, _)
            | Self::SnapshotCreation(name, _)
            | Self::Snapshot(name, _)
            | Self::Clone(name, _)
            | Self::Attachment(name, _)
            | Self::Detachment(name, _) => Some(name),
            Self::Creation(config) => Some(&config.name),
            _ => None,
        }
    }

    /// The name of what it is about, whatever that is.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        match *self {
            Self::NetworkCreation(spec) => Some(spec.name.as_str()),
            Self::Network(name) => Some(name.as_str()),
            Self::VolumeCreation(spec) => Some(spec.name.as_str()),
            Self::Volume(name) => Some(name.as_str()),
            Self::Image(reference) => Some(reference),
            _ => self.instance().map(InstanceName::as_str),
        }
    }
}

impl<'a> Call<'a> {
    /// A call.
    #[must_use]
    pub fn new(operation: Operation, target: Target<'a>, descriptor: &'a Arc<Descriptor>) -> Self {
        Self { operation, target, descriptor }
    }

    /// Fills in what an error does not say yet: operation, substrate, instance.
    #[must_use]
    pub fn explain(&self, error: Error) -> Error {
        let error = error.with_operation(self.operation).with_substrate(self.descriptor.name.clone());
        match self.target.name() {
            Some(name) => error.with_instance(name),
            None => error,
        }
    }

    /// How much longer than its timeout class says this call may take, because its own arguments ask for
    /// it: the grace period of a stop.
    #[must_use]
    pub fn extra_time(&self) -> Duration {
        match self.target {
            Target::Stop(_, mode) => mode.grace(),
            _ => Duration::ZERO,
        }
    }

    /// Refuses what the substrate declares that it cannot do: the operation itself, and every option in its
    /// arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the reason.
    pub fn require_abilities(&self) -> Result<()> {
        let capabilities = &self.descriptor.capabilities;
        capabilities.require(self.operation)?;
        match self.target {
            Target::Creation(config) => config.require_features(capabilities),
            Target::Stop(_, StopMode::Graceful(_)) => capabilities.require(Feature::GracefulStop),
            Target::Command(_, command) => command.require_features(capabilities),
            Target::Logs(_, options) => options.require_features(capabilities),
            Target::Limits(_, limits) => limits.require_features(capabilities),
            Target::SnapshotCreation(_, config) => {
                if config.memory {
                    capabilities.require(Feature::SnapshotMemory)?;
                }
                if config.labels.is_empty() { Ok(()) } else { capabilities.require(Feature::ResourceLabels) }
            }
            Target::Clone(_, config) if !config.labels.is_empty() => capabilities.require(Feature::Labels),
            Target::NetworkCreation(NetworkSpec { labels, .. })
            | Target::VolumeCreation(VolumeSpec { labels, .. })
                if !labels.is_empty() =>
            {
                capabilities.require(Feature::ResourceLabels)
            }
            Target::Attachment(_, network) if network.ip_address.is_some() => {
                capabilities.require(Feature::FixedAddress)
            }
            Target::Watch(WatchOptions { after: Some(_) }) => capabilities.require(Feature::WatchResume),
            _ => Ok(()),
        }
    }
}
