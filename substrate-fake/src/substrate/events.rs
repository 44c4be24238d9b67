//! Watching.

use std::sync::Arc;

use futures_util::stream;
use substrate_core::{Error, Feature, Operation, Result, WatchItem, WatchOptions, WatchStream};
use tokio::sync::watch;

use crate::call::Call;
use crate::error::connection_lost;
use crate::events::Look;
use crate::inner::Inner;

pub(super) fn watch(inner: &Arc<Inner>, call: &Call<'_>, options: &WatchOptions) -> Result<WatchStream> {
    let capabilities = &inner.descriptor.capabilities;
    let after = match &options.after {
        None => None,
        Some(cursor) => {
            capabilities.require(Feature::WatchResume)?;
            let number = cursor.0.parse::<u64>().map_err(|_| {
                Error::invalid_input(format!("`{}` is no cursor of a fake", cursor.0.escape_debug()))
            })?;
            Some(number)
        }
    };
    let pulse = inner.subscribe();
    let core = inner.lock();
    let (position, missing) = match after {
        None => (core.history.end(), false),
        Some(number) => core.history.after(number, core.state.last_event),
    };
    let watcher = Watcher {
        generation: call.generation,
        watch_generation: core.daemon.watch_generation,
        position,
        gap: missing.then(|| "the events after this cursor are not kept any more".to_owned()),
        cursors: capabilities.can(Feature::WatchResume),
        pulse,
        ended: false,
        inner: Arc::clone(inner),
    };
    drop(core);
    let items = stream::unfold(watcher, |mut watcher| async move {
        let item = watcher.next().await?;
        Some((item, watcher))
    });
    Ok(Box::pin(items))
}

struct Watcher {
    inner: Arc<Inner>,
    generation: u64,
    watch_generation: u64,
    /// Where the next event stands in the history.
    position: u64,
    gap: Option<String>,
    cursors: bool,
    pulse: watch::Receiver<()>,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<WatchItem>> {
        while !self.ended {
            // Marked as seen before the look: an event that comes during the look is seen the next time.
            self.pulse.mark_unchanged();
            match self.look() {
                Ok(Some(item)) => return Some(Ok(item)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            if self.pulse.changed().await.is_err() {
                return None;
            }
        }
        None
    }

    fn look(&mut self) -> Result<Option<WatchItem>> {
        if let Some(reason) = self.gap.take() {
            return Ok(Some(WatchItem::Gap { reason }));
        }
        let core = self.inner.lock();
        // What happened before the connection was lost may be lost with it: the cursor tells where to resume.
        if (core.daemon.generation, core.daemon.watch_generation) != (self.generation, self.watch_generation)
        {
            return Err(connection_lost()
                .with_operation(Operation::Watch)
                .with_substrate(Arc::clone(&self.inner.descriptor.name)));
        }
        match core.history.look(self.position, self.cursors) {
            Look::Nothing => Ok(None),
            Look::Item(item, next) => {
                self.position = next;
                Ok(Some(item))
            }
            Look::Behind(first) => {
                self.position = first;
                let reason = "this watcher was slower than the events that are kept".to_owned();
                Ok(Some(WatchItem::Gap { reason }))
            }
        }
    }
}
