//! What only LXD and Incus have: the `options` of configurations, typed, unknown keys refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use substrate_core::{Error, Result};

/// The `options` of an [`InstanceConfig`](substrate_core::InstanceConfig) on LXD and Incus.
///
/// ```
/// use substrate_core::InstanceConfig;
/// use substrate_lxc::LxcOptions;
///
/// let config = InstanceConfig::new("web".parse()?)
///     .with_image("debian/12")
///     .with_option("profiles", vec!["default", "web"])
///     .with_option("devices", serde_json::json!({
///         "http": {"type": "proxy", "listen": "tcp:0.0.0.0:80", "connect": "tcp:127.0.0.1:80"}
///     }));
/// assert_eq!(LxcOptions::of(&config)?.profiles.unwrap().len(), 2);
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LxcOptions {
    /// The profiles, in order; those of the substrate's configuration when left out.
    pub profiles: Option<Vec<String>>,
    /// Keys of the instance's configuration, as the server knows them. Those that the contract has a word for
    /// (`user.*`, `environment.*`, `limits.cpu*`, `limits.memory`, cloud-init's data) are refused.
    pub config: BTreeMap<String, String>,
    /// Devices beside those for networks, volumes and limits.
    pub devices: BTreeMap<String, BTreeMap<String, String>>,
    /// A text about it.
    pub description: Option<String>,
    /// Is deleted by the server when it stops.
    pub ephemeral: Option<bool>,
    /// Root inside is root outside.
    pub privileged: Option<bool>,
    /// Containers inside the container.
    pub nesting: Option<bool>,
    /// Starts with the server.
    pub autostart: Option<bool>,
    /// Cannot be deleted until this is taken away.
    pub protected: Option<bool>,
    /// The member of a cluster to make it on.
    pub target: Option<String>,
}

/// Keys that the contract has a word for.
const TAKEN: [&str; 8] = [
    "user.",
    "environment.",
    "limits.cpu",
    "limits.memory",
    "volatile.",
    "cloud-init.user-data",
    "cloud-init.vendor-data",
    "cloud-init.network-config",
];

impl LxcOptions {
    /// The options of a configuration.
    ///
    /// # Errors
    /// `InvalidInput` for unknown keys and wrong values.
    pub fn of(config: &substrate_core::InstanceConfig) -> Result<Self> {
        let options: Self = parse("instance", &config.options)?;
        if let Some(key) = options.config.keys().find(|key| TAKEN.iter().any(|taken| key.starts_with(taken)))
        {
            return Err(Error::invalid_input(format!(
                "the option `config` holds `{}`, which has a field of its own",
                key.escape_debug()
            ))
            .with_hint("use labels, environment, limits and cloud_init"));
        }
        Ok(options)
    }
}

/// The `options` of a [`NetworkSpec`](substrate_core::NetworkSpec) on LXD and Incus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LxcNetworkOptions {
    /// Whether what leaves it gets the host's address [default: true, unless it is internal].
    pub nat: Option<bool>,
    /// Further keys of the network's configuration.
    pub config: BTreeMap<String, String>,
    /// A text about it.
    pub description: Option<String>,
}

/// The `options` of a [`VolumeSpec`](substrate_core::VolumeSpec) on LXD and Incus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LxcVolumeOptions {
    /// A disk without a file system, for virtual machines.
    pub block: Option<bool>,
    /// Further keys of the volume's configuration.
    pub config: BTreeMap<String, String>,
    /// A text about it.
    pub description: Option<String>,
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, options: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(options.clone()))
        .map_err(|error| Error::invalid_input(format!("the options of the {what} cannot be used: {error}")))
}

#[cfg(test)]
mod tests {
    use substrate_core::InstanceConfig;

    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("ab".parse().unwrap())
    }

    #[test]
    fn an_unknown_option_is_refused_and_named() {
        let error = LxcOptions::of(&config().with_option("profile", "x")).unwrap_err();
        assert!(error.is_invalid_input() && error.message().contains("profile"), "{error}");
    }

    #[test]
    fn a_key_with_a_field_of_its_own_is_refused() {
        for key in
            ["user.role", "limits.cpu.allowance", "volatile.uuid", "environment.A", "cloud-init.user-data"]
        {
            let asked = config().with_option("config", serde_json::json!({key: "x"}));
            assert!(LxcOptions::of(&asked).unwrap_err().is_invalid_input(), "{key}");
        }
        let asked = config().with_option("config", serde_json::json!({"security.nesting": "true"}));
        assert!(LxcOptions::of(&asked).is_ok());
    }
}
