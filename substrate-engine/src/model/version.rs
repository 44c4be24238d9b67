//! Versions of document kinds, and ranges of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use substrate_core::config::quoted;

/// The version of a kind: `v1`, `1.2`, `substrate.dev/v1` (what stands before the last `/` is a group and ignored).
///
/// Own and not the `semver` crate's: kinds have no patch level and no pre-releases, and ranges that are a plain
/// half-open interval can be checked for overlap, which requirements like `>1, <3 || ^5` cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes when older documents can no longer be read.
    pub major: u32,
    /// Changes when something is added.
    pub minor: u32,
}

impl Version {
    /// A version.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is not a version: write it like `v1` or `1.2`", quoted(text));
        let number = text.rsplit('/').next().unwrap_or(text);
        let number = number.strip_prefix('v').unwrap_or(number);
        let mut parts = number.split('.');
        let mut part = || parts.next().map(str::parse::<u32>).transpose().map_err(|_| wrong());
        let major = part()?.ok_or_else(wrong)?;
        let minor = part()?.unwrap_or(0);
        // A third part is read and dropped: `1.0.0` means 1.0 to everybody.
        part()?;
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self { major, minor }) }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// From a version on, up to but without another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    from: Version,
    below: Version,
}

impl VersionRange {
    /// `from` and later, up to but without `below`. Empty, and thus refused at registration, unless `from < below`.
    #[must_use]
    pub const fn new(from: Version, below: Version) -> Self {
        Self { from, below }
    }

    /// Every minor version of one major version.
    #[must_use]
    pub const fn major(major: u32) -> Self {
        Self { from: Version::new(major, 0), below: Version::new(major.saturating_add(1), 0) }
    }

    /// Whether `version` is in it.
    #[must_use]
    pub fn contains(&self, version: Version) -> bool {
        self.from <= version && version < self.below
    }

    /// Whether some version is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.from < other.below && other.from < self.below
    }

    /// Whether no version is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from >= self.below
    }

    /// Its first version.
    #[must_use]
    pub const fn first(&self) -> Version {
        self.from
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} up to below {}", self.from, self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::{Version, VersionRange};

    #[test]
    fn versions_are_read_as_people_write_them() {
        for (text, major, minor) in
            [("v1", 1, 0), ("1", 1, 0), ("1.2", 1, 2), ("1.2.9", 1, 2), ("substrate.dev/v3", 3, 0)]
        {
            assert_eq!(text.parse(), Ok(Version::new(major, minor)), "{text}");
        }
        for text in ["", "v", "one", "1.2.3.4", "1.x", "-1", "v1beta1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_are_half_open() {
        let one = VersionRange::major(1);
        assert!(one.contains(Version::new(1, 0)) && one.contains(Version::new(1, 99)));
        assert!(!one.contains(Version::new(2, 0)));
        assert!(!one.overlaps(&VersionRange::major(2)));
        assert!(one.overlaps(&VersionRange::new(Version::new(1, 5), Version::new(3, 0))));
        assert!(VersionRange::new(Version::new(2, 0), Version::new(2, 0)).is_empty());
    }
}
