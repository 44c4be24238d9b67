//! Images that are files: archives as `docker save` writes them. What the daemon has is not sent again.

use std::io::SeekFrom;

use substrate_core::{Error, Image, ImageFile, Outcome, Result};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::DockerSubstrate;
use crate::convert::archive::{BLOCK, Header, images_in, loaded};
use crate::error;

/// The longest list of images that is read.
const MANIFEST_LIMIT: u64 = 1 << 20;
/// What a daemon says of a file that is no archive of an image.
const NO_IMAGE: [&str; 5] =
    ["invalid tar header", "unexpected eof", "no such file or directory", "archive/tar", "not a valid"];

impl DockerSubstrate {
    /// The image in this archive; loaded when the daemon does not have it.
    pub(super) async fn imported(&self, file: &ImageFile) -> Result<Image> {
        if let Some(id) = only_image(file).await?
            && let Some(image) = self.local_image(&id).await?
        {
            return Ok(image);
        }
        let attempt = &format!("load the image {}", file.path().display());
        let answer = self.client.load(attempt, file.open().await?).await?;
        let names = loaded(&answer).map_err(|words| refused(attempt, &words))?;
        let mut images = Vec::new();
        for name in &names {
            let image = self.local_image(name).await?.ok_or_else(|| {
                Error::not_found(format!("the daemon has loaded the image `{name}`, and it is gone already"))
                    .with_outcome(Outcome::Unknown)
            })?;
            if !images.iter().any(|known: &Image| known.id == image.id) {
                images.push(image);
            }
        }
        match (images.pop(), images.is_empty()) {
            (Some(image), true) => Ok(image),
            (None, _) => {
                Err(Error::invalid_input(format!("cannot {attempt}: the daemon found no image in it")))
            }
            (Some(_), false) => Err(several(file, &names)),
        }
    }
}

fn several(file: &ImageFile, names: &[String]) -> Error {
    Error::invalid_input(format!(
        "the file {} holds several images: {}",
        file.path().display(),
        names.join(", ")
    ))
    .with_hint("save one image per file")
}

fn refused(attempt: &str, words: &str) -> Error {
    let lower = words.to_lowercase();
    if NO_IMAGE.iter().any(|phrase| lower.contains(phrase)) {
        return Error::invalid_input(format!("cannot {attempt}: {words}"))
            .with_hint("it must be an archive as `docker save` writes it");
    }
    error::from_status(attempt, 500, words)
}

/// The id of the image in an archive, as far as that can be told without the daemon: not of a compressed one.
async fn only_image(file: &ImageFile) -> Result<Option<String>> {
    let unreadable = |failure| file.unreadable(failure);
    let opened = file.open().await?;
    let mut left = opened.size();
    let mut archive = opened.into_file();
    let mut block = [0; BLOCK as usize];
    while left >= BLOCK {
        archive.read_exact(&mut block).await.map_err(unreadable)?;
        let Some(header) = Header::read(&block) else { return Ok(None) };
        if header.is_manifest && header.size <= MANIFEST_LIMIT {
            let mut manifest = Vec::new();
            archive.take(header.size).read_to_end(&mut manifest).await.map_err(unreadable)?;
            let mut ids = images_in(&manifest).map_err(|error| error.with_outcome(Outcome::NotSent))?;
            return if ids.len() > 1 { Err(several(file, &ids)) } else { Ok(ids.pop()) };
        }
        let distance = header.distance();
        let Some(rest) = left.checked_sub(BLOCK + distance) else { return Ok(None) };
        left = rest;
        let Ok(step) = i64::try_from(distance) else { return Ok(None) };
        archive.seek(SeekFrom::Current(step)).await.map_err(unreadable)?;
    }
    Ok(None)
}
