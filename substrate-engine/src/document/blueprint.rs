//! The blueprint form into the model.

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use substrate_core::config::{ConfigError, Problem, Section};

use super::form::{BlueprintForm, LifecycleForm, ResourceForm};
use super::variables::{Scope, references_of, without_consequences};
use crate::model::{
    Address, Blueprint, Dependency, DirectiveSpec, FacilityDefaults, Located, Name, Resource, Variables,
    Version,
};

/// Reads one blueprint; what is wrong goes to `problems`, what can be read is returned all the same.
pub(super) fn read_blueprint(
    document: Section,
    given: &Variables,
    fallback_name: &Name,
    problems: &mut Vec<Problem>,
) -> Blueprint {
    let head = document.parse::<BlueprintForm<IgnoredAny, IgnoredAny>>();
    let (name, version, description) = match head {
        Ok(head) => (Some(head.name), head.version, head.description),
        Err(error) => {
            problems.extend(error.into_problems());
            (document.get_optional::<Name>("name").ok().flatten(), None, None)
        }
    };
    let name_location = document.location_of("name").or(document.location()).cloned();
    let name = Located { value: name.unwrap_or_else(|| fallback_name.clone()), location: name_location };
    let mut parts = parts_of(document, problems);

    let scope = Scope::new(parts.remove("variables"), given, problems);
    let mut blueprint = Blueprint { version, description, name, ..Blueprint::new(fallback_name.clone()) };
    if let Some(metadata) = parts.remove("metadata") {
        let mut metadata = parts_of(substituted(&scope, metadata, problems).0, problems);
        blueprint.engine_config = metadata.remove("engine_config");
        blueprint.metadata = values_of(metadata, problems);
    }
    if let Some(defaults) = parts.remove("defaults") {
        let (defaults, _) = substituted(&scope, defaults, problems);
        blueprint.defaults = read_defaults(defaults, problems);
    }
    let resources = parts.remove("resources").map(Section::into_items).unwrap_or_else(|| Ok(Vec::new()));
    let resources = resources.unwrap_or_else(|error| {
        problems.extend(error.into_problems());
        Vec::new()
    });
    blueprint.resources = resources
        .into_iter()
        .enumerate()
        .filter_map(|(index, item)| read_resource(index, item, &scope, problems))
        .map(Arc::new)
        .collect();
    blueprint
}

/// Facility → type of resource → specs.
fn read_defaults(defaults: Section, problems: &mut Vec<Problem>) -> Vec<FacilityDefaults> {
    let mut entries = |section: Section| {
        section.into_entries().unwrap_or_else(|error| {
            problems.extend(error.into_problems());
            Vec::new()
        })
    };
    let located = |key: String, at: &Section| Located {
        value: Arc::<str>::from(key),
        location: at.key_location().cloned(),
    };
    let mut read = Vec::new();
    for (facility, kinds) in entries(defaults) {
        let facility = located(facility, &kinds);
        let mut of_kinds = Vec::new();
        for (kind, specs) in entries(kinds) {
            let kind = located(kind, &specs);
            // What is no map cannot lie under one.
            if specs.is_map() || specs.is_null() {
                of_kinds.push((kind, specs));
            } else {
                entries(specs);
            }
        }
        read.push(FacilityDefaults { facility, kinds: of_kinds });
    }
    for specs in read.iter().flat_map(|one: &FacilityDefaults| &one.kinds).map(|(_, specs)| specs) {
        problems.extend(references_of(specs).1);
    }
    read
}

type Head = ResourceForm<IgnoredAny, IgnoredAny, IgnoredAny>;

