//! What documents mean: blueprints, resources, and the words that they are made of.
//!
//! The model knows nothing of YAML beyond the [`Section`](substrate_core::config::Section)s that it carries: those
//! keep the place of every value, so that whoever finds a mistake later can still point at it.

/// Reads and writes a type as the text that `FromStr` and `Display` know.
macro_rules! serialized_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

mod address;
mod apply_rules;
mod blueprint;
mod name;
mod resource;
mod template;
mod version;

pub use address::{Address, Dependency, Reference, Selection};
pub use apply_rules::ApplyRules;
pub use blueprint::{Blueprint, FacilityDefaults, Variables};
pub use name::{Name, ResourceId};
pub use resource::{Condition, DirectiveSpec, Lifecycle, Located, Readiness, Resource, count_instances};
pub use template::{Part, Template, resolve_templates};
pub use version::{Version, VersionRange};
