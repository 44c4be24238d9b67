//! Manifests into the model: each is a resource of its kind, with rules of its own about when it is applied.

use std::sync::Arc;

use serde::de::IgnoredAny;
use substrate_core::config::{Problem, Section};

use super::blueprint::{dependencies, substituted};
use super::form::ManifestForm;
use super::kind_form::provider_of;
use super::variables::{Scope, references_of};
use crate::model::{ApplyRules, Located, Name, Resource};

/// Reads one manifest. One without a readable head is reported and left out: nothing else in it can be judged.
pub(super) fn read_manifest(
    document: Section,
    scope: &Scope,
    problems: &mut Vec<Problem>,
) -> Option<Resource> {
    let (document, mut broken) = substituted(scope, document, problems);
    let place = |path: &str| document.location_of(path).or(document.location()).cloned();
    let located =
        |value: String, path: &str| Located { value: Arc::<str>::from(value), location: place(path) };
    let depends =
        |key: &str, addresses| dependencies(&document, &format!("metadata.dependencies.{key}"), addresses);
    let mut resource = match document.parse::<ManifestForm<IgnoredAny>>() {
        Ok(form) => {
            let metadata = form.metadata;
            Resource {
                version: form.version,
                dependencies: depends("apply", metadata.dependencies.apply),
                rules: ApplyRules {
                    delete_dependencies: metadata.dependencies.delete.map(|delete| depends("delete", delete)),
                    environments: metadata.environments,
                    skip_apply_all: metadata.skip_apply_all,
                    skip_delete_all: metadata.skip_delete_all,
                    action_overrides: metadata.action_overrides,
                },
                kind: located(form.kind, "kind"),
                ..Resource::new(metadata.name, "")
            }
        }
        Err(error) => {
            problems.extend(error.into_problems());
            broken = true;
            let readable = |key: &str| {
                let addresses =
                    document.get_optional(&format!("metadata.dependencies.{key}")).ok().flatten()?;
                Some(depends(key, addresses))
            };
            let kind = document.get_optional::<String>("kind").ok().flatten()?;
            let rules = ApplyRules { delete_dependencies: readable("delete"), ..ApplyRules::default() };
            Resource {
                version: document.get_optional("apiVersion").ok().flatten(),
                dependencies: readable("apply").unwrap_or_default(),
                rules,
                kind: located(kind, "kind"),
                ..Resource::new(document.get_optional::<Name>("metadata.name").ok().flatten()?, "")
            }
        }
    };
    resource.name.location = place("metadata.name");
    resource.provider =
        document.child("engineSelector").and_then(|selector| provider_of(&selector, problems));
    resource.specs = document.child("spec").unwrap_or_else(|| Section::empty("spec"));
    let (references, wrong) = references_of(&resource.specs);
    resource.references = references;
    resource.broken = broken || !wrong.is_empty();
    problems.extend(wrong);
    Some(resource)
}
