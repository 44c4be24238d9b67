//! One question to a supervisord over its Unix socket, without a client library: which version is it?

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Long enough for a busy machine, short enough that a frozen daemon does not hold up `lab status`.
const PATIENCE: Duration = Duration::from_secs(5);
const QUESTION: &str =
    "<?xml version='1.0'?><methodCall><methodName>supervisor.getSupervisorVersion</methodName></methodCall>";

/// The version that the daemon gives; an error when it does not answer.
pub fn version(socket: &Path) -> Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0, so that the answer ends with the connection.
    write!(
        stream,
        "POST /RPC2 HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{QUESTION}",
        QUESTION.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, rest) = answer.split_once("<string>").context("the daemon tells no version")?;
    let (version, _) = rest.split_once("</string>").context("the daemon's answer broke off")?;
    Ok(version.to_owned())
}
