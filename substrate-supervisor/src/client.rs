//! The connection: XML-RPC over HTTP, on TCP or a unix socket. No policy.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dxr::{FaultResponse, MethodCall, MethodResponse, Value};
use secrecy::{ExposeSecret, SecretString};
use substrate_core::{Error, Outcome, Result};
use tokio::sync::Semaphore;

use crate::config::{Endpoint, SupervisorConfig};
use crate::convert::value::{self, array, integer_of, string_of};
use crate::error::{Fault, from_status, from_transport, unreadable};

/// How many exchanges are under way at once. supervisord is one thread, and each connection takes one of its
/// 1,024 file descriptors, of which its processes need three each: more would be slower, and could starve it.
const EXCHANGES: usize = 8;
/// The longest answer that is read: some ten thousand processes.
const ANSWER_LIMIT: usize = 64 << 20;

/// A method and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    method: &'static str,
    arguments: Vec<Value>,
}

impl Call {
    pub(crate) fn new(method: &'static str) -> Self {
        Self { method, arguments: Vec::new() }
    }

    pub(crate) fn text(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(Value::String(argument.into()));
        self
    }

    pub(crate) fn integer(mut self, argument: i32) -> Self {
        self.arguments.push(Value::Integer(argument));
        self
    }

    pub(crate) fn boolean(mut self, argument: bool) -> Self {
        self.arguments.push(Value::Boolean(argument));
        self
    }
}

/// What one call of a batch, or a call by itself, came to.
pub(crate) type Answer = std::result::Result<Value, Fault>;

/// One supervisord.
pub(crate) struct Client {
    http: reqwest::Client,
    /// Where requests go; over a socket the host is made up.
    target: String,
    /// For people.
    endpoint: String,
    username: Option<String>,
    password: Option<SecretString>,
    permits: Semaphore,
    connected: AtomicBool,
}

/// The HTTP library wants a TLS setup in any case where another crate of the program has switched TLS on, and would
/// look for a process-wide provider. Nothing here speaks TLS: it trusts nobody.
fn unused_tls() -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|failure| Error::internal("TLS cannot be set up").with_source(failure))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

impl Client {
    pub(crate) fn new(config: &SupervisorConfig) -> Result<Self> {
        let endpoint = config.endpoint()?;
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A connection of its own for each exchange: one that lay idle can have died, and then nobody knows
            // whether the request arrived. Without, "connection refused" is proof that nothing was sent.
            .pool_max_idle_per_host(0)
            .tls_backend_preconfigured(unused_tls()?)
            .connect_timeout(config.request_timeout.min(Duration::from_secs(10)))
            .timeout(config.request_timeout);
        let (builder, target, endpoint) = match endpoint {
            Endpoint::Unix(path) => {
                let shown = format!("unix://{}", path.display());
                (builder.unix_socket(path), "http://localhost/RPC2".to_owned(), shown)
            }
            Endpoint::Http { authority, .. } => {
                (builder, format!("http://{authority}/RPC2"), format!("http://{authority}"))
            }
        };
        let http = builder
            .build()
            .map_err(|failure| Error::internal("the HTTP client cannot be made").with_source(failure))?;
        Ok(Self {
            http,
            target,
            endpoint,
            username: config.username.clone(),
            password: config.password.clone(),
            permits: Semaphore::new(EXCHANGES),
            connected: AtomicBool::new(false),
        })
    }

    /// Whether the last exchange worked.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// One call; a fault is an error.
    pub(crate) async fn call(&self, attempt: &str, call: Call) -> Result<Value> {
        self.ask(attempt, call).await?.map_err(|fault| fault.into_error(attempt))
    }

    /// One call; a fault is an answer.
    pub(crate) async fn ask(&self, attempt: &str, call: Call) -> Result<Answer> {
        let request = MethodCall { name: call.method.into(), params: call.arguments };
        let body = request
            .to_xml()
            .map_err(|error| Error::internal(format!("the request cannot be written as XML: {error}")))?;
        read_answer(attempt, &self.exchange(attempt, body).await?)
    }

    /// Several calls in one request, done in this order with nothing in between. Each has its own answer.
    pub(crate) async fn batch<const N: usize>(&self, attempt: &str, calls: [Call; N]) -> Result<[Answer; N]> {
        let calls = calls.into_iter().map(|call| {
            value::structure([
                ("methodName", Value::String(call.method.to_owned())),
                ("params", Value::Array(call.arguments)),
            ])
        });
        let batch = Call { method: "system.multicall", arguments: vec![Value::Array(calls.collect())] };
        let answers =
            array(self.call(attempt, batch).await?).map(|answers| answers.into_iter().map(answer_of));
        let answers: Vec<Answer> = answers.ok_or_else(|| unreadable(attempt, "it is no list"))?.collect();
        <[Answer; N]>::try_from(answers)
            .map_err(|answers| unreadable(attempt, &format!("{N} calls have {} answers", answers.len())))
    }

    async fn exchange(&self, attempt: &str, body: String) -> Result<String> {
        let permit = self.permits.acquire().await;
        let mut request = self.http.post(&self.target).header("content-type", "text/xml").body(body);
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            request = request.basic_auth(username, Some(password.expose_secret()));
        }
        let result = self.answer(attempt, request).await;
        drop(permit);
        self.connected.store(!result.as_ref().is_err_and(is_outage), Ordering::Relaxed);
        result
    }

    async fn answer(&self, attempt: &str, request: reqwest::RequestBuilder) -> Result<String> {
        let broken = |failure| from_transport(attempt, &self.endpoint, failure);
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(from_status(attempt, status));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(broken)? {
            if body.len() + piece.len() > ANSWER_LIMIT {
                return Err(Error::exhausted(format!("cannot {attempt}: the answer has more than 64 MiB"))
                    .with_outcome(Outcome::Unknown));
            }
            body.extend_from_slice(&piece);
        }
        String::from_utf8(body).map_err(|_| unreadable(attempt, "it is not UTF-8"))
    }
}

/// No credentials and no handle: both would say too much.
impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What the text of an answer says.
pub(crate) fn read_answer(attempt: &str, text: &str) -> Result<Answer> {
    // A text inside a result has its brackets escaped, so this is the element and nothing else.
    if text.contains("<fault>") {
        let response = FaultResponse::from_xml(text).map_err(|_| unreadable(attempt, "a torn fault"))?;
        return Ok(Err(Fault::new(response.fault.code(), response.fault.string())));
    }
    let response = MethodResponse::from_xml(text)
        .map_err(|_| unreadable(attempt, &format!("it begins with {:?}", beginning(text))))?;
    Ok(Ok(response.value))
}

/// An answer within a batch. XML-RPC's own extension wraps each success into a list of one; supervisord's does
/// not, and a fault is a structure that a result could be too, if its fields were called so.
pub(crate) fn answer_of(value: Value) -> Answer {
    let fault = match &value {
        Value::Struct(members) => members
            .get("faultCode")
            .and_then(integer_of)
            .map(|code| Fault::new(code, members.get("faultString").and_then(string_of).unwrap_or_default())),
        _ => None,
    };
    match fault {
        Some(fault) => Err(fault),
        None => Ok(value),
    }
}

fn is_outage(error: &Error) -> bool {
    error.is_unavailable() || error.is_timeout() || error.is_unauthenticated() || error.is_permission_denied()
}

fn beginning(text: &str) -> String {
    text.chars().take(80).collect()
}
