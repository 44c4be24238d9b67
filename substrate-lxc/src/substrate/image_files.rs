//! Images that are files: the server knows an image by the hash of its content, so what it has is not sent again.

use std::fmt::Write;
use std::time::Duration;

use futures_util::TryStreamExt;
use ring::digest::{Context, SHA256};
use substrate_core::{Error, ImageFile, OpenImageFile, Outcome, Result};
use tokio::io::AsyncReadExt;

use super::LxcSubstrate;
use crate::client::{Answer, Target, Upload};
use crate::convert::image::ImageDocument;

/// Between the two files of an image.
const AND: &str = "+/";
/// What the disk of a machine begins with.
const QCOW2: &[u8; 4] = b"QFI\xfb";
/// How long the server may take to look at what it got.
const IMPORT_LIMIT: Duration = Duration::from_secs(1800);
/// Between the files of one body. What is sent has a hash that the server checks: a file in which this occurs
/// by chance is refused, not cut.
const BOUNDARY: &str = "substrate-0f2b7c61d94e4d0c8a5e3b7196af28d4";

/// The files of an image: one archive of everything, or its metadata and its disk apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ImageFiles {
    first: ImageFile,
    disk: Option<ImageFile>,
}

impl ImageFiles {
    /// `file:/path/all.tar.xz`, or `file:/path/metadata.tar.xz+/path/rootfs.squashfs`; `None` for an image that is
    /// asked for in another way.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is not absolute.
    pub(super) fn in_reference(reference: &str) -> Result<Option<Self>> {
        let Some(first) = ImageFile::in_reference(reference)? else { return Ok(None) };
        let split = first.path().to_str().and_then(|path| {
            let (metadata, _) = path.split_once(AND)?;
            // The second path begins with the slash that follows the sign.
            Some((metadata.to_owned(), path.get(metadata.len() + 1..)?.to_owned()))
        });
        Ok(Some(match split {
            Some((metadata, disk)) => {
                Self { first: ImageFile::new(metadata), disk: Some(ImageFile::new(disk)) }
            }
            None => Self { first, disk: None },
        }))
    }

    /// That they are there and can be read.
    pub(super) async fn check(&self) -> Result<()> {
        for file in self.each() {
            file.open().await?;
        }
        Ok(())
    }

    fn each(&self) -> impl Iterator<Item = &ImageFile> {
        std::iter::once(&self.first).chain(&self.disk)
    }

    /// As the servers hash it: all that belongs to it, in order.
    async fn fingerprint(&self) -> Result<String> {
        let mut context = Context::new(&SHA256);
        for file in self.each() {
            let mut pieces = Box::pin(file.open().await?.into_stream());
            while let Some(piece) = pieces.try_next().await.map_err(|failure| file.unreadable(failure))? {
                context.update(&piece);
            }
        }
        let mut text = String::with_capacity(64);
        for byte in context.finish().as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }

    /// What is sent, and of what type that is.
    async fn upload(&self) -> Result<(Upload, String)> {
        let first = self.first.open().await?;
        let Some(disk) = &self.disk else {
            return Ok((Upload::default().file(first), "application/octet-stream".to_owned()));
        };
        let name = if is_of_machine(disk).await? { "rootfs.img" } else { "rootfs" };
        let begin = |name: &str| {
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n"
            )
        };
        let body = Upload::default()
            .text(begin("metadata"))
            .file(first)
            .text(format!("\r\n{}", begin(name)))
            .file(disk.open().await?)
            .text(format!("\r\n--{BOUNDARY}--\r\n"));
        Ok((body, format!("multipart/form-data; boundary={BOUNDARY}")))
    }
}

async fn is_of_machine(disk: &ImageFile) -> Result<bool> {
    let mut beginning = Vec::new();
    let file = OpenImageFile::into_file(disk.open().await?);
    file.take(QCOW2.len() as u64)
        .read_to_end(&mut beginning)
        .await
        .map_err(|failure| disk.unreadable(failure))?;
    Ok(beginning == QCOW2)
}

impl LxcSubstrate {
    /// The image that these files are; given to the server when it does not have it.
    pub(super) async fn imported(&self, files: &ImageFiles) -> Result<ImageDocument> {
        let fingerprint = files.fingerprint().await?;
        let _held = self.names.hold("image", &fingerprint).await;
        if let Some(image) = self.image_by(&fingerprint).await? {
            return Ok(image);
        }
        let result = self.give(files, &fingerprint).await;
        match (self.image_by(&fingerprint).await, result) {
            // Somebody else may have given it meanwhile, and then ours was refused.
            (Ok(Some(image)), _) => Ok(image),
            (_, Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error),
            (Ok(None), Ok(())) => Err(Error::internal(format!(
                "the server has taken the image {}, but does not have it",
                files.first.path().display()
            ))
            .with_outcome(Outcome::Unknown)),
        }
    }

    async fn image_by(&self, fingerprint: &str) -> Result<Option<ImageDocument>> {
        let target = Target::new("/1.0/images").segment(fingerprint);
        match self.client.get("look for the image", &target).await {
            Ok(image) => Ok(Some(image)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn give(&self, files: &ImageFiles, fingerprint: &str) -> Result<()> {
        let attempt = &format!("import the image {}", files.first.path().display());
        let (body, kind) = files.upload().await?;
        // Each product reads its own: what was damaged on the way, or has changed since it was hashed, is refused.
        let headers = [("X-LXD-fingerprint", fingerprint), ("X-Incus-fingerprint", fingerprint)];
        match self.client.upload(attempt, &Target::new("/1.0/images"), &kind, &headers, body).await? {
            Answer::Done => Ok(()),
            // A record that is gone says nothing: the caller looks.
            Answer::Begun(operation) => self.client.follow(attempt, &operation, IMPORT_LIMIT).await.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_one_file_or_two() {
        let of = |text: &str| ImageFiles::in_reference(text).unwrap();
        assert_eq!(of("debian/12"), None);
        let one = of("file:/a+b/all.tar.xz").unwrap();
        assert_eq!((one.first.path().to_str(), one.disk), (Some("/a+b/all.tar.xz"), None));
        let two = of("file:/a/meta.tar.xz+/b/rootfs.squashfs").unwrap();
        assert_eq!(two.first.path().to_str(), Some("/a/meta.tar.xz"));
        assert_eq!(two.disk.unwrap().path().to_str(), Some("/b/rootfs.squashfs"));
    }
}
