//! The standard stack.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::layer::breaker::Breaker;
use crate::layer::cache::Cache;
use crate::layer::call::Call;
use crate::layer::deadline::{AttemptTimeout, Deadline};
use crate::layer::events::{Announced, EventBus};
use crate::layer::gate::CapabilityGate;
use crate::layer::intercepted::Intercepted;
use crate::layer::interceptor::{Interceptor, Next, Then};
use crate::layer::limit::{ConcurrencyLimit, RateLimit};
use crate::layer::metrics::Counted;
use crate::layer::observer::Observer;
use crate::layer::place::Place;
use crate::layer::retry::Retry;
use crate::layer::settings::StackSettings;
use crate::layer::tracing::Traced;
use crate::substrate::Substrate;

/// A substrate with layers around it, and the handles of the layers that have one.
///
/// ```
/// # use std::sync::Arc;
/// # use substrate_core::{Result, Substrate};
/// # fn example(provider: Arc<dyn Substrate>) -> Result<()> {
/// use substrate_core::layer::{EventFilter, Stack, StackSettings};
/// let stack = Stack::standard(provider, &StackSettings::default())?;
/// let events = stack.events().map(|bus| bus.subscribe(EventFilter::all()));
/// let substrate: Arc<dyn Substrate> = stack.substrate();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Stack {
    substrate: Arc<dyn Substrate>,
    places: Vec<Place>,
    events: Option<EventBus>,
    cache: Option<Cache>,
}

impl Stack {
    /// The layers in the order that works, as `settings` switch them on. What is switched off costs a
    /// comparison. Needs no runtime.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for settings that cannot work.
    pub fn standard(provider: Arc<dyn Substrate>, settings: &StackSettings) -> Result<Self> {
        let retry = (settings.retry.retries > 0).then(|| Retry::new(settings.retry.clone())).transpose()?;
        let rate =
            settings.limits.rate.map(|rate| RateLimit::new(rate, settings.limits.burst)).transpose()?;
        let concurrency = settings.limits.concurrency.map(ConcurrencyLimit::new).transpose()?;
        let events = settings.enable_events.then(|| EventBus::new(settings.event_buffer));
        let cache = settings.enable_caching.then(|| Cache::new(settings.cache.clone()));
        let observer = Observer::new(provider.clone(), cache.clone(), events.clone());

        let builder = StackBuilder::new(provider)
            // Outermost: one span covers everything that the call causes.
            .layer(settings.enable_tracing.then_some(Traced))
            // What the caller sees: one call, however many attempts, cached or not.
            .layer(settings.enable_metrics.then(Counted::new))
            // Once per call, and after it is known how it ended.
            .layer(events.clone().map(Announced::new))
            // Before the cache: a refusal is no answer to keep, and costs no permit.
            .layer(CapabilityGate)
            // Starts the listener behind cache and bus; passes everything on.
            .layer(Observed(observer))
            // Before every deadline and permit: what is in memory needs neither.
            .layer(cache.clone())
            // Around retry: the caller's patience covers the waits too.
            .layer(settings.timeouts.total.map(Deadline::new))
            // Around everything that belongs to one attempt.
            .layer(retry)
            // Inside retry: repetitions count against the rate.
            .layer(rate)
            // Inside retry: no permit is held while waiting for the next attempt.
            .layer(concurrency)
            // Around single attempts, and outside their timeout: silence is what it counts.
            .layer((settings.breaker.failures > 0).then(|| Breaker::new(settings.breaker.clone())))
            // Innermost: the time in a queue is not the substrate's fault.
            .layer(AttemptTimeout::new(settings.timeouts.clone()));
        Ok(Self { events, cache, ..builder.build()? })
    }

    /// The substrate with everything around it.
    #[must_use]
    pub fn substrate(&self) -> Arc<dyn Substrate> {
        self.substrate.clone()
    }

    /// The event bus, where events are switched on: own calls and, where the substrate tells them, native
    /// events ([`EventOrigin`](crate::EventOrigin) tells the two apart).
    #[must_use]
    pub fn events(&self) -> Option<&EventBus> {
        self.events.as_ref()
    }

    /// The cache, where caching is switched on.
    #[must_use]
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// The layers from the outside in; own layers that have no place of their own are left out.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }
}

impl fmt::Debug for Stack {
    /// The column, from the outside in: `tracing → metrics → … → docker-paris`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.places {
            write!(formatter, "{place} → ")?;
        }
        formatter.write_str(&self.substrate.descriptor().name)
    }
}

/// Builds a stack of one's own, from the outside in.
///
/// ```
/// # use std::sync::Arc;
/// # use substrate_core::{Result, Substrate};
/// # fn example(provider: Arc<dyn Substrate>) -> Result<()> {
/// use substrate_core::layer::{AttemptTimeout, Counted, StackBuilder, TimeoutSettings};
/// let stack = StackBuilder::new(provider)
///     .layer(Counted::new())
///     .layer(AttemptTimeout::new(TimeoutSettings::default()))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct StackBuilder<I> {
    provider: Arc<dyn Substrate>,
    layers: I,
}

impl StackBuilder<Nothing> {
    /// Nothing around `provider` yet.
    pub fn new(provider: Arc<dyn Substrate>) -> Self {
        Self { provider, layers: Nothing }
    }
}

impl<I: Interceptor> StackBuilder<I> {
    /// Adds a layer inside those added before. `None` adds nothing.
    pub fn layer<L: Interceptor>(self, layer: L) -> StackBuilder<Then<I, L>> {
        StackBuilder { provider: self.provider, layers: Then(self.layers, layer) }
    }

    /// Puts the layers around the provider.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when our layers stand in an order that
    /// cannot work; see [`Place`].
    pub fn build(self) -> Result<Stack> {
        let mut places = Vec::new();
        self.layers.places(&mut places);
        Place::check_order(&places)?;
        let substrate = Arc::new(Intercepted::new(self.layers, self.provider));
        Ok(Stack { substrate, places, events: None, cache: None })
    }
}

/// The layer that does nothing: where a builder begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Interceptor for Nothing {
    async fn around<T: Send + 'static, N: Next<T>>(&self, _call: &Call<'_>, next: &N) -> Result<T> {
        next.run().await
    }
}

/// Keeps the listener alive as long as the stack, and starts it.
#[derive(Debug)]
struct Observed(Observer);

impl Interceptor for Observed {
    async fn around<T: Send + 'static, N: Next<T>>(&self, _call: &Call<'_>, next: &N) -> Result<T> {
        self.0.ensure_started();
        next.run().await
    }
}
