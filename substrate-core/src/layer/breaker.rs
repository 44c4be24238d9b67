//! Leaves a substrate alone that is down.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Outcome, Result, RetryAdvice};
use crate::layer::call::Call;
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;
use crate::layer::settings::BreakerSettings;
use crate::operation::Operation;

/// After a number of attempts in a row without an answer, turns calls away at once for a while; then lets
/// one through to try.
///
/// Only silence counts: unreachable, timed out. A substrate that says "no" is up. `connect` and
/// `health_check` always pass: somebody asks on purpose whether it is back.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// Failures in a row; the usual case is one load of a zero.
    failures: AtomicU32,
    /// From when on a call may try again.
    open_until: Mutex<Option<Instant>>,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, failures: AtomicU32::new(0), open_until: Mutex::new(None) }
    }

    /// Nothing when a call may pass. When the pause is over the first call takes it on itself to try: the
    /// pause is extended, so that the others keep waiting for its result.
    fn admit(&self) -> Result<()> {
        if self.failures.load(Ordering::Relaxed) < self.settings.failures {
            return Ok(());
        }
        let mut open_until = self.open_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match *open_until {
            Some(until) if now < until => {
                let left = until - now;
                Err(Error::unavailable(format!(
                    "not asked: the last {} attempts got no answer",
                    self.failures.load(Ordering::Relaxed)
                ))
                .with_outcome(Outcome::NotSent)
                .with_retry(RetryAdvice::After(left))
                .with_hint(format!("it is tried again in {left:.1?}; health_check tries at once")))
            }
            _ => {
                *open_until = Some(now + self.settings.pause);
                Ok(())
            }
        }
    }

    fn record(&self, answered: bool) {
        if answered {
            if self.failures.load(Ordering::Relaxed) != 0 {
                self.failures.store(0, Ordering::Relaxed);
                *self.open_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= self.settings.failures {
            let until = Instant::now() + self.settings.pause;
            *self.open_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
    }
}

/// Whether the substrate was there to answer.
fn is_answer(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unavailable => false,
        // A guest that did not stop, a command that did not end: told by a substrate that is up.
        ErrorKind::Timeout => error.outcome() == Outcome::Rejected,
        _ => true,
    }
}

impl Interceptor for Breaker {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        if !matches!(call.operation, Operation::Connect | Operation::HealthCheck) {
            self.admit()?;
        }
        let result = next.run().await;
        // A command's own timeout says nothing about the substrate.
        if call.operation != Operation::ExecuteCommand || result.is_ok() {
            self.record(result.as_ref().err().is_none_or(is_answer));
        }
        result
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Breaker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::capability::Capabilities;
    use crate::descriptor::Descriptor;
    use crate::layer::call::Target;

    async fn call(breaker: &Breaker, operation: Operation, result: Result<()>) -> Result<()> {
        let descriptor = Arc::new(Descriptor::new("test", "test", [], Capabilities::all()));
        let result = &result;
        breaker
            .around(&Call::new(operation, Target::Substrate, &descriptor), &|| async move { result.clone() })
            .await
    }

    fn down() -> Result<()> {
        Err(Error::unavailable("connection refused"))
    }

    async fn open() -> Breaker {
        let breaker = Breaker::new(BreakerSettings { failures: 3, pause: Duration::from_secs(10) });
        for _ in 0..3 {
            let _ = call(&breaker, Operation::GetInstance, down()).await;
        }
        breaker
    }

    fn is_turned_away(result: &Result<()>) -> bool {
        matches!(result, Err(error) if error.message().contains("not asked"))
    }

    #[tokio::test(start_paused = true)]
    async fn after_enough_silence_calls_are_turned_away_unsent() {
        let breaker = open().await;
        let error = call(&breaker, Operation::StartInstance, Ok(())).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotSent);
        assert_eq!(error.retry(), RetryAdvice::After(Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_call_tries_and_success_closes_it() {
        let breaker = open().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(call(&breaker, Operation::GetInstance, Ok(())).await.is_ok());
        assert!(call(&breaker, Operation::GetInstance, Ok(())).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_call_tries_and_failure_opens_it_again() {
        let breaker = open().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!is_turned_away(&call(&breaker, Operation::GetInstance, down()).await));
        assert!(is_turned_away(&call(&breaker, Operation::GetInstance, Ok(())).await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_health_check_always_passes() {
        let breaker = open().await;
        assert!(call(&breaker, Operation::HealthCheck, Ok(())).await.is_ok());
        assert!(call(&breaker, Operation::GetInstance, Ok(())).await.is_ok(), "and its success closes it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_substrate_that_says_no_is_up() {
        let breaker = Breaker::new(BreakerSettings { failures: 3, pause: Duration::from_secs(10) });
        for _ in 0..10 {
            let _ = call(&breaker, Operation::GetInstance, Err(Error::not_found("x"))).await;
        }
        assert!(call(&breaker, Operation::GetInstance, Ok(())).await.is_ok());
    }
}
