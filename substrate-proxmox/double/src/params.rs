//! Parameters as the real server splits them.

use serde_json::Value;

use crate::reply::Refusal;

#[derive(Debug, Clone, Default)]
pub struct Params(pub(crate) Vec<(String, Value)>);

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut index) = (Vec::new(), 0);
    while index < bytes.len() {
        match bytes[index] {
            b'+' => out.push(b' '),
            b'%' if index + 2 < bytes.len() => match u8::from_str_radix(&text[index + 1..index + 3], 16) {
                Ok(byte) => {
                    out.push(byte);
                    index += 2;
                }
                Err(_) => out.push(b'%'),
            },
            byte => out.push(byte),
        }
        index += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(crate) fn decode_segment(text: &str) -> String {
    decode(&text.replace('+', "%2B"))
}

impl Params {
    /// A form: it splits at `&` and `;`, and a value ends at its second raw `=`.
    pub(crate) fn of_form(text: &str) -> Self {
        let mut params = Self::default();
        for part in text.split(['&', ';']).filter(|part| !part.is_empty()) {
            let mut pieces = part.split('=');
            let name = decode(pieces.next().unwrap_or_default());
            let value = decode(pieces.next().unwrap_or_default());
            params.0.push((name, value.into()));
        }
        params
    }

    pub(crate) fn of_json(text: &str) -> Result<Self, Refusal> {
        let at = "at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 934.";
        match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields.into_iter().collect())),
            Ok(Value::Null) => Ok(Self::default()),
            Ok(_) => Err(Refusal::plain(
                500,
                "Not a HASH reference at /usr/share/perl5/PVE/APIServer/AnyEvent.pm line 978.",
            )),
            Err(_) if text.is_empty() => Err(Refusal::plain(
                500,
                format!(
                    "malformed JSON string, neither tag, array, object, number, string or atom, at character offset 0 (before \"(end of string)\") {at}"
                ),
            )),
            Err(_) => Err(Refusal::plain(
                500,
                format!(
                    "'\"' expected, at character offset 1 (before \"{}\") {at}",
                    text.get(1..).unwrap_or_default()
                ),
            )),
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(key, _)| key == name).and_then(|(_, value)| text_of(value))
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values
            .flat_map(|(_, value)| match value {
                Value::Array(items) => items.iter().filter_map(text_of).collect(),
                value => text_of(value).into_iter().collect::<Vec<_>>(),
            })
            .collect()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| text == "1" || text == "on" || text == "yes")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
}

pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(u8::from(*value).to_string()),
        _ => None,
    }
}
