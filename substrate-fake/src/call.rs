//! The way of every call: log, refusal, faults, work, faults, log.

use std::sync::Arc;
use std::time::Duration;

use substrate_core::{Error, ErrorKind, Operation, Outcome, Result, RetryAdvice};
use tokio::time::Instant;

use crate::call_log::{CallOutcome, Target};
use crate::change::Change;
use crate::error::{answer_lost, connection_lost, unreachable};
use crate::fault::{After, Before, Plan};
use crate::inner::Inner;
use crate::state::State;

/// A call that is under way. Ended by [`end`](Self::end); dropped, it stands in the log as dropped.
pub(crate) struct Call<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) operation: Operation,
    /// The daemon's generation when the call came.
    pub(crate) generation: u64,
    number: u64,
    target: Target,
    plan: Plan,
    ended: bool,
}

impl<'a> Call<'a> {
    /// Notes the call and goes as far as to its effect.
    ///
    /// # Errors
    /// `Unsupported` for an operation that was not declared; `Unavailable` while the daemon is down; what a
    /// fault makes of it.
    pub(crate) async fn begin(inner: &'a Inner, operation: Operation, target: Target) -> Result<Self> {
        let (call, refusal) = Self::enter(inner, operation, target);
        let approached = match refusal {
            Some(error) => Err(error),
            None => call.approach().await,
        };
        match approached {
            Ok(()) => Ok(call),
            Err(error) => Err(call.fail(error)),
        }
    }

    fn enter(inner: &'a Inner, operation: Operation, target: Target) -> (Self, Option<Error>) {
        let now = Instant::now();
        let mut core = inner.lock();
        let number = core.calls.begin(operation, target.clone(), inner.clock.elapsed_at(now));
        let refusal = match inner.descriptor.capabilities.require(operation) {
            Err(error) => Some(error),
            Ok(()) if inner.broken.is_some() => inner.broken.clone(),
            Ok(()) if !core.daemon.is_up(now) => Some(unreachable()),
            Ok(()) => None,
        };
        let plan = if refusal.is_some() || core.faults.is_empty() {
            Plan::default()
        } else {
            // A fault names an instance by its name, the caller may have used its id.
            let name = match &target {
                Target::Instance(name) => {
                    core.state.resolve(name.as_str()).unwrap_or(name).as_str().to_owned()
                }
                other => other.as_str().to_owned(),
            };
            core.faults.plan(operation, &name, now)
        };
        let generation = core.daemon.generation;
        drop(core);
        (Self { inner, operation, generation, number, target, plan, ended: false }, refusal)
    }

    async fn approach(&self) -> Result<()> {
        let delay = self.inner.latency.saturating_add(self.plan.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
            self.still_connected()?;
        }
        match self.plan.before {
            None => {}
            Some(Before::Error(kind)) => return Err(Error::new(kind, "an injected fault")),
            Some(Before::Hang) => std::future::pending().await,
            Some(Before::Locked(left)) => {
                return Err(Error::busy(format!("the lock is held by another operation for {left:?} more")));
            }
            Some(Before::Restart(down)) => {
                self.inner.restart_daemon(down);
                return Err(connection_lost());
            }
        }
        match self.inner.switches.failing(self.operation, self.target.as_str()) {
            // The substrate said no, as configured: nothing happened, and it will say so again.
            Some(switch) => Err(Error::internal(format!("it fails as configured with {switch}"))
                .with_outcome(Outcome::Rejected)
                .with_retry(RetryAdvice::Never)),
            None => Ok(()),
        }
    }

    /// # Errors
    /// `Unavailable` when the daemon was restarted since the call came.
    pub(crate) fn still_connected(&self) -> Result<()> {
        if self.inner.lock().daemon.generation == self.generation { Ok(()) } else { Err(connection_lost()) }
    }

    /// How far back this call's reads look, when it is struck by a stale read.
    pub(crate) fn lag(&self) -> Option<Duration> {
        self.plan.lag
    }

    pub(crate) async fn read<T>(
        &self,
        read: impl FnOnce(&mut State, Instant) -> Result<T> + Send,
    ) -> Result<T> {
        self.inner.read(self.lag(), read).await
    }

    pub(crate) async fn change<T: Send>(
        &self,
        change: impl FnOnce(&mut Change<'_>) -> Result<T> + Send,
    ) -> Result<T> {
        self.inner.change(Some(self.operation), change).await
    }

    /// Answers the call, or loses the answer.
    pub(crate) async fn end<T>(self, result: Result<T>) -> Result<T> {
        let result = match self.plan.after {
            None => result,
            Some(After::AnswerLost) => Err(answer_lost()),
            Some(After::Hang) => std::future::pending().await,
            Some(After::Restart(down)) => {
                self.inner.restart_daemon(down);
                Err(connection_lost())
            }
        };
        match result {
            Ok(answer) => {
                self.close(CallOutcome::Succeeded);
                Ok(answer)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn fail(self, error: Error) -> Error {
        let mut error =
            error.with_operation(self.operation).with_substrate(Arc::clone(&self.inner.descriptor.name));
        if !self.target.as_str().is_empty() {
            error = error.with_instance(self.target.as_str());
        }
        self.close(CallOutcome::Failed { kind: error.kind(), outcome: error.outcome() });
        error
    }

    fn close(mut self, outcome: CallOutcome) {
        self.ended = true;
        match outcome {
            CallOutcome::Failed { kind: ErrorKind::Unavailable, .. } => self.inner.note_connection(false),
            // Refused on this side: nothing was learnt about the connection.
            CallOutcome::Failed { outcome: Outcome::NotSent, .. } => {}
            _ => self.inner.note_connection(true),
        }
        self.inner.lock().calls.end(self.number, outcome);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.inner.lock().calls.end(self.number, CallOutcome::Dropped);
        }
    }
}
