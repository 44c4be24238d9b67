//! The server's events, as they come. A listener that is too slow is disconnected by the server and gets nothing
//! later: the stream then ends with an error, and whoever keeps a picture watches and lists again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use substrate_core::{Error, Feature, Result, WatchItem, WatchOptions, WatchStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::LxcSubstrate;
use crate::client::Target;
use crate::client::socket::{self, Incoming, Socket};
use crate::convert::event::NativeEvent;

const ATTEMPT: &str = "watch the server's events";
/// How long the server may take to say that it listens.
const SUBSCRIPTION_LIMIT: Duration = Duration::from_secs(30);

impl LxcSubstrate {
    pub(super) async fn subscribe(&self, options: &WatchOptions) -> Result<WatchStream> {
        if options.after.is_some() {
            self.descriptor.get().capabilities.require(Feature::WatchResume)?;
        }
        let target = Target::new("/1.0/events").with("type", "lifecycle");
        let mut socket = self.client.websocket(ATTEMPT, &target, true).await?;
        // The server answers the handshake before it has subscribed us; it answers a ping after.
        socket::send(ATTEMPT, &mut socket, Message::Ping(Bytes::from_static(b"subscribed?"))).await?;
        let early = timeout(SUBSCRIPTION_LIMIT, until_pong(&mut socket)).await.map_err(|_| {
            Error::timeout(format!("cannot {ATTEMPT}: no sign of it within {SUBSCRIPTION_LIMIT:?}"))
        })??;
        let watch = Watch { socket, early: early.into_iter(), substrate: self.descriptor.get().name.clone() };
        Ok(stream::unfold(Some(watch), Watch::step).boxed())
    }
}

/// Reads until our ping is answered; what came before it is told first.
async fn until_pong(socket: &mut Socket) -> Result<Vec<String>> {
    let mut early = Vec::new();
    loop {
        match socket::receive(ATTEMPT, socket).await? {
            Incoming::Pong => return Ok(early),
            Incoming::Text(text) => early.push(text),
            Incoming::Data(_) => {}
            Incoming::Closed => return Err(closed()),
        }
    }
}

fn closed() -> Error {
    Error::unavailable("the server closed the stream of events").with_hint("watch again, then list again")
}

/// A subscription.
struct Watch {
    socket: Socket,
    early: std::vec::IntoIter<String>,
    substrate: Arc<str>,
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
        loop {
            let text = match self.early.next() {
                Some(text) => text,
                None => match socket::receive(ATTEMPT, &mut self.socket).await? {
                    Incoming::Text(text) => text,
                    Incoming::Data(_) | Incoming::Pong => continue,
                    Incoming::Closed => return Err(closed()),
                },
            };
            let native: NativeEvent = serde_json::from_str(&text).map_err(|error| {
                Error::protocol(format!("cannot {ATTEMPT}: an event is not what the API promises: {error}"))
            })?;
            if let Some(event) = native.into_event(&self.substrate) {
                return Ok(WatchItem::Event { event, cursor: None });
            }
        }
    }
}
