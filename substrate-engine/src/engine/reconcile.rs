//! Keeping a deployment as it shall be.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use substrate_core::{Event, EventKind, Operation, WatchItem, WatchOptions};
use tokio::time::{Instant, sleep_until};

use super::{Engine, EngineError};
use crate::run::{Report, RunOptions};
use crate::validation::Desired;

/// How a deployment is kept as it shall be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReconcileOptions {
    /// How often everything is looked at even if nothing was heard: the net under the events.
    pub interval: Duration,
    /// How long is waited after an event for others of the same cause.
    pub settle: Duration,
}

impl Default for ReconcileOptions {
    /// Every five minutes, and half a second after an event.
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), settle: Duration::from_millis(500) }
    }
}

impl ReconcileOptions {
    /// Sets how often everything is looked at without an event.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }
}

impl Engine {
    /// Brings about what is desired, again and again: whenever a facility tells that something of it changed, and every
    /// interval. `heard` gets what came of each round, also of one that could not begin; it ends when the token of the
    /// options is cancelled.
    ///
    /// The deployment is owned for the time of a round only, so that others can deploy in between.
    pub async fn reconcile(
        &self,
        desired: &Desired,
        reconcile: &ReconcileOptions,
        options: &RunOptions,
        mut heard: impl FnMut(Result<Report, EngineError>),
    ) {
        let mut changes = self.changes(desired).await;
        loop {
            heard(self.deploy(desired, options).await);
            let next = Instant::now() + reconcile.interval;
            tokio::select! {
                biased;
                () = options.cancel.cancelled() => return,
                () = sleep_until(next) => {}
                Some(()) = changes.next() => {
                    let settled = Instant::now() + reconcile.settle;
                    // Whatever comes meanwhile is seen by the same look.
                    while tokio::time::timeout_at(settled, changes.next()).await.is_ok_and(|more| more.is_some()) {}
                }
            }
            if options.cancel.is_cancelled() {
                return;
            }
            // A stream that ended is opened anew; until it can be, the interval does.
            changes = self.changes(desired).await;
        }
    }

    /// Something that ought to be looked at, from every facility that tells of its own accord.
    async fn changes(&self, desired: &Desired) -> BoxStream<'static, ()> {
        let used: HashSet<&str> =
            desired.resources().iter().filter_map(|one| Some(&**one.facility()?)).collect();
        let names: Arc<HashSet<String>> =
            Arc::new(desired.resources().iter().map(|one| one.id.instance_name()).collect());
        let mut streams: Vec<BoxStream<'static, ()>> = Vec::new();
        for (name, substrate) in self.facilities() {
            let can_tell = substrate.descriptor().capabilities.support(Operation::Watch).is_yes();
            if !used.contains(name) || !can_tell {
                continue;
            }
            if let Ok(watch) = substrate.watch(&WatchOptions::from_now()).await {
                let names = names.clone();
                let relevant = watch.filter_map(move |item| {
                    let matters = match item {
                        Ok(WatchItem::Event { event, .. }) => is_relevant(&event, &names),
                        // What was missed may have been anything.
                        Ok(_) | Err(_) => true,
                    };
                    std::future::ready(matters.then_some(()))
                });
                streams.push(relevant.boxed());
            }
        }
        match streams.is_empty() {
            true => stream::pending().boxed(),
            false => stream::select_all(streams).boxed(),
        }
    }
}

/// Names on a facility may have something behind them (`web-next`), never before.
fn is_relevant(event: &Event, names: &HashSet<String>) -> bool {
    let is_end = !matches!(event.kind, EventKind::Created | EventKind::Started | EventKind::SnapshotCreated);
    is_end
        && event.instance.as_ref().is_none_or(|instance| {
            names.contains(instance.as_str())
                || instance.as_str().rsplit_once('-').is_some_and(|(name, _)| names.contains(name))
        })
}
