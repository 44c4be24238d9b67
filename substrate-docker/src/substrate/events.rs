//! The daemon's events, as they come.
//!
//! What the daemon does not tell stays untold: it keeps 256 past events, and skips a listener whose 1 024
//! events are full for 100 ms without a word. The first is noticed by asking the history for the cursor's
//! own event; the second is suspected when that many have piled up here, and told as a gap.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{StreamExt, stream};
use http_body_util::BodyStream;
use hyper::body::Incoming;
use substrate_core::{
    Error, Event, EventKind, Feature, InstanceName, Result, WatchItem, WatchOptions, WatchStream,
};
use tokio::time::Instant;

use super::DockerSubstrate;
use crate::client::{Client, Driver, Target};
use crate::convert::event::{NativeEvent, Position};
use crate::convert::time;
use crate::error;

/// How many events the daemon queues for one listener.
const DAEMON_QUEUE: usize = 1024;
/// An event that comes sooner than this was waiting for us, and not we for it.
const READY: Duration = Duration::from_millis(5);
/// The longest event that is read: labels of a container are in it.
const EVENT_LIMIT: usize = 4 << 20;
/// How many containers' names are remembered, for events that only tell the id.
const REMEMBERED_NAMES: usize = 4096;
const ATTEMPT: &str = "watch the daemon's events";

impl DockerSubstrate {
    pub(super) async fn subscribe(&self, options: &WatchOptions) -> Result<WatchStream> {
        let descriptor = self.descriptor.get();
        let (position, gap) = match &options.after {
            Some(cursor) => {
                descriptor.capabilities.require(Feature::WatchResume)?;
                let position = Position::parse(cursor)
                    .ok_or_else(|| Error::invalid_input("this is no cursor of a Docker substrate"))?;
                let gap = self.gap_since(&position).await?;
                (position, gap)
            }
            // The daemon answers before it has subscribed us: what happens in between is in its history,
            // which is asked for from now on, on its own clock.
            None => (Position::at(self.daemon_now().await?), None),
        };
        let target = events_since(position.since());
        let (body, driver) = self.client.stream(ATTEMPT, &target).await?;
        let watch = Watch {
            client: self.client.clone(),
            substrate: descriptor.name.clone(),
            body,
            _driver: driver,
            buffer: BytesMut::new(),
            position,
            gap,
            piled_up: 0,
            names: HashMap::new(),
        };
        Ok(stream::unfold(Some(watch), Watch::step).boxed())
    }

    async fn daemon_now(&self) -> Result<u64> {
        let info = self.info().await?;
        info.system_time.as_deref().and_then(time::parse).map(time::to_nanoseconds).ok_or_else(|| {
            Error::protocol("the daemon does not tell its time, so events cannot be asked for")
        })
    }

    /// Why events after a position may be missing, if they may.
    async fn gap_since(&self, position: &Position) -> Result<Option<String>> {
        if !position.has_evidence() {
            return Ok(None);
        }
        let now = self.daemon_now().await?;
        // With an end in the past the daemon tells its history and closes.
        let target = events_since(position.since()).with("until", &nanoseconds_query(now));
        let (mut body, _driver) = self.client.stream(ATTEMPT, &target).await?;
        let mut buffer = BytesMut::new();
        let mut history = Vec::new();
        while let Some(frame) = body.next().await {
            let frame = frame.map_err(|failure| error::broken(ATTEMPT, &failure))?;
            if let Ok(data) = frame.into_data() {
                buffer.extend_from_slice(&data);
            }
            while let Some(event) = take_event(&mut buffer)? {
                history.push(event);
            }
        }
        let covered = position.is_covered_by(history.iter());
        Ok((!covered).then(|| {
            "the daemon's history does not reach back to the cursor: it keeps 256 events, and none over a restart"
                .to_owned()
        }))
    }
}

fn events_since(nanoseconds: u64) -> Target {
    Target::new("/events").with("since", &nanoseconds_query(nanoseconds))
}

