//! Durations and sizes as people write them.

use std::fmt;
use std::time::Duration;

use super::quote::quoted;

/// A text that is no duration or no size. Its message repeats the text: do not use it for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantityError {
    message: String,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for QuantityError {}

/// Reads a size in bytes: `64MiB` (2²⁰), `8GB` (10⁹), `1.5 GiB`, `512M`, `1_000`; a bare number is bytes.
///
/// # Errors
/// Text that is no size, a negative one, or one above 2⁶⁴ − 1.
///
/// ```
/// # use substrate_core::config::parse_size;
/// assert_eq!(parse_size("64MiB"), Ok(64 * 1024 * 1024));
/// assert_eq!(parse_size("8GB"), Ok(8_000_000_000));
/// assert!(parse_size("plenty").is_err());
/// ```
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    // `parse-size` and not `bytesize`: the latter silently saturates what does not fit.
    parse_size::parse_size(text.trim()).map_err(|error| {
        let reason = match error {
            parse_size::Error::PosOverflow => "too large",
            parse_size::Error::Empty => "empty",
            _ => "write it like `64MiB`, `8GB` or as a number of bytes",
        };
        QuantityError { message: format!("{} is not a size: {reason}", quoted(text)) }
    })
}

/// Reads a duration: `30s`, `5m`, `1h 30m`, `250ms`, `1.5s`; a bare number is seconds.
///
/// # Errors
/// Text that is no duration, a negative one, or one too large.
///
/// ```
/// # use substrate_core::config::parse_duration;
/// # use std::time::Duration;
/// assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
/// assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
/// assert!(parse_duration("soon").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let trimmed = text.trim();
    let looks_bare = trimmed.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && trimmed.chars().all(|c| c.is_ascii_digit() || c == '.');
    if looks_bare {
        return trimmed
            .parse::<f64>()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| QuantityError {
                message: format!("{} is not a duration: too large", quoted(text)),
            });
    }
    humantime::parse_duration(trimmed).map_err(|_| QuantityError {
        message: format!(
            "{} is not a duration: write it like `30s`, `5m`, `1h 30m` or as a number of seconds",
            quoted(text)
        ),
    })
}

/// For `#[serde(with = "substrate_core::config::duration")]` on a `Duration`: `30s`, `5m`, or seconds as a number.
///
/// Written as text that reads back to exactly the same duration.
///
/// ```
/// # use std::time::Duration;
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     #[serde(with = "substrate_core::config::duration")]
///     timeout: Duration,
/// }
/// let settings: Settings = serde_json::from_str(r#"{"timeout": "5m"}"#)?;
/// assert_eq!(settings.timeout, Duration::from_secs(300));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub mod duration {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    /// Writes the duration as text, such as `5m`.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    /// Reads a duration.
    ///
    /// # Errors
    /// A value that is no duration, or one below zero.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }

    struct DurationVisitor;

    impl Visitor<'_> for DurationVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as `30s`, `5m` or a number of seconds")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            super::parse_duration(text).map_err(E::custom)
        }

        fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }

        fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
            let seconds = u64::try_from(seconds).map_err(|_| E::custom("a duration cannot be negative"))?;
            Ok(Duration::from_secs(seconds))
        }

        fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| E::custom("a duration must be a positive, finite number of seconds"))
        }
    }

    /// The same for an `Option<Duration>`; add `#[serde(default)]` so that the key may be absent.
    pub mod optional {
        use std::time::Duration;

        use serde::de::{Deserialize, Deserializer};
        use serde::ser::Serializer;

        struct Present(Duration);

        impl<'de> Deserialize<'de> for Present {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::deserialize(deserializer).map(Present)
            }
        }

        /// Writes the duration as text, or nothing.
        ///
        /// # Errors
        /// Only those of the serializer.
        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads a duration, or nothing.
        ///
        /// # Errors
        /// A value that is no duration, or one below zero.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<Present>::deserialize(deserializer)?.map(|Present(duration)| duration))
        }
    }
}

/// For `#[serde(with = "substrate_core::config::bytes_size")]` on a `u64` of bytes: `64MiB`, `8GB`, or a number.
///
/// Written as the number, because a rounded text would not read back to the same size.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     #[serde(with = "substrate_core::config::bytes_size")]
///     cache: u64,
/// }
/// let settings: Settings = serde_json::from_str(r#"{"cache": "64KiB"}"#)?;
/// assert_eq!(settings.cache, 65_536);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub mod bytes_size {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    /// Writes the size as a number of bytes.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*bytes)
    }

    /// Reads a size.
    ///
    /// # Errors
    /// A value that is no size, or one below zero or above 2⁶⁴ − 1.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }

    struct SizeVisitor;

    impl Visitor<'_> for SizeVisitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size such as `64MiB`, `8GB` or a number of bytes")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            super::parse_size(text).map_err(E::custom)
        }

        fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }

        fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::custom("a size cannot be negative"))
        }
    }

    /// The same for an `Option<u64>`; add `#[serde(default)]` so that the key may be absent.
    pub mod optional {
        use serde::de::{Deserialize, Deserializer};
        use serde::ser::Serializer;

        struct Present(u64);

        impl<'de> Deserialize<'de> for Present {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::deserialize(deserializer).map(Present)
            }
        }

        /// Writes the size as a number of bytes, or nothing.
        ///
        /// # Errors
        /// Only those of the serializer.
        pub fn serialize<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
            match bytes {
                Some(bytes) => super::serialize(bytes, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads a size, or nothing.
        ///
        /// # Errors
        /// A value that is no size, or one below zero or above 2⁶⁴ − 1.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
            Ok(Option::<Present>::deserialize(deserializer)?.map(|Present(bytes)| bytes))
        }
    }
}
