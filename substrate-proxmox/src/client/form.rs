//! Paths and parameters as the API's server reads them.
//!
//! It splits a form at `&` **and** `;`, and ends a value at its second raw `=`: everything that is no letter or
//! digit is written as `%XX`.

use std::borrow::Cow;
use std::fmt::Write;

/// Percent-encodes everything but letters, digits, `-`, `.` and `_`.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            encoded.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A path below `/api2/json`, each part encoded.
pub(crate) fn path(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |path, part| path + "/" + &encode(part))
}

/// Parameters of a call, in order; a name may come several times.
#[derive(Clone, Default)]
pub(crate) struct Form(Vec<(Cow<'static, str>, String)>);

impl Form {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "numbers and literals are given, at every call")]
    pub(crate) fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.0.push((name.into(), value.to_string()));
        self
    }

    /// A boolean: only 1 and 0 are understood.
    #[must_use]
    pub(crate) fn flag(self, name: &'static str, value: bool) -> Self {
        self.with(name, u8::from(value))
    }

    /// Sets it when there is a value.
    #[must_use]
    pub(crate) fn maybe(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    #[must_use]
    pub(crate) fn extended(mut self, more: impl IntoIterator<Item = (String, String)>) -> Self {
        self.0.extend(more.into_iter().map(|(name, value)| (Cow::Owned(name), value)));
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parameters as they are, for a form of parts.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    pub(crate) fn encoded(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(&encode(name));
            text.push('=');
            text.push_str(&encode(value));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_inside_values_are_encoded() {
        let form = Form::new().with("net0", "virtio,bridge=vmbr0").with("tags", "a;b").flag("full", true);
        assert_eq!(form.encoded(), "net0=virtio%2Cbridge%3Dvmbr0&tags=a%3Bb&full=1");
    }

    #[test]
    fn a_part_of_a_path_stays_one_part() {
        assert_eq!(path(&["nodes", "a/b", "UPID:x@y"]), "/nodes/a%2Fb/UPID%3Ax%40y");
        assert_eq!(path(&["ä"]), "/%C3%A4");
    }
}
