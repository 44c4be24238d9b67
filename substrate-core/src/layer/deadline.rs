//! Bounds in time: for a whole call, for one attempt, for a silent stream.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;

use crate::error::{Error, Result};
use crate::layer::call::Call;
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;
use crate::layer::settings::TimeoutSettings;
use crate::stream::BoxStream;

/// Bounds one attempt by the timeout of the operation's class, and a stream by its silence.
///
/// A stop's grace period is added to its bound: the HTTP call lasts as long as the guest is given.
#[derive(Debug, Clone)]
pub struct AttemptTimeout {
    settings: TimeoutSettings,
}

impl AttemptTimeout {
    /// A layer with these bounds.
    #[must_use]
    pub fn new(settings: TimeoutSettings) -> Self {
        Self { settings }
    }
}

impl Interceptor for AttemptTimeout {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        match self.settings.of(call.operation.profile().timeout) {
            None => next.run().await,
            Some(limit) => within(limit.saturating_add(call.extra_time()), call, next).await,
        }
    }

    fn stream<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        stream: BoxStream<Result<T>>,
    ) -> BoxStream<Result<T>> {
        let Some(limit) = self.settings.stream_idle else { return stream };
        let silent = call.explain(Error::timeout(format!("the stream was silent for {limit:?}")));
        let timed = futures_util::stream::unfold(Some(stream), move |stream| {
            let silent = silent.clone();
            async move {
                let mut stream = stream?;
                match tokio::time::timeout(limit, stream.next()).await {
                    Ok(item) => item.map(|item| (item, Some(stream))),
                    Err(_) => Some((Err(silent), None)),
                }
            }
        });
        timed.boxed()
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::AttemptTimeout);
    }
}

/// Bounds a whole call: all attempts, the waits between them, the queueing for permits.
///
/// A stop's grace period is added; `execute_command` is left to [`Command::timeout`](crate::Command).
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    limit: Duration,
}

impl Deadline {
    /// A layer with this bound.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl Interceptor for Deadline {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        if call.operation == crate::Operation::ExecuteCommand {
            return next.run().await;
        }
        within(self.limit.saturating_add(call.extra_time()), call, next).await
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Deadline);
    }
}

/// Goes on for at most `limit`. A call that answers at the first poll (a cache, a memory, a refusal)
/// never makes a timer: a timer costs more than such a call.
///
/// Takes `next` and not its future: a future that is handed on by value is stored once more on the way.
async fn within<T, N: Next<T>>(limit: Duration, call: &Call<'_>, next: &N) -> Result<T> {
    let mut future = pin!(next.run());
    if let Poll::Ready(result) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        return result;
    }
    // The timer has a box of its own: a call that has to wait can afford one, the others stay small.
    Box::pin(tokio::time::timeout(limit, future))
        .await
        .unwrap_or_else(|_| Err(call.explain(Error::timeout(format!("no answer within {limit:?}")))))
}
