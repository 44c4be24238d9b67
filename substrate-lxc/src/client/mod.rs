//! The connection to one server: requests, operations, websockets, deadlines of single exchanges. No policy.

mod operation;
mod peer;
pub(crate) mod socket;
mod tls;
mod upload;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use reqwest::header::{ETAG, HeaderMap, IF_MATCH};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use substrate_core::{Error, Outcome, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

pub(crate) use operation::{Ended, Operation, Progress};
use socket::Socket;
pub(crate) use substrate_core::provider::RequestTarget as Target;
pub(crate) use upload::Upload;

use crate::config::{Address, LxcConfig};
use crate::error;

/// How many short exchanges run at once. Each is a connection, and a process has few file descriptors.
const CONCURRENT_EXCHANGES: usize = 64;
/// The longest answer that is read into memory.
const ANSWER_LIMIT: usize = 256 << 20;
/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server keeps one question about an operation open.
pub(crate) const POLL: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    http: reqwest::Client,
    base: &'static str,
    address: Address,
    project: Option<String>,
    connected: AtomicBool,
    permits: Semaphore,
    request_timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("address", &self.address)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default = "Option::default")]
    metadata: Option<T>,
}

/// How a server refuses. Incus does so even with a status of success, for an operation that failed.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_code: u16,
}

impl Refusal {
    fn in_success(body: &[u8]) -> Option<Self> {
        // Told apart without reading a large document twice.
        let beginning = body.get(..body.len().min(64)).unwrap_or_default();
        let says_so = beginning.windows(7).any(|window| window == b"\"error\"");
        says_so.then(|| serde_json::from_slice::<Self>(body).ok())?.filter(|refusal| refusal.kind == "error")
    }
}

/// What a server wrote about its refusal: `{"error": …}`, or plain text from a proxy.
pub(crate) fn message_of(body: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        // A proxy's page can be long, and only its beginning says anything.
        Err(_) => String::from_utf8_lossy(body).chars().take(300).collect(),
    }
}

/// An answer to a change.
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// It goes on.
    Begun(Operation),
}

