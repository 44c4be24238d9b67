//! The order of layers that works.

use std::fmt;

use crate::error::{Error, Result};

/// Where a layer of ours stands in a stack, from the outside in. Each place has its reason; a stack in
/// another order is refused when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Place {
    /// Outermost: one span covers everything that a call causes.
    Tracing,
    /// Counts what the caller sees: one call, however many attempts, cached or not.
    Metrics,
    /// Announces what happened, once per call and not once per attempt.
    Events,
    /// Refuses the impossible before a cache or a permit is touched.
    Gate,
    /// Answers before any deadline, permit or breaker is spent; what it misses goes on.
    Cache,
    /// Bounds the whole call, waits between attempts included.
    Deadline,
    /// Repeats what is inside: permits, breaker and attempt timeout are taken anew for each attempt.
    Retry,
    /// Spaces attempts out, so a repetition counts against the rate too.
    RateLimit,
    /// Holds a permit while one attempt is under way, and none during the waits between attempts.
    ConcurrencyLimit,
    /// Sees the outcome of single attempts, and turns them away while the substrate is down.
    Breaker,
    /// Innermost: bounds one attempt, and not the time spent queueing for a permit.
    AttemptTimeout,
}

impl Place {
    /// The layer's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracing => "tracing",
            Self::Metrics => "metrics",
            Self::Events => "events",
            Self::Gate => "capability gate",
            Self::Cache => "cache",
            Self::Deadline => "deadline",
            Self::Retry => "retry",
            Self::RateLimit => "rate limit",
            Self::ConcurrencyLimit => "concurrency limit",
            Self::Breaker => "circuit breaker",
            Self::AttemptTimeout => "attempt timeout",
        }
    }

    /// Nothing when the places stand in an order that works, from the outside in.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming the first pair that does not fit.
    pub fn check_order(places: &[Self]) -> Result<()> {
        for pair in places.windows(2) {
            if let [outer, inner] = pair
                && outer >= inner
            {
                return Err(Error::invalid_input(if outer == inner {
                    format!("the {outer} layer is in the stack twice")
                } else {
                    format!("the {inner} layer must stand outside the {outer} layer, not inside it")
                }));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_cannot_work_is_refused_with_the_pair() {
        assert!(Place::check_order(&[Place::Metrics, Place::Cache, Place::AttemptTimeout]).is_ok());
        let error = Place::check_order(&[Place::AttemptTimeout, Place::Retry]).unwrap_err();
        assert!(error.message().contains("retry layer must stand outside the attempt timeout"), "{error}");
        assert!(Place::check_order(&[Place::Retry, Place::Retry]).unwrap_err().message().contains("twice"));
    }
}
