//! A manifest: one thing that a handler applies and deletes, on no facility.

use std::collections::BTreeMap;
use std::sync::Arc;

use substrate_core::config::Section;

use super::address::Dependency;
use super::name::Name;
use super::resource::Located;
use super::version::Version;

/// A document of a registered kind: `{kind, version | apiVersion, metadata, spec}`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Manifest {
    /// The kind: what a [`HandlerRegistry`](crate::handler::HandlerRegistry) knows.
    pub kind: Located<Arc<str>>,
    /// Which version of the kind; the newest when left out.
    pub version: Option<Version>,
    /// Its name, unique among the manifests that are read together.
    pub name: Located<Name>,
    /// What comes before it.
    pub dependencies: ManifestDependencies,
    /// The environments that it is for; all when empty.
    pub environments: Vec<String>,
    /// Leave it out unless it is named.
    pub skip_apply_all: bool,
    /// Leave it alone when everything is deleted, unless it is named.
    pub skip_delete_all: bool,
    /// Another action in the place of one: `{restart: deploy}`.
    pub action_overrides: BTreeMap<String, String>,
    /// What the handler reads.
    pub spec: Section,
    /// Something about it was wrong and reported.
    pub(crate) broken: bool,
}

impl Manifest {
    /// Whether it is for an environment.
    #[must_use]
    pub fn is_for(&self, environment: &str) -> bool {
        self.environments.is_empty() || self.environments.iter().any(|one| one == environment)
    }
}

/// The two orders: deleting is not always applying backwards.
#[derive(Debug, Clone, Default)]
pub struct ManifestDependencies {
    /// What must be applied before it is applied.
    pub apply: Vec<Dependency>,
    /// What must be deleted before it is deleted; `None` = the reverse of the apply order.
    pub delete: Option<Vec<Dependency>>,
}
