//! The connection to one daemon: transport, version negotiation, deadlines of single exchanges. No policy.
//!
//! Commands go through bollard's typed calls. What bollard decodes too strictly (a state that only Podman
//! has fails a whole list), too late (it asks for events only when the stream is first polled) or with
//! guesses (terminal output) is read here from the same transport.

#[cfg(feature = "tls")]
mod tls;
mod transport;

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, body_full, body_try_stream};
use bytes::Bytes;
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use substrate_core::{Error, OpenImageFile, Outcome, Result, UploadProgress};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

pub(crate) use substrate_core::provider::RequestTarget as Target;
pub(crate) use transport::{Driver, TransportError};

use crate::config::DockerConfig;
use crate::error;
use transport::{Endpoint, Transport};

/// How many short exchanges run at once. Each is a connection, and a process has few file descriptors:
/// a thousand callers share these instead of failing.
const CONCURRENT_EXCHANGES: usize = 64;

/// How long an upload may stand still. The daemon unpacks what it got before it answers.
const SILENCE: Duration = Duration::from_secs(600);

/// The longest answer that is read into memory.
const ANSWER_LIMIT: usize = 256 << 20;

/// bollard wants a timeout of its own; ours are per call, so that one call can be allowed longer.
const LIBRARY_TIMEOUT_SECONDS: u64 = 86_400;

pub(crate) struct Client {
    transport: Arc<Transport>,
    docker: RwLock<Option<Docker>>,
    negotiating: Mutex<()>,
    permits: Semaphore,
    request_timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("endpoint", &self.endpoint())
            .field("version", &self.transport.version())
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(config: &DockerConfig) -> Result<Self> {
        Ok(Self {
            transport: Transport::new(endpoint(config)?),
            docker: RwLock::new(None),
            negotiating: Mutex::new(()),
            permits: Semaphore::new(CONCURRENT_EXCHANGES),
            request_timeout: config.request_timeout,
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.transport.endpoint().to_string()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    pub(crate) fn version(&self) -> Option<(u64, u64)> {
        self.transport.version()
    }

    /// Whether the negotiated API is at least 1.`minor`.
    pub(crate) fn api_is_at_least(&self, minor: u64) -> bool {
        self.transport.version().is_some_and(|version| version >= (1, minor))
    }

    pub(crate) fn api_version(&self) -> Option<String> {
        self.transport.version().map(|(major, minor)| format!("{major}.{minor}"))
    }

    /// Agrees with the daemon on an API version, anew: it may be another daemon than last time, and bollard
    /// only ever goes down from what it knows.
    pub(crate) async fn negotiate(&self) -> Result<Docker> {
        let transport = self.transport.clone();
        let carry = move |request: BollardRequest| {
            let transport = transport.clone();
            async move {
                match transport.exchange(request).await {
                    Ok((response, driver)) => {
                        driver.detach();
                        Ok(response)
                    }
                    Err(error) => Err(bollard::errors::Error::IOError { err: io::Error::other(error) }),
                }
            }
        };
        let docker = Docker::connect_with_custom_transport(
            carry,
            Some("http://docker"),
            LIBRARY_TIMEOUT_SECONDS,
            API_DEFAULT_VERSION,
        )
        .map_err(|error| Error::internal(format!("the client cannot be built: {error}")))?;
        let attempt = "agree on an API version";
        let docker = self
            .within(attempt, self.request_timeout, docker.negotiate_version())
            .await?
            .map_err(|error| error::from_bollard(attempt, error))
            // Whatever went wrong here, the call that needed the version was not sent.
            .map_err(|error| error.with_outcome(Outcome::NotSent))?;
        let version = docker.client_version();
        self.transport.set_version(version.major_version, version.minor_version);
        *self.docker.write().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    /// The typed client, with a version agreed on.
    pub(crate) async fn docker(&self) -> Result<Docker> {
        if let Some(docker) = self.negotiated() {
            return Ok(docker);
        }
        let _one_at_a_time = self.negotiating.lock().await;
        match self.negotiated() {
            Some(docker) => Ok(docker),
            None => self.negotiate().await,
        }
    }

    fn negotiated(&self) -> Option<Docker> {
        self.docker.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A short typed call. `attempt` is what is being tried, as it shall stand after "cannot".
    pub(crate) async fn call<T, F>(&self, attempt: &str, request: impl FnOnce(Docker) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let docker = self.docker().await?;
        let _permit = self.permits.acquire().await.map_err(|_| Error::internal("the client is closed"))?;
        self.within(attempt, self.request_timeout, request(docker))
            .await?
            .map_err(|error| self.failed(error::from_bollard(attempt, error)))
    }

    /// A typed call that may take as long as `limit`.
    pub(crate) async fn long_call<T, F>(
        &self,
        attempt: &str,
        limit: Duration,
        request: impl FnOnce(Docker) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let docker = self.docker().await?;
        self.within(attempt, limit, request(docker))
            .await?
            .map_err(|error| self.failed(error::from_bollard(attempt, error)))
    }

    /// Reads a JSON document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, attempt: &str, target: &Target) -> Result<T> {
        self.json(attempt, Method::GET, target, None).await
    }

    /// Sends a JSON document that no typed call can carry without losing parts of it.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
        body: &serde_json::Value,
    ) -> Result<T> {
        self.json(attempt, Method::POST, target, Some(body)).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        attempt: &str,
        method: Method,
        target: &Target,
        body: Option<&serde_json::Value>,
    ) -> Result<T> {
        self.docker().await?;
        let request = request(method, target, body)?;
        let _permit = self.permits.acquire().await.map_err(|_| Error::internal("the client is closed"))?;
        let exchange = async {
            let (response, _driver) = self.accepted(attempt, request).await?;
            let bytes = self.whole(attempt, response).await?;
            serde_json::from_slice(&bytes).map_err(|error| {
                Error::protocol(format!("cannot {attempt}: the answer is not what the API promises: {error}"))
            })
        };
        self.within(attempt, self.request_timeout, exchange).await?
    }

    /// Opens a stream: returns when the daemon has answered with the head.
    pub(crate) async fn stream(
        &self,
        attempt: &str,
        target: &Target,
    ) -> Result<(BodyStream<Incoming>, Driver)> {
        self.docker().await?;
        let request = request(Method::GET, target, None)?;
        let (response, driver) =
            self.within(attempt, self.request_timeout, self.accepted(attempt, request)).await??;
        Ok((BodyStream::new(response.into_body()), driver))
    }

    /// Sends an archive of images, for as long as it moves, and reads what the daemon says of it.
    pub(crate) async fn load(&self, attempt: &str, archive: OpenImageFile) -> Result<Bytes> {
        self.docker().await?;
        let progress = UploadProgress::new();
        let size = archive.size();
        let request = Request::builder()
            .method(Method::POST)
            .uri(Target::new("/images/load").with("quiet", "1").as_str())
            .header(CONTENT_TYPE, "application/x-tar")
            .header(CONTENT_LENGTH, size)
            .body(body_try_stream(progress.counted(archive.into_stream())))
            .map_err(|error| Error::internal(format!("the request cannot be made: {error}")))?;
        let exchange = async {
            let (response, _driver) = self.accepted(attempt, request).await?;
            self.whole(attempt, response).await
        };
        progress.while_moving(SILENCE, exchange).await.unwrap_or_else(|| {
            self.transport.lost();
            Err(Error::timeout(format!(
                "cannot {attempt}: {} has taken nothing and said nothing for {SILENCE:?}",
                self.endpoint()
            )))
        })
    }

    /// Opens a two-way stream.
    pub(crate) async fn upgrade(
        &self,
        attempt: &str,
        target: &Target,
        body: &serde_json::Value,
    ) -> Result<TokioIo<Upgraded>> {
        self.docker().await?;
        let mut request = request(Method::POST, target, Some(body))?;
        request.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("Upgrade"));
        request.headers_mut().insert(UPGRADE, hyper::header::HeaderValue::from_static("tcp"));
        let exchange = async {
            let (response, driver) = self.accepted(attempt, request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(Error::protocol(format!(
                    "cannot {attempt}: the daemon answered {} instead of opening a stream",
                    response.status()
                ))
                .with_hint("is there a proxy in between that does not pass upgrades on?"));
            }
            let upgraded = hyper::upgrade::on(response).await.map_err(|error| {
                self.transport.lost();
                error::broken(attempt, &error)
            })?;
            // The task has handed its socket over and ended.
            driver.detach();
            Ok(TokioIo::new(upgraded))
        };
        self.within(attempt, self.request_timeout, exchange).await?
    }

    /// Sends a request and turns a refusal into its error.
    async fn accepted(&self, attempt: &str, request: BollardRequest) -> Result<(Response<Incoming>, Driver)> {
        let (response, driver) = self
            .transport
            .exchange(request)
            .await
            .map_err(|failure| error::from_transport(attempt, failure))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, driver));
        }
        let body = self.whole(attempt, response).await?;
        Err(error::from_status(attempt, status.as_u16(), &error::message_of(&body)))
    }

    async fn whole(&self, attempt: &str, response: Response<Incoming>) -> Result<Bytes> {
        match Limited::new(response.into_body(), ANSWER_LIMIT).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(failure) => {
                self.transport.lost();
                Err(error::broken(attempt, failure.as_ref()))
            }
        }
    }

    async fn within<T>(&self, attempt: &str, limit: Duration, future: impl Future<Output = T>) -> Result<T> {
        timeout(limit, future).await.map_err(|_| {
            self.transport.lost();
            Error::timeout(format!("cannot {attempt}: {} did not answer within {limit:?}", self.endpoint()))
        })
    }

    /// Takes note of a connection that broke inside bollard.
    fn failed(&self, error: Error) -> Error {
        if error.is_unavailable() && error.outcome() == Outcome::Unknown {
            self.transport.lost();
        }
        error
    }
}

