//! Reading documents: YAML in, [`Blueprint`]s out, every mistake in its place.
//!
//! Three shapes load into one model: the blueprint form (`resources:` at the top), the kind form
//! (`kind: SystemBlueprint`, and `kind: ComputeNode | NetworkLink | StorageVolume | ServiceInstance` for single
//! resources), and manifests of any other registered kind, which are the resources of a blueprint called `manifests`. The kind form is rewritten into the blueprint form, piece
//! by piece and with the places kept, so there is one reader and one set of rules.

mod blueprint;
pub(crate) mod form;
mod kind_form;
mod manifest;
mod reader;
mod variables;

use substrate_core::config::Problem;

use crate::model::Blueprint;

pub use reader::Reader;
pub(crate) use variables::{references_of, without_consequences};

/// What was read, mistakes included: [`validate`](crate::validate) adds those that reading cannot see, so that all
/// of them come in one report.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    /// The blueprints, in the order of the sources; the one of the manifests behind those of its file.
    pub blueprints: Vec<Blueprint>,
    pub(crate) problems: Vec<Problem>,
}

impl Documents {
    /// Documents that the program made.
    #[must_use]
    pub fn from_blueprints(blueprints: impl IntoIterator<Item = Blueprint>) -> Self {
        Self { blueprints: blueprints.into_iter().collect(), ..Self::default() }
    }

    /// What is wrong with the texts themselves.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}
