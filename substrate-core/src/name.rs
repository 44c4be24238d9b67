//! Names that are checked once, when they enter, so that nothing behind them has to wonder.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The longest name, in bytes, that the contract accepts. A technology's own limit is often lower:
/// [`Substrate::validate_config`](crate::Substrate::validate_config) checks that one.
pub const MAX_NAME_BYTES: usize = 255;

/// The one rule for every kind of name: what passes cannot end a URL segment early, climb out of a
/// folder by itself, or break the line structure of a log. Escaping for a particular wire format stays
/// the provider's duty: `a/b`, `%2e` and `]]>` are legal here.
fn check(what: &str, text: &str) -> Result<()> {
    let problem = if text.is_empty() {
        "it is empty"
    } else if text.len() > MAX_NAME_BYTES {
        "it is longer than 255 bytes"
    } else if text == "." || text == ".." {
        "`.` and `..` mean folders, not things"
    } else if text.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    // The text itself may be what is wrong (a newline, a megabyte): show an escaped, short form.
    let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    Err(Error::invalid_input(format!("`{shown}` is not a valid {what}: {problem}")))
}

macro_rules! validated_name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Validated once, on the way in: not empty, at most [`MAX_NAME_BYTES`] bytes, no control
        /// characters, not `.` or `..`. Cloning costs a reference count.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when the rule above is broken.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                check($what, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = Error;
            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(|error| serde::de::Error::custom(error.message()))
            }
        }
    };
}

validated_name!(
    /// The name of an instance. Where a technology also has ids, an id is accepted in its place: the
    /// name wins when both match.
    InstanceName,
    "instance name"
);
validated_name!(
    /// The name of a snapshot, unique per instance.
    SnapshotName,
    "snapshot name"
);
validated_name!(
    /// The name of a network, or its id where names are not unique.
    NetworkName,
    "network name"
);
validated_name!(
    /// The name of a volume.
    VolumeName,
    "volume name"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_and_odd_but_harmless_names_pass() {
        for text in ["web", "web-1", "../x", "a;b", "%2e", "]]>", "🦀", "a b", &"n".repeat(255)] {
            assert_eq!(InstanceName::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn names_that_break_formats_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            (".", "folders"),
            ("..", "folders"),
            ("a\nb", "control character"),
            ("a\0", "control character"),
            (&"n".repeat(256), "longer than 255"),
        ] {
            let error = InstanceName::new(text).unwrap_err();
            assert!(error.is_invalid_input());
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_refused_name_is_shown_escaped_and_short() {
        let error = SnapshotName::new("x\n".repeat(10_000)).unwrap_err().to_string();
        assert!(!error.contains('\n'));
        assert!(error.len() < 300);
    }

    #[test]
    fn a_name_read_by_serde_is_checked_too() {
        assert!(serde_json::from_str::<NetworkName>("\"\"").is_err());
        assert_eq!(serde_json::from_str::<NetworkName>("\"blue\"").unwrap(), "blue");
    }
}
