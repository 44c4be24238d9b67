//! What documents mean: blueprints, resources, manifests, and the words that they are made of.
//!
//! The model knows nothing of YAML beyond the [`Section`](substrate_core::config::Section)s that it carries: those
//! keep the place of every value, so that whoever finds a mistake later can still point at it.

mod address;
mod blueprint;
mod manifest;
mod name;
mod resource;
mod template;
mod version;

pub use address::{Address, Dependency, Reference, Selection};
pub use blueprint::{Blueprint, Variables};
pub use manifest::{Manifest, ManifestDependencies};
pub use name::{Name, ResourceId};
pub use resource::{Condition, DirectiveSpec, Lifecycle, Located, Readiness, Resource, count_instances};
pub use template::{Part, Template, resolve_templates};
pub use version::{Version, VersionRange};
