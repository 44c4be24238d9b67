//! Journals in a bucket that speaks S3.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::client::{ClientConfigKey, ClientOptions, HttpClient, HttpConnector};
use object_store::{ObjectStore, RetryConfig};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use substrate_core::{Error, Result};

/// No answer within this time is none: a lease must not run out while one request is waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// All tries of one request together. A journal that cannot be written stops a deployment, and that is to be told
/// soon.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const MOST_RETRIES: usize = 4;

/// The bucket, with what the environment says about S3 (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
/// `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, …).
pub(super) fn bucket(bucket: &str) -> Result<Arc<dyn ObjectStore>> {
    let cannot = |error: &dyn fmt::Display| {
        Error::invalid_input(format!("cannot keep journals in the bucket `{bucket}`: {error}"))
            .with_hint("`AWS_REGION`, `AWS_ENDPOINT_URL` and the credentials are taken from the environment")
    };
    let retries =
        RetryConfig { max_retries: MOST_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retries)
        .with_http_connector(Connector { tls: tls().map_err(|error| cannot(&error))? })
        .build()
        .map_err(|error| cannot(&error))?;
    Ok(Arc::new(store))
}

/// TLS with `ring`, passed explicitly: the store's own client would look for a process-wide provider and panic.
fn tls() -> std::result::Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // What cannot be read there is left out: a connection then says which authority is unknown.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

struct Connector {
    tls: ClientConfig,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain_too = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(!plain_too)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}
