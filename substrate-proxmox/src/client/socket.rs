//! Websockets: what consoles are streamed over. The handshake is an ordinary request, so that TLS, the certificate's
//! check and the signature are the same as with every other.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use reqwest::{Method, StatusCode, Upgraded};
use substrate_core::{Error, Result};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::form::Form;
use super::{Client, HostIndex, successful};
use crate::error;

/// The longest message that is taken: the server sends pieces of at most 128 KiB.
const MESSAGE_LIMIT: usize = 1 << 20;

/// One websocket. Dropping it closes the connection.
pub(crate) struct Socket(WebSocketStream<Upgraded>);

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    Data(Bytes),
    /// A sign of life.
    Pong,
    /// Nothing more will come. Why, the server does not say: it shuts the connection without a closing handshake
    /// when what is behind it has ended, as it would when it broke.
    Closed(String),
}

impl Client {
    /// Opens a websocket at one host. No other is tried: what is behind the socket is on that host alone.
    pub(crate) async fn websocket(
        &self,
        attempt: &str,
        host: HostIndex,
        path: &str,
        query: &Form,
    ) -> Result<Socket> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::internal("the client is closed"))?;
        let Some(host) = self.hosts.get(host.0) else {
            return Err(Error::internal("no host is configured"));
        };
        let headers = self.sign(host, false).await?;
        let key = generate_key();
        let request = self
            .http
            .request(Method::GET, format!("{host}/api2/json{path}?{}", query.encoded()))
            .headers(headers)
            .header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header("Sec-WebSocket-Version", HeaderValue::from_static("13"))
            // Version 8 refuses a handshake without one.
            .header("Sec-WebSocket-Protocol", HeaderValue::from_static("binary"))
            .header(SEC_WEBSOCKET_KEY, &key);
        let failed = |failure: reqwest::Error| error::from_transport(attempt, host, &failure.without_url());
        let response = request.send().await.map_err(failed)?;
        let odd = || {
            Error::protocol(format!("cannot {attempt}: {host}: the answer is not that of a websocket"))
                .with_hint("is there a proxy in between that does not pass upgrades on?")
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let raw = Self::read_whole(attempt, host, response).await?;
            return Err(successful(attempt, raw).err().unwrap_or_else(odd));
        }
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
        if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(odd());
        }
        let stream = response.upgrade().await.map_err(failed)?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        Ok(Socket(WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits)).await))
    }
}

impl Socket {
    /// Sends bytes.
    ///
    /// # Errors
    /// With words about why the connection is of no more use.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), String> {
        self.0.send(Message::Binary(text.into())).await.map_err(|failure| failure.to_string())
    }

    /// Asks for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), String> {
        self.0.send(Message::Ping(Bytes::new())).await.map_err(|failure| failure.to_string())
    }

    /// The next thing that comes. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Incoming {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Binary(data))) => Incoming::Data(data),
                Some(Ok(Message::Text(text))) => Incoming::Data(text.into()),
                Some(Ok(Message::Pong(_))) => Incoming::Pong,
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
                None | Some(Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed)) => {
                    Incoming::Closed("the other side closed the connection".to_owned())
                }
                Some(Err(failure)) => Incoming::Closed(failure.to_string()),
            };
        }
    }
}
