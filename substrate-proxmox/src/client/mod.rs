//! The connection to a cluster: hosts, authentication, encoding, and tasks. No policy.

pub(crate) mod date;
mod form;
mod session;
mod socket;
mod task;
mod tls;
mod upload;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use hyper::ext::ReasonPhrase;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use substrate_core::{Error, Outcome, Result};
use tokio::sync::Semaphore;

pub(crate) use form::{Form, encode, path};
pub(crate) use socket::{Incoming, Socket};
pub(crate) use task::{Upid, is_success};
pub(crate) use upload::Upload;

use crate::config::ProxmoxConfig;
use crate::error;
use session::{Session, Step};

/// How many exchanges run at once: the API's own server has few workers, and answers slower with more.
const CONCURRENT_EXCHANGES: usize = 24;
/// How long the connection itself may take before the next host is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Idle connections are given up before the server does it: a request on a dying connection is one of which
/// nobody knows whether it arrived.
const IDLE: Duration = Duration::from_secs(3);

pub(crate) struct Client {
    http: reqwest::Client,
    hosts: Vec<String>,
    /// The host that answered last.
    current: AtomicUsize,
    session: Session,
    permits: Semaphore,
    connected: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// One of the API's hosts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostIndex(usize);

/// What came back, and when on the server's clock.
pub(crate) struct Answer<T> {
    pub(crate) data: T,
    pub(crate) date: Option<SystemTime>,
    /// What stands beside the data: a node's planned changes of its network.
    pub(crate) changes: Option<String>,
}

/// The longest answer that is read: the agent keeps 16 MiB of each stream, of which a byte can be written with six.
const ANSWER_LIMIT: usize = 256 << 20;

struct Raw {
    status: StatusCode,
    reason: String,
    date: Option<SystemTime>,
    body: Vec<u8>,
}

/// The body of an answer.
#[derive(Deserialize)]
struct Body<T> {
    data: Option<T>,
    /// Beside the data for one thing only; elsewhere it may be anything.
    #[serde(default)]
    changes: Value,
}

impl Client {
    pub(crate) fn new(config: &ProxmoxConfig) -> Result<Self> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(config)?)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.request_timeout)
            .pool_idle_timeout(IDLE)
            .build()
            .map_err(|error| Error::internal(format!("the client cannot be built: {error}")))?;
        Ok(Self {
            http,
            hosts: config.addresses()?,
            current: AtomicUsize::new(0),
            session: Session::new(config.credentials()?),
            permits: Semaphore::new(CONCURRENT_EXCHANGES),
            connected: AtomicBool::new(false),
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    // ---- calls ------------------------------------------------------------------------------------

    /// Reads something. `attempt` is what is tried, as it shall stand after "cannot".
    pub(crate) async fn get<T: DeserializeOwned>(&self, attempt: &str, path: &str, query: Form) -> Result<T> {
        Ok(self.read(attempt, path, query).await?.data)
    }

    /// Reads something, with the server's time.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        attempt: &str,
        path: &str,
        query: Form,
    ) -> Result<Answer<T>> {
        answer(attempt, &self.call(attempt, Method::GET, path, &query).await?)
    }

    pub(crate) async fn post(&self, attempt: &str, path: &str, form: Form) -> Result<Value> {
        Ok(answer(attempt, &self.call(attempt, Method::POST, path, &form).await?)?.data)
    }

    /// [`post`](Self::post) for what the answering host keeps to itself: it says which one that was.
    pub(crate) async fn post_at(&self, attempt: &str, path: &str, form: Form) -> Result<(HostIndex, Value)> {
        let (host, raw) = self.call_somewhere(attempt, Method::POST, path, &form).await?;
        Ok((host, answer(attempt, &raw)?.data))
    }

    pub(crate) async fn put(&self, attempt: &str, path: &str, form: Form) -> Result<Value> {
        Ok(answer(attempt, &self.call(attempt, Method::PUT, path, &form).await?)?.data)
    }

    pub(crate) async fn delete(&self, attempt: &str, path: &str, query: Form) -> Result<Value> {
        Ok(answer(attempt, &self.call(attempt, Method::DELETE, path, &query).await?)?.data)
    }

    // ---- exchanges --------------------------------------------------------------------------------

    async fn call(&self, attempt: &str, method: Method, path: &str, form: &Form) -> Result<Raw> {
        Ok(self.call_somewhere(attempt, method, path, form).await?.1)
    }

    async fn call_somewhere(
        &self,
        attempt: &str,
        method: Method,
        path: &str,
        form: &Form,
    ) -> Result<(HostIndex, Raw)> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::internal("the client is closed"))?;
        let count = self.hosts.len();
        let start = self.current.load(Ordering::Relaxed);
        let mut last = None;
        for offset in 0..count.max(1) {
            let index = (start + offset) % count.max(1);
            let Some(host) = self.hosts.get(index) else { break };
            match self.signed(attempt, host, &method, path, form).await {
                Err(error) if may_ask_another(&error, &method) => last = Some(error),
                result => {
                    self.current.store(index, Ordering::Relaxed);
                    let reached = result.as_ref().err().is_none_or(|error| {
                        !matches!(error.outcome(), Outcome::Unknown) && !error.is_unavailable()
                    });
                    self.connected.store(reached, Ordering::Relaxed);
                    return result.map(|raw| (HostIndex(index), raw));
                }
            }
        }
        self.connected.store(false, Ordering::Relaxed);
        Err(last.unwrap_or_else(|| Error::internal("no host is configured")))
    }

    /// One request with our signature; a ticket that is no longer accepted is replaced once.
    async fn signed(
        &self,
        attempt: &str,
        host: &str,
        method: &Method,
        path: &str,
        form: &Form,
    ) -> Result<Raw> {
        let mut renewed = false;
        loop {
            let headers = self.sign(host, renewed).await?;
            let raw = self.exchange(attempt, host, method, path, form, headers.clone()).await?;
            if raw.status == StatusCode::UNAUTHORIZED && !renewed && self.session.can_log_in() {
                // Refused before anything was done: it can be sent again.
                renewed = true;
                self.session.lock().await.refused(&headers);
                continue;
            }
            return successful(attempt, raw);
        }
    }

    async fn sign(&self, host: &str, with_password: bool) -> Result<HeaderMap> {
        let mut signer = self.session.lock().await;
        let mut with_password = with_password;
        loop {
            let form = match signer.step(with_password)? {
                Step::Signed(headers) => return Ok(headers),
                Step::LogIn(form) => form,
            };
            let attempt = "log in";
            let login = async {
                let raw = self
                    .exchange(attempt, host, &Method::POST, "/access/ticket", &form, HeaderMap::new())
                    .await?;
                answer::<Value>(attempt, &successful(attempt, raw)?)
            };
            // Whatever went wrong here, the call that needed the ticket was not sent.
            match login.await.map_err(|error| error.with_outcome(Outcome::NotSent)) {
                Ok(answer) => signer.granted(answer.data)?,
                // A ticket that cannot be renewed is replaced by one for the password.
                Err(error) if error.is_unauthenticated() && signer.holds_a_ticket() && !with_password => {
                    with_password = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn exchange(
        &self,
        attempt: &str,
        host: &str,
        method: &Method,
        path: &str,
        form: &Form,
        headers: HeaderMap,
    ) -> Result<Raw> {
        let mut url = format!("{host}/api2/json{path}");
        // DELETE with a body is refused: its parameters are a query.
        let in_query = *method == Method::GET || *method == Method::DELETE;
        if in_query && !form.is_empty() {
            url = format!("{url}?{}", form.encoded());
        }
        let mut request = self.http.request(method.clone(), url).headers(headers);
        if !in_query {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.encoded());
        }
        Self::received(attempt, host, request).await
    }

    /// Sends a request and reads all of its answer.
    async fn received(attempt: &str, host: &str, request: reqwest::RequestBuilder) -> Result<Raw> {
        // The URL can hold what was asked for, and is said in our own words already.
        let failed = |error: reqwest::Error| error::from_transport(attempt, host, &error.without_url());
        let response = request.send().await.map_err(failed)?;
        Self::read_whole(attempt, host, response).await
    }

    async fn read_whole(attempt: &str, host: &str, mut response: reqwest::Response) -> Result<Raw> {
        let failed = |error: reqwest::Error| error::from_transport(attempt, host, &error.without_url());
        let status = response.status();
        let reason = response
            .extensions()
            .get::<ReasonPhrase>()
            .map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned())
            .unwrap_or_default();
        let date = response.headers().get(DATE).and_then(|value| value.to_str().ok()).and_then(date::parse);
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > ANSWER_LIMIT {
                return Err(Error::exhausted(format!("cannot {attempt}: the answer has more than 256 MiB"))
                    .with_outcome(Outcome::Unknown));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Raw { status, reason, date, body })
    }
}

/// Whether another host of the cluster may be asked the same: nothing was sent, or nothing can have happened.
fn may_ask_another(error: &Error, method: &Method) -> bool {
    let unreachable = error.is_unavailable() || error.is_timeout();
    // 595: this host is there, the node behind it is not; another host would say the same.
    unreachable && !error.message().contains("(HTTP 595)") && {
        error.outcome() == Outcome::NotSent || *method == Method::GET
    }
}

/// Of an exchange that came to its end: one that the server refused is an error.
fn successful(attempt: &str, raw: Raw) -> Result<Raw> {
    if raw.status != StatusCode::OK {
        return Err(error::from_status(attempt, raw.status.as_u16(), &error::words(&raw.reason, &raw.body)));
    }
    Ok(raw)
}

fn answer<T: DeserializeOwned>(attempt: &str, raw: &Raw) -> Result<Answer<T>> {
    let (data, changes) = read_body(attempt, &raw.body)?;
    Ok(Answer { data, date: raw.date, changes })
}

/// The data of a success, and the changes that stand beside it. Read into its type in one go, not through a [`Value`]:
/// what nobody asks for is then not kept either, which is most of a list.
pub(crate) fn read_body<T: DeserializeOwned>(attempt: &str, body: &[u8]) -> Result<(T, Option<String>)> {
    let failed = |error: serde_json::Error| {
        let what = if error.is_data() { "not what the API promises" } else { "no JSON" };
        Error::protocol(format!("cannot {attempt}: the answer is {what}: {error}"))
    };
    // An array would be taken for the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::protocol(format!("cannot {attempt}: the answer is not what the API promises")));
    }
    let Body { data, changes } = serde_json::from_slice::<Body<T>>(body).map_err(failed)?;
    let changes = match changes {
        Value::String(changes) => Some(changes).filter(|changes| !changes.trim().is_empty()),
        _ => None,
    };
    // What some types can be made of.
    let data = data.map_or_else(|| serde_json::from_value(Value::Null).map_err(failed), Ok)?;
    Ok((data, changes))
}

