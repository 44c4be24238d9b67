use std::fmt::{self, Write};

/// The path and query of an HTTP request under construction: everything that comes from outside is percent-encoded here,
/// so that no name can climb or end the path, or begin another parameter.
///
/// ```
/// use substrate_core::provider::RequestTarget;
///
/// let target = RequestTarget::new("/containers").segment("../x?y").segment("json").with("all", "a&b");
/// assert_eq!(target.as_str(), "/containers/..%2Fx%3Fy/json?all=a%26b");
/// assert_eq!(target.path(), "/containers/..%2Fx%3Fy/json");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTarget {
    text: String,
    /// Where the query begins.
    query: Option<usize>,
}

impl RequestTarget {
    /// Begins with a path that is taken as it is: one of the program's own.
    pub fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), query: None }
    }

    /// Appends one segment to the path, whatever it holds. Not after a parameter.
    #[must_use]
    pub fn segment(mut self, segment: &str) -> Self {
        debug_assert!(self.query.is_none(), "a segment behind the query of {}", self.text);
        self.text.push('/');
        encode(&mut self.text, segment);
        self
    }

    /// Appends one parameter, whatever it holds.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.query.is_some() { '&' } else { '?' });
        self.query.get_or_insert(self.text.len() - 1);
        encode(&mut self.text, key);
        self.text.push('=');
        encode(&mut self.text, value);
        self
    }

    /// The same, if there is a value.
    #[must_use]
    pub fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Path and query.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Without the query.
    pub fn path(&self) -> &str {
        self.query.and_then(|query| self.text.get(..query)).unwrap_or(&self.text)
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// RFC 3986, section 2.3: what is not unreserved is encoded, which is right in a segment and in a query alike.
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
        let target =
            RequestTarget::new("/containers").segment("../x?a=%2e#b").segment("json").with("q", "a&b=c d");
        assert_eq!(target.as_str(), "/containers/..%2Fx%3Fa%3D%252e%23b/json?q=a%26b%3Dc%20d");
        assert_eq!(target.path(), "/containers/..%2Fx%3Fa%3D%252e%23b/json");
    }

    #[test]
    fn parameters_follow_each_other_and_missing_ones_are_left_out() {
        let target = RequestTarget::new("/a").maybe("b", None).maybe("c", Some("1")).with("d", "2");
        assert_eq!(target.as_str(), "/a?c=1&d=2");
        assert_eq!(RequestTarget::new("/a").path(), "/a");
    }
}
