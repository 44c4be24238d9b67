//! The connection below a websocket that is only read.
//!
//! The servers end a command's streams by closing the connection, often while our answer to a ping is on its way.
//! That answer then fails, and the websocket would report it in place of the output that lies ready to be read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use reqwest::Upgraded;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose writes succeed when there is nobody left to read them, unless it is strict.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: Upgraded,
    strict: bool,
}

impl Peer {
    pub(super) fn new(stream: Upgraded, strict: bool) -> Self {
        Self { stream, strict }
    }

    fn forgive<T>(&self, result: Poll<io::Result<T>>, instead: T) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error)) if !self.strict && is_gone(&error) => Poll::Ready(Ok(instead)),
            result => result,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
    )
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, data);
        self.forgive(result, data.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.forgive(result, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.forgive(result, ())
    }
}
