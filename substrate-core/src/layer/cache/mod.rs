//! Answers reads from memory, and forgets in time.

mod answer;
mod fresh;
mod store;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Result;
use crate::event::{Event, EventKind};
use crate::layer::cache::answer::{Answer, Shelf};
use crate::layer::cache::store::{Flight, Store};
use crate::layer::call::{Call, Target};
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;
use crate::layer::settings::CacheSettings;
use crate::metrics::SubstrateMetrics;
use crate::operation::{Operation, OperationGroup};

pub use fresh::fresh;

/// Keeps the answers of reads for a time on tokio's clock.
///
/// * **Single flight**: any number of equal reads at once make one call. Its error is told to all who
///   waited and is not kept.
/// * **Read your own writes**: a change forgets what it may have made wrong before it begins and again when
///   it ends, whatever its result, also when it was dropped.
/// * **Events**: fed with a substrate's native events ([`Cache::observe`]), it forgets what others changed;
///   after a gap it forgets everything.
/// * **On demand**: what runs in [`fresh`] gets nothing that was kept before it began.
/// * Each [`Instance`](crate::Instance) tells its age; [`Cache::age`] tells that of any other answer.
///
/// Cloning gives another handle on the same cache.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    settings: CacheSettings,
    store: Mutex<Store>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Cache {
    /// An empty cache.
    #[must_use]
    pub fn new(settings: CacheSettings) -> Self {
        let store = Mutex::new(Store::default());
        Self {
            shared: Arc::new(Shared { settings, store, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }),
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.store().forget(|_| true);
    }

    /// Forgets what an event on the substrate may have made wrong. A command that ran inside changes nothing
    /// that is kept; if it ended the instance, another event tells that.
    pub fn observe(&self, event: &Event) {
        match event.kind {
            EventKind::CommandExecuted => {}
            EventKind::ImageAvailable => self.store().forget(|operation| operation == Operation::ListImages),
            EventKind::VolumeCreated | EventKind::VolumeDeleted => {
                self.store().forget(|operation| operation.profile().group == OperationGroup::Volumes);
            }
            _ => self.store().forget(|operation| operation != Operation::HealthCheck),
        }
    }

    /// How old the kept answer to a read is; nothing when none is kept.
    #[must_use]
    pub fn age(
        &self,
        operation: Operation,
        target: Target<'_>,
        descriptor: &Arc<crate::Descriptor>,
    ) -> Option<Duration> {
        let call = Call::new(operation, target, descriptor);
        let store = self.store();
        let (_, at) = store.find(&call)?.landed.get()?;
        Some(at.elapsed())
    }

    /// How many answers are kept or under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store().len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time_to_live(&self, operation: Operation) -> Duration {
        let settings = &self.shared.settings;
        match Shelf::of(operation) {
            None => Duration::ZERO,
            Some(Shelf::List) => settings.list,
            Some(Shelf::Instance) => settings.instance,
            Some(Shelf::Inventory) => settings.inventory,
            Some(Shelf::Metrics) => settings.metrics,
            Some(Shelf::Health) => settings.health,
        }
    }

    /// The landed answer, counted as a hit.
    fn landed<T: 'static>(&self, flight: &Flight) -> Option<Result<T>> {
        let (result, _) = flight.landed.get()?;
        let result = match result {
            Ok(answer) => Ok(answer.give::<T>()?),
            Err(error) => Err(error.clone()),
        };
        self.shared.hits.fetch_add(1, Ordering::Relaxed);
        Some(result)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cache")
            .field("answers", &self.len())
            .field("settings", &self.shared.settings)
            .finish()
    }
}

/// Forgets when it is made and again when it is dropped: a change's beginning and its end, however it ends.
/// What was read in between may be older than the change.
struct Change<'a> {
    cache: &'a Cache,
    operation: Operation,
}

impl<'a> Change<'a> {
    fn begin(cache: &'a Cache, operation: Operation) -> Self {
        let change = Self { cache, operation };
        change.forget();
        change
    }

    fn forget(&self) {
        self.cache.store().forget(|read| read.is_invalidated_by(self.operation));
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Interceptor for Cache {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        if !call.operation.is_read() {
            let _change = Change::begin(self, call.operation);
            return next.run().await;
        }
        let time_to_live = self.time_to_live(call.operation);
        if time_to_live.is_zero() {
            return next.run().await;
        }
        let flight =
            self.store().flight(call, time_to_live, fresh::not_before(), self.shared.settings.max_entries);
        let Some(flight) = flight else { return next.run().await };
        if let Some(result) = self.landed(&flight) {
            return result;
        }
        let _fetching = flight.fetching.lock().await;
        if let Some(result) = self.landed(&flight) {
            return result;
        }
        self.shared.misses.fetch_add(1, Ordering::Relaxed);
        // The age counts from when the question was asked: the answer cannot be newer than its arrival, but
        // it can be as old as that.
        let asked = Instant::now();
        let result = next.run().await;
        let landed = match &result {
            Ok(value) => Answer::keep(value).map(Ok),
            Err(error) => Some(Err(error.clone())),
        };
        if !matches!(landed, Some(Ok(_))) {
            self.store().discard(call, &flight);
        }
        if let Some(landed) = landed {
            let _ = flight.landed.set((landed, asked));
        }
        result
    }

    fn metrics(&self) -> SubstrateMetrics {
        SubstrateMetrics {
            cache_hits: self.shared.hits.load(Ordering::Relaxed),
            cache_misses: self.shared.misses.load(Ordering::Relaxed),
            ..SubstrateMetrics::default()
        }
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Cache);
    }
}

#[cfg(test)]
mod tests;
