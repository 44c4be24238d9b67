//! Properties in the one form that can be compared: over runs, machines and versions of this crate.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use substrate_core::config::looks_secret;

/// The rule by which properties were brought into canonical form. A journal keeps it with the properties; desired
/// ones are canonicalised by the rule that the recorded ones have, so that a new rule changes no resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CanonicalVersion(u32);

impl CanonicalVersion {
    /// Maps become dotted paths, `.` in a key is escaped; lists are compared whole; empty maps, empty lists and
    /// nothing are all the same as absent; a number without a fraction is an integer; values under a key that looks
    /// like a secret, under `environment` or `user_data`, or from the process environment are kept as a salted digest.
    pub const V1: Self = Self(1);
    /// The rule for resources that have no record yet.
    pub const CURRENT: Self = Self::V1;

    /// Whether this program knows the rule.
    #[must_use]
    pub fn is_known(self) -> bool {
        self == Self::V1
    }
}

/// One property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Property {
    /// Its value: never a map.
    Value(Value),
    /// The digest of a value that must not be shown. Equal digests of one resource mean equal values.
    Secret(String),
}

impl std::fmt::Display for Property {
    /// Short, on one line, without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret(_) => f.write_str("(secret)"),
            Self::Value(Value::String(text)) => f.write_str(&shortened(text)),
            Self::Value(value) => f.write_str(&shortened(&value.to_string())),
        }
    }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// All properties of a resource, and a digest of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Canonical {
    version: CanonicalVersion,
    digest: String,
    /// In ascending order of the paths. A sorted list: a tree of a hundred thousand resources would cost twice.
    properties: Vec<(String, Property)>,
}

impl Canonical {
    /// Canonicalises a map of properties by a rule; `None` when the rule is unknown. `salt` belongs to the resource:
    /// it makes equal secrets of two resources look different. `hides` says which texts must not be shown.
    pub fn new(
        version: CanonicalVersion,
        properties: &Value,
        salt: &str,
        hides: &dyn Fn(&str) -> bool,
    ) -> Option<Self> {
        if !version.is_known() {
            return None;
        }
        let mut flat = Flattening { salt, hides, into: Vec::new() };
        flat.add("", properties, false);
        let mut properties = flat.into;
        properties.sort_by(|(left, _), (right, _)| left.cmp(right));
        properties.dedup_by(|(left, _), (right, _)| left == right);
        let mut hash = Sha256::new();
        let mut text = String::new();
        for (path, property) in &properties {
            text.clear();
            let (tag, value) = match property {
                Property::Value(value) => ("v", value),
                Property::Secret(digest) => ("s", &Value::String(digest.clone())),
            };
            write_sorted(&Value::String(path.clone()), &mut text);
            text.push_str(tag);
            write_sorted(value, &mut text);
            text.push('\n');
            hash.update(text.as_bytes());
        }
        Some(Self { version, digest: hex(&hash.finalize()), properties })
    }

    /// The rule that made it.
    #[must_use]
    pub fn version(&self) -> CanonicalVersion {
        self.version
    }

