//! Archives of images, as `docker save` writes them: what is in them, and what a daemon says after it has loaded one.

use serde::Deserialize;
use substrate_core::{Error, Result};

/// The length of every header, and what contents are filled up to.
pub(crate) const BLOCK: u64 = 512;
/// Where the images of an archive are listed.
const MANIFEST: &str = "manifest.json";

/// A header of an archive, as far as it is needed to find one entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) is_manifest: bool,
    pub(crate) size: u64,
}

impl Header {
    /// Reads a header; `None` when it is none: the end, or no plain archive (but a compressed one).
    pub(crate) fn read(block: &[u8]) -> Option<Self> {
        if block.get(257..262)? != b"ustar" {
            return None;
        }
        let text = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            std::str::from_utf8(field.get(..end)?).ok().map(|text| text.trim().to_owned())
        };
        // Larger than eight octal gigabytes it has another form: then the daemon looks itself.
        let size = u64::from_str_radix(&text(block.get(124..136)?)?, 8).ok()?;
        let name = text(block.get(..100)?)?;
        Some(Self { is_manifest: name.trim_start_matches("./") == MANIFEST, size })
    }

    /// From the end of this header to the next.
    pub(crate) fn distance(&self) -> u64 {
        self.size.div_ceil(BLOCK).saturating_mul(BLOCK)
    }
}

/// The ids of the images that a manifest lists, each once.
///
/// # Errors
/// `InvalidInput` when it is no such manifest.
pub(crate) fn images_in(manifest: &[u8]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "Config")]
        config: String,
    }
    let listed: Vec<Listed> = serde_json::from_slice(manifest)
        .map_err(|error| Error::invalid_input(format!("its {MANIFEST} is not that of images: {error}")))?;
    let mut ids: Vec<String> = listed
        .into_iter()
        .filter_map(|image| {
            // `<digest>.json`, or `blobs/sha256/<digest>` in an OCI layout: an image's id is its configuration's.
            let digest = image.config.rsplit('/').next()?.trim_end_matches(".json").to_owned();
            let is_one = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_one.then(|| format!("sha256:{digest}"))
        })
        .collect();
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// What a daemon says that it has loaded, by names or ids, or why it has not.
pub(crate) fn loaded(answer: &[u8]) -> std::result::Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Word {
        #[serde(default)]
        stream: String,
        error: Option<String>,
    }
    let mut names = Vec::new();
    for word in serde_json::Deserializer::from_slice(answer).into_iter::<Word>() {
        let word = word.map_err(|error| format!("the answer is not what the API promises: {error}"))?;
        if let Some(error) = word.error {
            return Err(error);
        }
        for line in word.stream.lines() {
            // Podman puts several into one line.
            let said = ["Loaded image ID: ", "Loaded image: ", "Loaded image(s): "];
            if let Some(rest) = said.iter().find_map(|beginning| line.strip_prefix(beginning)) {
                names.extend(rest.split(',').map(|name| name.trim().to_owned()));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, size: &str) -> Vec<u8> {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..124 + size.len()].copy_from_slice(size.as_bytes());
        block[257..262].copy_from_slice(b"ustar");
        block
    }

    #[test]
    fn a_header_tells_what_follows() {
        let header_of_layer = Header::read(&header("abc/layer.tar", "00000001001")).unwrap();
        assert!(!header_of_layer.is_manifest);
        assert_eq!((header_of_layer.size, header_of_layer.distance()), (513, 1024));
        assert!(Header::read(&header("manifest.json", "00000000000")).unwrap().is_manifest);
        assert!(Header::read(&header("./manifest.json", "00000000000")).unwrap().is_manifest);
        for none in [vec![0; 512], vec![0x1f, 0x8b], header("x", "\u{80}")] {
            assert_eq!(Header::read(&none), None);
        }
    }

    #[test]
    fn a_manifest_names_ids_in_either_layout() {
        let digest = "a".repeat(64);
        for config in [format!("{digest}.json"), format!("blobs/sha256/{digest}")] {
            let manifest = format!(r#"[{{"Config":"{config}","RepoTags":["a:1"],"Layers":[]}}]"#);
            assert_eq!(images_in(manifest.as_bytes()).unwrap(), [format!("sha256:{digest}")]);
        }
        assert!(images_in(b"{}").unwrap_err().is_invalid_input());
    }

    #[test]
    fn what_was_loaded_is_in_the_stream() {
        let docker = b"{\"stream\":\"Loaded image: busybox:local\\n\"}\r\n{\"stream\":\"Loaded image ID: sha256:1\\n\"}";
        assert_eq!(loaded(docker).unwrap(), ["busybox:local", "sha256:1"]);
        assert_eq!(loaded(br#"{"stream":"Loaded image(s): a:1,b:1\n"}"#).unwrap(), ["a:1", "b:1"]);
        let failed = br#"{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}"#;
        assert_eq!(loaded(failed).unwrap_err(), "unexpected EOF");
    }
}
