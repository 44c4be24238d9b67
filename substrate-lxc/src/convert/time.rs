//! Times as the servers write them.

use std::time::SystemTime;

/// Reads a time. What never happened is written as the beginning of a calendar.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    if text.starts_with("0001-") || text.starts_with("1970-01-01T00:00:00") {
        return None;
    }
    // Events carry the server's own offset; with `Z` the form is the strict one.
    match humantime::parse_rfc3339(text) {
        Ok(time) => Some(time),
        Err(_) => with_offset(text),
    }
}

fn with_offset(text: &str) -> Option<SystemTime> {
    let at = text.len().checked_sub(6)?;
    let (local, offset) = (text.get(..at)?, text.get(at..)?);
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let time = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let shift = std::time::Duration::from_secs(seconds);
    match sign {
        "+" => time.checked_sub(shift),
        "-" => time.checked_add(shift),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_read_with_their_offset() {
        let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(parse("2001-09-09T01:46:40Z"), Some(base));
        assert_eq!(parse("2001-09-09T01:46:40.5Z"), Some(base + Duration::from_millis(500)));
        assert_eq!(parse("2001-09-09T03:46:40.5+02:00"), Some(base + Duration::from_millis(500)));
        assert_eq!(parse("2001-09-08T20:16:40-05:30"), Some(base));
    }

    #[test]
    fn what_never_happened_has_no_time() {
        for text in ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "", "soon", "+"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
