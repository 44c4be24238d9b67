//! Which names we give. libvirt itself takes nearly anything and keeps files by these names; what others have called
//! theirs is found all the same.

use substrate_core::{Error, Result};

/// Names become parts of file names, with something before and behind.
const LONGEST: usize = 128;

/// What our own disks, logs and seeds begin with. The rest is the machine's UUID and what it is.
const OWN_PREFIX: &str = "substrate.";

fn is_plain(text: &str) -> bool {
    text.len() <= LONGEST
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte))
}

/// Refuses a name that we do not give to a new `thing`.
pub(crate) fn check_new(thing: &str, text: &str) -> Result<()> {
    if is_plain(text) {
        return Ok(());
    }
    let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    Err(Error::invalid_input(format!(
        "`{shown}` is no name for a {thing} here: up to {LONGEST} of [a-zA-Z0-9_.+-], the first a letter or digit"
    )))
}

/// Refuses a volume's name that we do not give, or that would be taken for one of our own.
pub(crate) fn check_new_volume(text: &str) -> Result<()> {
    check_new("volume", text)?;
    if is_own(text) {
        return Err(Error::invalid_input(format!(
            "names of volumes that begin with `{OWN_PREFIX}` are our own"
        )));
    }
    Ok(())
}

/// Whether a volume is part of a machine: its disk, its log.
pub(crate) fn is_own(volume: &str) -> bool {
    volume.starts_with(OWN_PREFIX)
}

/// The disk of a machine.
pub(crate) fn disk_of(uuid: &str) -> String {
    format!("{OWN_PREFIX}{uuid}.disk.qcow2")
}

/// A file in the place of a machine's disk, for what is written from a snapshot on.
pub(crate) fn overlay_of(uuid: &str, mark: &str) -> String {
    format!("{OWN_PREFIX}{uuid}.disk-{mark}.qcow2")
}

/// The memory of a machine at a snapshot.
pub(crate) fn memory_of(uuid: &str, mark: &str) -> String {
    format!("{OWN_PREFIX}{uuid}.memory-{mark}")
}

/// Whether a volume belongs to the machine with this UUID, also one that the hypervisor has called after another.
pub(crate) fn belongs_to(uuid: &str, volume: &str) -> bool {
    volume
        .strip_prefix(OWN_PREFIX)
        .and_then(|rest| rest.strip_prefix(uuid))
        .is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a file is the disk of the machine with this UUID, or what stands in its place since a snapshot.
pub(crate) fn is_disk_of(uuid: &str, path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let kind = file.strip_prefix(OWN_PREFIX).and_then(|rest| rest.strip_prefix(uuid));
    kind.is_some_and(|kind| kind.starts_with(".disk.") || kind.starts_with(".disk-"))
}

/// The console's log of a machine.
pub(crate) fn log_of(uuid: &str) -> String {
    format!("{OWN_PREFIX}{uuid}.console.log")
}

/// The disk with a machine's cloud-init data.
pub(crate) fn seed_of(uuid: &str) -> String {
    format!("{OWN_PREFIX}{uuid}.seed.img")
}

/// Everything that a machine with this UUID may own.
pub(crate) fn all_of(uuid: &str) -> [String; 3] {
    [disk_of(uuid), log_of(uuid), seed_of(uuid)]
}

/// Whether `text` can be the UUID of a domain.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

/// Refuses what cannot be the name of an image: it becomes the name of a volume, never a path.
pub(crate) fn check_image(text: &str) -> Result<()> {
    let fits = is_plain(&text.replace([':', '@'], "_"));
    if fits {
        return Ok(());
    }
    Err(Error::invalid_input(format!("`{}` is no name of an image", text.escape_debug()))
        .with_hint("an image is a volume of the image pool, or one of `images` in the settings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_not_given() {
        for name in ["../x", "a/b", ".a", "-a", "a b", "ä", "", "a\n", &"n".repeat(129)] {
            assert!(check_new("machine", name).unwrap_err().is_invalid_input(), "{name}");
        }
        for name in ["web", "web-1", "0a", "A.b_c+d"] {
            assert!(check_new("machine", name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_belongs_to_a_machine_cannot_be_made_as_a_volume() {
        let uuid = "c6ee8b73-e39c-433f-8ed5-5e73352c4bc0";
        assert!(is_uuid(uuid) && !is_uuid("c6ee8b73e39c433f8ed55e73352c4bc0") && !is_uuid("web"));
        for own in all_of(uuid) {
            assert!(is_own(&own));
            assert!(check_new_volume(&own).is_err());
        }
    }

    #[test]
    fn what_stands_in_the_place_of_a_disk_is_told_from_everything_else() {
        let (uuid, other) = ("c6ee8b73-e39c-433f-8ed5-5e73352c4bc0", "c6ee8b73-e39c-433f-8ed5-5e73352c4bc1");
        let overlay = overlay_of(uuid, "1f");
        // As libvirt calls what is written after going back.
        let later = overlay.replace(".qcow2", ".1795279072");
        for disk in [disk_of(uuid), overlay, later] {
            assert!(belongs_to(uuid, &disk) && is_disk_of(uuid, &format!("/pool/{disk}")), "{disk}");
            assert!(!belongs_to(other, &disk) && !is_disk_of(other, &disk), "{disk}");
        }
        for file in [log_of(uuid), seed_of(uuid), memory_of(uuid, "1f")] {
            assert!(belongs_to(uuid, &file) && !is_disk_of(uuid, &file), "{file}");
        }
        assert!(!belongs_to(uuid, &format!("{uuid}.disk.qcow2")) && !belongs_to(uuid, "substrate."));
    }

    #[test]
    fn an_image_is_never_a_path() {
        for name in ["../../etc/passwd", "-x", "a b", "%2e%2e/x", "]]>", "$(id)", "🦀", "image?x=1", ""] {
            assert!(check_image(name).unwrap_err().is_invalid_input(), "{name}");
        }
        assert!(check_image("busybox:local").is_ok());
    }
}
