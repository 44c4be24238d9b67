//! Refuses what the substrate cannot do, before anything else happens.

use crate::error::Result;
use crate::layer::call::Call;
use crate::layer::interceptor::{Interceptor, Next};
use crate::layer::place::Place;

/// Asks the capabilities before every call: the operation, and each option in its arguments.
///
/// Providers refuse too; the gate does it without a round trip, in one wording, and outside the cache, so
/// that a refusal is never counted, retried or stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct CapabilityGate;

impl Interceptor for CapabilityGate {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        call.require_abilities()?;
        next.run().await
    }

    fn places(&self, places: &mut Vec<Place>) {
        places.push(Place::Gate);
    }
}