fn nanoseconds_query(nanoseconds: u64) -> String {
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

/// A subscription.
struct Watch {
    client: Arc<Client>,
    substrate: Arc<str>,
    body: BodyStream<Incoming>,
    _driver: Driver,
    buffer: BytesMut,
    position: Position,
    gap: Option<String>,
    /// Events that lay ready without our waiting for any.
    piled_up: usize,
    names: HashMap<String, InstanceName>,
}

impl Watch {
    async fn step(state: Option<Self>) -> Option<(Result<WatchItem>, Option<Self>)> {
        let mut watch = state?;
        match watch.item().await {
            Ok(item) => Some((Ok(item), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    }

    async fn item(&mut self) -> Result<WatchItem> {
        if let Some(reason) = self.gap.take() {
            return Ok(WatchItem::Gap { reason });
        }
        loop {
            while let Some(native) = take_event(&mut self.buffer)? {
                self.piled_up += 1;
                if !self.position.advance(&native) {
                    continue;
                }
                if let Some((id, name)) = native.container() {
                    remember(&mut self.names, id, name);
                }
                let cursor = Some(self.position.cursor());
                if let Some(event) = native.into_event(&self.substrate) {
                    let event = self.with_name(event).await;
                    if self.piled_up == DAEMON_QUEUE {
                        self.gap = Some(format!(
                            "{DAEMON_QUEUE} events had piled up, and beyond that the daemon skips events silently"
                        ));
                    }
                    return Ok(WatchItem::Event { event, cursor });
                }
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<()> {
        let asked = Instant::now();
        let frame = self.body.next().await;
        if asked.elapsed() > READY {
            // Nothing lay ready: whatever had piled up is worked off.
            self.piled_up = 0;
        }
        match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                if self.buffer.len() > EVENT_LIMIT {
                    return Err(Error::protocol("the daemon sent an event of more than 4 MiB"));
                }
                Ok(())
            }
            Some(Err(failure)) => Err(error::broken(ATTEMPT, &failure)),
            None => Err(Error::unavailable("the daemon ended the event stream")
                .with_hint("it was stopped or restarted; resume with the last cursor")),
        }
    }

    /// Events of networks tell a container's id only.
    async fn with_name(&mut self, mut event: Event) -> Event {
        let Some(instance) = &event.instance else { return event };
        let is_id = instance.as_str().len() == 64
            && matches!(event.kind, EventKind::NetworkAttached | EventKind::NetworkDetached);
        if !is_id {
            return event;
        }
        if !self.names.contains_key(instance.as_str()) {
            let target = Target::new("/containers").segment(instance.as_str()).segment("json");
            let document = self.client.get::<serde_json::Value>("look at the container", &target).await;
            let name = document.as_ref().ok().and_then(|document| document.get("Name")?.as_str());
            if let Some(name) = name {
                remember(&mut self.names, instance.as_str(), name.trim_start_matches('/'));
            }
        }
        if let Some(name) = self.names.get(instance.as_str()) {
            event.instance = Some(name.clone());
        }
        event
    }
}

fn remember(names: &mut HashMap<String, InstanceName>, id: &str, name: &str) {
    if names.get(id).is_some_and(|known| known == name) {
        return;
    }
    if let Ok(name) = InstanceName::new(name) {
        // Forgetting costs one question each, later.
        if names.len() >= REMEMBERED_NAMES {
            names.clear();
        }
        names.insert(id.to_owned(), name);
    }
}

/// The next event in a buffer of JSON documents, one per line or one behind the other.
pub(crate) fn take_event(buffer: &mut BytesMut) -> Result<Option<NativeEvent>> {
    let mut documents = serde_json::Deserializer::from_slice(buffer).into_iter::<NativeEvent>();
    let event = match documents.next() {
        Some(Ok(event)) => event,
        None => {
            buffer.clear();
            return Ok(None);
        }
        Some(Err(error)) if error.is_eof() => return Ok(None),
        Some(Err(error)) => {
            return Err(Error::protocol(format!("the daemon sent an unreadable event: {error}")));
        }
    };
    let read = documents.byte_offset();
    let _ = buffer.split_to(read);
    Ok(Some(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_can_be_cut_anywhere_and_stand_behind_each_other() {
        let stream = br#"{"Type":"container","Action":"start","time":1,"timeNano":1}
{"Type":"container","Action":"die","time":1,"timeNano":2}{"Type":"network","Action":"create","time":1,"timeNano":3}
"#;
        for step in [1, 5, stream.len()] {
            let mut buffer = BytesMut::new();
            let mut times = Vec::new();
            for piece in stream.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(event) = take_event(&mut buffer).unwrap() {
                    times.push(event.nanoseconds());
                }
            }
            assert_eq!(times, [1, 2, 3]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn nonsense_is_an_error_and_not_silence() {
        assert!(take_event(&mut BytesMut::from(&b"<html>"[..])).unwrap_err().is_protocol());
    }
}
