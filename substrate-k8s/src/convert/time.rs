//! Times as the API writes them: RFC 3339, in UTC, whole seconds or less.

use std::time::SystemTime;

pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

/// With its full precision; the server uses the whole seconds.
pub(crate) fn format(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let time = parse("2026-11-21T10:00:01.5Z").unwrap();
        assert_eq!(format(time), "2026-11-21T10:00:01Z");
        assert!(parse("yesterday").is_none());
    }
}
