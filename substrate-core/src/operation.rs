//! The operations of the contract as data: layers decide from this table and from nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What repeating an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Changes nothing: repeat as often as you like.
    Read,
    /// Twice is the same as once.
    Idempotent,
    /// A second time may do it a second time. Only repeated when the first one provably did not happen,
    /// or after a look ([`Repeat`]).
    AtMostOnce,
}

/// How a mutating call is repeated after a failure whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// Just again: the contract makes it harmless.
    Again,
    /// Again, and "not found" then means that the lost call had succeeded.
    GoneMeansDone,
    /// First look whether the thing is there and carries our mark; only if it is not, again.
    LookFirst,
    /// Not at all: nothing on the substrate tells whether it happened.
    Never,
}

/// Which of the configured deadlines bounds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeoutClass {
    /// Opening the connection.
    Connect,
    /// Reading.
    Read,
    /// Changing something.
    Mutate,
    /// Moving data: images, clones, snapshots.
    Long,
    /// Bounded by its own arguments (a command's timeout), or a stream that is only bounded when idle.
    Unbounded,
}

/// The area of the contract that an operation belongs to: the columns of the provider matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationGroup {
    /// Connecting and health.
    Connection,
    /// Instances from creation to deletion.
    Lifecycle,
    /// Commands and logs.
    Interaction,
    /// Resource usage.
    Metrics,
    /// Resource limits.
    Resources,
    /// Snapshots and clones.
    Snapshots,
    /// Networks and attachments.
    Networks,
    /// Volumes.
    Volumes,
    /// Images.
    Images,
    /// The event stream.
    Events,
}