    /// SHA-256 of the properties, in hexadecimal: equal for equal properties, whoever computes it.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The properties in ascending order of their dotted paths.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Property)> {
        self.properties.iter().map(|(path, property)| (path.as_str(), property))
    }

    /// The properties as the map that they were made from, with what `secret` knows in the place of secrets, and the
    /// paths of those that it does not know. It is asked with the dotted path and the digest.
    pub(crate) fn to_value(
        &self,
        mut secret: impl FnMut(&str, &str) -> Option<Value>,
    ) -> (Value, Vec<String>) {
        let mut root = Map::new();
        let mut unknown = Vec::new();
        for (path, property) in &self.properties {
            let value = match property {
                Property::Value(value) => value.clone(),
                Property::Secret(digest) => match secret(path, digest) {
                    Some(value) => value,
                    None => {
                        unknown.push(path.clone());
                        continue;
                    }
                },
            };
            insert_at(&mut root, &keys_of(path), value);
        }
        (Value::Object(root), unknown)
    }

    /// The property at a dotted path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Property> {
        let index = self.properties.binary_search_by(|(known, _)| known.as_str().cmp(path)).ok()?;
        self.properties.get(index).map(|(_, property)| property)
    }

    /// The paths at which two differ, each with the property here and there.
    pub fn differences<'a>(
        &'a self,
        other: &'a Self,
    ) -> Vec<(&'a str, Option<&'a Property>, Option<&'a Property>)> {
        let mut differences = Vec::new();
        let (mut mine, mut theirs) = (self.properties().peekable(), other.properties().peekable());
        loop {
            match (mine.peek().copied(), theirs.peek().copied()) {
                (Some((left, property)), Some((right, other))) if left == right => {
                    if property != other {
                        differences.push((left, Some(property), Some(other)));
                    }
                    mine.next();
                    theirs.next();
                }
                (Some((left, property)), right) if right.is_none_or(|(right, _)| left < right) => {
                    differences.push((left, Some(property), None));
                    mine.next();
                }
                (_, Some((right, property))) => {
                    differences.push((right, None, Some(property)));
                    theirs.next();
                }
                (_, None) => return differences,
            }
        }
    }
}

/// The keys of a dotted path, unescaped.
pub(crate) fn keys_of(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match (character, keys.last_mut()) {
            ('.', _) => keys.push(String::new()),
            ('\\', Some(key)) => key.extend(characters.next()),
            (character, Some(key)) => key.push(character),
            (_, None) => {}
        }
    }
    keys
}

fn insert_at(map: &mut Map<String, Value>, keys: &[String], value: Value) {
    match keys {
        [] => {}
        [key] => {
            map.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let below = map.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                insert_at(below, rest, value);
            }
        }
    }
}

/// What stands in an instance's environment is a password more often than not, and cloud-init is how one sets them.
fn holds_secrets(key: &str) -> bool {
    looks_secret(key) || matches!(key, "environment" | "user_data" | "vendor_data")
}

struct Flattening<'a> {
    salt: &'a str,
    hides: &'a dyn Fn(&str) -> bool,
    into: Vec<(String, Property)>,
}

impl Flattening<'_> {
    fn add(&mut self, path: &str, value: &Value, secret: bool) {
        match value {
            Value::Null => {}
            Value::Object(fields) => {
                for (key, value) in fields {
                    let escaped = key.replace('\\', "\\\\").replace('.', "\\.");
                    let below = if path.is_empty() { escaped } else { format!("{path}.{escaped}") };
                    self.add(&below, value, secret || holds_secrets(key));
                }
            }
            Value::Array(items) if items.is_empty() => {}
            value => {
                let value = canonical(value);
                let property = if secret || self.is_hidden(&value) {
                    self.digest(path, &value)
                } else {
                    Property::Value(value)
                };
                self.into.push((path.to_owned(), property));
            }
        }
    }

    fn is_hidden(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => (self.hides)(text),
            Value::Array(items) => items.iter().any(|item| self.is_hidden(item)),
            Value::Object(fields) => {
                fields.iter().any(|(key, value)| holds_secrets(key) || self.is_hidden(value))
            }
            // A number may be a secret too, but no text that a plan could show would tell it from any other.
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn digest(&self, path: &str, value: &Value) -> Property {
        Property::Secret(digest_of(&serde_json::json!([self.salt, path, value])))
    }
}

/// Half of the SHA-256 of a value, in hexadecimal: the same for the same value, whatever the order of its keys.
pub(crate) fn digest_of(value: &Value) -> String {
    let mut text = String::new();
    write_sorted(value, &mut text);
    let mut digest = hex(&Sha256::digest(text.as_bytes()));
    digest.truncate(32);
    digest
}

