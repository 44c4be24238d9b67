//! Images: those at hand, and fetching others from the servers of the configuration.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use substrate_core::{Error, Image, Outcome, Result};

use super::LxcSubstrate;
use super::image_files::ImageFiles;
use crate::client::{Ended, Target};
use crate::config::RemoteConfig;
use crate::convert::image::{AliasDocument, ImageDocument};
use crate::name::ImageReference;

/// How long fetching an image may take.
const FETCH_LIMIT: Duration = Duration::from_secs(1800);

fn images() -> Target {
    Target::new("/1.0/images")
}

fn missing(reference: &str) -> Error {
    Error::not_found(format!("the server has no image `{}`", reference.escape_debug())).with_hint(
        "name an alias or a fingerprint that it has, or a server of the configuration: remote:alias",
    )
}

impl LxcSubstrate {
    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let documents: Vec<ImageDocument> =
            self.client.get("list the images", &images().with("recursion", "1")).await?;
        let mut images: Vec<Image> = documents.into_iter().map(ImageDocument::into_image).collect();
        images.sort_by(|left, right| (&left.names, &left.id).cmp(&(&right.names, &right.id)));
        Ok(images)
    }

    /// What a reference means; a server that the configuration does not know is said so.
    pub(super) fn image_reference(&self, text: &str) -> Result<(ImageReference, Option<&RemoteConfig>)> {
        let reference = ImageReference::parse(text)?;
        let Some(name) = &reference.remote else { return Ok((reference, None)) };
        match self.config.remotes.get(name) {
            Some(remote) => Ok((reference, Some(remote))),
            None => {
                let known: Vec<&str> = self.config.remotes.keys().map(String::as_str).collect();
                Err(Error::not_found(format!(
                    "the configuration knows no server of images called `{name}`; it knows: {}",
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                ))
                .with_hint("add it to `remotes`"))
            }
        }
    }

    /// What a new instance is made from, for the create call.
    pub(super) async fn image_source(&self, image: Option<&str>) -> Result<Value> {
        let Some(image) = image else {
            return Err(Error::invalid_input("an instance is made from an image").with_hint("set `image`"));
        };
        if let Some(files) = ImageFiles::in_reference(image)? {
            // Whatever comes of it, no instance was asked for yet.
            let image = self.imported(&files).await.map_err(|error| error.with_outcome(Outcome::NotSent))?;
            return Ok(json!({"type": "image", "fingerprint": image.fingerprint}));
        }
        let (reference, remote) = self.image_reference(image)?;
        match remote {
            Some(remote) => remote_source(&reference, remote),
            // An alias may be called like the beginning of a fingerprint: the alias is meant.
            None => Ok(json!({"type": "image", "fingerprint": self.fingerprint(&reference, image).await?})),
        }
    }

    /// The image of this server that a reference means.
    async fn fingerprint(&self, reference: &ImageReference, text: &str) -> Result<String> {
        let target = images().segment("aliases").segment(&reference.name);
        match self.client.get::<AliasDocument>("look for the image", &target).await {
            Ok(alias) => return Ok(alias.target),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        if !reference.may_be_fingerprint() {
            return Err(missing(text));
        }
        match self.client.get::<ImageDocument>("look for the image", &images().segment(&reference.name)).await
        {
            Ok(image) => Ok(image.fingerprint),
            Err(error) if error.is_not_found() => Err(missing(text)),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn image(&self, text: &str) -> Result<Image> {
        self.descriptor.get().capabilities.require_image(text)?;
        if let Some(files) = ImageFiles::in_reference(text)? {
            return self.imported(&files).await.map(ImageDocument::into_image);
        }
        let (reference, remote) = self.image_reference(text)?;
        if let Some(remote) = remote {
            self.fetch(&reference, remote).await?;
        }
        let local = ImageReference { remote: None, name: self.local_alias(&reference) };
        let fingerprint = self.fingerprint(&local, text).await?;
        let image: ImageDocument =
            self.client.get("look at the image", &images().segment(&fingerprint)).await?;
        Ok(image.into_image())
    }

    /// Under which alias a fetched image is found again.
    fn local_alias(&self, reference: &ImageReference) -> String {
        match &reference.remote {
            Some(remote) => format!("{remote}/{}", reference.name),
            None => reference.name.clone(),
        }
    }

    /// Copies an image from another server, unless it is here already.
    async fn fetch(&self, reference: &ImageReference, remote: &RemoteConfig) -> Result<()> {
        let alias = self.local_alias(reference);
        let here = ImageReference { remote: None, name: alias.clone() };
        match self.fingerprint(&here, &alias).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let _held = self.names.hold("image", &alias).await;
        let body = &json!({
            "source": remote_source(reference, remote)?,
            "aliases": [{"name": alias}],
            "auto_update": false,
        });
        let (attempt, target) = ("fetch the image", &images());
        let result = self
            .when_free(|| self.client.change(attempt, Method::POST, target, Some(body), FETCH_LIMIT))
            .await;
        match result {
            Ok(Ended::Done | Ended::Gone) => Ok(()),
            // Somebody else has fetched it meanwhile.
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn remote_source(reference: &ImageReference, remote: &RemoteConfig) -> Result<Value> {
    let mut source = json!({
        "type": "image",
        "mode": "pull",
        "server": remote.server,
        "protocol": remote.protocol.as_str(),
    });
    let key = if reference.may_be_fingerprint() { "fingerprint" } else { "alias" };
    if let Some(fields) = source.as_object_mut() {
        fields.insert(key.to_owned(), reference.name.clone().into());
        if let Some(path) = &remote.certificate {
            let certificate = std::fs::read_to_string(path).map_err(|error| {
                Error::invalid_input(format!("the certificate {} cannot be read: {error}", path.display()))
            })?;
            fields.insert("certificate".to_owned(), certificate.into());
        }
    }
    Ok(source)
}
