//! From documents to what is desired: every document checked, every mistake reported, nothing touched.

mod desired;
mod facility;
mod instances;
mod interpret;
mod links;
mod rules;
mod surroundings;

pub use desired::{Desired, DesiredResource, Group, Interpreted};
pub(crate) use facility::Configured;
pub use facility::Facilities;
pub use rules::Rules;

use substrate_core::config::{ConfigError, Problem};

use crate::document::Documents;

/// Checks documents against what the engine and its facilities can do. Pure: the same input gives the same answer.
///
/// # Errors
/// Everything that is wrong, at once, in the order of the documents: what reading found, unknown types and providers,
/// wrong specs, capabilities that a facility lacks, names that are taken twice, dependencies that lead nowhere or in
/// a circle.
pub fn validate(
    documents: &Documents,
    rules: &Rules,
    facilities: &Facilities,
) -> Result<Desired, ConfigError> {
    let mut problems = documents.problems.clone();
    let declarations = interpret::declarations(documents, rules, facilities, &mut problems);
    let links = links::link(&declarations, &mut problems);
    let blueprints = documents.blueprints.iter().map(|one| one.name.value.clone()).collect();
    let desired = instances::expand(&declarations, &links, blueprints, &mut problems);
    match desired {
        Some(desired) if problems.is_empty() => Ok(desired),
        _ => Err(without_repetitions(problems).into_iter().collect()),
    }
}

/// One mistake in a resource of which there are many, or that two checks saw, is one problem.
fn without_repetitions(problems: Vec<Problem>) -> Vec<Problem> {
    let mut seen = std::collections::HashSet::with_capacity(problems.len());
    problems
        .into_iter()
        .filter(|problem| seen.insert((problem.location.clone(), problem.message.clone())))
        .collect()
}
