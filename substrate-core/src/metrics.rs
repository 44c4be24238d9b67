//! What a stack counted about its own calls.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::operation::Operation;

/// Own counts since a stack was built; operations that were never called are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubstrateMetrics {
    /// By operation.
    pub operations: BTreeMap<Operation, OperationMetrics>,
    /// Reads answered from the cache.
    pub cache_hits: u64,
    /// Reads that the cache had to ask the substrate for.
    pub cache_misses: u64,
    /// Attempts beyond the first.
    pub retries: u64,
}

impl SubstrateMetrics {
    /// These counts and those of another layer of the same stack.
    #[must_use]
    pub fn merged_with(mut self, other: Self) -> Self {
        // Only one layer of a stack counts operations, so there is nothing to add up key by key.
        self.operations.extend(other.operations);
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.retries += other.retries;
        self
    }
}

/// The counts of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperationMetrics {
    /// Calls that have ended.
    pub calls: u64,
    /// Calls that are under way.
    pub in_flight: u64,
    /// Failures by kind.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Calls that were dropped before they ended.
    pub dropped: u64,
    /// Items that streams of this operation delivered.
    pub stream_items: u64,
    /// How long calls took.
    pub durations: DurationHistogram,
}

/// Durations in buckets of powers of two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DurationHistogram {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
    /// Upper bound of each bucket, and how many were at most that long and longer than the bound before.
    /// Empty buckets are left out.
    pub buckets: Vec<(Duration, u64)>,
}

impl DurationHistogram {
    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.count).ok()?;
        self.sum.checked_div(count)
    }

    /// An upper bound of the given quantile (`0.5`, `0.99`): at most twice the true value.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        #[allow(clippy::cast_precision_loss, reason = "a rank needs no more than 52 bits")]
        let rank = (self.count as f64 * quantile.clamp(0.0, 1.0)).ceil();
        let mut seen = 0.0;
        self.buckets.iter().find_map(|(bound, count)| {
            #[allow(clippy::cast_precision_loss, reason = "a rank needs no more than 52 bits")]
            {
                seen += *count as f64;
            }
            (seen >= rank).then_some(*bound)
        })
    }
}
