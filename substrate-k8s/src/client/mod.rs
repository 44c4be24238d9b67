//! The connection: kubeconfig, transport, authentication, and answers taken apart. No policy: the layers repeat.

mod resource;
mod target;
mod watch;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use substrate_core::{BoxStream, Error, Outcome, Result};
use tokio::sync::OnceCell;

use crate::config::K8sConfig;
use crate::convert::meta::Meta;
use crate::error;
pub(crate) use resource::Resource;
pub(crate) use target::Target;
#[cfg(test)]
pub(crate) use watch::change;
pub(crate) use watch::{Change, Watch};
#[cfg(test)]
pub(crate) use websocket::frame;
pub(crate) use websocket::{Frame, Reader, Socket, Writer};

/// How a change is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patch {
    /// Fields given are set, `null` removes.
    Merge,
    /// The same, and lists of things with names are merged by them.
    Strategic,
}

/// Who we are in the records of who set which field.
pub(crate) const FIELD_MANAGER: &str = "substrate";

/// A connection to one cluster.
#[derive(Debug)]
pub(crate) struct Client {
    config: K8sConfig,
    /// Made at the first call: reading a kubeconfig may run a program.
    session: OnceCell<Session>,
    connected: AtomicBool,
}

struct Session {
    client: kube::Client,
    namespace: String,
    /// For errors.
    server: Arc<str>,
    verified: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    // Go writes an empty list as `null` where it never made one.
    items: Option<Vec<T>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    next: String,
}

/// A complete list, and the version that it is of.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    pub(crate) items: Vec<T>,
    pub(crate) version: String,
}

/// How often a list begins anew when its pages have expired meanwhile.
const LIST_ATTEMPTS: usize = 3;

impl Client {
    pub(crate) fn new(config: K8sConfig) -> Self {
        Self { config, session: OnceCell::new(), connected: AtomicBool::new(false) }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) async fn namespace(&self) -> Result<&str> {
        Ok(&self.session().await?.namespace)
    }

    /// Whether the server's certificate is checked.
    pub(crate) async fn is_verified(&self) -> Result<bool> {
        Ok(self.session().await?.verified)
    }

    async fn session(&self) -> Result<&Session> {
        self.session.get_or_try_init(|| Session::open(&self.config)).await
    }

    // ---- objects ----------------------------------------------------------------------------------

    pub(crate) async fn get<T: DeserializeOwned>(&self, attempt: &str, target: &Target) -> Result<T> {
        self.exchange(attempt, Method::GET, target, None, "").await
    }

