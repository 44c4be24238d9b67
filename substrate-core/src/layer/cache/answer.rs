//! What the cache can keep, and how it gets through a layer that is generic over its result.

use std::any::Any;
use std::sync::Arc;

use crate::health::HealthReport;
use crate::image::Image;
use crate::instance::Instance;
use crate::network::Network;
use crate::operation::Operation;
use crate::resource::{ResourceLimits, ResourceUsage};
use crate::snapshot::Snapshot;
use crate::volume::Volume;

macro_rules! answers {
    ($($variant:ident($type:ty),)*) => {
        /// A kept answer, by its type. Instances are shared: keeping and handing out costs reference counts.
        #[derive(Debug, Clone)]
        pub(super) enum Answer {
            $($variant($type),)*
        }

        impl Answer {
            /// The answer of a call, if its type is one that is kept.
            pub(super) fn keep<T: Any>(value: &T) -> Option<Self> {
                let value = value as &dyn Any;
                $(if let Some(value) = value.downcast_ref::<$type>() {
                    return Some(Self::$variant(value.clone()));
                })*
                None
            }

            /// The answer again, as the type that the call returns. Through an `Option` on the stack and not
            /// through a `Box<dyn Any>`: no allocation.
            pub(super) fn give<T: Any>(&self) -> Option<T> {
                let mut slot: Option<T> = None;
                match self {
                    $(Self::$variant(value) => {
                        if let Some(slot) = (&mut slot as &mut dyn Any).downcast_mut::<Option<$type>>() {
                            *slot = Some(value.clone());
                        }
                    })*
                }
                slot
            }
        }
    };
}

answers! {
    Instance(Arc<Instance>),
    Instances(Vec<Arc<Instance>>),
    Health(HealthReport),
    Usage(ResourceUsage),
    Limits(ResourceLimits),
    Snapshots(Vec<Snapshot>),
    Networks(Vec<Network>),
    Volumes(Vec<Volume>),
    Images(Vec<Image>),
}

/// Which setting says how long the answers of an operation are kept; nothing for those that are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shelf {
    List,
    Instance,
    Inventory,
    Metrics,
    Health,
}

impl Shelf {
    pub(super) const fn of(operation: Operation) -> Option<Self> {
        Some(match operation {
            Operation::ListInstances => Self::List,
            Operation::GetInstance | Operation::GetResourceLimits => Self::Instance,
            Operation::ListSnapshots
            | Operation::ListNetworks
            | Operation::ListVolumes
            | Operation::ListImages => Self::Inventory,
            Operation::GetMetrics => Self::Metrics,
            Operation::HealthCheck => Self::Health,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_as_what_it_was() {
        let limits = ResourceLimits { memory_mb: Some(64), ..ResourceLimits::default() };
        let kept = Answer::keep(&limits).unwrap();
        assert_eq!(kept.give::<ResourceLimits>(), Some(limits));
        assert!(kept.give::<ResourceUsage>().is_none());
        assert!(Answer::keep(&()).is_none());
    }

    #[test]
    fn only_reads_are_kept() {
        for operation in Operation::ALL {
            assert!(Shelf::of(*operation).is_none() || operation.is_read(), "{operation}");
        }
    }
}
