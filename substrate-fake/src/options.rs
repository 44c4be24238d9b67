//! What only the fake has: the typed form of `options`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use substrate_core::{Error, Result};

/// `options` of an [`InstanceConfig`](substrate_core::InstanceConfig) on the fake. Unknown keys are refused.
///
/// ```
/// use substrate_core::InstanceConfig;
/// // Takes two minutes to boot and does not let itself be deleted.
/// let config = InstanceConfig::new("db".parse()?)
///     .with_option("start_delay", "2m")
///     .with_option("protected", true);
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct InstanceOptions {
    /// How long a start takes.
    #[serde(with = "substrate_core::config::duration")]
    pub start_delay: Duration,
    /// How long the main program takes to end when it is asked to stop.
    #[serde(with = "substrate_core::config::duration")]
    pub stop_delay: Duration,
    /// Whether every delete is refused with `Conflict`, also one with force.
    pub protected: bool,
}

/// Networks and volumes have no options of their own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoOptions {}

pub(crate) fn parse<T: for<'de> Deserialize<'de>>(
    options: &serde_json::Map<String, serde_json::Value>,
) -> Result<T> {
    T::deserialize(serde_json::Value::Object(options.clone()))
        .map_err(|error| Error::invalid_input(format!("options: {error}")).with_source(error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_keys_are_refused_with_their_name() {
        let options = json!({"start_dealy": "1s"}).as_object().unwrap().clone();
        let error = parse::<InstanceOptions>(&options).unwrap_err();
        assert!(error.is_invalid_input() && error.message().contains("start_dealy"), "{error}");
        assert!(parse::<NoOptions>(&options).is_err());
    }

    #[test]
    fn delays_are_written_as_people_write_them() {
        let options = json!({"stop_delay": "1m 30s"}).as_object().unwrap().clone();
        assert_eq!(parse::<InstanceOptions>(&options).unwrap().stop_delay, Duration::from_secs(90));
    }
}
