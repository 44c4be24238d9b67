//! An authority of the lab's own, a server certificate for 127.0.0.1 and a client certificate.
//!
//! Every certificate has extensions, so that it is X.509 version 3: rustls refuses version 1, and an end
//! certificate that is also an authority.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::command::{command, output};
use crate::lab::create_private_directory;

const SETTINGS: &str = "\
[req]
prompt = no
distinguished_name = name
[name]
CN = substrates lab
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1,DNS:localhost
[client]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
";

/// The names are those that Docker's own client looks for in `DOCKER_CERT_PATH`.
pub const AUTHORITY: &str = "ca.pem";
pub const SERVER: &str = "server-cert.pem";
pub const SERVER_KEY: &str = "server-key.pem";
const CLIENT: &str = "cert.pem";
const CLIENT_KEY: &str = "key.pem";
const AUTHORITY_KEY: &str = "ca-key.pem";

/// Makes all certificates, if the folder does not have them.
pub fn ensure(folder: &Path) -> Result<()> {
    if folder.join(CLIENT).exists() {
        return Ok(());
    }
    create_private_directory(folder)?;
    fs::write(folder.join("openssl.cnf"), SETTINGS).context("cannot write the settings for openssl")?;
    let signed = ["-CA", AUTHORITY, "-CAkey", AUTHORITY_KEY];
    make(folder, "substrates lab authority", "authority", AUTHORITY, AUTHORITY_KEY, &[])?;
    make(folder, "127.0.0.1", "server", SERVER, SERVER_KEY, &signed)?;
    // Last, because its presence says that all are there.
    make(folder, "substrates lab client", "client", CLIENT, CLIENT_KEY, &signed)
}

fn make(folder: &Path, name: &str, extensions: &str, file: &str, key: &str, signer: &[&str]) -> Result<()> {
    let mut openssl = command("openssl");
    openssl
        .current_dir(folder)
        .args(["req", "-x509", "-config", "openssl.cnf", "-extensions", extensions])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "3650"])
        .args(["-subj", &format!("/CN={name}"), "-keyout", key, "-out", file])
        .args(signer);
    output(&mut openssl).map(drop)
}
