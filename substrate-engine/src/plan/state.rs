//! What is known of the world: what was recorded, and what was seen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::{Canonical, CanonicalVersion, Property};
use crate::model::{Address, ResourceId, Version};
use crate::validation::DesiredResource;

/// What the journal says was deployed, and what was begun and never finished.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    resources: BTreeMap<ResourceId, Arc<RecordedResource>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unfinished: BTreeMap<ResourceId, Arc<RecordedResource>>,
}

impl Recorded {
    /// Keeps a resource in the place of what was known of it. What was begun with it is finished thereby.
    pub fn insert(&mut self, id: ResourceId, resource: impl Into<Arc<RecordedResource>>) {
        self.unfinished.remove(&id);
        self.resources.insert(id, resource.into());
    }

    /// Forgets a resource, and what was begun with it.
    pub fn remove(&mut self, id: &ResourceId) -> Option<Arc<RecordedResource>> {
        self.unfinished.remove(id);
        self.resources.remove(id)
    }

    /// Notes that a change of a resource was begun, and what it shall be afterwards.
    pub fn begin(&mut self, id: ResourceId, next: impl Into<Arc<RecordedResource>>) {
        self.unfinished.insert(id, next.into());
    }

    /// What is known of a resource.
    #[must_use]
    pub fn get(&self, id: &ResourceId) -> Option<&Arc<RecordedResource>> {
        self.resources.get(id)
    }

    /// What a resource was about to become when the deployment was interrupted.
    #[must_use]
    pub fn unfinished(&self, id: &ResourceId) -> Option<&Arc<RecordedResource>> {
        self.unfinished.get(id)
    }

    /// All resources that were deployed, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceId, &Arc<RecordedResource>)> {
        self.resources.iter()
    }

    /// All resources that were deployed or begun, in order of their ids, each once: as it was deployed, or else as
    /// it was to become.
    pub fn known(&self) -> impl Iterator<Item = (&ResourceId, &Arc<RecordedResource>)> {
        let begun = self.unfinished.iter().filter(|(id, _)| !self.resources.contains_key(id));
        let mut all: Vec<_> = self.resources.iter().chain(begun).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter()
    }

    /// How many were deployed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether nothing was ever deployed or begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.unfinished.is_empty()
    }

    /// Whether something was begun and never finished.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Lets protected resources go.
    pub(crate) fn lift_protection(&mut self) {
        for record in
            self.resources.values_mut().chain(self.unfinished.values_mut()).filter(|one| one.protect)
        {
            Arc::make_mut(record).protect = false;
        }
    }

    /// Adds what another journal knows.
    pub fn merge(&mut self, other: Self) {
        self.resources.extend(other.resources);
        self.unfinished.extend(other.unfinished);
    }
}

impl FromIterator<(ResourceId, RecordedResource)> for Recorded {
    fn from_iter<I: IntoIterator<Item = (ResourceId, RecordedResource)>>(resources: I) -> Self {
        let resources = resources.into_iter().map(|(id, resource)| (id, Arc::new(resource)));
        Self { resources: resources.collect(), unfinished: BTreeMap::new() }
    }
}

/// One resource as it was deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedResource {
    /// Its kind.
    pub kind: String,
    /// The version of the kind, where the document named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Within what its name is unique on the facility.
    pub namespace: String,
    /// The facility; `None` when its kind lives on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facility: Option<String>,
    /// What it is called there.
    pub name: String,
    /// The `substrate.key` of the creation that made it: tells it from what had its name before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Its properties.
    pub canonical: Canonical,
    /// What it depended on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Address>,
    /// What is deleted before it, where it said so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_dependencies: Option<Vec<Address>>,
    /// Whether it was protected.
    #[serde(default, skip_serializing_if = "is_false")]
    pub protect: bool,
    /// Whether it stays when everything is deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skip_delete_all: bool,
    /// The properties that depend on outputs of others though no `${…}` says so, each with the reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<(String, String)>,
    /// Digests of the outputs of others that it was made with, by reference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// What the substrate said of it once it was made, in canonical form: what it is compared with later, so that
    /// defaults and spellings of the substrate's own are never taken for drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Box<Canonical>>,
    /// Its identity on the facility, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// What it gave to others: the values of `${resource.output}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl RecordedResource {
    /// The record of a resource that was brought to what is desired.
    #[must_use]
    pub fn of(desired: &DesiredResource) -> Self {
        let interpreted = &desired.interpreted;
        let declaration = &desired.declaration;
        Self {
            kind: declaration.kind.value.to_string(),
            version: declaration.version,
            namespace: interpreted.handler.namespace().to_owned(),
            facility: interpreted.facility.as_ref().map(ToString::to_string),
            name: desired.id.instance_name(),
            key: String::new(),
            canonical: interpreted.canonical.clone(),
            dependencies: desired.dependencies.to_vec(),
            delete_dependencies: desired.delete_dependencies.as_ref().map(|addresses| addresses.to_vec()),
            protect: declaration.lifecycle.protect,
            skip_delete_all: declaration.rules.skip_delete_all,
            uses: interpreted
                .interpretation
                .uses
                .iter()
                .map(|(property, reference)| (property.clone(), reference.to_string()))
                .collect(),
            inputs: BTreeMap::new(),
            reported: None,
            identity: None,
            outputs: BTreeMap::new(),
        }
    }
}

/// What was seen on the facilities. A resource that is not in it was not looked at: then the record is believed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    resources: HashMap<ResourceId, Observation>,
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
    Present(Box<Present>),
    /// It could not be found out; why.
    Unknown(String),
}

/// A resource that was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Present {
    /// Whose it is.
    pub ownership: Ownership,
    /// What it is called on the facility.
    pub name: String,
    /// The `substrate.key` that it carries.
    pub key: Option<String>,
    /// The properties that the substrate reports, in canonical form. Of those that were never asked for (defaults,
    /// marks, what others added) no notice is taken.
    pub properties: Canonical,
    /// Dotted paths below which the substrate reports everything: there, a property that is missing is missing.
    /// Elsewhere, one that is not reported counts as it was recorded.
    pub complete_below: Vec<String>,
    /// What it gives to others now.
    pub outputs: BTreeMap<String, Value>,
}

impl Observation {
    /// It is there, ours, with these properties (a map, as a handler's).
    #[must_use]
    pub fn ours(properties: &Value) -> Option<Self> {
        Self::present(Ownership::Ours, properties)
    }

    /// Something is there that is not ours.
    #[must_use]
    pub fn foreign() -> Option<Self> {
        Self::present(Ownership::Foreign, &Value::Null)
    }

    fn present(ownership: Ownership, properties: &Value) -> Option<Self> {
        Some(Self::Present(Box::new(Present {
            ownership,
            name: String::new(),
            key: None,
            properties: Canonical::new(CanonicalVersion::CURRENT, properties, "", &|_| false)?,
            complete_below: Vec::new(),
            outputs: BTreeMap::new(),
        })))
    }

    /// The same, with everything reported below a dotted path such as `labels`.
    #[must_use]
    pub fn complete_below(mut self, path: impl Into<String>) -> Self {
        if let Self::Present(present) = &mut self {
            present.complete_below.push(path.into());
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

pub(super) fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
