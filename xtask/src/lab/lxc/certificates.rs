//! Client certificates: one that the server is told to trust, and one that it does not know.
//!
//! Each signs itself, as the servers' own clients have it, and has extensions, so that it is X.509 version 3:
//! rustls refuses version 1.

use std::path::Path;

use anyhow::Result;

use crate::command::{command, output};
use crate::lab::create_private_directory;

pub const CLIENT: &str = "client";
pub const STRANGER: &str = "stranger";

/// Makes both, if the folder does not have them.
pub fn ensure(folder: &Path) -> Result<()> {
    create_private_directory(folder)?;
    for name in [CLIENT, STRANGER] {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        if folder.join(&certificate).exists() {
            continue;
        }
        let mut openssl = command("openssl");
        openssl
            .current_dir(folder)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"])
            .args(["-days", "3650", "-addext", "extendedKeyUsage=clientAuth"])
            .args(["-subj", &format!("/CN=substrates lab {name}"), "-keyout", &key, "-out", &certificate]);
        output(&mut openssl)?;
    }
    Ok(())
}
