//! Docker's times: RFC 3339 with nanoseconds, the year 1 for "never".
//!
//! Read here and not through the client library, whose time type depends on the features that any other
//! crate of the program happens to switch on.

use std::time::{Duration, SystemTime};

/// Reads a time; `None` for "never" (the year 1) and for what is no time.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-');
    let year: i64 = date.next()?.parse().ok()?;
    let month: i64 = date.next()?.parse().ok()?;
    let day: i64 = date.next()?.parse().ok()?;
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':');
    let hour: i64 = clock.next()?.parse().ok()?;
    let minute: i64 = clock.next()?.parse().ok()?;
    let second: i64 = clock.next()?.parse().ok()?;
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let seconds = u64::try_from(seconds - zone_offset(zone)?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds(fraction)?))
}

fn nanoseconds(fraction: &str) -> Option<u32> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut nanoseconds = 0;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(9) {
        nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
    }
    Some(nanoseconds)
}

fn zone_offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'Z' | b'z' => return Some(0),
        b'+' => 1,
        _ => -1,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    // Two digits each: no zone is further away, and more could not be counted in seconds.
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    Some(sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, with years that begin in March, so that the
/// leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A time as query parameters want it: seconds with nanoseconds.
pub(crate) fn to_query(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

/// Seconds since 1970, as lists carry them; `None` for what no clock can show.
pub(crate) fn from_seconds(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Nanoseconds since 1970, as events carry them.
pub(crate) fn from_nanoseconds(nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

/// The other direction; 0 for what lies outside.
pub(crate) fn to_nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanoseconds_of(text: &str) -> u128 {
        parse(text).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
    }

    #[test]
    fn a_zone_or_a_number_that_is_too_large_is_no_time() {
        for zone in ["+9223372036854775807:00", "-9223372036854775807:59", "+256:00", "+00:256"] {
            assert_eq!(parse(&format!("2026-11-21T04:13:03{zone}")), None, "{zone}");
        }
        assert_eq!(from_seconds(u64::MAX), None);
        assert_eq!(from_seconds(1), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)));
    }

    #[test]
    fn times_of_docker_and_podman_are_read() {
        assert_eq!(nanoseconds_of("1970-01-01T00:00:00Z"), 0);
        assert_eq!(nanoseconds_of("2026-11-21T04:13:03.201834498Z"), 1_795_234_383_201_834_498);
        assert_eq!(nanoseconds_of("2026-11-21T05:13:03.2+01:00"), 1_795_234_383_200_000_000);
        assert_eq!(nanoseconds_of("2024-02-29T12:00:00-05:30"), 1_709_227_800_000_000_000);
        assert_eq!(nanoseconds_of("2000-03-01T00:00:00Z"), 951_868_800_000_000_000);
    }

    #[test]
    fn never_and_nonsense_are_no_times() {
        for text in [
            "0001-01-01T00:00:00Z",
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-11-21T04:13:03",
            "2026-11-21T99:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_goes_into_a_query_with_all_its_digits() {
        let time = parse("2026-11-21T04:13:03.000000001Z").unwrap();
        assert_eq!(to_query(time), "1795234383.000000001");
        assert_eq!(from_nanoseconds(to_nanoseconds(time)), time);
    }
}
