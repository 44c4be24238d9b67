//! Which resources something is done to.

use std::str::FromStr;

use substrate_core::config::quoted;

use crate::model::{Name, ResourceId};

/// A choice of resources: by name, by label, by facility. Each kind of choice narrows the others; within one kind,
/// any of it will do.
///
/// ```
/// use substrate_engine::Selector;
/// let selector: Selector = ["shop/web", "shop/db[0]"].into_iter().map(str::parse).collect::<Result<_, _>>()?;
/// assert!(selector.matches(&"shop/web[3]".parse()?, None, &[]));
/// assert!(!selector.matches(&"shop/db[1]".parse()?, None, &[]));
/// assert!(Selector::all().on("docker").matches(&"shop/web".parse()?, Some("docker"), &[]));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    resources: Vec<Pattern>,
    labels: Vec<(String, String)>,
    facilities: Vec<String>,
}

/// `web` (in any blueprint), `shop/web` (all of its instances), `shop/web[0]`, `shop/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    blueprint: Option<Name>,
    name: Option<Name>,
    index: Option<u32>,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (blueprint, rest) = match text.split_once('/') {
            Some((blueprint, rest)) => (Some(Name::new(blueprint)?), rest),
            None => (None, text),
        };
        if rest == "*" && blueprint.is_some() {
            return Ok(Self { blueprint, name: None, index: None });
        }
        let (name, index) = match rest.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
            None => (rest, None),
            Some((name, "*")) => (name, None),
            Some((name, index)) => {
                let wrong = || format!("{} names no resource: write `blueprint/name[0]`", quoted(text));
                (name, Some(index.parse().map_err(|_| wrong())?))
            }
        };
        Ok(Self { blueprint, name: Some(Name::new(name)?), index })
    }
}

impl Pattern {
    fn matches(&self, id: &ResourceId) -> bool {
        self.blueprint.as_ref().is_none_or(|blueprint| *blueprint == id.blueprint)
            && self.name.as_ref().is_none_or(|name| *name == id.name)
            && self.index.is_none_or(|index| Some(index) == id.index)
    }
}

impl Selector {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only these resources.
    #[must_use]
    pub fn resource(mut self, pattern: Pattern) -> Self {
        self.resources.push(pattern);
        self
    }

    /// Only resources that carry a label.
    #[must_use]
    pub fn labelled(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Only resources on a facility.
    #[must_use]
    pub fn on(mut self, facility: impl Into<String>) -> Self {
        self.facilities.push(facility.into());
        self
    }

    /// Whether it chooses everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.resources.is_empty() && self.labels.is_empty() && self.facilities.is_empty()
    }

    /// Whether it names a resource, so that one that is left out of everything takes part all the same.
    #[must_use]
    pub fn names(&self, id: &ResourceId) -> bool {
        self.resources.iter().any(|pattern| pattern.matches(id))
    }

    /// Whether it chooses a resource on a facility with these labels.
    #[must_use]
    pub fn matches(&self, id: &ResourceId, facility: Option<&str>, labels: &[(&str, &str)]) -> bool {
        (self.resources.is_empty() || self.names(id))
            && self.labels.iter().all(|(key, value)| labels.contains(&(key, value)))
            && (self.facilities.is_empty()
                || facility.is_some_and(|facility| self.facilities.iter().any(|one| one == facility)))
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self::all().resource(text.parse()?))
    }
}

impl FromIterator<Self> for Selector {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        all.into_iter().fold(Self::all(), |mut together, one| {
            together.resources.extend(one.resources);
            together.labels.extend(one.labels);
            together.facilities.extend(one.facilities);
            together
        })
    }
}
