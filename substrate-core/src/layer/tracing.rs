//! One span per call.

use std::pin::pin;

use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::error::Result;
use crate::layer::call::Call;
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;

/// Runs each call in a `debug` span with the fields `operation`, `substrate`, `target` and, when it failed,
/// `error`. Costs a comparison when nobody listens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traced;

impl Interceptor for Traced {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        let span = if tracing::enabled!(target: "substrate", tracing::Level::DEBUG) {
            tracing::debug_span!(
                target: "substrate",
                "call",
                operation = call.operation.name(),
                substrate = &*call.descriptor.name,
                target = call.target.name(),
                error = Empty,
            )
        } else {
            Span::none()
        };
        let result = pin!(next.run()).instrument(span.clone()).await;
        if let Err(error) = &result {
            span.record("error", tracing::field::display(error));
        }
        result
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Tracing);
    }
}
