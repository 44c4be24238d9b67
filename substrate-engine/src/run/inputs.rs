//! References of a resource, replaced by what they refer to.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::Value;
use substrate_core::config::Section;
use substrate_core::{Error, Result};
use tokio::time::{Instant, sleep};

use super::Running;
use crate::model::{Reference, ResourceId, Selection, resolve_templates};
use crate::plan::inputs::{digest_of_input, given_outputs, output_at, referenced_value};
use crate::plan::{Observation, uses_of};
use crate::validation::DesiredResource;

/// Outputs that a running instance gets a while after its start.
const LATE_OUTPUTS: [&str; 3] = ["address", "addresses", "networks"];
/// How long between two looks for one.
const INTERVAL: Duration = Duration::from_millis(500);

/// Properties that are ready for use, and digests of what went into them.
pub(super) struct Resolved {
    pub(super) properties: Value,
    pub(super) inputs: BTreeMap<String, String>,
}

impl Running<'_> {
    /// Waits for outputs that come late.
    pub(super) async fn resolve(&self, resource: &DesiredResource) -> Result<Resolved> {
        let interpretation = &resource.interpreted.interpretation;
        let mut values: HashMap<String, Value> = HashMap::new();
        let mut inputs = BTreeMap::new();
        let mut add = |reference: &Reference, value: Value| {
            let digest = digest_of_input(&resource.id, reference, &value);
            inputs.insert(reference.to_string(), digest);
            values.insert(reference.to_string(), value);
        };
        for (_, reference) in &interpretation.uses {
            // What a resource has to do with itself is no input.
            let is_own = reference.address.name == resource.id.name;
            if let Some(value) = self.value_of(&resource.id, reference).filter(|_| !is_own) {
                add(reference, value);
            }
        }
        let mut written = Vec::new();
        uses_of("", &interpretation.properties, &mut written);
        for (_, reference) in &written {
            add(reference, self.awaited_value(&resource.id, reference).await?);
        }
        if !holds_templates(&interpretation.properties) {
            return Ok(Resolved { properties: interpretation.properties.clone(), inputs });
        }
        let section = Section::from_value(interpretation.properties.clone());
        let properties = resolve_templates(&section, |reference| values.get(&reference.to_string()).cloned())
            .and_then(|resolved| resolved.to_value())
            .map_err(|error| Error::invalid_input(format!("`{}`: {error}", resource.id)))?;
        Ok(Resolved { properties, inputs })
    }

    fn value_of(&self, from: &ResourceId, reference: &Reference) -> Option<Value> {
        referenced_value(self.world.desired, from, reference, |id, path| self.output(id, path))
    }

    /// An output as it is known now: from this run, from what was seen before it, or from the journal.
    fn output(&self, id: &ResourceId, path: &str) -> Option<Value> {
        if let Some(outputs) = self.outputs.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return output_at(outputs, path).cloned();
        }
        match self.observed.get(id) {
            Some(Observation::Present(present)) => output_at(&present.outputs, path).cloned(),
            _ => output_at(&self.world.recorded.get(id)?.outputs, path).cloned(),
        }
    }

    async fn awaited_value(&self, from: &ResourceId, reference: &Reference) -> Result<Value> {
        let deadline = Instant::now() + self.world.engine.settings().output_timeout;
        let first_word = reference.output.split('.').next().unwrap_or_default();
        loop {
            if let Some(value) = self.value_of(from, reference) {
                return Ok(value);
            }
            if !LATE_OUTPUTS.contains(&first_word) {
                return Err(Error::invalid_input(format!("`${{{reference}}}` has no value"))
                    .with_hint(self.known_outputs(from, reference)));
            }
            if Instant::now() >= deadline {
                let waited = self.world.engine.settings().output_timeout;
                return Err(Error::timeout(format!("`${{{reference}}}` had no value within {waited:?}")));
            }
            sleep(INTERVAL).await;
            for id in self.targets(from, reference) {
                self.look_for_outputs(&id).await?;
            }
        }
    }

    fn targets(&self, from: &ResourceId, reference: &Reference) -> Vec<ResourceId> {
        let address = &reference.address;
        let blueprint = address.blueprint.as_ref().unwrap_or(&from.blueprint);
        let instances = self.world.desired.instances_of(blueprint, &address.name);
        let wanted = instances.iter().map(|resource| &resource.id).filter(|id| match address.selection {
            Selection::Index(index) => id.index == Some(index),
            Selection::Whole | Selection::All => true,
        });
        wanted.cloned().collect()
    }

    async fn look_for_outputs(&self, id: &ResourceId) -> Result<()> {
        let Some(desired) = self.world.desired.get(id) else { return Ok(()) };
        let spot = self.world.spot_of_desired(id, self.world.current_name(desired), "")?;
        if let Some((_, found)) = self.world.look(&spot).await? {
            self.set_outputs(id.clone(), found.outputs);
        }
        Ok(())
    }

    fn known_outputs(&self, from: &ResourceId, reference: &Reference) -> String {
        let targets = self.targets(from, reference);
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<&str> = targets
            .first()
            .and_then(|id| outputs.get(id))
            .map(|outputs| outputs.keys().map(String::as_str).collect())
            .unwrap_or_default();
        match known.is_empty() {
            true => format!("`{}` gives no outputs", reference.address),
            false => format!("`{}` gives: {}", reference.address, known.join(", ")),
        }
    }

    /// What is given as it was written is known of everything that was deployed before, whether or not it has a step.
    pub(super) fn set_given_outputs(&self) {
        let desired = self.world.desired;
        let in_order = desired.order.iter().filter_map(|node| desired.resources.get(*node));
        for resource in in_order.filter(|one| self.world.recorded.get(&one.id).is_some()) {
            let given = given_outputs(resource, |reference| self.value_of(&resource.id, reference));
            if let Some(outputs) = given {
                self.set_outputs(resource.id.clone(), outputs);
            }
        }
    }

    /// Settings of something that was recorded, with references replaced by what was recorded of others.
    pub(super) fn resolve_recorded(&self, from: &ResourceId, settings: &Value) -> Result<Value> {
        if !holds_templates(settings) {
            return Ok(settings.clone());
        }
        resolve_templates(&Section::from_value(settings.clone()), |reference| {
            self.recorded_value(from, reference)
        })
        .and_then(|resolved| resolved.to_value())
        .map_err(|error| Error::invalid_input(format!("`{from}`: {error}")))
    }

    fn recorded_value(&self, from: &ResourceId, reference: &Reference) -> Option<Value> {
        let Reference { address, output, .. } = reference;
        let blueprint = address.blueprint.as_ref().unwrap_or(&from.blueprint);
        let is_meant = |id: &ResourceId| {
            id.blueprint == *blueprint
                && id.name == address.name
                && match address.selection {
                    Selection::Index(index) => id.index == Some(index),
                    Selection::Whole | Selection::All => true,
                }
        };
        let all = self.world.recorded.iter().filter(|(id, _)| is_meant(id));
        let values: Option<Vec<Value>> =
            all.map(|(_, record)| output_at(&record.outputs, output).cloned()).collect();
        match (address.selection, values?) {
            (Selection::All, values) => Some(Value::Array(values)),
            (_, mut values) => values.pop(),
        }
    }

    pub(super) fn set_outputs(&self, id: ResourceId, outputs: BTreeMap<String, Value>) {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner).insert(id, outputs);
    }
}

/// Whether some text has something in it that is to be replaced, an escape included.
fn holds_templates(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(items) => items.iter().any(holds_templates),
        Value::Object(fields) => fields.values().any(holds_templates),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
