//! JSON Schema of the documents, for editors.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::document::form::{BlueprintForm, KindForm, ManifestForm, ResourceForm};

type Free = Map<String, Value>;
type Resources = Vec<ResourceForm<Free, Value, Free>>;

/// The schema of every document that a [`Reader`](crate::Reader) takes: the blueprint form, the kind form, and
/// manifests (draft 2020-12).
///
/// `specs` are free in it: what they may hold is up to the handler, which a program may have registered itself.
///
/// ```
/// let schema = substrate_engine::schema();
/// assert_eq!(schema["anyOf"].as_array().map(Vec::len), Some(3));
/// assert_eq!(schema["$defs"]["Manifest"]["properties"]["version"]["type"][0], "string");
/// assert_eq!(schema["$defs"]["Blueprint"]["additionalProperties"], false);
/// ```
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let forms = [
        of::<BlueprintForm<Resources, Free>>(&mut generator),
        of::<KindForm<Free, Value>>(&mut generator),
        of::<ManifestForm<Free>>(&mut generator),
    ];
    let mut definitions = generator.take_definitions(true);
    for form in ["KindDocument", "Manifest"] {
        // An alias of serde's is in no derived schema.
        if let Some(properties) = definitions.get_mut(form).and_then(|form| form.get_mut("properties"))
            && let Some(version) = properties.get("apiVersion").cloned()
            && let Value::Object(properties) = properties
        {
            properties.insert("version".to_owned(), version);
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Documents of the substrate engine",
        "anyOf": forms,
        "$defs": definitions,
    })
}

fn of<T: JsonSchema + for<'de> Deserialize<'de>>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}
