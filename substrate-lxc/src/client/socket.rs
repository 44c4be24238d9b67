//! Websockets: what the servers stream over. The handshake is an ordinary request, so that the unix socket, TLS
//! and the certificate are the connection's affair, as with every other.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use reqwest::{RequestBuilder, StatusCode};
use substrate_core::{Error, Result};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::peer::Peer;
use crate::error;

/// The longest message that is taken. The servers send pieces of at most some 128 KiB.
const MESSAGE_LIMIT: usize = 16 << 20;

/// One websocket.
pub(crate) type Socket = WebSocketStream<Peer>;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Bytes of a stream.
    Data(Bytes),
    /// A text, which is how the servers end one direction of a stream, or an event.
    Text(String),
    /// An answer to our ping.
    Pong,
    /// Nothing more will come: the other side has closed in order.
    Closed,
}

/// Opens a websocket on a request. A `strict` one fails when what we send cannot arrive; on any other only what
/// comes counts.
pub(crate) async fn open(
    attempt: &str,
    endpoint: &str,
    request: RequestBuilder,
    strict: bool,
) -> Result<Socket> {
    let key = generate_key();
    let response = request
        .header(CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(UPGRADE, HeaderValue::from_static("websocket"))
        .header("Sec-WebSocket-Version", HeaderValue::from_static("13"))
        .header(SEC_WEBSOCKET_KEY, &key)
        .send()
        .await
        .map_err(|failure| error::from_request(attempt, endpoint, failure))?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = response.bytes().await.unwrap_or_default();
        return Err(error::from_status(attempt, status.as_u16(), &super::message_of(&body)));
    }
    let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(Error::protocol(format!("cannot {attempt}: the answer is not that of a websocket")));
    }
    let stream =
        response.upgrade().await.map_err(|failure| error::from_request(attempt, endpoint, failure))?;
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
    Ok(WebSocketStream::from_raw_socket(Peer::new(stream, strict), Role::Client, Some(config)).await)
}

/// The next thing that comes. Pings are answered on the way.
pub(crate) async fn receive(
    attempt: &str,
    socket: &mut (impl StreamExt<Item = Result<Message, tungstenite::Error>> + Unpin),
) -> Result<Incoming> {
    loop {
        return Ok(match socket.next().await {
            None => Incoming::Closed,
            Some(Ok(Message::Binary(data))) => Incoming::Data(data),
            Some(Ok(Message::Text(text))) => Incoming::Text(text.as_str().to_owned()),
            Some(Ok(Message::Pong(_))) => Incoming::Pong,
            Some(Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed)) => Incoming::Closed,
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
            Some(Err(failure)) => return Err(error::broken(attempt, &failure)),
        });
    }
}

/// Sends a message.
pub(crate) async fn send(
    attempt: &str,
    socket: &mut (impl SinkExt<Message, Error = tungstenite::Error> + Unpin),
    message: Message,
) -> Result<()> {
    socket.send(message).await.map_err(|failure| error::broken(attempt, &failure))
}
