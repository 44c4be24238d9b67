//! Where answers lie.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::instance::InstanceFilter;
use crate::layer::cache::answer::Answer;
use crate::layer::cache::fresh::Turn;
use crate::layer::call::{Call, Target};
use crate::name::InstanceName;
use crate::operation::Operation;

/// One answer, or one that is being fetched.
///
/// Everybody who asks for the same thing at the same time holds the same flight: the first fetches, the
/// others wait for the lock and find the answer, or the error. When the first is dropped the next takes over.
#[derive(Debug)]
pub(super) struct Flight {
    begun: Turn,
    pub(super) landed: OnceLock<(Result<Answer, Error>, Instant)>,
    pub(super) fetching: tokio::sync::Mutex<()>,
}

impl Flight {
    fn begin() -> Self {
        Self { begun: Turn::next(), landed: OnceLock::new(), fetching: tokio::sync::Mutex::default() }
    }

    fn is_usable(&self, time_to_live: Duration, not_before: Option<Turn>) -> bool {
        self.landed.get().is_none_or(|(_, at)| at.elapsed() < time_to_live)
            && not_before.is_none_or(|turn| self.begun > turn)
    }
}

/// The flights by what they answer. An invalidation takes a flight out; who holds it still gets its answer,
/// but nobody who asks afterwards does.
#[derive(Debug, Default)]
pub(super) struct Store {
    by_filter: HashMap<InstanceFilter, Arc<Flight>>,
    by_name: HashMap<(Operation, InstanceName), Arc<Flight>>,
    by_operation: HashMap<Operation, Arc<Flight>>,
}

impl Store {
    /// The flight for a call, one that is still good or one that begins now; nothing for a call that has no place here.
    pub(super) fn flight(
        &mut self,
        call: &Call<'_>,
        time_to_live: Duration,
        not_before: Option<Turn>,
        capacity: usize,
    ) -> Option<Arc<Flight>> {
        if let Some(flight) = self.find(call)
            && flight.is_usable(time_to_live, not_before)
        {
            return Some(flight.clone());
        }
        if self.len() >= capacity {
            self.make_room();
        }
        let flight = Arc::new(Flight::begin());
        match call.target {
            Target::Selection(filter) => self.by_filter.insert(filter.clone(), flight.clone()),
            Target::Instance(name) => self.by_name.insert((call.operation, name.clone()), flight.clone()),
            Target::Substrate => self.by_operation.insert(call.operation, flight.clone()),
            _ => return None,
        };
        Some(flight)
    }

    pub(super) fn find(&self, call: &Call<'_>) -> Option<&Arc<Flight>> {
        match call.target {
            Target::Selection(filter) => self.by_filter.get(filter),
            Target::Instance(name) => self.by_name.get(&(call.operation, name.clone())),
            Target::Substrate => self.by_operation.get(&call.operation),
            _ => None,
        }
    }

    /// Takes this very flight out: its error is not kept.
    pub(super) fn discard(&mut self, call: &Call<'_>, flight: &Arc<Flight>) {
        if !self.find(call).is_some_and(|found| Arc::ptr_eq(found, flight)) {
            return;
        }
        match call.target {
            Target::Selection(filter) => drop(self.by_filter.remove(filter)),
            Target::Instance(name) => drop(self.by_name.remove(&(call.operation, name.clone()))),
            Target::Substrate => drop(self.by_operation.remove(&call.operation)),
            _ => {}
        }
    }

    /// Takes out every answer that `is_stale` names. Instances are reachable by name and by id, so an answer
    /// about one is not told from an answer about another: all answers of an operation go together.
    pub(super) fn forget(&mut self, is_stale: impl Fn(Operation) -> bool) {
        if is_stale(Operation::ListInstances) {
            self.by_filter.clear();
        }
        self.by_name.retain(|(operation, _), _| !is_stale(*operation));
        self.by_operation.retain(|operation, _| !is_stale(*operation));
    }

    pub(super) fn len(&self) -> usize {
        self.by_filter.len() + self.by_name.len() + self.by_operation.len()
    }

    /// A full cache starts over: what is asked for often is back at once, and no order of use has to be
    /// kept on every hit.
    fn make_room(&mut self) {
        self.forget(|_| true);
    }
}
