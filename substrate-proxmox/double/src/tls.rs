//! TLS with a certificate that an authority of our own signed, for `127.0.0.1`.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// The authority's certificate, in PEM.
pub const AUTHORITY: &str = include_str!("../fixtures/authority.pem");
/// The SHA-256 fingerprint of the server's certificate.
pub const FINGERPRINT: &str =
    "C1:0C:AE:E6:28:BF:F4:B5:95:8C:B2:30:46:C3:47:E6:AC:00:94:F8:0B:3B:7A:91:84:96:25:15:4F:C8:0E:9D";

const CERTIFICATE: &str = include_str!("../fixtures/server.pem");
const KEY: &str = include_str!("../fixtures/server.key.pem");

pub(crate) fn acceptor() -> TlsAcceptor {
    let chain =
        CertificateDer::pem_slice_iter(CERTIFICATE.as_bytes()).map(|one| one.expect("a fixture")).collect();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a fixture");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a fixture");
    TlsAcceptor::from(Arc::new(config))
}
