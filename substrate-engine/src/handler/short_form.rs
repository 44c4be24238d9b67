//! Values that may be written in a word: `8080:80` for a port, `front` for a network, `0.5 cores`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use substrate_core::{NetworkConfig, PortMapping, PortProtocol, VolumeMount, VolumeSource};

/// A type that can be written as a map, or in short.
pub(crate) trait ShortForm: Sized {
    /// What may be written, for messages.
    const EXPECTED: &'static str;
    /// Reads the short form.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// A value in either form. Not an `untagged` enum: those forget where in the map a mistake is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Short<T>(pub(crate) T);

impl<'de, T: ShortForm + Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EitherForm<T>(PhantomData<T>);

        impl<'de, T: ShortForm + Deserialize<'de>> Visitor<'de> for EitherForm<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                T::from_text(text).map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
                T::from_text(&number.to_string()).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(EitherForm(PhantomData)).map(Self)
    }
}

impl ShortForm for NetworkConfig {
    const EXPECTED: &'static str = "the name of a network, or a map with `network_name`";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self::new(text.parse().map_err(|error: substrate_core::Error| error.message().to_owned())?))
    }
}

impl ShortForm for PortMapping {
    const EXPECTED: &'static str = "a port such as `80`, `8080:80` or `53/udp`, or a map with `port`";

    fn from_text(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is not a port: write it like `80`, `8080:80` or `53/udp`", text.escape_debug());
        let (ports, protocol) = match text.split_once('/') {
            None => (text, PortProtocol::Tcp),
            Some((ports, "tcp")) => (ports, PortProtocol::Tcp),
            Some((ports, "udp")) => (ports, PortProtocol::Udp),
            Some((ports, "sctp")) => (ports, PortProtocol::Sctp),
            Some(_) => return Err(wrong()),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong);
        let (host_port, inner) = match ports.split_once(':') {
            None => (None, ports),
            Some((host, inner)) => (Some(port(host)?), inner),
        };
        Ok(Self { port: port(inner)?, host_port, host_address: None, protocol })
    }
}

impl ShortForm for VolumeMount {
    const EXPECTED: &'static str =
        "a mount such as `data:/srv` or `data:/srv:ro`, or a map with `source` and `target`";

    fn from_text(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{}` is not a mount: write it like `data:/srv` or `data:/srv:ro`", text.escape_debug())
        };
        let mut parts = text.split(':');
        let (source, target) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(wrong)?);
        let read_only = match (parts.next(), parts.next()) {
            (None, _) | (Some("rw"), None) => false,
            (Some("ro"), None) => true,
            _ => return Err(wrong()),
        };
        let source = if source.starts_with('/') {
            VolumeSource::HostPath(source.to_owned())
        } else {
            VolumeSource::Volume(source.parse().map_err(|_| wrong())?)
        };
        Ok(Self { source, target: target.to_owned(), read_only })
    }
}

/// Processor cores: `4`, `0.5`, `0.5 cores`, `500m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cores(pub(crate) f64);

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNumber;

        impl Visitor<'_> for AnyNumber {
            type Value = Cores;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of cores such as `4`, `0.5`, `0.5 cores` or `500m`")
            }

            fn visit_f64<E: Error>(self, cores: f64) -> Result<Cores, E> {
                Ok(Cores(cores))
            }

            #[allow(clippy::cast_precision_loss, reason = "nobody has 2⁵² cores")]
            fn visit_u64<E: Error>(self, cores: u64) -> Result<Cores, E> {
                Ok(Cores(cores as f64))
            }

            #[allow(clippy::cast_precision_loss, reason = "nobody has 2⁵² cores")]
            fn visit_i64<E: Error>(self, cores: i64) -> Result<Cores, E> {
                Ok(Cores(cores as f64))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Cores, E> {
                let trimmed = text.trim();
                let (number, scale) = match trimmed.strip_suffix('m') {
                    Some(thousandths) => (thousandths, 0.001),
                    None => (trimmed.trim_end_matches("cores").trim_end_matches("core"), 1.0),
                };
                let number: f64 = number.trim().parse().map_err(|_| {
                    E::custom("not a number of cores: write it like `4`, `0.5`, `0.5 cores` or `500m`")
                })?;
                Ok(Cores(number * scale))
            }
        }

        deserializer.deserialize_any(AnyNumber)
    }
}
