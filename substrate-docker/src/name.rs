//! Docker's own grammars of names. What does not fit cannot exist there, and is never put into a path.

use substrate_core::{Error, Result};

/// How many hexadecimal digits make an id prefix that counts as one: what Docker's tools show.
const SHORT_ID: usize = 12;
/// The length of a full id.
const FULL_ID: usize = 64;

/// Whether `text` can be the name of a container, an id or a prefix of one: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub(crate) fn is_container_name(text: &str) -> bool {
    text.len() >= 2 && is_plain(text)
}

/// Whether `text` can be the name of a volume: as a container's, but one character is enough there.
pub(crate) fn is_volume_name(text: &str) -> bool {
    text.len() >= 2 && is_plain(text)
}

fn is_plain(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Whether `text` names the thing with this id: in full, or by a prefix that is long enough to be meant.
pub(crate) fn is_id_of(text: &str, id: &str) -> bool {
    text.len() >= SHORT_ID
        && text.len() <= FULL_ID
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.starts_with(text)
}

/// Refuses a container name that Docker would refuse, before anything is sent.
pub(crate) fn check_new_container(text: &str) -> Result<()> {
    if is_container_name(text) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no container name: Docker allows two or more of [a-zA-Z0-9_.-], the first a letter or digit",
        text.escape_debug()
    )))
}

/// Refuses a volume name that Docker would refuse.
pub(crate) fn check_new_volume(text: &str) -> Result<()> {
    if is_volume_name(text) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no volume name: Docker allows two or more of [a-zA-Z0-9_.-], the first a letter or digit",
        text.escape_debug()
    )))
}

/// A reference to an image, taken apart: `host:port/path:tag@digest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageReference {
    /// Everything before the tag.
    pub(crate) repository: String,
    /// The tag, or the digest with its algorithm.
    pub(crate) version: Option<ImageVersion>,
}

/// What follows the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageVersion {
    Tag(String),
    Digest(String),
}

impl ImageReference {
    /// Takes a reference apart.
    ///
    /// # Errors
    /// `InvalidInput` for what no image can be called.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid_input(format!("`{}` is no image reference", text.escape_debug()))
                .with_hint("write it as [registry/]name[:tag] or [registry/]name@sha256:digest")
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // The colon of a port has a slash behind it.
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (rest, None),
        };
        let allowed = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let mut parts = repository.split('/').enumerate();
        let parts_fit = parts.all(|(position, part)| {
            let fits = if position == 0 { allowed(part, b"._-:[]") } else { allowed(part, b"._-") };
            fits && part != "." && part != ".."
        });
        let tag_fits = tag.is_none_or(|tag| tag.len() <= 128 && allowed(tag, b"_.-"));
        let digest_fits = digest.is_none_or(|digest| allowed(digest, b":+._-") && digest.contains(':'));
        if !(parts_fit && tag_fits && digest_fits) || text.len() > 1024 {
            return Err(wrong());
        }
        let version = match (digest, tag) {
            (Some(digest), _) => Some(ImageVersion::Digest(digest.to_owned())),
            (None, Some(tag)) => Some(ImageVersion::Tag(tag.to_owned())),
            (None, None) => None,
        };
        Ok(Self { repository: repository.to_owned(), version })
    }

    /// The registry that the name itself gives: a first part with a dot or a colon, or `localhost`.
    pub(crate) fn registry(&self) -> Option<&str> {
        let (first, _) = self.repository.split_once('/')?;
        (first.contains(['.', ':']) || first == "localhost").then_some(first)
    }

    /// The tag or digest to ask a registry for. Without one it is `latest`: leaving it out would fetch all.
    pub(crate) fn tag_or_digest(&self) -> &str {
        match &self.version {
            Some(ImageVersion::Tag(text) | ImageVersion::Digest(text)) => text,
            None => "latest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_can_be_no_containers() {
        for name in ["../x", "a/b", "%2e", "?x", "a b", "a", "-a", ".a", "ä1", "a\u{7f}", "a?b", "a#b"] {
            assert!(!is_container_name(name), "{name}");
            assert!(check_new_container(name).unwrap_err().is_invalid_input());
        }
        for name in ["ab", "web-1", "A.b_c", "0123"] {
            assert!(is_container_name(name), "{name}");
        }
    }

    #[test]
    fn a_short_prefix_is_no_id() {
        let id = "f08f2dbffaa5739bd1a5a95fab6250a37f8b55e0ac34e8b682d1ac4b5e46d02b";
        assert!(is_id_of(id, id));
        assert!(is_id_of("f08f2dbffaa5", id));
        assert!(!is_id_of("f08f2dbffaa", id));
        assert!(!is_id_of("f08f2dbffaa6", id));
        assert!(!is_id_of("", id));
    }

    #[test]
    fn image_references_are_taken_apart() {
        let parsed = |text: &str| ImageReference::parse(text).unwrap();
        assert_eq!(parsed("busybox").tag_or_digest(), "latest");
        assert_eq!(parsed("r.io:9443/a/b:1").repository, "r.io:9443/a/b");
        assert_eq!(parsed("r.io:9443/a/b:1").tag_or_digest(), "1");
        assert_eq!(parsed("r.io:9443/a/b").registry(), Some("r.io:9443"));
        assert_eq!(parsed("library/busybox:local").registry(), None);
        assert_eq!(parsed("a@sha256:00ff").tag_or_digest(), "sha256:00ff");
        assert_eq!(parsed("sha256:00ff").repository, "sha256");
    }

    #[test]
    fn hostile_image_references_are_refused() {
        for text in
            ["", "../x", "a/../b", "a b", "a?x=1", "a#b", "a//b", "a:", "a@b", "a/%2e%2e", "a:b/c:d e"]
        {
            assert!(ImageReference::parse(text).unwrap_err().is_invalid_input(), "{text}");
        }
    }
}
