//! Images that are files of this machine: uploaded under a name that tells their content, so that what is there is not
//! sent again, and another file of the same name is another image.

use substrate_core::{Error, Image, ImageFile, Result};

use super::ProxmoxSubstrate;
use super::image_sums::Sum;
use super::images::content_of;
use crate::client::{Form, Upload, path};

/// How much of a hash is in a name: enough that no two files meet.
const DIGITS: usize = 16;
/// The longest name that the API takes.
const LONGEST: usize = 255;

/// What the cluster calls a file: what it is, and its name there.
#[derive(Debug, PartialEq, Eq)]
struct Naming {
    content: &'static str,
    file: String,
}

impl Naming {
    /// `debian.qcow2` becomes `debian-0123456789abcdef.qcow2`.
    fn of(file: &ImageFile, sum: &str) -> Result<Self> {
        let own = file.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((content, ending)) = content_of(own) else {
            return Err(Error::invalid_input(format!(
                "the image {} cannot be uploaded: Proxmox VE goes by a file's ending",
                file.path().display()
            ))
            .with_hint(
                ".qcow2, .raw, .vmdk or .ova for disks, .iso, or .tar.gz, .tar.xz, .tar.zst for containers",
            ));
        };
        let stem = own.strip_suffix(ending).unwrap_or(own);
        // What else is in a name the API would replace by itself.
        let plain = |character: char| {
            if character.is_ascii_alphanumeric() || "_-.".contains(character) { character } else { '_' }
        };
        let stem: String = stem.chars().map(plain).take(LONGEST - DIGITS - 1 - ending.len()).collect();
        let stem = stem.trim_start_matches(['.', '-', '_']);
        let digits = sum.get(..DIGITS).unwrap_or(sum);
        let file =
            if stem.is_empty() { format!("{digits}{ending}") } else { format!("{stem}-{digits}{ending}") };
        Ok(Self { content, file })
    }
}

impl ProxmoxSubstrate {
    /// The image that this file is on the cluster, or on this node of it; uploaded when it is not there.
    pub(super) async fn imported(&self, file: &ImageFile, node: Option<&String>) -> Result<Image> {
        // What is wrong with its name is said before gigabytes are read; but first that it is missing.
        file.open().await?;
        Naming::of(file, "")?;
        let Sum { text: sum, size } = self.sums.of(file).await?;
        let naming = Naming::of(file, &sum)?;
        let (node, storage) = self.place_for(naming.content, node).await?;
        let id = format!("{storage}:{}/{}", naming.content, naming.file);
        let _one = self.names.hold("image", &id).await;
        // One that was cut while the host copied it has the name, but not the size.
        let is_whole = |image: &Image| image.size_bytes.is_none_or(|there| there == size);
        if let Some(image) = self.image_at_hand(&id).await?.filter(is_whole) {
            return Ok(image);
        }
        let attempt = &format!("upload the image {}", file.path().display());
        let fields = Form::new()
            .with("content", naming.content)
            .with("checksum-algorithm", "sha256")
            .with("checksum", &sum);
        let upload = Upload { fields: &fields, name: &naming.file, file: file.open().await? };
        let target = path(&["nodes", &node, "storage", &storage, "upload"]);
        let data = self.client.upload(attempt, &target, upload).await?;
        self.arrived(attempt, &data, &id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_content_and_is_plain() {
        let sum = "0123456789abcdef0123";
        let named =
            |path: &str| Naming::of(&ImageFile::new(path), sum).map(|naming| (naming.content, naming.file));
        assert_eq!(
            named("/a/debian 12.qcow2").unwrap(),
            ("import", "debian_12-0123456789abcdef.qcow2".to_owned())
        );
        assert_eq!(named("/a/ct.tar.zst").unwrap(), ("vztmpl", "ct-0123456789abcdef.tar.zst".to_owned()));
        assert_eq!(named("/a/.iso").unwrap(), ("iso", "0123456789abcdef.iso".to_owned()));
        let long = format!("/a/{}.tar.zst", "n".repeat(254));
        assert!(named(&long).unwrap().1.len() <= 255);
        for wrong in ["/a/disk.img.gz", "/a/disk", "/"] {
            assert!(named(wrong).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }
}
