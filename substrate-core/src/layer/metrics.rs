//! Counts what the caller sees.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use crate::error::{ErrorKind, Result};
use crate::layer::call::Call;
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;
use crate::metrics::{DurationHistogram, OperationMetrics, SubstrateMetrics};
use crate::operation::Operation;
use crate::stream::BoxStream;

/// Counts calls, failures by kind, durations and stream items per operation, and, with the feature
/// `metrics`, reports them to the [`metrics`](https://docs.rs/metrics) facade as
/// `substrate_calls_total`, `substrate_call_duration_seconds` and `substrate_stream_items_total`.
#[derive(Clone)]
pub struct Counted {
    counters: Arc<[Counters; Operation::COUNT]>,
}

/// A bucket per power of two of nanoseconds: 1 ns to some 500 years.
const BUCKETS: usize = 64;

struct Counters {
    started: AtomicU64,
    succeeded: AtomicU64,
    failed: [AtomicU64; ErrorKind::ALL.len()],
    dropped: AtomicU64,
    stream_items: AtomicU64,
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Counters {
    fn new() -> Self {
        Self {
            started: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            failed: array::from_fn(|_| AtomicU64::new(0)),
            dropped: AtomicU64::new(0),
            stream_items: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            buckets: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    fn record(&self, elapsed: Duration) {
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        let bucket = nanoseconds.checked_ilog2().unwrap_or(0) as usize;
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn snapshot(&self) -> Option<OperationMetrics> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // The ends before the beginnings: a call that ends in between must not look like minus one under way.
        let errors: std::collections::BTreeMap<ErrorKind, u64> = ErrorKind::ALL
            .into_iter()
            .zip(&self.failed)
            .map(|(kind, count)| (kind, load(count)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let dropped = load(&self.dropped);
        let calls = load(&self.succeeded) + errors.values().sum::<u64>();
        let started = load(&self.started);
        if started == 0 {
            return None;
        }
        let buckets: Vec<(Duration, u64)> = self
            .buckets
            .iter()
            .enumerate()
            .map(|(exponent, count)| {
                (Duration::from_nanos(2_u64.saturating_pow(exponent as u32 + 1)), load(count))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        Some(OperationMetrics {
            calls,
            in_flight: started.saturating_sub(calls + dropped),
            errors,
            dropped,
            stream_items: load(&self.stream_items),
            durations: DurationHistogram {
                count: buckets.iter().map(|(_, count)| count).sum(),
                sum: Duration::from_nanos(load(&self.nanoseconds)),
                buckets,
            },
        })
    }
}

impl Default for Counted {
    fn default() -> Self {
        Self { counters: Arc::new(array::from_fn(|_| Counters::new())) }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl Counted {
    /// A layer that has counted nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn of(&self, operation: Operation) -> Option<&Counters> {
        self.counters.get(operation.index())
    }
}

/// Counts a call as dropped unless it came to its end.
struct UnderWay<'a>(Option<&'a Counters>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Interceptor for Counted {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        let Some(counters) = self.of(call.operation) else { return next.run().await };
        counters.started.fetch_add(1, Ordering::Relaxed);
        let mut under_way = UnderWay(Some(counters));
        let began = Instant::now();
        let result = next.run().await;
        let elapsed = began.elapsed();
        under_way.0 = None;
        counters.record(elapsed);
        match &result {
            Ok(_) => counters.succeeded.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                counters.failed.get(error.kind() as usize).map_or(0, |c| c.fetch_add(1, Ordering::Relaxed))
            }
        };
        #[cfg(feature = "metrics")]
        facade::report_call(call, result.as_ref().err(), elapsed);
        result
    }

    fn stream<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        stream: BoxStream<Result<T>>,
    ) -> BoxStream<Result<T>> {
        let counters = self.counters.clone();
        let operation = call.operation;
        #[cfg(feature = "metrics")]
        let items = facade::stream_items(call);
        stream
            .inspect(move |_| {
                if let Some(counters) = counters.get(operation.index()) {
                    counters.stream_items.fetch_add(1, Ordering::Relaxed);
                }
                #[cfg(feature = "metrics")]
                items.increment(1);
            })
            .boxed()
    }

    fn metrics(&self) -> SubstrateMetrics {
        let operations = Operation::ALL
            .iter()
            .filter_map(|operation| Some((*operation, self.of(*operation)?.snapshot()?)))
            .collect();
        SubstrateMetrics { operations, ..SubstrateMetrics::default() }
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Metrics);
    }
}

#[cfg(feature = "metrics")]
mod facade {
    use std::time::Duration;

    use crate::error::Error;
    use crate::layer::call::Call;

    pub(super) fn report_call(call: &Call<'_>, error: Option<&Error>, elapsed: Duration) {
        let substrate = call.descriptor.name.to_string();
        let outcome = error.map_or("ok", |error| error.kind().as_str());
        metrics::counter!(
            "substrate_calls_total",
            "substrate" => substrate.clone(), "operation" => call.operation.name(), "outcome" => outcome
        )
        .increment(1);
        metrics::histogram!(
            "substrate_call_duration_seconds", "substrate" => substrate, "operation" => call.operation.name()
        )
        .record(elapsed.as_secs_f64());
    }

    pub(super) fn stream_items(call: &Call<'_>) -> metrics::Counter {
        let substrate = call.descriptor.name.to_string();
        metrics::counter!(
            "substrate_stream_items_total", "substrate" => substrate, "operation" => call.operation.name()
        )
    }
}