    /// `None` when there is no such thing.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
    ) -> Result<Option<T>> {
        match self.get(attempt, target).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn create<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
        body: &Value,
    ) -> Result<T> {
        let target = target.clone().with("fieldManager", FIELD_MANAGER);
        self.exchange(attempt, Method::POST, &target, Some(body), "application/json").await
    }

    /// Makes a thing by an apply, which else changes what is there: it names a version that nothing has, so that it
    /// succeeds where nothing is and nowhere else. The version 1 is of the time before the first write.
    ///
    /// # Errors
    /// `AlreadyExists` when something has the name.
    pub(crate) async fn apply_new<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
        body: &Value,
    ) -> Result<T> {
        let target = target.clone().with("fieldManager", FIELD_MANAGER);
        let mut body = body.clone();
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            metadata.insert("resourceVersion".to_owned(), Value::from("1"));
        }
        // Every JSON is YAML.
        match self.raw(attempt, Method::PATCH, &target, Some(&body), "application/apply-patch+yaml").await {
            Ok(bytes) => read(attempt, &bytes),
            Err(Failure::Taken(refusal)) => {
                Err(Error::already_exists(format!("cannot {attempt}: there is one of this name already"))
                    .with_outcome(Outcome::Rejected)
                    .with_source(refusal))
            }
            Err(failure) => Err(failure.into()),
        }
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
        kind: Patch,
        body: &Value,
    ) -> Result<T> {
        let target = target.clone().with("fieldManager", FIELD_MANAGER);
        let content = match kind {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        };
        self.exchange(attempt, Method::PATCH, &target, Some(body), content).await
    }

    /// Has something done. The answer is no object, and often none at all.
    pub(crate) async fn act(&self, attempt: &str, target: &Target, body: &Value) -> Result<()> {
        self.raw(attempt, Method::PUT, target, Some(body), "application/json").await?;
        Ok(())
    }

    /// The answer may be the thing or a status: neither is of interest.
    pub(crate) async fn delete(&self, attempt: &str, target: &Target, options: &Value) -> Result<()> {
        self.exchange::<Value>(attempt, Method::DELETE, target, Some(options), "application/json")
            .await
            .map(drop)
    }

    /// Every page of a list. Pages are of one version; when that has expired meanwhile, the list begins anew: a list
    /// that is not complete is none.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
    ) -> Result<Listing<T>> {
        self.list_of(attempt, target, None).await
    }

    /// The same as it was at a version.
    ///
    /// # Errors
    /// `Conflict` when the server no longer has that version: see [`is_expired`](error::is_expired).
    pub(crate) async fn list_of<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
        version: Option<&str>,
    ) -> Result<Listing<T>> {
        let limit = self.config.page_size.to_string();
        for _ in 0..LIST_ATTEMPTS {
            if let Some(listing) = self.pages(attempt, &target.clone().with("limit", &limit), version).await?
            {
                return Ok(listing);
            }
        }
        Err(Error::unavailable(format!(
            "cannot {attempt}: the list expired {LIST_ATTEMPTS} times before its last page came"
        ))
        .with_hint("raise `page_size`"))
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        attempt: &str,
        target: &Target,
        version: Option<&str>,
    ) -> Result<Option<Listing<T>>> {
        let mut listing: Option<Listing<T>> = None;
        let mut next = String::new();
        loop {
            let target = match version {
                // Where a page ends tells the version as well.
                _ if !next.is_empty() => target.clone().with("continue", &next),
                Some(version) => {
                    target.clone().with("resourceVersion", version).with("resourceVersionMatch", "Exact")
                }
                None => target.clone(),
            };
            let page: Page<T> = match self.raw(attempt, Method::GET, &target, None, "").await {
                Ok(bytes) => read(attempt, &bytes)?,
                Err(Failure::Expired(_)) if !next.is_empty() => return Ok(None),
                Err(failure) => return Err(failure.into()),
            };
            let items = page.items.unwrap_or_default();
            match &mut listing {
                Some(listing) => listing.items.extend(items),
                None => listing = Some(Listing { items, version: page.metadata.resource_version }),
            }
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(listing);
            }
        }
    }

    /// An answer that is no object: `/readyz`.
    pub(crate) async fn text(&self, attempt: &str, target: &Target) -> Result<String> {
        let bytes = self.raw(attempt, Method::GET, target, None, "").await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        attempt: &str,
        method: Method,
        target: &Target,
        body: Option<&Value>,
        content: &'static str,
    ) -> Result<T> {
        let bytes = self.raw(attempt, method, target, body, content).await?;
        read(attempt, &bytes)
    }

    /// One exchange, bounded in time.
    async fn raw(
        &self,
        attempt: &str,
        method: Method,
        target: &Target,
        body: Option<&Value>,
        content: &'static str,
    ) -> Result<Bytes, Failure> {
        let limit = self.config.request_timeout;
        let exchange = async {
            let response = self.send(attempt, method, target, body, content).await?;
            let server = self.server();
            let collected = response.collect().await;
            collected
                .map(|body| body.to_bytes())
                .map_err(|cause| Failure::Other(error::from_request(attempt, &server, cause)))
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => {
                self.connected.store(false, Ordering::Relaxed);
                Err(Failure::Other(error::timeout(attempt, &self.server(), limit)))
            }
        }
    }

    /// A stream of bytes, of which only the beginning is bounded in time.
    pub(crate) async fn stream(
        &self,
        attempt: &'static str,
        target: &Target,
    ) -> Result<BoxStream<Result<Bytes>>> {
        let limit = self.config.request_timeout;
        let opened = tokio::time::timeout(limit, self.send(attempt, Method::GET, target, None, "")).await;
        let body = opened.map_err(|_| error::timeout(attempt, &self.server(), limit))??;
        let server = self.server();
        Ok(body
            .into_data_stream()
            .map(move |piece| piece.map_err(|cause| error::from_request(attempt, &server, cause)))
            .boxed())
    }

    async fn send(
        &self,
        attempt: &str,
        method: Method,
        target: &Target,
        body: Option<&Value>,
        content: &'static str,
    ) -> Result<Body, Failure> {
        let session = self.session().await?;
        let mut request = Request::builder().method(method).uri(target.uri());
        if !content.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, content);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Body::from(body.into_bytes())).map_err(|cause| {
            Error::internal(format!("cannot {attempt}: {cause}")).with_outcome(Outcome::NotSent)
        })?;
        match session.client.send(request).await {
            Ok(response) if response.status().is_success() => {
                self.connected.store(true, Ordering::Relaxed);
                Ok(response.into_body())
            }
            Ok(response) => {
                self.connected.store(true, Ordering::Relaxed);
                let code = response.status().as_u16();
                let pause = retry_after(response.headers());
                let text =
                    response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let status = status_of(code, &text);
                let failure = error::from_status(attempt, &status, pause);
                Err(if error::is_expired(&status) {
                    Failure::Expired(failure)
                } else if error::is_taken(&status, |kind, name| target.is_of(kind, name)) {
                    Failure::Taken(failure)
                } else {
                    Failure::Other(failure)
                })
            }
            Err(cause) => {
                self.connected.store(false, Ordering::Relaxed);
                Err(Failure::Other(error::from_request(attempt, &session.server, cause)))
            }
        }
    }

    fn server(&self) -> Arc<str> {
        self.session.get().map_or_else(|| Arc::from("the cluster"), |session| session.server.clone())
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        self.config.request_timeout
    }
}