/// Numbers without a fraction as integers: `1.0` and `1` are one value to every technology.
fn canonical(value: &Value) -> Value {
    match value {
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2⁵³")]
        Value::Number(number) if number.is_f64() => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => Value::from(float as i64),
            _ => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), canonical(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// JSON with sorted keys. `serde_json` alone would not do: any crate of the program may switch its maps to insertion
/// order.
fn write_sorted(value: &Value, into: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            into.push('{');
            for (key, value) in sorted {
                write_sorted(&Value::String(key.clone()), into);
                into.push(':');
                write_sorted(value, into);
                into.push(',');
            }
            into.push('}');
        }
        Value::Array(items) => {
            into.push('[');
            for item in items {
                write_sorted(item, into);
                into.push(',');
            }
            into.push(']');
        }
        scalar => into.push_str(&scalar.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Canonical, CanonicalVersion, Property};

    fn canonical(value: &Value) -> Canonical {
        Canonical::new(CanonicalVersion::V1, value, "shop/web", &|text| text == "hunter2").unwrap()
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let one = canonical(&json!({"a": 1.0, "b": {"c": []}, "d": null, "e": [{"x": 1, "y": 2}]}));
        let other = canonical(&json!({"e": [{"y": 2, "x": 1, "z": null}], "a": 1}));
        assert_eq!(one, other);
        assert!(one.differences(&other).is_empty());
    }

    #[test]
    fn the_digest_of_this_version_never_changes() {
        let canonical =
            canonical(&json!({"limits": {"memory_mb": 512}, "image": "nginx", "labels": {"a.b": "c"}}));
        assert_eq!(canonical.digest(), "255a19a6979314ccd4daa1192d21290aeeea6a39108bd61e727d6b74ddb9be15");
        let paths: Vec<&str> = canonical.properties().map(|(path, _)| path).collect();
        assert_eq!(paths, ["image", "labels.a\\.b", "limits.memory_mb"]);
    }

    #[test]
    fn secrets_are_kept_as_digests_only() {
        let secret = canonical(&json!({
            "environment": {"PORT": "80"}, "options": {"api_token": "t0p"}, "image": "hunter2", "list": ["hunter2"],
        }));
        let text = serde_json::to_string(&secret).unwrap();
        assert!(secret.properties().all(|(_, property)| matches!(property, Property::Secret(_))), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("t0p"));
        let other = canonical(&json!({
            "environment": {"PORT": "81"}, "options": {"api_token": "t0p"}, "image": "hunter2", "list": ["hunter2"],
        }));
        assert_eq!(secret.differences(&other)[0].0, "environment.PORT");
        assert_eq!(secret.differences(&other).len(), 1);
    }

    #[test]
    fn differences_name_what_changed_came_and_went() {
        let (before, after) =
            (canonical(&json!({"a": 1, "b": 2, "d": 4})), canonical(&json!({"a": 1, "b": 3, "c": 5})));
        let paths: Vec<&str> = before.differences(&after).iter().map(|(path, ..)| *path).collect();
        assert_eq!(paths, ["b", "c", "d"]);
        assert_eq!(before.get("d"), Some(&Property::Value(json!(4))));
        assert_eq!(after.get("d"), None);
    }

    #[test]
    fn the_map_that_it_was_made_from_comes_back() {
        let map = json!({"image": "nginx", "labels": {"a.b": "c", "d\\e": "f"}, "list": [{"x": 1}], "password": "p"});
        let canonical = canonical(&map);
        assert_eq!(canonical.to_value(|path, _| (path == "password").then(|| json!("p"))), (map, Vec::new()));
        assert_eq!(canonical.to_value(|_, _| None).1, ["password"]);
    }

    #[test]
    fn it_reads_back_from_json() {
        let canonical = canonical(&json!({"a": [1, "x"], "password": "p"}));
        let text = serde_json::to_string(&canonical).unwrap();
        assert_eq!(serde_json::from_str::<Canonical>(&text).unwrap(), canonical);
    }
}
