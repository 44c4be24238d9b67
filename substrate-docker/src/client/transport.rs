//! The wire: one connection per exchange, over a unix socket, TCP or TLS.
//!
//! One connection per exchange, and no pool: connecting to a local socket costs some 30 µs, while a pooled
//! connection that the daemon closed meanwhile turns into a lost answer whose outcome nobody knows. It also
//! is what makes "refused" provably mean "not sent".

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bollard::BollardRequest;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};

/// How long opening a connection may take. A unix socket answers at once; a host that drops packets never
/// does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Paths that exist without a version, and that find the version out.
const UNVERSIONED: [&str; 2] = ["/version", "/_ping"];

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where the daemon listens.
pub(crate) enum Endpoint {
    /// A unix socket.
    #[cfg(unix)]
    Unix(PathBuf),
    /// Plain TCP.
    Tcp(String, u16),
    /// TLS over TCP.
    #[cfg(feature = "tls")]
    Tls(String, u16, super::tls::Connector),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(unix)]
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp(host, port) => write!(formatter, "tcp://{host}:{port}"),
            #[cfg(feature = "tls")]
            Self::Tls(host, port, _) => write!(formatter, "tcp://{host}:{port} (TLS)"),
        }
    }
}

/// A failure below HTTP, with what it says about the request.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// No connection came about: nothing was sent.
    Connect { endpoint: String, error: io::Error },
    /// The connection broke after the request had begun: it may have been carried out.
    Broken { endpoint: String, error: hyper::Error },
}

impl fmt::Display for TransportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { endpoint, error } => write!(formatter, "cannot connect to {endpoint}: {error}"),
            Self::Broken { endpoint, error } => {
                write!(formatter, "the connection to {endpoint} broke: {error}")
            }
        }
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { error, .. } => Some(error),
            Self::Broken { error, .. } => Some(error),
        }
    }
}

/// Ends the connection's task when it is dropped.
#[derive(Debug)]
pub(crate) struct Driver(Option<tokio::task::AbortHandle>);