fn read_resource(
    index: usize,
    item: Section,
    scope: &Scope,
    problems: &mut Vec<Problem>,
) -> Option<Resource> {
    // One that was taken apart already (the kind form does) may hold what is no map.
    if !item.is_map() {
        problems.extend(item.into_entries().err().map(ConfigError::into_problems).unwrap_or_default());
        return None;
    }
    let (item, mut broken) = substituted(scope, item, problems);
    let head = match item.parse::<Head>() {
        Ok(head) => head,
        Err(error) => {
            problems.extend(without_consequences(&item, error.into_problems()));
            broken = true;
            readable_head(index, &item)
        }
    };
    let place = |path: &str| item.location_of(path).or(item.location()).cloned();
    let located = |value: String, path: &str| Located { value: Arc::from(value), location: place(path) };
    let mut resource = Resource {
        name: Located { value: head.name, location: place("name") },
        version: head.version,
        provider: head.provider.map(|provider| located(provider, "provider")),
        dependencies: dependencies(&item, "dependencies", head.dependencies),
        count: head.count,
        lifecycle: head.lifecycle.into(),
        readiness: head.readiness,
        kind: located(head.kind, "type"),
        ..Resource::new(Name::unnamed(), "")
    };
    let mut parts = parts_of(item, problems);
    if let Some(specs) = parts.remove("specs") {
        resource.specs = specs;
    }
    let metadata = parts.remove("metadata");
    let directives = parts.remove("directives");
    for section in std::iter::once(&resource.specs).chain(&metadata).chain(&directives) {
        let (references, wrong) = references_of(section);
        resource.references.extend(references);
        broken |= !wrong.is_empty();
        problems.extend(wrong);
    }
    resource.metadata_source.clone_from(&metadata);
    resource.metadata =
        metadata.map(|metadata| values_of(parts_of(metadata, problems), problems)).unwrap_or_default();
    resource.directives =
        directives.map(|directives| read_directives(directives, problems)).unwrap_or_default();
    resource.broken = broken;
    Some(resource)
}

/// What can still be read of a head that holds mistakes: enough to check the rest against it.
fn readable_head(index: usize, item: &Section) -> Head {
    fn readable<T: serde::de::DeserializeOwned>(item: &Section, path: &str) -> Option<T> {
        item.get_optional(path).ok().flatten()
    }
    // Only a stand-in for what the mistake hides; it takes part in no plan.
    let nameless = || Name::new(&format!("resource-{index}")).ok();
    ResourceForm {
        kind: readable(item, "type").unwrap_or_default(),
        name: readable(item, "name").or_else(nameless).unwrap_or_else(Name::unnamed),
        version: readable::<Version>(item, "version"),
        provider: readable(item, "provider"),
        specs: IgnoredAny,
        dependencies: readable(item, "dependencies").unwrap_or_default(),
        count: readable(item, "count"),
        metadata: IgnoredAny,
        directives: IgnoredAny,
        lifecycle: LifecycleForm::default(),
        readiness: None,
    }
}

/// Each address with the place of the list item that it came from.
pub(super) fn dependencies(item: &Section, path: &str, addresses: Vec<Address>) -> Vec<Dependency> {
    addresses
        .into_iter()
        .enumerate()
        .map(|(index, address)| {
            let location = item.location_of(&format!("{path}.{index}")).cloned();
            Dependency { address, location }
        })
        .collect()
}

/// Directives are written as a list of one-key maps, which may repeat one, or as a map.
fn read_directives(directives: Section, problems: &mut Vec<Problem>) -> Vec<DirectiveSpec> {
    let mut entries = Vec::new();
    if directives.is_list() {
        for item in directives.into_items().unwrap_or_default() {
            let place = item.problem("a directive is a map with one key, such as `exec: {…}`");
            match item.into_entries() {
                Ok(mut one) if one.len() == 1 => entries.append(&mut one),
                Ok(_) => problems.push(place),
                Err(error) => problems.extend(error.into_problems()),
            }
        }
    } else {
        match directives.into_entries() {
            Ok(map) => entries = map,
            Err(error) => problems.extend(error.into_problems()),
        }
    }
    entries
        .into_iter()
        .map(|(name, settings)| DirectiveSpec {
            name: Located { value: Arc::from(name), location: settings.key_location().cloned() },
            settings,
        })
        .collect()
}

/// The section with variables replaced, and whether something went wrong.
pub(super) fn substituted(scope: &Scope, section: Section, problems: &mut Vec<Problem>) -> (Section, bool) {
    match scope.apply(section) {
        Ok(section) => (section, false),
        Err(failed) => {
            let (section, error) = *failed;
            problems.extend(error.into_problems());
            (section, true)
        }
    }
}

fn parts_of(section: Section, problems: &mut Vec<Problem>) -> HashMap<String, Section> {
    match section.into_entries() {
        Ok(entries) => entries.into_iter().collect(),
        Err(error) => {
            problems.extend(error.into_problems());
            HashMap::new()
        }
    }
}

fn values_of(parts: HashMap<String, Section>, problems: &mut Vec<Problem>) -> Map<String, Value> {
    let mut values = Map::new();
    let mut parts: Vec<(String, Section)> = parts.into_iter().collect();
    parts.sort_by(|(left, _), (right, _)| left.cmp(right));
    for (key, part) in parts {
        match part.to_value() {
            Ok(value) => {
                values.insert(key, value);
            }
            Err(error) => problems.extend(error.into_problems()),
        }
    }
    values
}
