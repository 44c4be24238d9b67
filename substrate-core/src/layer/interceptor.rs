//! The shape of a layer.

use std::fmt;

use crate::error::Result;
use crate::layer::call::Call;
use crate::layer::place::Place;
use crate::metrics::SubstrateMetrics;
use crate::stream::BoxStream;

/// The rest of the way behind a layer.
///
/// A trait with one method and not `F: Fn() -> Fut`: with two type parameters each layer mentions the type of
/// everything inside it twice, and the compiler's work doubles with every layer. A closure is a `Next` all
/// the same.
pub trait Next<T>: Send + Sync {
    /// Goes on. May be called any number of times.
    fn run(&self) -> impl Future<Output = Result<T>> + Send;
}

impl<T, F, Fut> Next<T> for F
where
    F: Fn() -> Fut + Send + Sync,
    Fut: Future<Output = Result<T>> + Send,
{
    fn run(&self) -> impl Future<Output = Result<T>> + Send {
        self()
    }
}

/// One layer: a function around every call.
///
/// `next` is the rest of the way. It can run again (retry), be raced (timeout), be timed (metrics), or not
/// run at all (a cached answer, a refusal). Results are `'static`, so that a layer that needs to know them
/// (cache, events) can ask for the type it expects with [`Any`](std::any::Any) instead of every layer being
/// written out once per method.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use substrate_core::Result;
/// use substrate_core::layer::{Call, Interceptor, Next};
///
/// /// Counts calls.
/// #[derive(Debug, Default)]
/// struct Counted(AtomicU64);
///
/// impl Interceptor for Counted {
///     async fn around<T: Send + 'static, N: Next<T>>(&self, _call: &Call<'_>, next: &N) -> Result<T> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         next.run().await
///     }
/// }
/// ```
pub trait Interceptor: fmt::Debug + Send + Sync + 'static {
    /// Runs a call, with `next` as the rest of the way.
    fn around<T: Send + 'static, N: Next<T>>(
        &self,
        call: &Call<'_>,
        next: &N,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Wraps the stream that a call returned: log lines, command output, native events. A stream lives
    /// longer than its call, so what a layer keeps in here must be its own.
    fn stream<T: Send + 'static>(
        &self,
        _call: &Call<'_>,
        stream: BoxStream<Result<T>>,
    ) -> BoxStream<Result<T>> {
        stream
    }

    /// What this layer counted.
    fn metrics(&self) -> SubstrateMetrics {
        SubstrateMetrics::default()
    }

    /// Adds where it stands in the order that works; a layer that fits anywhere adds nothing.
    fn places(&self, _places: &mut Vec<Place>) {}

    /// Whether it may run a call more than once. Creations then carry a key of their own, by which a
    /// repetition recognises what a lost call has already made.
    fn repeats(&self) -> bool {
        false
    }
}

/// Two layers, the first around the second: a layer again.
#[derive(Debug, Clone)]
pub struct Then<Outer, Inner>(pub Outer, pub Inner);

/// What is inside the outer of two layers: the inner one, and then the rest of the way.
struct Inside<'a, I, N> {
    interceptor: &'a I,
    call: &'a Call<'a>,
    next: &'a N,
}

impl<T: Send + 'static, I: Interceptor, N: Next<T>> Next<T> for Inside<'_, I, N> {
    fn run(&self) -> impl Future<Output = Result<T>> + Send {
        self.interceptor.around(self.call, self.next)
    }
}

impl<Outer: Interceptor, Inner: Interceptor> Interceptor for Then<Outer, Inner> {
    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn stores each of its arguments twice, at every level"
    )]
    fn around<T: Send + 'static, N: Next<T>>(
        &self,
        call: &Call<'_>,
        next: &N,
    ) -> impl Future<Output = Result<T>> + Send {
        async move { self.0.around(call, &Inside { interceptor: &self.1, call, next }).await }
    }

    fn stream<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        stream: BoxStream<Result<T>>,
    ) -> BoxStream<Result<T>> {
        self.0.stream(call, self.1.stream(call, stream))
    }

    fn metrics(&self) -> SubstrateMetrics {
        self.0.metrics().merged_with(self.1.metrics())
    }

    fn places(&self, places: &mut Vec<Place>) {
        self.0.places(places);
        self.1.places(places);
    }

    fn repeats(&self) -> bool {
        self.0.repeats() || self.1.repeats()
    }
}

/// A layer that configuration can switch off: without one, nothing stands in the way.
impl<I: Interceptor> Interceptor for Option<I> {
    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn stores each of its arguments twice, at every level"
    )]
    fn around<T: Send + 'static, N: Next<T>>(
        &self,
        call: &Call<'_>,
        next: &N,
    ) -> impl Future<Output = Result<T>> + Send {
        async move {
            match self {
                Some(interceptor) => interceptor.around(call, next).await,
                None => next.run().await,
            }
        }
    }

    fn stream<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        stream: BoxStream<Result<T>>,
    ) -> BoxStream<Result<T>> {
        match self {
            Some(interceptor) => interceptor.stream(call, stream),
            None => stream,
        }
    }

    fn metrics(&self) -> SubstrateMetrics {
        self.as_ref().map(Interceptor::metrics).unwrap_or_default()
    }

    fn places(&self, places: &mut Vec<Place>) {
        if let Some(interceptor) = self {
            interceptor.places(places);
        }
    }

    fn repeats(&self) -> bool {
        self.as_ref().is_some_and(Interceptor::repeats)
    }
}
