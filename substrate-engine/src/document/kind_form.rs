//! `kind: SystemBlueprint` and `kind: ComputeNode | …`, rewritten into the blueprint form.

use std::sync::Arc;

use serde::de::IgnoredAny;
use substrate_core::config::{ConfigError, Problem, Section, nearest, quoted};

use super::form::{KindForm, KindMetadataForm};
use crate::model::Located;

/// The kind that holds a whole blueprint.
pub(super) const BLUEPRINT: &str = "SystemBlueprint";

/// Kinds of single resources and the types that the blueprint form has for them.
pub(super) const RESOURCES: [(&str, &str); 4] = [
    ("ComputeNode", "compute"),
    ("NetworkLink", "network"),
    ("StorageVolume", "storage"),
    ("ServiceInstance", "service"),
];

/// The type of a resource kind.
pub(super) fn resource_type(kind: &str) -> Option<&'static str> {
    RESOURCES.iter().find(|(known, _)| *known == kind).map(|(_, kind)| *kind)
}

/// `kind: SystemBlueprint` as a blueprint: `metadata` gives name and description, `spec` the rest.
pub(super) fn rewrite_blueprint(document: &Section, problems: &mut Vec<Problem>) -> Section {
    check_head(document, problems);
    let mut entries = Vec::new();
    let mut metadata = Vec::new();
    for (key, value) in entries_of(document.child("metadata"), problems) {
        match key.as_str() {
            "name" | "description" | "version" => entries.push((key, value)),
            _ => metadata.push((key, value)),
        }
    }
    for (key, value) in entries_of(document.child("spec"), problems) {
        match key.as_str() {
            "resources" if value.is_list() => {
                let place = value.clone();
                let items = value.into_items().unwrap_or_default();
                let items = items.into_iter().map(|item| rewrite_item(item, problems)).collect();
                entries.push((key, Section::from_items(&place, items)));
            }
            // Anything else is either known to the blueprint form or a mistake that it will report.
            _ => entries.push((key, value)),
        }
    }
    if !metadata.is_empty() {
        let like = document.child("metadata").unwrap_or_else(|| document.clone());
        entries.push(("metadata".to_owned(), Section::from_entries(&like, metadata)));
    }
    Section::from_entries(document, entries)
}

/// An item of `spec.resources`: of a kind, or already in the blueprint form.
fn rewrite_item(item: Section, problems: &mut Vec<Problem>) -> Section {
    let Ok(Some(kind)) = item.get_optional::<String>("kind") else { return item };
    match resource_type(&kind) {
        Some(kind) => rewrite_resource(&item, kind, problems),
        None => {
            let known = RESOURCES.map(|(known, _)| known);
            let message = format!("{} is not the kind of a resource", quoted(&kind));
            let suggestion = nearest(&kind, known);
            let message = match suggestion {
                Some(_) => message,
                None => format!("{message}: the known kinds are {}", known.map(quoted).join(", ")),
            };
            let place = item.child("kind").unwrap_or_else(|| item.clone());
            problems.push(place.problem(message).suggest(suggestion));
            // Still read, so that what else is wrong with it comes in the same report.
            rewrite_resource(&item, "", problems)
        }
    }
}

/// One resource: `spec` is `specs`, `engineSelector` the provider, `metadata` holds the rest.
pub(super) fn rewrite_resource(document: &Section, kind: &str, problems: &mut Vec<Problem>) -> Section {
    check_head(document, problems);
    let mut entries = Vec::new();
    if !kind.is_empty() {
        let place = document.child("kind").unwrap_or_else(|| document.clone());
        entries.push(("type".to_owned(), place.with_value(kind.into())));
    }
    let version = document.child("apiVersion").or_else(|| document.child("version"));
    entries.extend(version.map(|version| ("version".to_owned(), version)));
    entries.extend(document.child("spec").map(|spec| ("specs".to_owned(), spec)));
    if let Some(selector) = document.child("engineSelector") {
        entries.extend(selected(&selector, problems).map(|provider| ("provider".to_owned(), provider)));
    }
    if let Some(metadata) = document.child("metadata") {
        if let Err(error) = metadata.parse::<KindMetadataForm<IgnoredAny>>() {
            // Without a name is what the blueprint form says too, in its own words.
            problems
                .extend(error.into_problems().into_iter().filter(|one| !one.message.contains("missing key")));
        }
        for (key, value) in entries_of(Some(metadata), problems) {
            match key.as_str() {
                "annotations" => entries.push(("metadata".to_owned(), value)),
                "name" | "dependencies" | "count" | "directives" | "lifecycle" | "readiness" => {
                    entries.push((key, value));
                }
                _ => {}
            }
        }
    }
    Section::from_entries(document, entries)
}

/// The facility that an `engineSelector` names.
pub(super) fn provider_of(selector: &Section, problems: &mut Vec<Problem>) -> Option<Located<Arc<str>>> {
    let provider = selected(selector, problems)?;
    match provider.parse::<String>() {
        Ok(name) => Some(Located { value: Arc::from(name), location: provider.location().cloned() }),
        Err(error) => {
            problems.extend(error.into_problems());
            None
        }
    }
}

fn selected(selector: &Section, problems: &mut Vec<Problem>) -> Option<Section> {
    let provider = match selector.is_map() {
        true => selector.child("provider").or_else(|| selector.child("name")),
        false => Some(selector.clone()),
    };
    if provider.is_none() {
        problems.push(selector.problem("`engineSelector` names a facility: `{provider: NAME}`"));
    }
    provider
}

fn check_head(document: &Section, problems: &mut Vec<Problem>) {
    if let Err(error) = document.parse::<KindForm<IgnoredAny, IgnoredAny>>() {
        problems.extend(error.into_problems());
    }
}

fn entries_of(section: Option<Section>, problems: &mut Vec<Problem>) -> Vec<(String, Section)> {
    let entries = section.map(Section::into_entries).unwrap_or_else(|| Ok(Vec::new()));
    entries.map_err(ConfigError::into_problems).unwrap_or_else(|found| {
        problems.extend(found);
        Vec::new()
    })
}
