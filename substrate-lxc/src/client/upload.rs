//! Sending files: piece by piece, for as long as they move.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};
use serde_json::Value;
use substrate_core::{BoxStream, Error, OpenImageFile, Result, UploadProgress};

use super::{Answer, Client, Envelope, Operation, Refusal, Target, message_of, unexpected};
use crate::error;

/// How long nothing may move. The server stores what it got before it answers.
const SILENCE: Duration = Duration::from_secs(120);

/// A body of texts and files, in order; its length is known before it is sent.
#[derive(Default)]
pub(crate) struct Upload {
    pieces: Vec<BoxStream<io::Result<Bytes>>>,
    length: u64,
}

impl Upload {
    pub(crate) fn text(mut self, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        self.length += text.len() as u64;
        self.pieces.push(stream::iter([Ok(text)]).boxed());
        self
    }

    pub(crate) fn file(mut self, file: OpenImageFile) -> Self {
        self.length += file.size();
        self.pieces.push(file.into_stream().boxed());
        self
    }
}

impl Client {
    /// Sends files; what the server makes of them is an operation.
    pub(crate) async fn upload(
        &self,
        attempt: &str,
        target: &Target,
        content_type: &str,
        headers: &[(&'static str, &str)],
        upload: Upload,
    ) -> Result<Answer> {
        let progress = UploadProgress::new();
        let content = progress.counted(stream::iter(upload.pieces).flatten());
        let mut request = self
            .request(Method::POST, target)
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_LENGTH, upload.length);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::wrap_stream(content));
        let exchange = async {
            let response = self.begin(attempt, request).await?;
            let status = response.status();
            let body = self.whole(attempt, response).await?;
            match Refusal::in_success(&body) {
                Some(refusal) => Err(error::from_status(attempt, refusal.error_code, &refusal.error)),
                None if status.is_success() => Ok(body),
                None => Err(error::from_status(attempt, status.as_u16(), &message_of(&body))),
            }
        };
        let body = progress.while_moving(SILENCE, exchange).await.unwrap_or_else(|| {
            Err(Error::timeout(format!(
                "cannot {attempt}: {} has taken nothing for {SILENCE:?}",
                self.endpoint()
            )))
        })?;
        let envelope: Envelope<Value> =
            serde_json::from_slice(&body).map_err(|error| unexpected(attempt, &error))?;
        if envelope.kind != "async" {
            return Ok(Answer::Done);
        }
        let operation: Operation = serde_json::from_value(envelope.metadata.unwrap_or_default())
            .map_err(|error| unexpected(attempt, &error))?;
        operation.checked(attempt).map(Answer::Begun)
    }
}
