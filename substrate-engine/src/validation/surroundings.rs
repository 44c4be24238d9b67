//! What a declaration gets from the rest of its blueprint: the facility of what it is a part of, and defaults.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use substrate_core::Descriptor;
use substrate_core::config::{Location, Problem, Section, nearest, quoted};

use super::{Facilities, Rules};
use crate::document::references_of;
use crate::handler::ResourceHandler;
use crate::model::{Blueprint, Located, Name, Resource};

/// A mistake, and where it was made.
pub(super) type Mistake = (String, Option<Location>);

/// One blueprint, as its declarations are checked.
pub(super) struct Siblings<'a> {
    rules: &'a Rules,
    facilities: &'a Facilities,
    blueprint: &'a Blueprint,
    /// Only filled when something asks by name.
    by_name: OnceCell<HashMap<&'a Name, &'a Resource>>,
}

impl<'a> Siblings<'a> {
    pub(super) fn new(blueprint: &'a Blueprint, rules: &'a Rules, facilities: &'a Facilities) -> Self {
        Self { rules, facilities, blueprint, by_name: OnceCell::new() }
    }

    fn by_name(&self) -> &HashMap<&'a Name, &'a Resource> {
        self.by_name.get_or_init(|| {
            let resources = self.blueprint.resources.iter();
            resources.map(|resource| (&resource.name.value, &**resource)).collect()
        })
    }

    /// Where a resource lives; `None` when its kind lives on no facility.
    pub(super) fn facility_of(
        &self,
        resource: &Resource,
        handler: Option<&dyn ResourceHandler>,
    ) -> Result<Option<&'a Descriptor>, Mistake> {
        let needs_one = handler.is_none_or(ResourceHandler::needs_facility);
        let part_of = handler.and_then(|handler| handler.part_of(&resource.specs));
        let whole = match &part_of {
            Some(name) => self.whole(resource, name)?,
            None => None,
        };
        match (&resource.provider, whole) {
            (Some(provider), _) if !needs_one => Err((
                format!("{} lives on no provider: leave `provider` out", quoted(&resource.kind.value)),
                provider.location.clone(),
            )),
            (None, _) if !needs_one => Ok(None),
            (Some(provider), whole) => {
                let found = self.find(provider)?;
                match whole {
                    Some((name, lives_on)) if lives_on.name != found.name => Err((
                        format!(
                            "{} lives on {}, not on {}: leave `provider` out",
                            quoted(name.as_str()),
                            quoted(&lives_on.name),
                            quoted(&found.name)
                        ),
                        provider.location.clone(),
                    )),
                    _ => Ok(Some(found)),
                }
            }
            (None, Some((_, lives_on))) => Ok(Some(lives_on)),
            (None, None) => self.facilities.only().map(Some).map_err(|message| match part_of {
                Some(name) => (self.no_such(&name), resource.specs.location_of("target").cloned()),
                None => (message, resource.name.location.clone()),
            }),
        }
    }

    fn no_such(&self, name: &Name) -> String {
        let message = format!("there is no resource {}", quoted(name.as_str()));
        let mut names: Vec<&str> = self.by_name().keys().map(|known| known.as_str()).collect();
        // Of two that are as near, always the same one.
        names.sort_unstable();
        match nearest(name.as_str(), names) {
            Some(known) => format!("{message}: did you mean {}?", quoted(known)),
            None => message,
        }
    }

    /// What a resource is a part of, and where that lives; `None` when it is not there. A mistake of its own is reported
    /// in its own words and place, so that it counts once.
    fn whole(&self, part: &Resource, name: &Name) -> Result<Option<(&'a Name, &'a Descriptor)>, Mistake> {
        let Some(whole) = self.by_name().get(name).copied() else { return Ok(None) };
        let handler = self.rules.handlers.find(&whole.kind.value, whole.version);
        let handler = handler.map_err(|message| (message, whole.kind.location.clone()))?;
        if !handler.is_instance() {
            let message = format!(
                "{} is of the type {}: only instances can be configured",
                quoted(name.as_str()),
                quoted(&whole.kind.value)
            );
            let location = part.specs.location_of("target").or(part.name.location.as_ref());
            return Err((message, location.cloned()));
        }
        let facility = match &whole.provider {
            Some(provider) => self.find(provider)?,
            None => self.facilities.only().map_err(|message| (message, whole.name.location.clone()))?,
        };
        Ok(Some((&whole.name.value, facility)))
    }

    fn find(&self, provider: &Located<Arc<str>>) -> Result<&'a Descriptor, Mistake> {
        self.facilities.find(&provider.value).map_err(|message| (message, provider.location.clone()))
    }

    /// Reports defaults for facilities and types that there are not.
    pub(super) fn check_defaults(&self, problems: &mut Vec<Problem>) {
        for of_facility in &self.blueprint.defaults {
            let mut wrong = |message: String, location: &Option<Location>| {
                let path = format!("{}.defaults", self.blueprint.name.value);
                problems.push(Problem::new(path, message).at(location.clone()));
            };
            let key = &of_facility.facility;
            if !self.facilities.iter().any(|one| is_called(one, &key.value))
                && let Err(message) = self.facilities.find(&key.value)
            {
                wrong(message, &key.location);
            }
            for (kind, _) in &of_facility.kinds {
                match self.rules.handlers.find(&kind.value, None) {
                    Err(message) => wrong(message, &kind.location),
                    Ok(handler) if !handler.needs_facility() => {
                        let kind_name = quoted(&kind.value);
                        wrong(
                            format!("{kind_name} lives on no provider, so none has defaults for it"),
                            &kind.location,
                        );
                    }
                    Ok(_) => {}
                }
            }
        }
    }

    /// The resource with the defaults of its facility under its specs; `None` when there are none for it.
    pub(super) fn with_defaults(&self, resource: &Resource) -> Option<Arc<Resource>> {
        if self.blueprint.defaults.is_empty() {
            return None;
        }
        let handler = self.rules.handlers.find(&resource.kind.value, resource.version).ok()?;
        let facility = self.facility_of(resource, Some(&**handler)).ok()??;
        // Those of a name are nearer than those of a type.
        let of_type = |one: &&crate::model::FacilityDefaults| *one.facility.value != *facility.name;
        let fitting = self.blueprint.defaults.iter().filter(|one| is_called(facility, &one.facility.value));
        let (types, names): (Vec<_>, Vec<_>) = fitting.partition(of_type);
        let layers = types.into_iter().chain(names).flat_map(|one| &one.kinds);
        let defaults = layers
            .filter(|(kind, _)| kind.value == resource.kind.value)
            .map(|(_, specs)| specs.clone())
            .reduce(|below, above| below.overlay(&above))?;
        let mut resource = resource.clone();
        resource.specs = laid_under(&resource.specs, &defaults);
        let (references, _) = references_of(&resource.specs);
        let new = references.into_iter().filter(|one| !resource.references.contains(one));
        let new: Vec<_> = new.collect();
        resource.references.extend(new);
        Some(Arc::new(resource))
    }
}

/// The name and the place of the outcome are those of the specs, so that a missing key is shown where it is missing.
fn laid_under(specs: &Section, defaults: &Section) -> Section {
    specs.overlay(defaults).overlay(specs)
}

fn is_called(facility: &Descriptor, name_or_type: &str) -> bool {
    *facility.name == *name_or_type || *facility.provider_type == *name_or_type
}
