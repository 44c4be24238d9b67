//! Sending a file: a form of parts, of which the file must be the last. The API's server takes no body of unknown length.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, StatusCode};
use serde_json::Value;
use substrate_core::{Error, OpenImageFile, Result, UploadProgress};

use super::form::Form;
use super::{Client, answer, successful};

/// How long nothing may move. The host writes what it got into a folder of its own before it answers.
const SILENCE: Duration = Duration::from_secs(120);
/// There is another deadline for every exchange, which is about small ones.
const NO_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between the parts. The server checks the hash of what it got: a file in which this occurs is refused, not cut.
const BOUNDARY: &str = "substrate-7d1be0a3a5c84f1f9c0d2e6b84f3715a";

/// A file under the name that it shall have.
pub(crate) struct Upload<'a> {
    pub(crate) fields: &'a Form,
    pub(crate) name: &'a str,
    pub(crate) file: OpenImageFile,
}

impl Client {
    /// Sends a file to the host that answered last. It is sent once: the caller has just asked for something, so the
    /// ticket is one that is accepted.
    pub(crate) async fn upload(&self, attempt: &str, path: &str, upload: Upload<'_>) -> Result<Value> {
        let index = self.current.load(std::sync::atomic::Ordering::Relaxed);
        let Some(host) = self.hosts.get(index) else {
            return Err(Error::internal("no host is configured"));
        };
        let headers = self.sign(host, false).await?;
        let before = beginning(upload.fields, upload.name);
        let after = format!("\r\n--{BOUNDARY}--\r\n");
        let length = before.len() as u64 + upload.file.size() + after.len() as u64;
        let progress = UploadProgress::new();
        let around = |text: String| stream::iter([Ok(Bytes::from(text))]);
        let content = around(before).chain(upload.file.into_stream()).chain(around(after));
        let request = self
            .http
            .request(Method::POST, format!("{host}/api2/json{path}"))
            .headers(headers.clone())
            .timeout(NO_DEADLINE)
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"))
            .header(CONTENT_LENGTH, length)
            .body(Body::wrap_stream(progress.counted(content)));
        let raw =
            progress.while_moving(SILENCE, Self::received(attempt, host, request)).await.unwrap_or_else(
                || Err(Error::timeout(format!("cannot {attempt}: {host} has taken nothing for {SILENCE:?}"))),
            )?;
        if raw.status == StatusCode::UNAUTHORIZED {
            self.session.lock().await.refused(&headers);
        }
        Ok(answer(attempt, &successful(attempt, raw)?)?.data)
    }
}

fn beginning(fields: &Form, name: &str) -> String {
    let mut text = String::new();
    for (field, value) in fields.pairs() {
        text.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
        ));
    }
    text.push_str(&format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    ));
    text
}
