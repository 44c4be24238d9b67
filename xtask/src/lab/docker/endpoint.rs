//! Two questions to a daemon over its Unix socket, without a client library: is it there, and who is it?

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Long enough for a busy machine, short enough that a frozen daemon does not hold up `lab status`.
const PATIENCE: Duration = Duration::from_secs(5);

/// The version that the daemon gives; an error when it does not answer.
pub fn version(socket: &Path) -> Result<String> {
    let body = get(socket, "/version")?;
    let version: serde_json::Value = serde_json::from_str(&body).context("the version is no JSON")?;
    let version = version.get("Version").and_then(serde_json::Value::as_str);
    Ok(version.context("the answer names no version")?.to_owned())
}

fn get(socket: &Path, path: &str) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the answer ends with the connection and is not chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the daemon closed the connection early")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the daemon answered {status:?}");
    }
    Ok(body.to_owned())
}