fn request(method: Method, target: &Target, body: Option<&serde_json::Value>) -> Result<BollardRequest> {
    let body = match body {
        Some(body) => Bytes::from(body.to_string()),
        None => Bytes::new(),
    };
    Request::builder()
        .method(method)
        .uri(target.as_str())
        .header(CONTENT_TYPE, "application/json")
        .body(body_full(body))
        .map_err(|error| Error::internal(format!("`{}` is no request target: {error}", target.as_str())))
}

fn endpoint(config: &DockerConfig) -> Result<Endpoint> {
    use crate::config::Host;
    match config.resolved_host()? {
        #[cfg(unix)]
        Host::Unix(path) => Ok(Endpoint::Unix(path)),
        #[cfg(not(unix))]
        Host::Unix(_) => Err(Error::unsupported("unix sockets do not exist on this platform")),
        Host::Tcp(host, port) => match &config.tls {
            None => Ok(Endpoint::Tcp(host, port)),
            #[cfg(feature = "tls")]
            Some(tls) => {
                let connector = tls::Connector::new(&host, tls)?;
                Ok(Endpoint::Tls(host, port, connector))
            }
            #[cfg(not(feature = "tls"))]
            Some(_) => Err(Error::unsupported("this build has no TLS")
                .with_hint("switch on the feature `tls` of substrate-docker")),
        },
    }
}
