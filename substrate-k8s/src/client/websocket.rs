//! A command's websocket: messages that begin with the number of their channel.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{BoxStream, SplitSink};
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use substrate_core::{Error, Outcome, Result};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Client, Target};
use crate::error;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Followed by the number of the channel that ends; since protocol version 5.
const END: u8 = 255;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Stdout(Bytes),
    Stderr(Bytes),
    /// How the command ended, as a status in JSON.
    Status(Bytes),
    /// What was sent before the question of this number has been read. See [`Writer::ask`].
    Answered(u64),
    /// Nothing more comes.
    Closed,
}

type Sender = std::pin::Pin<Box<dyn futures_util::Sink<Message, Error = tungstenite::Error> + Send>>;

/// The writing half.
pub(crate) struct Writer {
    sink: Sender,
    /// Whether the end of input can be told apart from the end of everything.
    ends_input: bool,
}

/// The reading half.
pub(crate) struct Reader(BoxStream<'static, Result<Message, tungstenite::Error>>);

/// Both halves.
pub(crate) struct Socket {
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
}

fn halves<S>(stream: S) -> (Sender, BoxStream<'static, Result<Message, tungstenite::Error>>)
where
    S: futures_util::Stream<Item = Result<Message, tungstenite::Error>>
        + futures_util::Sink<Message, Error = tungstenite::Error>
        + Send
        + 'static,
{
    let (sink, stream): (SplitSink<S, Message>, _) = stream.split();
    (Box::pin(sink), stream.boxed())
}

impl Client {
    /// Opens the websocket of a command. What was sent may have begun it.
    pub(crate) async fn websocket(&self, attempt: &str, target: &Target) -> Result<Socket> {
        let session = self.session().await?;
        let request =
            Request::builder().method(Method::GET).uri(target.uri()).body(Vec::new()).map_err(|cause| {
                Error::internal(format!("cannot {attempt}: {cause}")).with_outcome(Outcome::NotSent)
            })?;
        let limit: Duration = self.request_timeout();
        let connection = tokio::time::timeout(limit, session.client.connect(request))
            .await
            .map_err(|_| error::timeout(attempt, &session.server, limit))?
            .map_err(|cause| error::from_request(attempt, &session.server, cause))?;
        let ends_input = connection.supports_stream_close();
        let (sink, stream) = halves(connection.into_stream());
        Ok(Socket { writer: Writer { sink, ends_input }, reader: Reader(stream) })
    }
}

impl Writer {
    /// One that writes into a test's hands.
    #[cfg(test)]
    pub(crate) fn to(messages: tokio::sync::mpsc::UnboundedSender<Message>) -> Self {
        let sink = futures_util::sink::unfold(messages, |messages, message| async move {
            messages.send(message).map_err(|_| tungstenite::Error::ConnectionClosed)?;
            Ok(messages)
        });
        Self { sink: Box::pin(sink), ends_input: true }
    }

    pub(crate) fn ends_input(&self) -> bool {
        self.ends_input
    }

    pub(crate) async fn input(&mut self, piece: &[u8]) -> Result<(), tungstenite::Error> {
        self.send(STDIN, piece).await
    }

    pub(crate) async fn end_input(&mut self) -> Result<(), tungstenite::Error> {
        self.send(END, &[STDIN]).await
    }

    pub(crate) async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), tungstenite::Error> {
        let size = serde_json::json!({"Width": columns, "Height": rows}).to_string();
        self.send(RESIZE, size.as_bytes()).await
    }

    /// Keeps a connection on which nothing is said from being taken for a dead one.
    pub(crate) async fn ping(&mut self) -> Result<(), tungstenite::Error> {
        self.sink.send(Message::Ping(Bytes::new())).await
    }

    /// Asks whether all that was sent before this has been read: a node looks at a message only when the one before
    /// it has been taken, and answers this one as the protocol of websockets demands (RFC 6455 §5.5.2).
    pub(crate) async fn ask(&mut self, number: u64) -> Result<(), tungstenite::Error> {
        self.sink.send(Message::Ping(Bytes::copy_from_slice(&number.to_be_bytes()))).await
    }

    async fn send(&mut self, channel: u8, content: &[u8]) -> Result<(), tungstenite::Error> {
        let mut message = BytesMut::with_capacity(content.len() + 1);
        message.put_u8(channel);
        message.extend_from_slice(content);
        self.sink.send(Message::Binary(message.freeze())).await
    }
}

impl Reader {
    /// One of what a test has come.
    #[cfg(test)]
    pub(crate) fn of(
        messages: impl futures_util::Stream<Item = Result<Message, tungstenite::Error>> + Send + 'static,
    ) -> Self {
        Self(messages.boxed())
    }

    /// The next message of a channel. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Frame, tungstenite::Error> {
        loop {
            match self.0.next().await {
                None | Some(Ok(Message::Close(_))) => return Ok(Frame::Closed),
                Some(Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed)) => {
                    return Ok(Frame::Closed);
                }
                Some(Err(cause)) => return Err(cause),
                Some(Ok(Message::Binary(content))) => {
                    if let Some(frame) = frame(content) {
                        return Ok(frame);
                    }
                }
                Some(Ok(Message::Pong(content))) => {
                    if let Ok(number) = content.as_ref().try_into() {
                        return Ok(Frame::Answered(u64::from_be_bytes(number)));
                    }
                }
                Some(Ok(_)) => {}
            }
        }
    }
}

/// What a message says; nothing where it says nothing, as the first of all does: that the connection stands.
pub(crate) fn frame(mut content: Bytes) -> Option<Frame> {
    if content.len() < 2 {
        return None;
    }
    match content.split_to(1).first().copied() {
        Some(STDOUT) => Some(Frame::Stdout(content)),
        Some(STDERR) => Some(Frame::Stderr(content)),
        Some(STATUS) => Some(Frame::Status(content)),
        _ => None,
    }
}