/// Data as a type.
pub(crate) fn understood<T: DeserializeOwned>(attempt: &str, data: Value) -> Result<T> {
    serde_json::from_value(data).map_err(|error| {
        Error::protocol(format!("cannot {attempt}: the answer is not what the API promises: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(body: &str) -> Result<T> {
        Ok(read_body("ask", body.as_bytes())?.0)
    }

    #[test]
    fn data_may_be_missing_where_its_type_can_do_without() {
        for body in [r#"{"data":null}"#, "{}"] {
            assert_eq!(read::<Option<u64>>(body).unwrap(), None);
            assert_eq!(read::<Value>(body).unwrap(), Value::Null);
            assert!(read::<Vec<u64>>(body).is_err());
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_told_from_one_that_is_torn() {
        for body in [r#"{"data":"word"}"#, "[[1]]", " [[1]]", "null", "7"] {
            let error = read::<Vec<u64>>(body).unwrap_err();
            assert!(error.message().contains("not what the API promises"), "{body}: {error}");
        }
        for body in ["", "{\"data\":[1", "<html>"] {
            let error = read::<Vec<u64>>(body).unwrap_err();
            assert!(error.message().contains("no JSON"), "{body}: {error}");
        }
    }

    #[test]
    fn changes_stand_beside_the_data() {
        let changes = |body: &str| read_body::<u64>("ask", body.as_bytes()).unwrap().1;
        assert_eq!(changes(r#"{"data":1,"changes":"+ auto vmbr1"}"#).as_deref(), Some("+ auto vmbr1"));
        assert_eq!(changes(r#"{"data":1,"changes":" "}"#), None);
        assert_eq!(changes(r#"{"changes":[],"data":1}"#), None);
    }
}
