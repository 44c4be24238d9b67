//! `kind: Values`: values that manifests and resources share.

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use substrate_core::Result;
use substrate_core::config::{ConfigError, quoted};

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};

/// The entries of `spec` are its outputs, under their own names.
///
/// ```yaml
/// kind: Values
/// metadata: {name: common}
/// spec: {region: paris, database: {host: db.internal, port: 5432}}
/// ```
///
/// Another manifest uses `${common.region}`, a resource of a blueprint `${manifests/common.database.host}`. A value may
/// use the outputs of others in turn. It lives nowhere, and no value is ever in the journal: they are read from the
/// documents each time.
#[derive(Debug, Clone, Copy)]
pub struct ValuesHandler;

/// Below a key of its own: an entry may be called anything, and the engine has keys beside it.
const VALUES: &str = "values";

#[async_trait]
impl ResourceHandler for ValuesHandler {
    fn kind(&self) -> &str {
        "Values"
    }

    fn needs_facility(&self) -> bool {
        false
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        let entries = subject.specs.clone().into_entries()?;
        let is_word = |key: &str| {
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        let unreachable = entries.iter().filter(|(key, _)| !is_word(key)).map(|(key, value)| {
            let message = format!(
                "nobody can refer to {}: use letters, digits, `_` and `-` in the names of values",
                quoted(key)
            );
            let problem = value.problem(message);
            problem.at(value.key_location().cloned())
        });
        let problems: Vec<_> = unreachable.collect();
        if !problems.is_empty() {
            return Err(problems.into_iter().collect());
        }
        let values = match subject.specs.to_value()? {
            Value::Object(values) => values,
            _ => Map::new(),
        };
        Ok(Interpretation::new(json!({ VALUES: values })))
    }

    fn effect_of(&self, _property: &str) -> ChangeEffect {
        ChangeEffect::Update
    }

    fn keeps_outputs(&self) -> bool {
        false
    }

    fn outputs_in<'p>(&self, properties: &'p Value) -> Option<&'p Map<String, Value>> {
        properties.get(VALUES)?.as_object()
    }

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        Ok(site.recorded.map(|_| Found::default()))
    }

    async fn create(&self, _site: &Site<'_>, properties: &Value) -> Result<Found> {
        Ok(given(properties))
    }

    async fn update(&self, _site: &Site<'_>, properties: &Value) -> Result<Found> {
        Ok(given(properties))
    }

    async fn delete(&self, _site: &Site<'_>) -> Result<()> {
        Ok(())
    }
}

fn given(properties: &Value) -> Found {
    let values = properties.get(VALUES).and_then(Value::as_object);
    let outputs = values.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    Found { outputs: outputs.collect(), ..Found::default() }
}
