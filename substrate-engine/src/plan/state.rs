//! What is known of the world: what was recorded, and what was seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::{Canonical, CanonicalVersion, Property};
use crate::model::{Address, ResourceId};
use crate::validation::DesiredResource;

/// What the journal says was deployed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recorded {
    resources: BTreeMap<ResourceId, RecordedResource>,
}

impl Recorded {
    /// Keeps a resource in the place of what was known of it.
    pub fn insert(&mut self, id: ResourceId, resource: RecordedResource) {
        self.resources.insert(id, resource);
    }

    /// Forgets a resource.
    pub fn remove(&mut self, id: &ResourceId) -> Option<RecordedResource> {
        self.resources.remove(id)
    }

    /// What is known of a resource.
    #[must_use]
    pub fn get(&self, id: &ResourceId) -> Option<&RecordedResource> {
        self.resources.get(id)
    }

    /// All resources, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceId, &RecordedResource)> {
        self.resources.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether nothing was ever deployed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

impl FromIterator<(ResourceId, RecordedResource)> for Recorded {
    fn from_iter<I: IntoIterator<Item = (ResourceId, RecordedResource)>>(resources: I) -> Self {
        Self { resources: resources.into_iter().collect() }
    }
}

/// One resource as it was deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedResource {
    /// Its kind.
    pub kind: String,
    /// Within what its name is unique on the facility.
    pub namespace: String,
    /// The facility; `None` when its kind lives on none.
    pub facility: Option<String>,
    /// Its properties.
    pub canonical: Canonical,
    /// What it depended on.
    pub dependencies: Vec<Address>,
    /// Whether it was protected.
    pub protect: bool,
    /// What it gave to others: the values of `${resource.output}`.
    #[serde(default)]
    pub outputs: BTreeMap<String, Value>,
}

impl RecordedResource {
    /// The record of a resource that was brought to what is desired.
    #[must_use]
    pub fn of(desired: &DesiredResource) -> Self {
        let interpreted = &desired.interpreted;
        Self {
            kind: desired.declaration.kind.value.to_string(),
            namespace: interpreted.handler.namespace().to_owned(),
            facility: interpreted.facility.as_ref().map(ToString::to_string),
            canonical: interpreted.canonical.clone(),
            dependencies: desired.dependencies.to_vec(),
            protect: desired.declaration.lifecycle.protect,
            outputs: BTreeMap::new(),
        }
    }
}

/// What was seen on the facilities. A resource that is not in it was not looked at: then the record is believed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    resources: BTreeMap<ResourceId, Observation>,
}

impl Observed {
    /// Keeps what was seen of a resource.
    pub fn insert(&mut self, id: ResourceId, observation: Observation) {
        self.resources.insert(id, observation);
    }

    /// What was seen of a resource.
    #[must_use]
    pub fn get(&self, id: &ResourceId) -> Option<&Observation> {
        self.resources.get(id)
    }
}

impl FromIterator<(ResourceId, Observation)> for Observed {
    fn from_iter<I: IntoIterator<Item = (ResourceId, Observation)>>(resources: I) -> Self {
        Self { resources: resources.into_iter().collect() }
    }
}

/// What was seen of one resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// It is not there, by a complete answer.
    Absent,
    /// It is there.
    Present {
        /// Whose it is.
        ownership: Ownership,
        /// The properties that the substrate reports, in canonical form. Of those that were never asked for (defaults,
        /// marks, what others added) no notice is taken.
        properties: Box<Canonical>,
        /// Dotted paths below which the substrate reports everything: there, a property that is missing is missing.
        /// Elsewhere, one that is not reported counts as it was recorded.
        complete_below: Vec<String>,
    },
    /// It could not be found out; why.
    Unknown(String),
}

impl Observation {
    /// It is there, ours, with these properties (a map, as a handler's).
    #[must_use]
    pub fn ours(properties: &Value) -> Option<Self> {
        let properties = Canonical::new(CanonicalVersion::CURRENT, properties, "", &|_| false)?;
        let properties = Box::new(properties);
        Some(Self::Present { ownership: Ownership::Ours, properties, complete_below: Vec::new() })
    }

    /// The same, with everything reported below a dotted path such as `labels`.
    #[must_use]
    pub fn complete_below(mut self, path: impl Into<String>) -> Self {
        if let Self::Present { complete_below, .. } = &mut self {
            complete_below.push(path.into());
        }
        self
    }
}

/// Whose a thing on a substrate is, by its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// It carries the marks of this deployment and resource.
    Ours,
    /// It carries none, or those of another.
    Foreign,
}

/// The drift between what is desired and what is seen: never of secrets, whose digests are salted.
pub(super) fn drift<'a>(
    desired: &'a Canonical,
    seen: &'a Canonical,
    complete_below: &'a [String],
) -> impl Iterator<Item = (&'a str, &'a Property, Option<&'a Property>)> {
    desired.properties().filter_map(|(path, wanted)| {
        let found = seen.get(path);
        let is_reported = found.is_some() || complete_below.iter().any(|above| is_below(path, above));
        let is_secret = matches!(wanted, Property::Secret(_)) || matches!(found, Some(Property::Secret(_)));
        (is_reported && !is_secret && found != Some(wanted)).then_some((path, wanted, found))
    })
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
