//! The server's clock, from the `Date` of its answers.

use std::time::{Duration, SystemTime};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads `Sat, 21 Nov 2026 00:18:37 GMT`; nothing for anything else.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = u64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, years beginning in March.
    let years = if month > 2 { year } else { year - 1 };
    let shifted = (month + 9) % 12;
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * shifted + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read() {
        let seconds = |text: &str| {
            parse(text).map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("Sat, 21 Nov 2026 00:18:37 GMT"), Some(1_795_220_317));
        assert_eq!(seconds("Sun, 29 Feb 2032 12:00:00 GMT"), Some(1_961_668_800));
        for wrong in ["", "yesterday", "Sat, 21 Foo 2026 00:18:37 GMT", "Sat, 99 Nov 2026 00:18:37 GMT"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
