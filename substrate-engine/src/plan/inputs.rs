//! Outputs of resources as inputs of others.

use std::collections::BTreeMap;

use serde_json::Value;

use substrate_core::config::Section;

use super::canonical::digest_of;
use crate::model::{Reference, ResourceId, Selection, resolve_templates};
use crate::validation::{Desired, DesiredResource};

/// More bytes than this are not put into the outputs of one resource: texts that refer to each other twice grow to any
/// length in a few steps.
const LARGEST_OUTPUTS: usize = 4 * 1024 * 1024;

/// The output at a dotted path. A key that holds the dots itself comes first.
#[must_use]
pub(crate) fn output_at<'a>(outputs: &'a BTreeMap<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = outputs.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(outputs.get(first)?, |value, word| match value {
        Value::Object(fields) => fields.get(word),
        Value::Array(items) => items.get(word.parse::<usize>().ok()?),
        _ => None,
    })
}

/// What a reference stands for: the output of one resource, or the list of those of all of a count.
///
/// `output` looks one up; `None` when some of what is referred to has no such output yet.
pub(crate) fn referenced_value(
    desired: &Desired,
    from: &ResourceId,
    reference: &Reference,
    mut output: impl FnMut(&ResourceId, &str) -> Option<Value>,
) -> Option<Value> {
    let address = &reference.address;
    let blueprint = address.blueprint.as_ref().unwrap_or(&from.blueprint);
    let path = reference.output.as_str();
    match address.selection {
        Selection::Index(index) => {
            output(&ResourceId::new(blueprint.clone(), address.name.clone()).with_index(index), path)
        }
        // A whole that has a count is all of it: only implicit references are of this form.
        Selection::Whole | Selection::All => desired
            .instances_of(blueprint, &address.name)
            .iter()
            .map(|resource| output(&resource.id, path))
            .collect::<Option<Vec<_>>>()
            .and_then(|mut values| match (address.selection, values.len()) {
                (Selection::Whole, 0) => None,
                (Selection::Whole, 1) => values.pop(),
                _ => Some(Value::Array(values)),
            }),
    }
}

/// The outputs of a resource whose kind gives what its specs say, with references replaced by what `value_of` knows.
/// What cannot be replaced is left out. `None` for every other kind.
pub(crate) fn given_outputs(
    resource: &DesiredResource,
    mut value_of: impl FnMut(&Reference) -> Option<Value>,
) -> Option<BTreeMap<String, Value>> {
    const KEY: &str = "value";
    let interpreted = &resource.interpreted;
    let written = interpreted.handler.outputs_in(&interpreted.interpretation.properties)?;
    let mut left = LARGEST_OUTPUTS;
    let outputs = written.iter().filter_map(|(name, value)| {
        let resolved =
            resolve_templates(&Section::from_value(serde_json::json!({ KEY: value })), |reference| {
                let value = value_of(reference)?;
                left = left.checked_sub(value.to_string().len())?;
                Some(value)
            });
        let mut resolved = resolved.ok()?.to_value().ok()?;
        Some((name.clone(), resolved.get_mut(KEY)?.take()))
    });
    Some(outputs.collect())
}

/// The digest of an input, as records keep it: an output may be a secret.
pub(crate) fn digest_of_input(user: &ResourceId, reference: &Reference, value: &Value) -> String {
    digest_of(&serde_json::json!([user.to_string(), reference.to_string(), value]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::output_at;

    #[test]
    fn outputs_are_found_by_their_path() {
        let outputs = BTreeMap::from([
            ("address".to_owned(), json!("10.0.0.7")),
            ("networks".to_owned(), json!({"front": {"ip": "10.1.0.2"}, "all": ["a", "b"]})),
            ("a.b".to_owned(), json!(1)),
        ]);
        assert_eq!(output_at(&outputs, "address"), Some(&json!("10.0.0.7")));
        assert_eq!(output_at(&outputs, "networks.front.ip"), Some(&json!("10.1.0.2")));
        assert_eq!(output_at(&outputs, "networks.all.1"), Some(&json!("b")));
        assert_eq!(output_at(&outputs, "a.b"), Some(&json!(1)));
        assert_eq!(output_at(&outputs, "networks.back.ip"), None);
    }
}
