//! Manifests into the model.

use std::sync::Arc;

use serde::de::IgnoredAny;
use substrate_core::config::{Problem, Section};

use super::blueprint::dependencies;
use super::form::ManifestForm;
use crate::model::{Located, Manifest, ManifestDependencies, Name};

/// Reads one manifest. One without a readable head is reported and left out: nothing else in it can be judged.
pub(super) fn read_manifest(document: &Section, problems: &mut Vec<Problem>) -> Option<Manifest> {
    let place = |path: &str| document.location_of(path).or(document.location()).cloned();
    let spec = document.child("spec").unwrap_or_else(|| Section::empty("spec"));
    let form = match document.parse::<ManifestForm<IgnoredAny>>() {
        Ok(form) => form,
        Err(error) => {
            problems.extend(error.into_problems());
            let readable = |path: &str| {
                let addresses = document.get_optional(path).ok().flatten()?;
                Some(dependencies(document, path, addresses))
            };
            let name = document.get_optional::<Name>("metadata.name").ok().flatten()?;
            let kind = document.get_optional::<String>("kind").ok().flatten()?;
            return Some(Manifest {
                kind: Located { value: Arc::from(kind), location: place("kind") },
                version: document.get_optional("apiVersion").ok().flatten(),
                name: Located { value: name, location: place("metadata.name") },
                dependencies: ManifestDependencies {
                    apply: readable("metadata.dependencies.apply").unwrap_or_default(),
                    delete: readable("metadata.dependencies.delete"),
                },
                environments: Vec::new(),
                skip_apply_all: false,
                skip_delete_all: false,
                action_overrides: Default::default(),
                spec,
                broken: true,
            });
        }
    };
    let metadata = form.metadata;
    Some(Manifest {
        kind: Located { value: Arc::from(form.kind), location: place("kind") },
        version: form.version,
        name: Located { value: metadata.name, location: place("metadata.name") },
        dependencies: ManifestDependencies {
            apply: dependencies(document, "metadata.dependencies.apply", metadata.dependencies.apply),
            delete: metadata
                .dependencies
                .delete
                .map(|delete| dependencies(document, "metadata.dependencies.delete", delete)),
        },
        environments: metadata.environments,
        skip_apply_all: metadata.skip_apply_all,
        skip_delete_all: metadata.skip_delete_all,
        action_overrides: metadata.action_overrides,
        spec,
        broken: false,
    })
}