/// One row of the table: everything that a layer may know about an operation.
#[derive(Debug, Clone, Copy)]
pub struct OperationProfile {
    /// The trait method's name; also the metric label and the span name.
    pub name: &'static str,
    /// The area of the contract.
    pub group: OperationGroup,
    /// What repeating it does.
    pub effect: Effect,
    /// How it is repeated when the outcome of the first try is unknown.
    pub repeat: Repeat,
    /// Which deadline bounds it.
    pub timeout: TimeoutClass,
    /// Whether every provider must have it, so that the capability gate never refuses it.
    pub required: bool,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $group:ident, $effect:ident, $repeat:ident, $timeout:ident, $need:ident;)*) => {
        /// One variant per asynchronous method of [`Substrate`](crate::Substrate).
        ///
        /// ```
        /// use substrate_core::{Effect, Operation};
        /// assert_eq!(Operation::CreateInstance.profile().effect, Effect::AtMostOnce);
        /// assert_eq!(Operation::CreateInstance.to_string(), "create_instance");
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Operation {
            $($(#[$doc])* $variant,)*
        }

        impl Operation {
            /// Every operation, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How many operations there are: the length of a table indexed by [`Operation::index`].
            pub const COUNT: usize = Self::ALL.len();

            /// This operation's row of the table.
            #[must_use]
            pub const fn profile(self) -> OperationProfile {
                match self {
                    $(Self::$variant => OperationProfile {
                        name: $name,
                        group: OperationGroup::$group,
                        effect: Effect::$effect,
                        repeat: Repeat::$repeat,
                        timeout: TimeoutClass::$timeout,
                        required: operations!(@required $need),
                    },)*
                }
            }
        }
    };
    (@required required) => { true };
    (@required optional) => { false };
}

operations! {
    /// `connect`
    Connect = "connect", Connection, Idempotent, Again, Connect, required;
    /// `health_check`
    HealthCheck = "health_check", Connection, Read, Again, Read, required;

    /// `list_instances`
    ListInstances = "list_instances", Lifecycle, Read, Again, Read, required;
    /// `get_instance`
    GetInstance = "get_instance", Lifecycle, Read, Again, Read, required;
    /// `validate_config`
    ValidateConfig = "validate_config", Lifecycle, Read, Again, Read, required;
    /// `create_instance`: long, because it may have to fetch the image first.
    CreateInstance = "create_instance", Lifecycle, AtMostOnce, LookFirst, Long, required;
    /// `start_instance`
    StartInstance = "start_instance", Lifecycle, Idempotent, Again, Mutate, required;
    /// `stop_instance`: the deadline is the grace period's affair, see [`Call::extra_time`](crate::layer::Call::extra_time).
    StopInstance = "stop_instance", Lifecycle, Idempotent, Again, Mutate, required;
    /// `restart_instance`: nothing on a substrate tells one restart from two.
    RestartInstance = "restart_instance", Lifecycle, AtMostOnce, Never, Mutate, required;
    /// `pause_instance`
    PauseInstance = "pause_instance", Lifecycle, Idempotent, Again, Mutate, optional;
    /// `resume_instance`
    ResumeInstance = "resume_instance", Lifecycle, Idempotent, Again, Mutate, optional;
    /// `delete_instance`
    DeleteInstance = "delete_instance", Lifecycle, Idempotent, GoneMeansDone, Mutate, required;

    /// `execute_command`
    ExecuteCommand = "execute_command", Interaction, AtMostOnce, Never, Unbounded, optional;
    /// `open_command`
    OpenCommand = "open_command", Interaction, AtMostOnce, Never, Mutate, optional;
    /// `get_logs`
    GetLogs = "get_logs", Interaction, Read, Again, Read, optional;

    /// `get_metrics`
    GetMetrics = "get_metrics", Metrics, Read, Again, Read, required;

    /// `get_resource_limits`
    GetResourceLimits = "get_resource_limits", Resources, Read, Again, Read, optional;
    /// `set_resource_limits`
    SetResourceLimits = "set_resource_limits", Resources, Idempotent, Again, Mutate, optional;

    /// `create_snapshot`
    CreateSnapshot = "create_snapshot", Snapshots, AtMostOnce, LookFirst, Long, optional;
    /// `list_snapshots`
    ListSnapshots = "list_snapshots", Snapshots, Read, Again, Read, optional;
    /// `restore_snapshot`: nobody can have worked on the restored content before the call returned.
    RestoreSnapshot = "restore_snapshot", Snapshots, Idempotent, Again, Long, optional;
    /// `delete_snapshot`
    DeleteSnapshot = "delete_snapshot", Snapshots, Idempotent, GoneMeansDone, Long, optional;
    /// `clone_instance`
    CloneInstance = "clone_instance", Snapshots, AtMostOnce, LookFirst, Long, optional;

    /// `list_networks`
    ListNetworks = "list_networks", Networks, Read, Again, Read, optional;
    /// `create_network`
    CreateNetwork = "create_network", Networks, AtMostOnce, LookFirst, Mutate, optional;
    /// `delete_network`
    DeleteNetwork = "delete_network", Networks, Idempotent, GoneMeansDone, Mutate, optional;
    /// `attach_network`
    AttachNetwork = "attach_network", Networks, Idempotent, Again, Mutate, optional;
    /// `detach_network`
    DetachNetwork = "detach_network", Networks, Idempotent, Again, Mutate, optional;

    /// `list_volumes`
    ListVolumes = "list_volumes", Volumes, Read, Again, Read, optional;
    /// `create_volume`
    CreateVolume = "create_volume", Volumes, AtMostOnce, LookFirst, Mutate, optional;
    /// `delete_volume`
    DeleteVolume = "delete_volume", Volumes, Idempotent, GoneMeansDone, Mutate, optional;

    /// `list_images`
    ListImages = "list_images", Images, Read, Again, Read, optional;
    /// `ensure_image`
    EnsureImage = "ensure_image", Images, Idempotent, Again, Long, optional;

    /// `watch`
    Watch = "watch", Events, Read, Again, Read, optional;
}

impl Operation {
    /// The trait method's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.profile().name
    }

    /// The position in [`Operation::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_read(self) -> bool {
        matches!(self.profile().effect, Effect::Read)
    }

    /// Whether a cached answer to `self` may be wrong after `mutation` was tried, whether or not it
    /// succeeded: a failed call can have had an effect too.
    #[must_use]
    pub const fn is_invalidated_by(self, mutation: Self) -> bool {
        if mutation.is_read() {
            return false;
        }
        // A list or an instance shows state, addresses, limits, attachments: any change in these areas
        // shows there. The lists of other things only change with their own area.
        match (self.profile().group, mutation.profile().group) {
            // Whatever was read through an older connection is gone with it.
            (_, OperationGroup::Connection) => true,
            // A command can change anything inside, but nothing that a substrate reports of an instance,
            // unless it ends its main process: the event stream tells that.
            (_, OperationGroup::Interaction) => false,
            (OperationGroup::Lifecycle | OperationGroup::Connection | OperationGroup::Metrics, _) => {
                !matches!(
                    mutation,
                    Self::CreateSnapshot | Self::DeleteSnapshot | Self::CreateVolume | Self::EnsureImage
                )
            }
            (OperationGroup::Resources, group) => {
                matches!(
                    group,
                    OperationGroup::Lifecycle | OperationGroup::Resources | OperationGroup::Snapshots
                )
            }
            (OperationGroup::Snapshots, group) => {
                matches!(group, OperationGroup::Lifecycle | OperationGroup::Snapshots)
            }
            // Instances hold networks, volumes and images: creating or deleting one changes their use.
            (OperationGroup::Networks, group) => {
                matches!(group, OperationGroup::Networks | OperationGroup::Lifecycle)
            }
            (OperationGroup::Volumes, group) => {
                matches!(group, OperationGroup::Volumes | OperationGroup::Lifecycle)
            }
            // Snapshots are images on some technologies.
            (OperationGroup::Images, group) => {
                matches!(
                    group,
                    OperationGroup::Images | OperationGroup::Lifecycle | OperationGroup::Snapshots
                )
            }
            _ => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_name_is_the_method_name() {
        for operation in Operation::ALL {
            assert_eq!(serde_json::to_string(operation).unwrap(), format!("\"{operation}\""));
        }
    }

    #[test]
    fn the_index_is_the_position() {
        for (position, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(operation.index(), position);
        }
    }

    #[test]
    fn what_must_not_happen_twice_is_never_simply_repeated() {
        for operation in Operation::ALL {
            let profile = operation.profile();
            if profile.effect == Effect::AtMostOnce {
                assert!(matches!(profile.repeat, Repeat::LookFirst | Repeat::Never), "{operation}");
            }
        }
    }

    #[test]
    fn every_change_of_an_instance_is_seen_by_the_next_read() {
        use Operation::*;
        for change in [
            CreateInstance,
            StartInstance,
            StopInstance,
            PauseInstance,
            DeleteInstance,
            RestoreSnapshot,
            CloneInstance,
            SetResourceLimits,
            AttachNetwork,
            DetachNetwork,
        ] {
            assert!(ListInstances.is_invalidated_by(change), "{change}");
            assert!(GetInstance.is_invalidated_by(change), "{change}");
        }
        assert!(!GetInstance.is_invalidated_by(ListInstances));
        assert!(ListSnapshots.is_invalidated_by(DeleteInstance));
        assert!(!ListVolumes.is_invalidated_by(CreateNetwork));
    }
}
