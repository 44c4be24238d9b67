//! Directives of a resource, from its properties.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use substrate_core::layer::fresh;
use substrate_core::{Error, InstanceName, InstanceState, Result, Substrate};

use super::Running;
use crate::directive::{Action, Directive, DirectiveSite, When};
use crate::model::ResourceId;

/// A directive as it stands in the properties of a resource: the same for what is desired and what was recorded.
#[derive(Deserialize)]
struct Written {
    name: String,
    on: Vec<Action>,
    #[serde(default)]
    settings: Value,
}

/// A directive that can be carried out.
pub(crate) struct Ready<'a> {
    /// Which one of the resource's, from 0.
    pub(crate) number: usize,
    pub(crate) settings: Value,
    pub(crate) directive: &'a dyn Directive,
    on: Vec<Action>,
}

impl Ready<'_> {
    pub(crate) fn reacts_to(&self, action: Action) -> bool {
        self.on.contains(&action)
    }
}

/// The directives that properties hold.
pub(crate) fn directives_in<'a>(
    rules: &'a crate::validation::Rules,
    id: &ResourceId,
    properties: &Value,
    when: When,
) -> Result<Vec<Ready<'a>>> {
    let part = properties.get("resource").and_then(|resource| resource.get(when.key()));
    let Some(written) = part.and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    // The tenth does not come before the second.
    let written: BTreeMap<usize, &Value> =
        written.iter().filter_map(|(number, written)| Some((number.parse().ok()?, written))).collect();
    let ready = written.into_iter().map(|(number, written)| {
        let unreadable = |why: &dyn std::fmt::Display| {
            Error::invalid_input(format!("directive {number} of `{id}` cannot be carried out: {why}"))
        };
        let written = Written::deserialize(written).map_err(|error| unreadable(&error))?;
        let directive = rules.directives.find(&written.name).map_err(|error| unreadable(&error))?;
        Ok(Ready { number, settings: written.settings, directive: &**directive, on: written.on })
    });
    ready.collect()
}

impl Running<'_> {
    /// Carries out the directives that react to `action`, except those that were done already.
    pub(super) async fn run_directives(
        &self,
        directives: &[Ready<'_>],
        action: Action,
        site: &DirectiveSite<'_>,
        is_done: impl Fn(usize) -> bool,
    ) -> Result<(), super::step::StepError> {
        for one in directives.iter().filter(|one| one.reacts_to(action) && !is_done(one.number)) {
            one.directive.run(&one.settings, site).await?;
            let record =
                crate::journal::Record::Progressed { resource: site.id.clone(), directive: one.number };
            self.append(site.id, record).await?;
        }
        Ok(())
    }
}

/// Whether directives can be carried out on an instance at all.
pub(crate) async fn is_running(substrate: &dyn Substrate, name: &InstanceName) -> Result<bool> {
    match fresh(substrate.get_instance(name)).await {
        Ok(instance) => Ok(instance.state == InstanceState::Running),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
