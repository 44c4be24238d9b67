//! TLS with `ring`, passed explicitly: a library installs no process-wide provider.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use substrate_core::{Error, Result};

use crate::config::ProxmoxConfig;

/// The length of a SHA-256 fingerprint.
const FINGERPRINT: usize = 32;

pub(crate) fn client_config(config: &ProxmoxConfig) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?;
    let pins = config.fingerprint.iter().map(|text| pin(text)).collect::<Result<Vec<_>>>()?;
    let check = if !pins.is_empty() {
        Check::Pins(pins)
    } else if config.verify_ssl {
        let roots = match &config.ca {
            Some(path) => authorities_of(path)?,
            None => authorities_of_the_system(),
        };
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    } else {
        Check::None
    };
    let verifier = Arc::new(Lenient { check, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn authorities_of(path: &Path) -> Result<RootCertStore> {
    let unreadable = |error: &dyn fmt::Display| {
        Error::invalid_input(format!("the certificate file {} cannot be used: {error}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"it holds no certificate"));
    }
    Ok(roots)
}

/// What cannot be read there is left out: a connection then says which authority is unknown.
fn authorities_of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Reads `AA:BB:…`.
fn pin(text: &str) -> Result<[u8; FINGERPRINT]> {
    let digits: Vec<u32> = text.chars().filter_map(|character| character.to_digit(16)).collect();
    let clean = text.chars().all(|character| character.is_ascii_hexdigit() || matches!(character, ':' | ' '));
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect();
    match <[u8; FINGERPRINT]>::try_from(bytes) {
        Ok(pin) if clean && digits.len() == 2 * FINGERPRINT => Ok(pin),
        _ => Err(Error::invalid_input(format!("`{}` is no SHA-256 fingerprint", text.escape_debug()))
            .with_hint("32 bytes in hexadecimal, as `pvenode cert info` and the web interface show them")),
    }
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

#[derive(Debug)]
enum Check {
    /// One of these certificates, whoever signed it and whatever name it carries.
    Pins(Vec<[u8; FINGERPRINT]>),
    /// Any: only what `verify_ssl: false` asks for.
    None,
}

#[derive(Debug)]
struct Lenient {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Check::Pins(pins) = &self.check else { return Ok(ServerCertVerified::assertion()) };
        let found = ::ring::digest::digest(&::ring::digest::SHA256, certificate);
        if pins.iter().any(|pin| pin == found.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!(
            "the certificate's fingerprint is {}, which is not the one that was configured",
            colons(found.as_ref())
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_32_bytes_in_hexadecimal() {
        let text = vec!["Ab"; 32].join(":");
        assert_eq!(pin(&text).unwrap(), [0xab; 32]);
        assert_eq!(pin(&text.replace(':', "")).unwrap(), [0xab; 32]);
        for wrong in ["", "AB:CD", &format!("{text}:AB"), &text.replace('b', "x")] {
            assert!(pin(wrong).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }
}
