//! Lenient reading: the API answers the same field as a number here and as a string there, by version.

use serde_json::{Map, Value};

pub(crate) type Fields = Map<String, Value>;

/// A field as text; numbers and booleans too.
pub(crate) fn text(fields: &Fields, key: &str) -> Option<String> {
    text_of(fields.get(key)?)
}

pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(u8::from(*value).to_string()),
        _ => None,
    }
}

/// A number that can be counted with: `NaN` and `inf` are words.
pub(crate) fn number(fields: &Fields, key: &str) -> Option<f64> {
    number_of(fields.get(key)?)
}

fn number_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

pub(crate) fn integer(fields: &Fields, key: &str) -> Option<u64> {
    integer_of(fields.get(key)?)
}

pub(crate) fn integer_of(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(whole)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(value) => Some(u64::from(*value)),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, as it should")]
fn whole(number: f64) -> u64 {
    number as u64
}

pub(crate) fn is_set(fields: &Fields, key: &str) -> bool {
    fields.get(key).is_some_and(is_true)
}

pub(crate) fn is_true(value: &Value) -> bool {
    number_of(value).is_some_and(|number| number != 0.0)
}
