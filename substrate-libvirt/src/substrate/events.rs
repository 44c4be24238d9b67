//! Events, as libvirt tells them.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use substrate_core::{Error, Feature, Operation, Result, WatchItem, WatchOptions, WatchStream};

use super::LibvirtSubstrate;
use crate::client::Subscription;
use crate::client::native::NativeEvent;
use crate::convert::event::event;
use crate::error::Attempt;

struct Watch {
    subscription: Subscription,
    substrate: Arc<str>,
    last: SystemTime,
}

impl LibvirtSubstrate {
    pub(super) async fn subscribe(&self, options: &WatchOptions) -> Result<WatchStream> {
        self.require(Operation::Watch)?;
        let descriptor = self.descriptor.get();
        if options.after.is_some() {
            descriptor.capabilities.require(Feature::WatchResume)?;
        }
        // Subscribed first: what the connection tells from its first moment on reaches this watch. One that was lost
        // is opened again by the look, and registers anew.
        self.client.look(|connection| connection.lib_version().attempt("reach the server")).await?;
        let subscription = self.client.subscribe();
        self.client.look(|connection| connection.lib_version().attempt("reach the server")).await?;
        let watch =
            Watch { subscription, substrate: Arc::clone(&descriptor.name), last: SystemTime::UNIX_EPOCH };
        Ok(stream::unfold(Some(watch), Watch::step).boxed())
    }
}

impl Watch {
    async fn step(state: Option<Self>) -> Option<(Result<WatchItem>, Option<Self>)> {
        let mut watch = state?;
        loop {
            if watch.subscription.has_gap() {
                let reason = "more events came than were read, and some were dropped".to_owned();
                return Some((Ok(WatchItem::Gap { reason }), Some(watch)));
            }
            match watch.subscription.next().await {
                None => return None,
                Some(NativeEvent::Lost { reason }) => {
                    let error = Error::unavailable(format!("the events ended: {reason}"))
                        .with_hint("watch again: what happened in between is not told, so list anew");
                    return Some((Err(error), None));
                }
                Some(native) => {
                    // libvirt's events carry no time. A clock that was set back does not turn their order around.
                    watch.last = watch.last.max(SystemTime::now());
                    if let Some(event) = event(&native, &watch.substrate, watch.last) {
                        return Some((Ok(WatchItem::Event { event, cursor: None }), Some(watch)));
                    }
                }
            }
        }
    }
}
