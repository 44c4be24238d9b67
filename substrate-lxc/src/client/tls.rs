//! TLS with `ring`, passed explicitly: a library installs no process-wide provider.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use substrate_core::{Error, Result};

use crate::config::TlsConfig;

/// What a connection checks and shows, from the configured files. A unix socket needs the same, for the
/// library wants a TLS setup in any case and would look for a process-wide provider.
pub(crate) fn setup(tls: Option<&TlsConfig>) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?;
    let Some(tls) = tls else {
        return Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    };
    let builder = match (&tls.server_certificate, &tls.ca, tls.verify) {
        (_, _, false) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Peer { only: None, provider }))
        }
        (Some(path), _, true) => {
            let only = certificates(path)?.into_iter().next();
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Peer { only, provider }))
        }
        (None, Some(authority), true) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(authority)? {
                roots.add(certificate).map_err(|error| unreadable(authority, &error))?;
            }
            builder.with_root_certificates(roots)
        }
        (None, None, true) => {
            return Err(Error::invalid_input("HTTPS needs something to know the server by")
                .with_hint("set `tls.server_certificate` to the server's own certificate, or `tls.ca`"));
        }
    };
    match (&tls.cert, &tls.key) {
        (Some(certificate), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .map_err(|error| unreadable(certificate, &error))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(Error::invalid_input("`tls.cert` and `tls.key` only make sense together")),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(|error| unreadable(path, &error))?
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(path, &error))?;
    if certificates.is_empty() {
        return Err(unreadable(path, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn unreadable(path: &Path, error: &dyn fmt::Display) -> Error {
    Error::invalid_input(format!("the TLS file {} cannot be used: {error}", path.display()))
}

/// Accepts one certificate, whatever name is in it; any, where only `verify: false` asks for that.
#[derive(Debug)]
struct Peer {
    only: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Peer {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.only {
            Some(only) if only != presented => Err(rustls::Error::General(
                "the server shows another certificate than the one configured".into(),
            )),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
