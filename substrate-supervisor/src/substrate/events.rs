//! Watching, by looking again and again.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, stream};
use substrate_core::{
    Event, EventOrigin, Feature, InstanceName, Result, WatchItem, WatchOptions, WatchStream,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Shared, SupervisorSubstrate};
use crate::convert::change::{Change, Glimpse, Picture, changes};

/// How many events may wait for a reader. Then the looking waits too, and what happened meanwhile is a gap.
const WAITING_EVENTS: usize = 1024;

impl SupervisorSubstrate {
    pub(super) async fn subscribe(&self, options: &WatchOptions) -> Result<WatchStream> {
        if options.after.is_some() {
            self.shared.descriptor.get().capabilities.require(Feature::WatchResume)?;
        }
        // The first look is taken now: what is done after this call returned is seen by a later one.
        let picture = self.shared.picture().await?;
        let (events, waiting) = mpsc::channel(WAITING_EVENTS);
        let looker =
            Looker { shared: self.shared.clone(), picture, last_time: SystemTime::UNIX_EPOCH, events };
        // Looks are taken whether anybody reads or not: else whoever is born and dies between two readings would
        // never have been.
        let task = Looking(tokio::spawn(looker.look_on()));
        let items = stream::unfold((waiting, task), async |(mut waiting, task)| {
            let item = waiting.recv().await?;
            Some((item, (waiting, task)))
        });
        Ok(items.boxed())
    }
}

impl Shared {
    async fn picture(&self) -> Result<Picture> {
        let mut picture = Picture::new();
        for found in self.find_all().await? {
            let instance = found.into_instance()?;
            picture.insert(instance.name.as_str().to_owned(), Glimpse::of(&instance));
        }
        Ok(picture)
    }
}

/// The looking ends with its stream.
struct Looking(JoinHandle<()>);

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who looks.
struct Looker {
    shared: Arc<Shared>,
    picture: Picture,
    last_time: SystemTime,
    events: mpsc::Sender<Result<WatchItem>>,
}

impl Looker {
    async fn look_on(mut self) {
        loop {
            // Between looks, and not from one look's beginning to the next one's: a slow supervisord gets its rest.
            tokio::time::sleep(self.shared.config.poll_interval).await;
            let items = match self.look().await {
                Ok(events) => {
                    events.into_iter().map(|event| Ok(WatchItem::Event { event, cursor: None })).collect()
                }
                Err(error) => vec![Err(error)],
            };
            let mut waited = false;
            for item in items {
                let is_last = item.is_err();
                waited |= self.events.capacity() == 0;
                if self.events.send(item).await.is_err() || is_last {
                    return;
                }
            }
            if waited {
                let reason =
                    format!("{WAITING_EVENTS} events had piled up, and nobody looked while they did");
                if self.events.send(Ok(WatchItem::Gap { reason })).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Vec<Event>> {
        let picture = self.shared.picture().await?;
        // The moment of the look. supervisord has its own times only for starts and stops, in whole seconds: beside
        // each other the two would be out of order.
        let time = SystemTime::now().max(self.last_time);
        self.last_time = time;
        let events = changes(&self.picture, &picture).into_iter().map(|change| self.event(time, change));
        let events = events.collect();
        self.picture = picture;
        events
    }

    fn event(&self, time: SystemTime, (name, kind, detail): Change) -> Result<Event> {
        let substrate = self.shared.descriptor.get().name.clone();
        let event =
            Event::new(time, substrate, kind, EventOrigin::Observed).with_instance(InstanceName::new(name)?);
        Ok(match detail {
            Some(detail) => event.with_detail(detail),
            None => event,
        })
    }
}
