//! Who hears what happened.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;

use crate::event::{Event, EventKind, EventOrigin};
use crate::name::InstanceName;
use crate::stream::BoxStream;

/// Which events to hear. Every condition must hold; an empty filter hears all.
///
/// ```
/// use substrate_core::EventKind;
/// use substrate_core::layer::EventFilter;
/// let filter = EventFilter::all().with_kind(EventKind::Failed).with_kind(EventKind::Deleted);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventFilter {
    /// One of these kinds; empty = any.
    pub kinds: Vec<EventKind>,
    /// This instance.
    pub instance: Option<InstanceName>,
    /// This origin.
    pub origin: Option<EventOrigin>,
}

impl EventFilter {
    /// All events.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Allows a kind (beside those already allowed).
    #[must_use]
    pub fn with_kind(mut self, kind: EventKind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Requires an instance.
    #[must_use]
    pub fn with_instance(mut self, instance: InstanceName) -> Self {
        self.instance = Some(instance);
        self
    }

    /// Requires an origin.
    #[must_use]
    pub fn with_origin(mut self, origin: EventOrigin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Whether `event` passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.origin.is_none_or(|origin| origin == event.origin)
            && self.instance.as_ref().is_none_or(|instance| Some(instance) == event.instance.as_ref())
    }
}

/// What a subscriber receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// Something happened.
    Event(Arc<Event>),
    /// The subscriber was too slow: so many events, of any kind, were lost to it.
    Lagged(u64),
}

/// Events for one subscriber; ends when the bus is gone.
pub type EventStream = BoxStream<Delivery>;

/// Hands events to any number of subscribers. Cloning gives another handle on the same bus.
///
/// Publishing never waits: who is more than the buffer behind loses the oldest events and is told how many.
#[derive(Clone)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventBus {
    /// A bus on which a slow subscriber may be `buffer` events behind; at least one.
    #[must_use]
    pub fn new(buffer: usize) -> Self {
        // The channel panics on nothing and on more than half the address space.
        Self { sender: broadcast::Sender::new(buffer.clamp(1, 1 << 24)) }
    }

    /// Hands an event to everybody who hears it now.
    pub fn publish(&self, event: Event) {
        // The error only says that nobody listens.
        let _ = self.sender.send(Arc::new(event));
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Events from now on that pass `filter`.
    #[must_use]
    pub fn subscribe(&self, filter: EventFilter) -> EventStream {
        let state = (self.sender.subscribe(), filter);
        futures_util::stream::unfold(state, |(mut receiver, filter)| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) if filter.matches(&event) => {
                        return Some((Delivery::Event(event), (receiver, filter)));
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => {
                        return Some((Delivery::Lagged(missed), (receiver, filter)));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    /// Calls `handler` for each event that passes `filter`, in order, until the subscription is dropped.
    ///
    /// The handler has a thread of its own: one that blocks delays only its own next event and loses what
    /// goes beyond the buffer; one that panics goes on with the next event.
    ///
    /// Must be called within a tokio runtime.
    #[must_use = "dropping the subscription ends it"]
    pub fn on(&self, filter: EventFilter, handler: impl Fn(&Event) + Send + 'static) -> Subscription {
        let mut events = self.subscribe(filter);
        // Room for one: what waits longer waits in the bus, whose buffer is bounded and counts what it drops.
        let (hand_over, mut handed) = mpsc::channel::<Arc<Event>>(1);
        // A thread and not `spawn_blocking`: a handler that blocks for ever must not keep a runtime from
        // shutting down.
        let thread = std::thread::Builder::new().name("substrate-event-handler".to_owned()).spawn(move || {
            while let Some(event) = handed.blocking_recv() {
                if catch_unwind(AssertUnwindSafe(|| handler(&event))).is_err() {
                    tracing::warn!(target: "substrate", kind = event.kind.as_str(), "an event handler panicked");
                }
            }
        });
        if let Err(error) = thread {
            tracing::error!(target: "substrate", %error, "no thread for an event handler: it hears nothing");
        }
        let forward = tokio::spawn(async move {
            while let Some(delivery) = events.next().await {
                match delivery {
                    Delivery::Event(event) => {
                        if hand_over.send(event).await.is_err() {
                            return;
                        }
                    }
                    Delivery::Lagged(missed) => {
                        tracing::warn!(target: "substrate", missed, "an event handler is too slow");
                    }
                }
            }
        });
        Subscription { forward: forward.abort_handle() }
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EventBus").field("subscribers", &self.sender.receiver_count()).finish()
    }
}

/// A handler's life: dropping it ends the calls.
#[derive(Debug)]
pub struct Subscription {
    forward: AbortHandle,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Ends the sender, and with it the handler's thread.
        self.forward.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn event(kind: EventKind) -> Event {
        Event::new(SystemTime::UNIX_EPOCH, "test", kind, EventOrigin::Own)
    }

    fn kind(delivery: Option<Delivery>) -> Option<EventKind> {
        match delivery {
            Some(Delivery::Event(event)) => Some(event.kind),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_subscriber_hears_what_passes_its_filter() {
        let bus = EventBus::new(8);
        let mut events = bus.subscribe(EventFilter::all().with_kind(EventKind::Deleted));
        bus.publish(event(EventKind::Started));
        bus.publish(event(EventKind::Deleted));
        assert_eq!(kind(events.next().await), Some(EventKind::Deleted));
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_what_it_lost() {
        let bus = EventBus::new(2);
        let mut events = bus.subscribe(EventFilter::all());
        for _ in 0..5 {
            bus.publish(event(EventKind::Started));
        }
        assert_eq!(events.next().await, Some(Delivery::Lagged(3)));
        assert_eq!(kind(events.next().await), Some(EventKind::Started));
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_bus() {
        let bus = EventBus::new(2);
        let mut events = bus.subscribe(EventFilter::all());
        drop(bus);
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn a_handler_that_panics_hears_the_next_event() {
        let bus = EventBus::new(8);
        let (tell, mut told) = mpsc::unbounded_channel();
        let _subscription = bus.on(EventFilter::all(), move |event| {
            assert!(event.kind != EventKind::Failed, "this handler does not like failures");
            let _ = tell.send(event.kind);
        });
        bus.publish(event(EventKind::Failed));
        bus.publish(event(EventKind::Deleted));
        assert_eq!(told.recv().await, Some(EventKind::Deleted));
    }

    #[tokio::test]
    async fn a_handler_that_blocks_harms_nobody() {
        let bus = EventBus::new(4);
        let (_never, blocked) = std::sync::mpsc::channel::<()>();
        let _subscription = bus.on(EventFilter::all(), move |_| {
            let _ = blocked.recv();
        });
        let mut events = bus.subscribe(EventFilter::all());
        for _ in 0..100 {
            bus.publish(event(EventKind::Started));
            assert_eq!(kind(events.next().await), Some(EventKind::Started));
        }
    }

    #[tokio::test]
    async fn a_dropped_subscription_hears_nothing_more() {
        let bus = EventBus::new(4);
        let (tell, mut told) = mpsc::unbounded_channel();
        let subscription = bus.on(EventFilter::all(), move |event| {
            let _ = tell.send(event.kind);
        });
        drop(subscription);
        // The handler is dropped with its thread: then, and only then, the channel closes.
        assert_eq!(told.recv().await, None);
        bus.publish(event(EventKind::Started));
    }
}
