//! Decorators: what a call meets on its way to a provider.
//!
//! A decorator is an [`Interceptor`]: one generic function around a call. Interceptors compose statically
//! into one ([`Then`]); [`Intercepted`] puts it around a substrate and is the only code that forwards the
//! methods of the trait. [`Stack::standard`] is the order that works, with the reason for each place.

mod breaker;
mod cache;
mod call;
mod deadline;
mod events;
mod gate;
mod intercepted;
mod interceptor;
mod limit;
mod metrics;
mod observer;
mod place;
mod repetition;
mod retry;
mod settings;
mod stack;
mod tracing;

pub use breaker::Breaker;
pub use cache::{Cache, fresh};
pub use call::{Call, Target};
pub use deadline::{AttemptTimeout, Deadline};
pub use events::{Announced, Delivery, EventBus, EventFilter, EventStream, Subscription};
pub use gate::CapabilityGate;
pub use intercepted::Intercepted;
pub use interceptor::{Interceptor, Next, Then};
pub use limit::{ConcurrencyLimit, RateLimit};
pub use metrics::Counted;
pub use place::Place;
pub use retry::Retry;
pub use settings::{
    BreakerSettings, CacheSettings, LimitSettings, RetrySettings, StackSettings, TimeoutSettings,
};
pub use stack::{Nothing, Stack, StackBuilder};
pub use tracing::Traced;
