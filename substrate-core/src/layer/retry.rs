//! Repeats what may be repeated.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use crate::error::{Error, ErrorKind, Outcome, Result, RetryAdvice};
use crate::layer::call::Call;
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;
use crate::layer::settings::RetrySettings;
use crate::metrics::SubstrateMetrics;
use crate::operation::{Effect, Operation, Repeat};

/// Repeats failed calls where that is allowed, with growing waits and a budget that all calls share.
///
/// Whether it is allowed is decided from three facts: the error's advice (can it pass?), its outcome (may it
/// have happened?), and the operation's row in the table (does a second time do harm?). What a repetition
/// of a creation or a deletion is, [`Intercepted`](crate::layer::Intercepted) knows: it looks first.
pub struct Retry {
    settings: RetrySettings,
    backoff: ExponentialBuilder,
    /// In tenths, so that a success can give back a tenth.
    budget: AtomicI64,
    repetitions: AtomicU64,
}

impl Retry {
    /// A layer with these settings.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a back-off factor below 1.
    pub fn new(settings: RetrySettings) -> Result<Self> {
        if !(settings.backoff.is_finite() && settings.backoff >= 1.0) {
            let factor = settings.backoff;
            return Err(Error::invalid_input(format!(
                "retry: backoff must be a number of at least 1, not {factor}"
            )));
        }
        let backoff = ExponentialBuilder::new()
            .with_min_delay(settings.delay)
            .with_max_delay(settings.max_delay)
            .with_factor(settings.backoff)
            .with_max_times(settings.retries);
        let backoff = if settings.jitter { backoff.with_jitter() } else { backoff };
        let budget = AtomicI64::new(i64::from(settings.budget) * 10);
        Ok(Self { settings, backoff, budget, repetitions: AtomicU64::new(0) })
    }

    fn take_from_budget(&self) -> bool {
        let take = |tenths: i64| (tenths >= 10).then_some(tenths - 10);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self) {
        let full = i64::from(self.settings.budget) * 10;
        // Nearly always full: one load instead of one store that every core fights for.
        if self.budget.load(Ordering::Relaxed) < full {
            self.budget.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(formatter)
    }
}

/// Whether `operation` may be repeated after `error`; the wait that the substrate asked for, if it did.
fn may_repeat(operation: Operation, error: &Error) -> Option<Duration> {
    let wait = match error.retry() {
        RetryAdvice::Never => return None,
        RetryAdvice::Safe => Duration::ZERO,
        RetryAdvice::After(wait) => wait,
    };
    let profile = operation.profile();
    let allowed = match (profile.effect, error.outcome()) {
        // A deadline that the substrate itself reports is an answer ("the guest did not stop in time"), and
        // asking again would double the time that the caller allowed.
        (_, Outcome::Rejected) if error.kind() == ErrorKind::Timeout => false,
        (Effect::Read | Effect::Idempotent, _) | (_, Outcome::NotSent | Outcome::Rejected) => true,
        (Effect::AtMostOnce, Outcome::Unknown) => profile.repeat == Repeat::LookFirst,
    };
    allowed.then_some(wait)
}

impl Interceptor for Retry {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        let error = match next.run().await {
            Ok(value) => {
                self.give_back();
                return Ok(value);
            }
            Err(error) => error,
        };
        // Boxed: the rare way must not make every call's future larger.
        Box::pin(self.repeat(call, next, error)).await
    }

    fn metrics(&self) -> SubstrateMetrics {
        SubstrateMetrics { retries: self.repetitions.load(Ordering::Relaxed), ..SubstrateMetrics::default() }
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Retry);
    }

    fn repeats(&self) -> bool {
        self.settings.retries > 0
    }
}

impl Retry {
    /// The rare way, apart from the usual one so that a call that succeeds at once carries none of it.
    async fn repeat<T, N: Next<T>>(&self, call: &Call<'_>, next: &N, first: Error) -> Result<T> {
        let began = Instant::now();
        let mut error = first;
        // Once an attempt may have had an effect, a later rejection does not make that certain again: the
        // caller must hear about it.
        let mut uncertain = error.outcome() == Outcome::Unknown;
        for wait in self.backoff.build() {
            let Some(asked) = may_repeat(call.operation, &error) else { break };
            // backon adds its jitter on top of its maximum.
            let wait = wait.max(asked).min(self.settings.max_delay);
            if began.elapsed().saturating_add(wait) > self.settings.max_elapsed {
                error = error.with_hint(format!("gave up repeating after {:?}", self.settings.max_elapsed));
                break;
            }
            if !self.take_from_budget() {
                error = error
                    .with_hint("not repeated: too many other calls to this substrate fail at the moment");
                break;
            }
            tracing::debug!(
                target: "substrate", operation = call.operation.name(), wait_ms = wait.as_millis() as u64, %error,
                "repeating"
            );
            sleep(wait).await;
            self.repetitions.fetch_add(1, Ordering::Relaxed);
            match next.run().await {
                Ok(value) => {
                    self.give_back();
                    return Ok(value);
                }
                Err(again) => {
                    uncertain |= again.outcome() == Outcome::Unknown;
                    error = again;
                }
            }
        }
        if uncertain && is_still_open(call.operation, &error) {
            error = error.with_outcome(Outcome::Unknown);
        }
        Err(error)
    }
}

