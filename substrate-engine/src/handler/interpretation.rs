//! What a handler finds in the specs of a resource.

use serde_json::Value;
use substrate_core::config::{Location, Section};
use substrate_core::{Ability, InstanceKind};

use crate::model::{Address, Name, Reference, Selection};

/// What a handler is given: one resource, or one manifest.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What it is called on the substrate; a stand-in for all of a `count`.
    pub name: &'a str,
    /// Its specs. References (`${web.address}`) are still in them, as text.
    pub specs: &'a Section,
}

/// What specs mean.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Interpretation {
    /// The canonical form: a map. Equal properties mean that there is nothing to do.
    pub properties: Value,
    /// Other resources that the specs name.
    pub mentions: Vec<Mention>,
    /// Outputs of other resources that matter to a property, though no `${…}` in the specs says so: when such an output
    /// changes, the property has changed.
    pub uses: Vec<(String, Reference)>,
    /// What the facility must be able to do.
    pub needs: Vec<Need>,
    /// How many instances the specs ask for; `None` leaves that to the resource's `count`.
    pub replicas: Option<u32>,
}

impl Interpretation {
    /// Properties that name no other resource and need nothing special.
    #[must_use]
    pub fn new(properties: Value) -> Self {
        Self { properties, ..Self::default() }
    }

    /// Lets a property depend on which one another resource of the blueprint is: when that is made anew, the property
    /// has changed.
    #[must_use]
    pub(crate) fn using(mut self, property: &str, resources: impl IntoIterator<Item = Name>) -> Self {
        self.uses.extend(resources.into_iter().map(|name| {
            let address = Address { blueprint: None, name, selection: Selection::Whole };
            (property.to_owned(), Reference { address, output: "id".to_owned(), location: None })
        }));
        self
    }

    /// Adds something that the facility must be able to do.
    #[must_use]
    pub fn needing(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }
}

/// The name of another resource inside specs: a dependency that nobody has to write down twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub location: Option<Location>,
    /// Whether it must be a resource of the blueprint. Otherwise it may as well be something that is on the substrate
    /// already, such as its default network.
    pub must_exist: bool,
}

/// Something that the facility must have, and who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What.
    pub requirement: Requirement,
    /// Where it is asked for; the resource as a whole when there is no such place.
    pub location: Option<Location>,
}

/// What a facility may have or lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// An operation or a feature.
    Ability(Ability),
    /// Instances of this kind.
    Kind(InstanceKind),
}

impl Need {
    /// An ability that the value at `path` of `specs` asks for.
    pub fn at(specs: &Section, path: &str, ability: impl Into<Ability>) -> Self {
        let location = specs.location_of(path).or(specs.key_location()).cloned();
        Self { requirement: Requirement::Ability(ability.into()), location }
    }
}

/// What a changed property costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeEffect {
    /// It can be changed on what is there.
    Update,
    /// What is there must go and be made anew.
    Replace,
}
