//! The servers' own grammars of names. What does not fit cannot exist there, and is never put into a path.

use std::fmt::Write;

use substrate_core::{Error, Result};

/// The longest name of an instance: it becomes a host name.
const LONGEST_INSTANCE: usize = 63;
/// The longest name of a network that we take. It is in the name of a device, which is bounded too.
const LONGEST_NETWORK: usize = 58;
/// The longest name of a network interface, which is what a bridge's name is.
const LONGEST_BRIDGE: usize = 15;
/// The longest name of what becomes a folder on the server, there with the project's name before it.
const LONGEST_FOLDER: usize = 128;
/// What the devices of networks that we attach begin with.
const DEVICE_PREFIX: &str = "nic-";
/// What bridges begin with whose name had to be made up.
const BRIDGE_PREFIX: &str = "sb";

/// Whether `text` can be the name of an instance.
pub(crate) fn is_instance_name(text: &str) -> bool {
    (1..=LONGEST_INSTANCE).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Refuses the name of a new instance that the servers would refuse.
pub(crate) fn check_new_instance(text: &str) -> Result<()> {
    if is_instance_name(text) {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no instance name: it must be a host name, at most {LONGEST_INSTANCE} of [a-zA-Z0-9-], the first \
         and last a letter or digit",
        text.escape_debug()
    )))
}

/// Whether `text` has the form of an instance's id.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

fn is_plain(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Whether `text` can be the name of a snapshot.
pub(crate) fn is_snapshot_name(text: &str) -> bool {
    is_plain(text, LONGEST_FOLDER)
}

/// Whether `text` can be the name of a volume.
pub(crate) fn is_volume_name(text: &str) -> bool {
    is_plain(text, LONGEST_FOLDER)
}

/// Whether `text` can be the name of a network.
pub(crate) fn is_network_name(text: &str) -> bool {
    is_plain(text, LONGEST_NETWORK)
}

/// Refuses a name that the servers, or the places where we put it, do not take.
pub(crate) fn check_new(what: &str, text: &str, fits: bool) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "`{}` is no {what} name: it takes [a-zA-Z0-9_.-], the first a letter or digit",
        text.escape_debug()
    )))
}

/// The bridge of a network. The name of a bridge is the name of a network interface, and those are short: a
/// longer name, or one that the kernel could mistake, is kept as a note, and the bridge has one that is made
/// from it, always the same. So the server itself sees to it that a name is taken once.
pub(crate) fn bridge_of(network: &str) -> String {
    let fits = (2..=LONGEST_BRIDGE).contains(&network.len()) && !is_made_up(network);
    if fits { network.to_owned() } else { made_up(network) }
}

fn made_up(network: &str) -> String {
    // FNV-1a, because it must be the same in every build and on every machine, which no hasher of the standard
    // library promises. 52 of its bits: a name that meets another's is refused as taken, and harms nobody.
    let hash = network.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut name = BRIDGE_PREFIX.to_owned();
    // Writing to a String cannot fail.
    let _ = write!(name, "{:013x}", hash & 0x000f_ffff_ffff_ffff);
    name
}

fn is_made_up(name: &str) -> bool {
    name.strip_prefix(BRIDGE_PREFIX)
        .is_some_and(|rest| rest.len() == 13 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The device by which an instance is in a network that we attach it to.
pub(crate) fn device_of(network: &str) -> String {
    format!("{DEVICE_PREFIX}{network}")
}

/// The network's name, from an instance's device and the bridge that it is on. The device tells the long name
/// of a network whose bridge had to have another.
pub(crate) fn network_of(device: &str, bridge: &str) -> String {
    match device.strip_prefix(DEVICE_PREFIX) {
        Some(network) if bridge_of(network) == bridge => network.to_owned(),
        _ => bridge.to_owned(),
    }
}

/// How an image is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageReference {
    /// A server of images, by its name in the configuration; the server itself when there is none.
    pub(crate) remote: Option<String>,
    /// An alias or a fingerprint.
    pub(crate) name: String,
}

impl ImageReference {
    /// Takes `alias`, `fingerprint` or `remote:alias` apart.
    ///
    /// # Errors
    /// `InvalidInput` for what no image can be called.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (remote, name) = match text.split_once(':') {
            Some((remote, name)) => (Some(remote), name),
            None => (None, text),
        };
        let fits = |text: &str, more: &[u8]| {
            text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.len() <= 255
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let folders = name.split('/').any(|part| part.is_empty() || part == "." || part == "..");
        if folders || !fits(name, b"._-+/@~") || remote.is_some_and(|remote| !fits(remote, b"._-")) {
            return Err(Error::invalid_input(format!("`{}` is no image reference", text.escape_debug()))
                .with_hint("write an alias, a fingerprint, or remote:alias"));
        }
        Ok(Self { remote: remote.map(str::to_owned), name: name.to_owned() })
    }

    /// Whether it can be the beginning of a fingerprint, long enough to be meant as one.
    pub(crate) fn may_be_fingerprint(&self) -> bool {
        (12..=64).contains(&self.name.len())
            && self.name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_can_be_no_instances() {
        let long = "n".repeat(64);
        for name in ["../x", "a/b", "%2e", "?x", "a b", "-a", "a-", "a.b", "a_b", "ä1", "", &long] {
            assert!(!is_instance_name(name), "{name}");
            assert!(check_new_instance(name).unwrap_err().is_invalid_input());
        }
        for name in ["a", "web-1", "A1"] {
            assert!(is_instance_name(name), "{name}");
        }
    }

    #[test]
    fn an_id_has_its_form() {
        assert!(is_uuid("25bd09b9-2ae2-4578-9243-58088e0032fb"));
        assert!(!is_uuid("25BD09B9-2ae2-4578-9243-58088e0032fb"));
        assert!(!is_uuid("25bd09b9-2ae2-4578-9243-58088e0032f"));
        assert!(!is_uuid("25bd09b9x2ae2-4578-9243-58088e0032fb"));
    }

    #[test]
    fn a_short_name_is_its_bridge_and_a_long_one_gets_one() {
        assert_eq!(bridge_of("blue"), "blue");
        let long = "production-backend-network";
        let bridge = bridge_of(long);
        assert!(bridge.len() <= 15 && bridge.starts_with("sb"), "{bridge}");
        assert_eq!(bridge_of(long), bridge, "it is always the same");
        assert_ne!(bridge_of("production-backend-network2"), bridge);
        assert_ne!(bridge_of(&bridge), bridge, "a made-up name means nobody but its network");
        assert_eq!(network_of(&device_of(long), &bridge), long);
        assert_eq!(network_of("eth0", "lxdbr0"), "lxdbr0");
        assert_eq!(network_of("nic-other", "lxdbr0"), "lxdbr0");
    }

    #[test]
    fn image_references_are_taken_apart_or_refused() {
        let parsed = |text: &str| ImageReference::parse(text).unwrap();
        assert_eq!(parsed("images:debian/12").remote.as_deref(), Some("images"));
        assert_eq!(parsed("images:debian/12").name, "debian/12");
        assert!(parsed("f306346ba008").may_be_fingerprint() && !parsed("bb").may_be_fingerprint());
        for text in
            ["", "../x", "a/../b", "a b", "a?x=1", "a//b", "-x", "%2e/x", "$(id)", "🦀", "a:b:c", ":a"]
        {
            assert!(ImageReference::parse(text).unwrap_err().is_invalid_input(), "{text}");
        }
    }
}
