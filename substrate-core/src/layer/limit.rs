//! How many calls at once, and how many per second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, Result};
use crate::layer::call::Call;
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;
use crate::operation::TimeoutClass;

/// Bounds how many calls are under way at once; the others queue in order.
///
/// A permit covers a call and never an open stream: a hundred followed logs hold none. Commands that run to
/// their end hold none either: they may run for hours.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    permits: Semaphore,
}

impl ConcurrencyLimit {
    /// A layer with `permits` permits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for none, or more than a semaphore holds.
    pub fn new(permits: usize) -> Result<Self> {
        if permits == 0 || permits > Semaphore::MAX_PERMITS {
            return Err(Error::invalid_input(format!("limits: concurrency cannot be {permits}")));
        }
        Ok(Self { permits: Semaphore::new(permits) })
    }
}

impl Interceptor for ConcurrencyLimit {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        if call.operation.profile().timeout == TimeoutClass::Unbounded {
            return next.run().await;
        }
        // A free permit is taken without queueing: with nobody in the row nobody is overtaken, and while
        // somebody is, returned permits go to the row and none is free.
        let _permit = match self.permits.try_acquire() {
            Ok(permit) => Some(permit),
            // The semaphore is never closed; if it were, an unlimited call is better than a failed one.
            Err(_) => Box::pin(self.permits.acquire()).await.ok(),
        };
        next.run().await
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::ConcurrencyLimit);
    }
}

/// Spaces calls out: a token bucket on tokio's clock. Calls wait for their turn and are never refused.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    burst: u32,
    /// When the next call may go if it came with the burst used up.
    next: Mutex<Instant>,
}

impl RateLimit {
    /// `rate` calls per second on average, up to `burst` at once after a quiet time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a rate that is not positive.
    pub fn new(rate: f64, burst: u32) -> Result<Self> {
        let interval = Duration::try_from_secs_f64(1.0 / rate).ok().filter(|interval| !interval.is_zero());
        let Some(interval) = interval else {
            return Err(Error::invalid_input(format!("limits: rate must be a positive number, not {rate}")));
        };
        Ok(Self { interval, burst: burst.max(1), next: Mutex::new(Instant::now()) })
    }

    /// Takes the next place in the row (the "virtual scheduling" form of a token bucket: one instant instead
    /// of a count and a refill time). A caller that gives up waiting has still used its place.
    fn take_turn(&self) -> Option<Instant> {
        let now = Instant::now();
        let tolerance = self.interval.saturating_mul(self.burst - 1);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + self.interval;
        let earliest = turn.checked_sub(tolerance)?;
        (earliest > now).then_some(earliest)
    }
}

impl Interceptor for RateLimit {
    async fn around<T: Send + 'static, N: Next<T>>(&self, _call: &Call<'_>, next: &N) -> Result<T> {
        if let Some(turn) = self.take_turn() {
            sleep_until(turn).await;
        }
        next.run().await
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::RateLimit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_calls_are_spaced_out() {
        let limit = RateLimit::new(10.0, 3).unwrap();
        let began = Instant::now();
        let mut times = Vec::new();
        for _ in 0..6 {
            if let Some(turn) = limit.take_turn() {
                sleep_until(turn).await;
            }
            times.push(began.elapsed().as_millis());
        }
        assert_eq!(times, [0, 0, 0, 100, 200, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_time_fills_the_burst_and_no_more() {
        let limit = RateLimit::new(10.0, 2).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(limit.take_turn().is_none());
        assert!(limit.take_turn().is_none());
        assert!(limit.take_turn().is_some());
    }

    #[test]
    fn impossible_limits_are_refused() {
        assert!(RateLimit::new(0.0, 1).is_err());
        assert!(RateLimit::new(f64::NAN, 1).is_err());
        assert!(RateLimit::new(-1.0, 1).is_err());
        assert!(ConcurrencyLimit::new(0).is_err());
    }
}