impl Driver {
    /// Lets the connection's task end by itself, when the body was read or dropped.
    pub(crate) fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

pub(crate) struct Transport {
    endpoint: Endpoint,
    host: HeaderValue,
    /// `major << 32 | minor`, 0 = not negotiated yet.
    version: AtomicU64,
    connected: AtomicBool,
}

impl Transport {
    pub(crate) fn new(endpoint: Endpoint) -> Arc<Self> {
        let host = match &endpoint {
            #[cfg(unix)]
            Endpoint::Unix(_) => None,
            Endpoint::Tcp(host, port) => Some(format!("{host}:{port}")),
            #[cfg(feature = "tls")]
            Endpoint::Tls(host, port, _) => Some(format!("{host}:{port}")),
        };
        let host = host
            .and_then(|host| HeaderValue::try_from(host).ok())
            .unwrap_or_else(|| HeaderValue::from_static("docker"));
        Arc::new(Self { endpoint, host, version: AtomicU64::new(0), connected: AtomicBool::new(false) })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Tells that an exchange failed where the transport cannot see it: in the middle of a body, or by a
    /// deadline.
    pub(crate) fn lost(&self) {
        self.connected.store(false, Ordering::Relaxed);
    }

    pub(crate) fn set_version(&self, major: usize, minor: usize) {
        let packed = (u64::try_from(major).unwrap_or(0) << 32) | u64::try_from(minor).unwrap_or(0);
        self.version.store(packed, Ordering::Relaxed);
    }

    /// The negotiated API version, compared as integers: 1.9 < 1.24.
    pub(crate) fn version(&self) -> Option<(u64, u64)> {
        let packed = self.version.load(Ordering::Relaxed);
        (packed != 0).then_some((packed >> 32, packed & 0xffff_ffff))
    }

    /// One request and its answer's head. The returned driver must live as long as the body is read, or be
    /// let go with [`Driver::detach`].
    pub(crate) async fn exchange(
        &self,
        mut request: BollardRequest,
    ) -> Result<(Response<Incoming>, Driver), TransportError> {
        *request.uri_mut() = self.versioned(request.uri());
        request.headers_mut().insert(HOST, self.host.clone());
        let result = self.attempt(request).await;
        self.connected.store(result.is_ok(), Ordering::Relaxed);
        result
    }

    async fn attempt(&self, request: BollardRequest) -> Result<(Response<Incoming>, Driver), TransportError> {
        let stream = self.connect().await.map_err(|error| self.connect_failed(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.connect_failed(io::Error::other(error)))?;
        // It ends by itself when the sender and the body are gone; the driver ends it for streams that are
        // dropped half read.
        let task = tokio::spawn(async move {
            // Its failure reaches the caller through the request or the body.
            let _ = connection.with_upgrades().await;
        });
        let driver = Driver(Some(task.abort_handle()));
        match sender.send_request(request).await {
            Ok(response) => Ok((response, driver)),
            Err(error) => Err(TransportError::Broken { endpoint: self.endpoint.to_string(), error }),
        }
    }

    fn connect_failed(&self, error: io::Error) -> TransportError {
        TransportError::Connect { endpoint: self.endpoint.to_string(), error }
    }

    async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        loop {
            let attempt = timeout_at(deadline, self.connect_once()).await;
            match attempt {
                Err(_) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no connection within {CONNECT_TIMEOUT:?}"),
                    ));
                }
                // A unix socket whose queue is full says "would block" instead of letting one wait.
                Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    sleep(Duration::from_millis(5)).await;
                }
                Ok(result) => return result,
            }
        }
    }

    async fn connect_once(&self) -> io::Result<Box<dyn Io>> {
        match &self.endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Endpoint::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
            #[cfg(feature = "tls")]
            Endpoint::Tls(host, port, connector) => {
                Ok(Box::new(connector.connect(tcp(host, *port).await?).await?))
            }
        }
    }

    /// The same target with the negotiated version in front, whatever the client library put there: its
    /// releases differ in whether they send the version at all, and the daemon's own default would let an
    /// upgrade of the daemon change answers under us.
    fn versioned(&self, uri: &Uri) -> Uri {
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let bare = without_version(target);
        let path = bare.split('?').next().unwrap_or_default();
        let text = match self.version() {
            Some((major, minor)) if !UNVERSIONED.contains(&path) => format!("/v{major}.{minor}{bare}"),
            _ => bare.to_owned(),
        };
        text.parse().unwrap_or_else(|_| uri.clone())
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Small messages both ways (terminals): waiting to fill a packet only costs time.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// `/v1.41/info` → `/info`.
fn without_version(target: &str) -> &str {
    let Some(rest) = target.strip_prefix("/v") else { return target };
    let Some(end) = rest.find('/') else { return target };
    let (version, path) = rest.split_at(end);
    let is_version = version
        .split_once('.')
        .is_some_and(|(major, minor)| major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok());
    if is_version { path } else { target }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport() -> Arc<Transport> {
        Transport::new(Endpoint::Tcp("localhost".to_owned(), 2375))
    }

    #[test]
    fn the_negotiated_version_is_sent_whatever_the_library_put_there() {
        let transport = transport();
        transport.set_version(1, 41);
        for given in ["http://docker/info?a=1", "http://docker/v1.53/info?a=1"] {
            assert_eq!(transport.versioned(&given.parse().unwrap()).to_string(), "/v1.41/info?a=1");
        }
    }

    #[test]
    fn the_version_is_asked_for_without_a_version() {
        let transport = transport();
        transport.set_version(1, 41);
        assert_eq!(transport.versioned(&"http://docker/v1.53/version".parse().unwrap()), "/version");
        assert_eq!(transport.versioned(&"/_ping".parse().unwrap()), "/_ping");
    }

    #[test]
    fn versions_compare_as_integers() {
        let transport = transport();
        transport.set_version(1, 9);
        assert!(transport.version() < Some((1, 24)));
        assert_eq!(without_version("/volumes/x"), "/volumes/x");
    }
}
