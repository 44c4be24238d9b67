//! Images: what is at hand, and fetching what is not.

use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;
use secrecy::ExposeSecret;
use substrate_core::{Error, ErrorKind, Image, ImageFile, Outcome, Result, RetryAdvice};
use tokio::time::timeout;

use super::DockerSubstrate;
use crate::client::Target;
use crate::config::PullPolicy;
use crate::convert::snapshot::ImageSummary;
use crate::error;
use crate::name::ImageReference;

/// How long a download may say nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(300);

impl DockerSubstrate {
    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let summaries: Vec<ImageSummary> =
            self.client.get("list the images", &Target::new("/images/json")).await?;
        let mut images: Vec<Image> = summaries.into_iter().map(ImageSummary::into_image).collect();
        images.sort_by(|left, right| (&left.names, &left.id).cmp(&(&right.names, &right.id)));
        Ok(images)
    }

    pub(super) async fn image(&self, reference: &str) -> Result<Image> {
        self.descriptor.get().capabilities.require_image(reference)?;
        if let Some(file) = ImageFile::in_reference(reference)? {
            return self.imported(&file).await;
        }
        let parsed = ImageReference::parse(reference)?;
        if let Some(image) = self.local_image(reference).await? {
            return Ok(image);
        }
        self.pull(reference, &parsed).await?;
        self.local_image(reference)
            .await?
            .ok_or_else(|| Error::protocol(format!("the daemon fetched `{reference}`, but does not have it")))
    }

    /// Makes an image available as the pull policy says.
    pub(super) async fn provide_image(&self, reference: &str) -> Result<()> {
        let parsed = ImageReference::parse(reference)?;
        let is_here = match self.config.pull_policy {
            PullPolicy::Always => false,
            PullPolicy::Never | PullPolicy::Missing => self.local_image(reference).await?.is_some(),
        };
        match (is_here, self.config.pull_policy) {
            (true, _) => Ok(()),
            (false, PullPolicy::Never) => {
                Err(Error::not_found(format!("the daemon does not have the image `{reference}`"))
                    .with_hint("load it, or allow fetching with `pull_policy: missing`"))
            }
            (false, _) => self.pull(reference, &parsed).await,
        }
    }

    pub(super) async fn local_image(&self, reference: &str) -> Result<Option<Image>> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document {
            id: String,
            #[serde(default)]
            repo_tags: Option<Vec<String>>,
            #[serde(default)]
            repo_digests: Option<Vec<String>>,
            #[serde(default)]
            created: Option<String>,
            #[serde(default)]
            size: Option<u64>,
        }
        let target = Target::new("/images").segment(reference).segment("json");
        let document: Document = match self.client.get("look at the image", &target).await {
            Ok(document) => document,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut names = document.repo_tags.unwrap_or_default();
        names.extend(document.repo_digests.unwrap_or_default());
        let mut image = Image::new(document.id, names);
        image.size_bytes = document.size;
        image.created_at = document.created.as_deref().and_then(crate::convert::time::parse);
        Ok(Some(image))
    }

    async fn pull(&self, reference: &str, parsed: &ImageReference) -> Result<()> {
        let attempt = "fetch the image";
        let options = CreateImageOptions {
            from_image: Some(parsed.repository.clone()),
            tag: Some(parsed.tag_or_digest().to_owned()),
            ..Default::default()
        };
        let docker = self.client.docker().await?;
        let mut progress = Box::pin(docker.create_image(Some(options), None, self.credentials(parsed)));
        loop {
            match timeout(SILENCE_LIMIT, progress.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(failure))) => {
                    return Err(not_to_be_had(reference, error::from_bollard(attempt, failure)));
                }
                Err(_) => {
                    return Err(Error::timeout(format!(
                        "cannot {attempt}: nothing has come for {SILENCE_LIMIT:?}"
                    )));
                }
            }
        }
    }

    /// The configured registry's credentials, for images of that registry only.
    fn credentials(&self, parsed: &ImageReference) -> Option<DockerCredentials> {
        let registry = self.config.registry.as_ref()?;
        if parsed.registry() != Some(registry.address().as_str()) {
            return None;
        }
        Some(DockerCredentials {
            username: Some(registry.username.clone()?),
            password: registry.password.as_ref().map(|password| password.expose_secret().to_owned()),
            serveraddress: Some(registry.address()),
            ..Default::default()
        })
    }
}

/// A registry that has no such image, that does not let us in (they say the same of both on purpose), and one
/// that cannot be reached: for whoever needs the image now, it is not to be had. The daemon's answer to each
/// is a 500 or a line in a stream, so its words are handed on.
fn not_to_be_had(reference: &str, error: Error) -> Error {
    let by_daemon = matches!(
        error.kind(),
        ErrorKind::Internal | ErrorKind::NotFound | ErrorKind::Unauthenticated | ErrorKind::PermissionDenied
    );
    if !by_daemon {
        return error;
    }
    Error::not_found(format!(
        "the image `{reference}` is not on the daemon and cannot be fetched: {}",
        error.message()
    ))
    .with_outcome(Outcome::Rejected)
    .with_retry(RetryAdvice::Never)
    .with_hint("check the name, whether the daemon can reach the registry, and the credentials")
}
