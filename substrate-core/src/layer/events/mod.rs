//! Announces what happened.

mod bus;

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::event::{Event, EventKind, EventOrigin};
use crate::instance::Instance;
use crate::layer::call::{Call, Target};
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;
use crate::operation::Operation;

pub use bus::{Delivery, EventBus, EventFilter, EventStream, Subscription};

/// Publishes own calls on an [`EventBus`]: what succeeded as what it was, what failed as
/// [`EventKind::Failed`]. Reads are not announced, whatever becomes of them.
#[derive(Debug, Clone)]
pub struct Announced {
    bus: EventBus,
}

impl Announced {
    /// A layer that publishes on `bus`.
    #[must_use]
    pub fn new(bus: EventBus) -> Self {
        Self { bus }
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &EventBus {
        &self.bus
    }
}

/// What the success of an operation is called; nothing for reads.
fn kind_of(operation: Operation) -> Option<EventKind> {
    Some(match operation {
        Operation::Connect => EventKind::Connected,
        Operation::CreateInstance => EventKind::Created,
        Operation::StartInstance => EventKind::Started,
        Operation::StopInstance => EventKind::Stopped,
        Operation::RestartInstance => EventKind::Restarted,
        Operation::PauseInstance => EventKind::Paused,
        Operation::ResumeInstance => EventKind::Resumed,
        Operation::DeleteInstance => EventKind::Deleted,
        Operation::ExecuteCommand | Operation::OpenCommand => EventKind::CommandExecuted,
        Operation::SetResourceLimits => EventKind::LimitsChanged,
        Operation::CreateSnapshot => EventKind::SnapshotCreated,
        Operation::RestoreSnapshot => EventKind::SnapshotRestored,
        Operation::DeleteSnapshot => EventKind::SnapshotDeleted,
        Operation::CloneInstance => EventKind::Cloned,
        Operation::CreateNetwork => EventKind::NetworkCreated,
        Operation::DeleteNetwork => EventKind::NetworkDeleted,
        Operation::AttachNetwork => EventKind::NetworkAttached,
        Operation::DetachNetwork => EventKind::NetworkDetached,
        Operation::CreateVolume => EventKind::VolumeCreated,
        Operation::DeleteVolume => EventKind::VolumeDeleted,
        Operation::EnsureImage => EventKind::ImageAvailable,
        _ => return None,
    })
}

/// What a reader of the event wants to know beside the instance. Never a command line: it may hold secrets.
fn detail_of(target: &Target<'_>) -> Option<String> {
    match target {
        Target::SnapshotCreation(_, config) => Some(config.name.to_string()),
        Target::Snapshot(_, snapshot) => Some(snapshot.to_string()),
        Target::Clone(source, _) => Some(format!("copy of {source}")),
        Target::Attachment(_, network) => Some(network.network_name.to_string()),
        Target::Detachment(_, network) => Some(network.to_string()),
        Target::NetworkCreation(_)
        | Target::Network(_)
        | Target::VolumeCreation(_)
        | Target::Volume(_)
        | Target::Image(_) => target.name().map(str::to_owned),
        _ => None,
    }
}

impl Interceptor for Announced {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        let result = next.run().await;
        // Nobody listens, usually: then no event is made.
        if self.bus.has_subscribers()
            && let Some(kind) = kind_of(call.operation)
        {
            let kind = if result.is_ok() { kind } else { EventKind::Failed };
            let substrate = call.descriptor.name.clone();
            let mut event = Event::new(SystemTime::now(), substrate, kind, EventOrigin::Own);
            event.instance = match (&result, call.target) {
                // The event about a copy is about the copy.
                (Ok(made), Target::Clone(..)) => {
                    (made as &dyn Any).downcast_ref::<Arc<Instance>>().map(|instance| instance.name.clone())
                }
                (_, target) => target.instance().cloned(),
            };
            event.detail = match &result {
                Ok(_) => detail_of(&call.target),
                Err(error) => Some(call.explain(error.clone()).to_string()),
            };
            self.bus.publish(event);
        }
        result
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Events);
    }
}
