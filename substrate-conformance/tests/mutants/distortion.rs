//! Event streams that tell less, or less surely, than the substrate did.

use std::future::ready;

use futures_util::{StreamExt, stream};
use substrate_core::{EventKind, Result, WatchItem, WatchStream};

use crate::bug::Bug;

/// What a watcher gets to see under `bug`.
pub(crate) fn distorted(bug: Bug, events: WatchStream) -> WatchStream {
    match bug {
        Bug::WatchAlwaysGaps => {
            let gap = WatchItem::Gap { reason: "always".to_owned() };
            stream::once(ready(Ok(gap))).chain(events).boxed()
        }
        Bug::WatchLosesStops => events.filter(|item| ready(!is_stop(item))).boxed(),
        _ => events,
    }
}

fn is_stop(item: &Result<WatchItem>) -> bool {
    matches!(item, Ok(WatchItem::Event { event, .. }) if event.kind == EventKind::Stopped)
}