/// A failure, and what it means to some who asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A list has to begin anew.
    Expired(Error),
    /// There is another version of what was written.
    Taken(Error),
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Expired(error) | Failure::Taken(error) | Failure::Other(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Session {
    async fn open(settings: &K8sConfig) -> Result<Self> {
        // Where a program has two cryptography libraries, kube's own connector panics unless one of them was chosen for
        // the whole process. A choice that was made before stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = configuration(settings).await?;
        // Repeating is the layers' affair.
        config.default_retry = false;
        // Less than the whole exchange may take: then it is known that nothing was sent.
        config.connect_timeout = Some(settings.request_timeout * 2 / 3);
        config.read_timeout = None;
        config.write_timeout = None;
        let namespace = settings.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        crate::name::check_namespace(&namespace)?;
        let server = Arc::from(config.cluster_url.to_string().trim_end_matches('/'));
        let verified = !config.accept_invalid_certs;
        let client = kube::Client::try_from(config)
            .map_err(|cause| error::from_request("make the connection", &server, cause))?;
        Ok(Self { client, namespace, server, verified })
    }
}

async fn configuration(settings: &K8sConfig) -> Result<kube::Config> {
    let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
    let files = settings.kubeconfig_files();
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        let next = Kubeconfig::read_from(&file).map_err(error::from_kubeconfig)?;
        merged = Some(match merged {
            Some(first) => first.merge(next).map_err(error::from_kubeconfig)?,
            None => next,
        });
    }
    if let Some(kubeconfig) = merged {
        return kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(error::from_kubeconfig);
    }
    match kube::Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        Err(cause) => kube::Config::incluster().map_err(|_| error::from_kubeconfig(cause)),
    }
}

fn read<T: DeserializeOwned>(attempt: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|cause| Error::protocol(format!("cannot {attempt}: the answer cannot be read: {cause}")))
}

/// The status in an answer. Proxies answer with text of their own.
pub(crate) fn status_of(code: u16, body: &[u8]) -> Status {
    let mut status: Status = serde_json::from_slice(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        let line: String = text.trim().chars().take(300).collect();
        Status { message: line, ..Status::default() }
    });
    if status.code == 0 {
        status.code = code;
    }
    status
}

fn retry_after(headers: &http::HeaderMap) -> Option<u32> {
    headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

/// What deletion is asked with: only this very thing, and how its dependents go.
pub(crate) fn deletion(meta: &Meta, propagation: &str) -> Value {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": meta.uid},
        "propagationPolicy": propagation,
    })
}
