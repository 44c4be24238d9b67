//! Names that are checked once, and the id of a resource.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use substrate_core::config::quoted;

/// Longest name, in bytes. With an index behind it (`-4294967295`) it still fits the strictest technologies' 128.
const LONGEST: usize = 100;

/// The name of a blueprint, a resource or a manifest: letters, digits, `-` and `_`, beginning with a letter or digit.
///
/// Stricter than the core's instance names on purpose: `.`, `/` and `[` have a meaning of their own where a name is
/// used (`${web[0].address}`, `shop/web`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text` and keeps it.
    ///
    /// # Errors
    /// One line that says which rule is broken.
    pub fn new(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let reason = if text.is_empty() {
            "it is empty"
        } else if text.len() > LONGEST {
            "it is longer than 100 bytes"
        } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            "it must begin with a letter or a digit"
        } else if !text.chars().all(allowed) {
            "only letters, digits, `-` and `_` are allowed"
        } else {
            return Ok(Self(Arc::from(text)));
        };
        Err(format!("{} is not a valid name: {reason}", quoted(text)))
    }

    /// Stands for a name that could not be read.
    pub(crate) fn unnamed() -> Self {
        Self(Arc::from("unnamed"))
    }

    /// The blueprint that manifests belong to: they name none.
    pub(crate) fn manifests() -> Self {
        Self(Arc::from("manifests"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::new(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// Which resource, over all blueprints: `shop/web`, or `shop/web[0]` for one of several.
///
/// The index stands in brackets and not behind a dash, because brackets cannot occur in a name: `web[0]` is never
/// mistaken for a resource that somebody called `web-0`, and a resource that grows from one to several (`web` to
/// `web[0]`) is seen as what it is. On the substrate, where brackets are forbidden almost everywhere, the same
/// instance is called `web-0` ([`ResourceId::instance_name`]); two ids with one such name are refused.
///
/// ```
/// use substrate_engine::model::ResourceId;
/// let id: ResourceId = "shop/web[2]".parse()?;
/// assert_eq!(id.to_string(), "shop/web[2]");
/// assert_eq!(id.instance_name(), "web-2");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    /// The blueprint.
    pub blueprint: Name,
    /// The resource in it.
    pub name: Name,
    /// Which of several; `None` for a resource without a count.
    pub index: Option<u32>,
}

impl ResourceId {
    /// An id without an index.
    #[must_use]
    pub fn new(blueprint: Name, name: Name) -> Self {
        Self { blueprint, name, index: None }
    }

    /// The same with an index.
    #[must_use]
    pub fn with_index(mut self, index: u32) -> Self {
        self.index = Some(index);
        self
    }

    /// What it is called on the substrate.
    #[must_use]
    pub fn instance_name(&self) -> String {
        match self.index {
            None => self.name.to_string(),
            Some(index) => format!("{}-{index}", self.name),
        }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.blueprint, self.name)?;
        match self.index {
            Some(index) => write!(f, "[{index}]"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ResourceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is not the id of a resource (`blueprint/name`)", quoted(text));
        let (blueprint, rest) = text.split_once('/').ok_or_else(wrong)?;
        let (name, index) = match rest.strip_suffix(']') {
            None => (rest, None),
            Some(rest) => {
                let (name, index) = rest.split_once('[').ok_or_else(wrong)?;
                (name, Some(index.parse::<u32>().map_err(|_| wrong())?))
            }
        };
        Ok(Self { blueprint: Name::new(blueprint)?, name: Name::new(name)?, index })
    }
}

serialized_as_text!(ResourceId);

#[cfg(test)]
mod tests {
    use super::{Name, ResourceId};

    #[test]
    fn names_that_mean_something_elsewhere_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("a.b", "only letters"),
            ("a[0]", "only"),
            ("-a", "begin"),
            (&"a".repeat(101), "longer"),
        ] {
            assert!(Name::new(text).unwrap_err().contains(reason), "{text}");
        }
        assert_eq!(Name::new("web-server_01").unwrap().as_str(), "web-server_01");
    }

    #[test]
    fn an_id_reads_back_from_its_text() {
        for text in ["a/b", "a/b[0]", "a/b[4294967295]"] {
            assert_eq!(text.parse::<ResourceId>().unwrap().to_string(), text);
        }
        for text in ["a", "a/b[", "a/b[x]", "a/b]", "/b", "a/[1]"] {
            assert!(text.parse::<ResourceId>().is_err(), "{text}");
        }
    }
}