/// Whether the last error leaves open what an earlier, unanswered attempt did. "Not found" and "already
/// exists" are answers about the thing itself, given after a look: they settle it.
fn is_still_open(operation: Operation, error: &Error) -> bool {
    !operation.is_read() && !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::capability::Capabilities;
    use crate::descriptor::Descriptor;
    use crate::layer::call::Target;

    fn settings(retries: usize) -> RetrySettings {
        RetrySettings {
            retries,
            delay: Duration::from_secs(2),
            backoff: 2.0,
            jitter: false,
            ..RetrySettings::default()
        }
    }

    /// Runs calls that fail with the given errors in turn, then succeed; returns the result, the number of
    /// attempts and the time that passed.
    async fn run(retry: &Retry, operation: Operation, errors: Vec<Error>) -> (Result<()>, usize, Duration) {
        let descriptor = Arc::new(Descriptor::new("test", "test", [], Capabilities::all()));
        let call = Call::new(operation, Target::Substrate, &descriptor);
        let errors = std::sync::Mutex::new(errors.into_iter());
        let attempts = std::sync::atomic::AtomicUsize::new(0);
        let began = Instant::now();
        let result = retry
            .around(&call, &|| {
                attempts.fetch_add(1, Ordering::Relaxed);
                let error = errors.lock().unwrap().next();
                async move { error.map_or(Ok(()), Err) }
            })
            .await;
        (result, attempts.into_inner(), began.elapsed())
    }

    fn lost() -> Error {
        Error::timeout("no answer")
    }

    #[tokio::test(start_paused = true)]
    async fn five_retries_of_two_seconds_wait_2_4_8_16_32() {
        let retry = Retry::new(settings(5)).unwrap();
        let (result, attempts, elapsed) = run(&retry, Operation::GetInstance, vec![lost(); 6]).await;
        assert!(result.unwrap_err().is_timeout());
        assert_eq!((attempts, elapsed), (6, Duration::from_secs(2 + 4 + 8 + 16 + 32)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_must_not_happen_twice_is_not_repeated_after_a_lost_answer() {
        let retry = Retry::new(settings(5)).unwrap();
        for operation in [Operation::ExecuteCommand, Operation::RestartInstance] {
            let (result, attempts, _) = run(&retry, operation, vec![lost()]).await;
            assert_eq!((result.unwrap_err().outcome(), attempts), (Outcome::Unknown, 1), "{operation}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_sent_or_safely_rejected_is_repeated_whatever_it_is() {
        let retry = Retry::new(settings(5)).unwrap();
        for error in [Error::busy("locked"), Error::unavailable("refused").with_outcome(Outcome::NotSent)] {
            let (result, attempts, _) = run(&retry, Operation::ExecuteCommand, vec![error]).await;
            assert!(result.is_ok());
            assert_eq!(attempts, 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_pass_is_not_repeated() {
        let retry = Retry::new(settings(5)).unwrap();
        let (_, attempts, _) = run(&retry, Operation::GetInstance, vec![Error::not_found("x")]).await;
        assert_eq!(attempts, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_did_not_stop_in_time_is_not_asked_again() {
        let retry = Retry::new(settings(5)).unwrap();
        let heedless = lost().with_outcome(Outcome::Rejected);
        let (_, attempts, _) = run(&retry, Operation::StopInstance, vec![heedless]).await;
        assert_eq!(attempts, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_substrate_asks_for_is_honoured_and_clamped() {
        let retry = Retry::new(RetrySettings { max_delay: Duration::from_secs(10), ..settings(2) }).unwrap();
        let asked = |seconds| {
            Error::rate_limited("slow down").with_retry(RetryAdvice::After(Duration::from_secs(seconds)))
        };
        let (result, _, elapsed) = run(&retry, Operation::GetInstance, vec![asked(7), asked(3600)]).await;
        assert!(result.is_ok());
        assert_eq!(elapsed, Duration::from_secs(7 + 10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_elapsed_cap_ends_it() {
        let retry = Retry::new(RetrySettings { max_elapsed: Duration::from_secs(5), ..settings(5) }).unwrap();
        let (result, attempts, elapsed) = run(&retry, Operation::GetInstance, vec![lost(); 6]).await;
        assert!(result.unwrap_err().hint().unwrap().contains("gave up"));
        assert_eq!((attempts, elapsed), (2, Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_never_waits_longer_than_the_maximum() {
        let jittered = RetrySettings { jitter: true, max_delay: Duration::from_secs(3), ..settings(50) };
        let retry =
            Retry::new(RetrySettings { budget: 1000, max_elapsed: Duration::MAX, ..jittered }).unwrap();
        let (_, attempts, elapsed) = run(&retry, Operation::GetInstance, vec![lost(); 60]).await;
        assert_eq!(attempts, 51);
        assert!(elapsed <= Duration::from_secs(150), "{elapsed:?}");
        assert!(elapsed > Duration::from_secs(100), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_cannot_multiply_the_load_beyond_the_budget() {
        let retry = Retry::new(RetrySettings { budget: 10, ..settings(3) }).unwrap();
        let mut attempts = 0;
        for _ in 0..100 {
            attempts += run(&retry, Operation::GetInstance, vec![lost(); 4]).await.1;
        }
        assert_eq!(attempts, 100 + 10);
        for _ in 0..10 {
            assert!(run(&retry, Operation::GetInstance, vec![]).await.0.is_ok());
        }
        let (_, attempts, _) = run(&retry, Operation::GetInstance, vec![lost(); 4]).await;
        assert_eq!(attempts, 2, "ten successes give one repetition back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_rejection_does_not_hide_that_it_may_have_happened() {
        let retry = Retry::new(settings(3)).unwrap();
        let (result, _, _) =
            run(&retry, Operation::StartInstance, vec![lost(), Error::conflict("paused")]).await;
        assert_eq!(result.unwrap_err().outcome(), Outcome::Unknown);
    }

    #[test]
    fn a_back_off_that_shrinks_is_refused() {
        assert!(Retry::new(RetrySettings { backoff: 0.5, ..settings(3) }).unwrap_err().is_invalid_input());
    }
}
