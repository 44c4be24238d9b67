//! Paths and queries of requests. Names are checked before they come here; what is not a name is encoded all the same.

use std::fmt::Write;

/// What a request asks for: a path, and a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    path: String,
    query: String,
}

impl Target {
    /// A path that is a literal of this crate's.
    pub(crate) fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), query: String::new() }
    }

    /// Adds one segment, whatever it holds.
    pub(crate) fn segment(mut self, segment: &str) -> Self {
        self.path.push('/');
        encode(&mut self.path, segment);
        self
    }

    /// Adds one parameter, whatever it holds.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        encode(&mut self.query, key);
        self.query.push('=');
        encode(&mut self.query, value);
        self
    }

    /// The same, if there is a value.
    pub(crate) fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Whether this is the thing of that kind, in the plural, and name.
    pub(crate) fn is_of(&self, kind: &str, name: &str) -> bool {
        let before = self.path.strip_suffix(name).and_then(|path| path.strip_suffix('/'));
        before.and_then(|path| path.strip_suffix(kind)).is_some_and(|path| path.ends_with('/'))
    }

    pub(crate) fn uri(&self) -> String {
        format!("{}{}", self.path, self.query)
    }
}

fn encode(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_knows_whose_it_is() {
        let target = Target::new("/apis/apps/v1").segment("statefulsets").segment("web").with("a", "b");
        assert!(target.is_of("statefulsets", "web"));
        for (kind, name) in [("resourcequotas", "web"), ("statefulsets", "eb"), ("sets", "web"), ("", "")] {
            assert!(!target.is_of(kind, name), "{kind} {name}");
        }
    }

    #[test]
    fn no_part_can_become_another_path_or_parameter() {
        let target =
            Target::new("/api/v1").segment("../a?b").with("labelSelector", "a=b,c&d").maybe("x", None);
        assert_eq!(target.uri(), "/api/v1/..%2Fa%3Fb?labelSelector=a%3Db%2Cc%26d");
    }
}
