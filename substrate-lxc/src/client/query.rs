//! Paths and queries: everything that comes from outside is percent-encoded here, in one place.

use std::fmt::Write;

/// A request target under construction: path segments first, then query parameters.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    text: String,
    has_query: bool,
}

impl Target {
    /// A target that begins with a fixed path: `/1.0/instances`.
    pub(crate) fn new(path: &'static str) -> Self {
        Self { text: path.to_owned(), has_query: false }
    }

    /// Appends a segment, encoded, so that no name can climb or end the path.
    pub(crate) fn segment(mut self, name: &str) -> Self {
        self.text.push('/');
        encode(&mut self.text, name);
        self
    }

    /// Appends a fixed segment.
    pub(crate) fn then(mut self, fixed: &'static str) -> Self {
        self.text.push('/');
        self.text.push_str(fixed);
        self
    }

    /// Appends a query parameter.
    pub(crate) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        encode(&mut self.text, value);
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn encode(target: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            target.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_segment_stays_one_segment() {
        let target = Target::new("/1.0/instances").segment("../x?a=%2e#b").then("state").with("q", "a&b=c d");
        assert_eq!(target.as_str(), "/1.0/instances/..%2Fx%3Fa%3D%252e%23b/state?q=a%26b%3Dc%20d");
    }
}