impl Client {
    pub(crate) fn new(config: &LxcConfig) -> Result<Self> {
        let address = config.resolved_address()?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::setup(config.tls.as_ref())?)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        builder = match &address {
            // Connecting to a local socket costs some 30 µs, while a pooled connection that the server closed
            // meanwhile turns into a lost answer whose outcome nobody knows.
            #[cfg(unix)]
            Address::Unix(path) => builder.unix_socket(path.as_path()).pool_max_idle_per_host(0),
            #[cfg(not(unix))]
            Address::Unix(_) => {
                return Err(Error::unsupported("unix sockets do not exist on this platform"));
            }
            Address::Https(_) if config.tls.is_none() => {
                return Err(Error::invalid_input("HTTPS needs `tls`: our certificate and the server's")
                    .with_hint("set `tls.server_certificate`, `tls.cert` and `tls.key`"));
            }
            // A handshake costs milliseconds: kept, but not for long enough to meet a server's own limit.
            Address::Https(_) => builder.pool_idle_timeout(Duration::from_secs(5)),
        };
        let http = builder
            .build()
            .map_err(|error| Error::internal(format!("the client cannot be built: {error}")))?;
        Ok(Self {
            http,
            base: if matches!(address, Address::Unix(_)) { "http://lxc" } else { "" },
            address,
            project: config.project.clone(),
            connected: AtomicBool::new(false),
            permits: Semaphore::new(CONCURRENT_EXCHANGES),
            request_timeout: config.request_timeout,
        })
    }

    pub(crate) fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    // ---- reading ----------------------------------------------------------------------------------

    /// Reads a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, attempt: &str, target: &Target) -> Result<T> {
        Ok(self.get_tagged(attempt, target).await?.0)
    }

    /// Reads a document and the tag of this state of it.
    pub(crate) async fn get_tagged<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
    ) -> Result<(T, Option<String>)> {
        let (headers, body) = self.exchange(attempt, Method::GET, target, None, None).await?;
        let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let envelope: Envelope<T> =
            serde_json::from_slice(&body).map_err(|error| unexpected(attempt, &error))?;
        match envelope.metadata {
            Some(document) => Ok((document, tag)),
            None => Err(Error::protocol(format!("cannot {attempt}: the answer has no content"))),
        }
    }

    /// Reads what is no document: a file, a log.
    pub(crate) async fn get_raw(&self, attempt: &str, target: &Target) -> Result<(HeaderMap, Bytes)> {
        self.exchange(attempt, Method::GET, target, None, None).await
    }

    /// Reads the headers of a file and lets its content go.
    pub(crate) async fn head(&self, attempt: &str, target: &Target) -> Result<HeaderMap> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::internal("the client is closed"))?;
        let exchange = async {
            let response = self.begin(attempt, self.request(Method::GET, target)).await?;
            if response.status().is_success() {
                return Ok(response.headers().clone());
            }
            let status = response.status().as_u16();
            Err(error::from_status(attempt, status, &message_of(&self.whole(attempt, response).await?)))
        };
        self.within(attempt, self.request_timeout, exchange).await?
    }

    // ---- changing ---------------------------------------------------------------------------------

    /// Sends a change; `tag` makes it fail when the thing has changed since.
    pub(crate) async fn send(
        &self,
        attempt: &str,
        method: Method,
        target: &Target,
        body: Option<&Value>,
        tag: Option<&str>,
    ) -> Result<Answer> {
        let (_, answer) = self.exchange(attempt, method, target, body, tag).await?;
        let envelope: Envelope<Value> =
            serde_json::from_slice(&answer).map_err(|error| unexpected(attempt, &error))?;
        if envelope.kind != "async" {
            return Ok(Answer::Done);
        }
        let operation = envelope.metadata.unwrap_or_default();
        let operation: Operation =
            serde_json::from_value(operation).map_err(|error| unexpected(attempt, &error))?;
        operation.checked(attempt).map(Answer::Begun)
    }

    /// Sends a change and follows it to its end.
    pub(crate) async fn change(
        &self,
        attempt: &str,
        method: Method,
        target: &Target,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Ended> {
        match self.send(attempt, method, target, body, None).await? {
            Answer::Done => Ok(Ended::Done),
            Answer::Begun(operation) => self.follow(attempt, &operation, limit).await,
        }
    }

    /// Waits for the end of an operation. Whatever happens to the question, the request was accepted: an answer
    /// that is lost leaves open how it ended.
    pub(crate) async fn follow(
        &self,
        attempt: &str,
        operation: &Operation,
        limit: Duration,
    ) -> Result<Ended> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::timeout(format!("cannot {attempt}: it did not end within {limit:?}")));
            }
            match self.wait_for(attempt, &operation.id, left.min(POLL)).await? {
                None => return Ok(Ended::Gone),
                Some(operation) => match operation.progress() {
                    Progress::Running => {}
                    Progress::Succeeded => return Ok(Ended::Done),
                    Progress::Failed => return Err(error::from_operation(attempt, &operation.err)),
                },
            }
        }
    }

    /// One question about an operation; `None` when its record is gone.
    pub(crate) async fn ask_operation(
        &self,
        attempt: &str,
        id: &str,
        longer: Duration,
    ) -> Result<Option<Operation>> {
        let mut target = Target::new("/1.0/operations").segment(id);
        if !longer.is_zero() {
            target = target.segment("wait").with("timeout", &longer.as_secs().to_string());
        }
        let lost = |error: Error| error.with_outcome(Outcome::Unknown);
        let exchange = async {
            let response = self.begin(attempt, self.request(Method::GET, &target)).await?;
            let status = response.status().as_u16();
            Ok::<_, Error>((status, self.whole(attempt, response).await?))
        };
        let (status, body) = self
            .within(attempt, self.request_timeout + longer, exchange)
            .await
            .and_then(|answer| answer)
            .map_err(lost)?;
        let refusal = match Refusal::in_success(&body) {
            Some(refusal) => Some((refusal.error_code, refusal.error)),
            None if (200..300).contains(&status) => None,
            None => Some((status, message_of(&body))),
        };
        let Some((status, message)) = refusal else {
            let envelope: Envelope<Operation> =
                serde_json::from_slice(&body).map_err(|error| lost(unexpected(attempt, &error)))?;
            return Ok(envelope.metadata);
        };
        if operation::is_gone(status, &message) {
            return Ok(None);
        }
        Err(match status {
            // Ended by the server's own end: it says so while it goes down.
            502..=504 => lost(error::from_status(attempt, status, &message)),
            _ => error::from_operation(attempt, &message),
        })
    }

    /// Waits for the end of an operation, for at most so long: its record as it then is.
    ///
    /// Incus answers the question with the operation's own failure, or with its own that the time is over; the
    /// record itself tells which.
    pub(crate) async fn wait_for(
        &self,
        attempt: &str,
        id: &str,
        longer: Duration,
    ) -> Result<Option<Operation>> {
        match self.ask_operation(attempt, id, longer.max(Duration::from_secs(1))).await {
            Err(error) if error.outcome() != Outcome::Unknown || error.is_internal() => {
                match self.ask_operation(attempt, id, Duration::ZERO).await? {
                    Some(operation) => Ok(Some(operation)),
                    None => Err(error),
                }
            }
            result => result,
        }
    }

    // ---- streams ----------------------------------------------------------------------------------

    /// Opens a websocket; `strict`: see [`socket::open`].
    pub(crate) async fn websocket(&self, attempt: &str, target: &Target, strict: bool) -> Result<Socket> {
        let request = self.request(Method::GET, target);
        let endpoint = self.endpoint();
        let opened = socket::open(attempt, &endpoint, request, strict);
        self.note(self.within(attempt, self.request_timeout, opened).await?)
    }

    // ---- one exchange -----------------------------------------------------------------------------

    async fn exchange(
        &self,
        attempt: &str,
        method: Method,
        target: &Target,
        body: Option<&Value>,
        tag: Option<&str>,
    ) -> Result<(HeaderMap, Bytes)> {
        let mut request = self.request(method, target);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        if let Some(tag) = tag {
            request = request.header(IF_MATCH, tag);
        }
        let _permit = self.permits.acquire().await.map_err(|_| Error::internal("the client is closed"))?;
        let exchange = async {
            let response = self.begin(attempt, request).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = self.whole(attempt, response).await?;
            match Refusal::in_success(&body) {
                Some(refusal) => Err(error::from_status(attempt, refusal.error_code, &refusal.error)),
                None if status.is_success() => Ok((headers, body)),
                None => Err(error::from_status(attempt, status.as_u16(), &message_of(&body))),
            }
        };
        self.within(attempt, self.request_timeout, exchange).await?
    }

    fn request(&self, method: Method, target: &Target) -> RequestBuilder {
        let target = match &self.project {
            Some(project) => target.clone().with("project", project),
            None => target.clone(),
        };
        let base = match &self.address {
            Address::Https(_) => self.address.to_string(),
            Address::Unix(_) => self.base.to_owned(),
        };
        self.http.request(method, format!("{base}{}", target.as_str()))
    }

    async fn begin(&self, attempt: &str, request: RequestBuilder) -> Result<Response> {
        let result = request.send().await;
        self.note(result.map_err(|failure| error::from_request(attempt, &self.endpoint(), failure)))
    }

    async fn whole(&self, attempt: &str, response: Response) -> Result<Bytes> {
        let mut pieces = response.bytes_stream();
        let mut body = BytesMut::new();
        while let Some(piece) = pieces.next().await {
            let piece = self.note(piece.map_err(|failure| error::broken(attempt, &failure.without_url())))?;
            if body.len() + piece.len() > ANSWER_LIMIT {
                return Err(Error::protocol(format!(
                    "cannot {attempt}: the answer is longer than {ANSWER_LIMIT} bytes"
                )));
            }
            if body.is_empty() && piece.len() >= 8 << 10 {
                body.reserve(piece.len() * 4);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    async fn within<T>(&self, attempt: &str, limit: Duration, future: impl Future<Output = T>) -> Result<T> {
        timeout(limit, future).await.map_err(|_| {
            self.connected.store(false, Ordering::Relaxed);
            Error::timeout(format!("cannot {attempt}: {} did not answer within {limit:?}", self.endpoint()))
        })
    }

    /// Takes note of whether the connection works.
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        self.connected.store(result.is_ok(), Ordering::Relaxed);
        result
    }
}

fn unexpected(attempt: &str, error: &serde_json::Error) -> Error {
    Error::protocol(format!("cannot {attempt}: the answer is not what the API promises: {error}"))
}
