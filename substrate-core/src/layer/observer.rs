//! Listens to a substrate's native events, for the cache and for the bus.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::event::{WatchItem, WatchOptions};
use crate::layer::cache::Cache;
use crate::layer::events::EventBus;
use crate::operation::Operation;
use crate::substrate::Substrate;

/// A background listener: begins with the first call through the stack (a stack may be built outside a
/// runtime), ends when the stack is dropped.
pub(crate) struct Observer {
    substrate: Arc<dyn Substrate>,
    cache: Option<Cache>,
    bus: Option<EventBus>,
    task: OnceLock<AbortHandle>,
}

impl Observer {
    pub(crate) fn new(substrate: Arc<dyn Substrate>, cache: Option<Cache>, bus: Option<EventBus>) -> Self {
        Self { substrate, cache, bus, task: OnceLock::new() }
    }

    /// Begins to listen, once, as soon as the substrate is connected: before that its capabilities are a
    /// guess, and a watch would only fail.
    pub(crate) fn ensure_started(&self) {
        if self.task.get().is_some() || !self.substrate.is_connected() {
            return;
        }
        let can_watch = self.substrate.descriptor().capabilities.can(Operation::Watch);
        if can_watch
            && (self.cache.is_some() || self.bus.is_some())
            && let Ok(runtime) = Handle::try_current()
        {
            self.task.get_or_init(|| {
                let listening = listen(self.substrate.clone(), self.cache.clone(), self.bus.clone());
                runtime.spawn(listening).abort_handle()
            });
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Observer").field("listening", &self.task.get().is_some()).finish()
    }
}

/// The shortest and the longest wait before a lost stream is opened again.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

async fn listen(substrate: Arc<dyn Substrate>, cache: Option<Cache>, bus: Option<EventBus>) {
    let mut options = WatchOptions::from_now();
    let mut wait = FIRST_WAIT;
    loop {
        match substrate.watch(&options).await {
            Ok(mut items) => {
                // What was read while nobody listened may have changed unnoticed.
                clear(cache.as_ref());
                while let Some(item) = items.next().await {
                    match item {
                        Ok(WatchItem::Event { event, cursor }) => {
                            wait = FIRST_WAIT;
                            if let Some(cursor) = cursor {
                                options = WatchOptions::after(cursor);
                            }
                            if let Some(cache) = &cache {
                                cache.observe(&event);
                            }
                            if let Some(bus) = bus.as_ref().filter(|bus| bus.has_subscribers()) {
                                bus.publish(event);
                            }
                        }
                        Ok(WatchItem::Gap { reason }) => {
                            tracing::debug!(target: "substrate", reason, "events were missed");
                            clear(cache.as_ref());
                        }
                        Err(error) => {
                            tracing::debug!(target: "substrate", %error, "the event stream was lost");
                            break;
                        }
                    }
                }
            }
            Err(error) if error.is_unsupported() => return,
            Err(error) => {
                tracing::debug!(target: "substrate", %error, "no event stream");
                // A cursor that the substrate does not take must not keep us deaf for ever.
                options = WatchOptions::from_now();
            }
        }
        // From here on nobody listens: only the times to live bound what is kept.
        clear(cache.as_ref());
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn clear(cache: Option<&Cache>) {
    if let Some(cache) = cache {
        cache.clear();
    }
}
