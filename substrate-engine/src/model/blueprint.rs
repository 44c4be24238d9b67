//! A blueprint: resources that belong together.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use substrate_core::config::Section;

use super::name::Name;
use super::resource::{Located, Resource};

/// What one deployment is made of, whichever form it was written in.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Blueprint {
    /// Its name, unique among the documents that are read together.
    pub name: Located<Name>,
    /// Its author's version of it; free text.
    pub version: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Its resources, in document order.
    pub resources: Vec<Arc<Resource>>,
    /// Specs that lie under those of its resources, by facility.
    pub defaults: Vec<FacilityDefaults>,
    /// Free data, without `engine_config`.
    pub metadata: Map<String, Value>,
    /// `metadata.engine_config`: laid over the configuration of the substrates.
    pub engine_config: Option<Section>,
}

impl Blueprint {
    /// A blueprint without resources.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            name: name.into(),
            version: None,
            description: None,
            resources: Vec::new(),
            defaults: Vec::new(),
            metadata: Map::new(),
            engine_config: None,
        }
    }

    /// Adds a resource.
    #[must_use]
    pub fn with_resource(mut self, resource: Resource) -> Self {
        self.resources.push(Arc::new(resource));
        self
    }
}

/// What the resources of a blueprint have in common on one facility: `defaults: {docker-paris: {compute: {memory: 1GiB}}}`.
///
/// Maps are merged key by key; of everything else what the resource itself says counts, `~` included. Defaults for the
/// name of a facility lie over those for its type.
#[derive(Debug, Clone)]
pub struct FacilityDefaults {
    /// The facility, by name or by type.
    pub facility: Located<Arc<str>>,
    /// By the type of resource, its specs.
    pub kinds: Vec<(Located<Arc<str>>, Section)>,
}

/// Values for `${var.…}` that a caller gives: they come before the defaults that a blueprint's `variables:` hold.
///
/// `Debug` shows the names only: values are often secrets.
///
/// ```
/// use substrate_engine::model::Variables;
/// let variables = Variables::from_iter([("region", "paris")]).with("replicas", 3);
/// assert_eq!(variables.get("replicas"), Some(&3.into()));
/// assert!(!format!("{variables:?}").contains("paris"));
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Variables(BTreeMap<String, Value>);

impl Variables {
    /// Gives a variable a value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(values: I) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
