//! What only Docker has: the `options` of configurations, typed, unknown keys refused.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use substrate_core::{Error, Result};

/// The `options` of an [`InstanceConfig`](substrate_core::InstanceConfig) on Docker.
///
/// ```
/// use substrate_core::InstanceConfig;
/// use substrate_docker::DockerOptions;
///
/// let config = InstanceConfig::new("web".parse()?)
///     .with_image("nginx:1.27")
///     .with_option("hostname", "web")
///     .with_option("restart_policy", "on-failure:3")
///     .with_option("cap_drop", vec!["ALL"]);
/// assert_eq!(DockerOptions::of(&config)?.hostname.as_deref(), Some("web"));
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DockerOptions {
    /// The host name inside; the short id when left out.
    pub hostname: Option<String>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Runs as this user: `user`, `uid`, `user:group`.
    pub user: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.
    pub restart_policy: Option<String>,
    /// All devices and capabilities of the host.
    pub privileged: Option<bool>,
    /// Capabilities to add.
    pub cap_add: Option<Vec<String>>,
    /// Capabilities to drop.
    pub cap_drop: Option<Vec<String>>,
    /// What a stop sends: `SIGTERM` when neither this nor the image says otherwise.
    pub stop_signal: Option<String>,
    /// `bridge`, `host`, `none` or `container:<name>`; excludes `networks`.
    pub network_mode: Option<String>,
    /// The log driver. Logs can be read with `json-file`, `local` and `journald`.
    pub log_driver: Option<String>,
    /// Options of the log driver.
    pub log_options: Option<BTreeMap<String, String>>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// File systems in memory: path → mount options.
    pub tmpfs: Option<BTreeMap<String, String>>,
    /// Mounts the root file system read-only.
    pub read_only: Option<bool>,
    /// Runs an init process as the first one, which reaps orphans and hands signals on.
    pub init: Option<bool>,
    /// Lines for `/etc/hosts`: `name:address`.
    pub extra_hosts: Option<Vec<String>>,
    /// Gives the main process a terminal. Its output is then one stream, without times per source.
    pub tty: Option<bool>,
    /// Security options: `no-new-privileges`, `seccomp=…`.
    pub security_opt: Option<Vec<String>>,
    /// Kernel settings of its namespaces.
    pub sysctls: Option<BTreeMap<String, String>>,
    /// At most so many processes.
    pub pids_limit: Option<i64>,
    /// Refused: an instance that deletes itself is one whose exit nobody can read, and whose name is taken
    /// or free by chance.
    pub auto_remove: Option<bool>,
}

impl DockerOptions {
    /// The options of a configuration.
    ///
    /// # Errors
    /// `InvalidInput` for unknown keys and wrong values; `Unsupported` for `auto_remove`.
    pub fn of(config: &substrate_core::InstanceConfig) -> Result<Self> {
        let options: Self = parse("instance", &config.options)?;
        if options.auto_remove == Some(true) {
            return Err(Error::unsupported(
                "`auto_remove` is not supported: an instance stays until it is deleted",
            )
            .with_hint("delete it when it has stopped"));
        }
        if options.network_mode.is_some() && !config.networks.is_empty() {
            return Err(Error::invalid_input("the option `network_mode` and `networks` exclude each other"));
        }
        Ok(options)
    }
}

/// The `options` of a [`NetworkSpec`](substrate_core::NetworkSpec) on Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DockerNetworkOptions {
    /// IPv6 too.
    pub enable_ipv6: Option<bool>,
    /// Addresses are given from this part of the subnet.
    pub ip_range: Option<String>,
    /// Whether single containers may join a swarm's network.
    pub attachable: Option<bool>,
    /// Options of the driver: `com.docker.network.bridge.name`, `parent`, …
    pub driver_options: BTreeMap<String, String>,
}

/// The `options` of a [`VolumeSpec`](substrate_core::VolumeSpec) on Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DockerVolumeOptions {
    /// Options of the driver: `type`, `device`, `o`, …
    pub driver_options: BTreeMap<String, String>,
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, options: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(options.clone()))
        .map_err(|error| Error::invalid_input(format!("the options of the {what} cannot be used: {error}")))
}

/// Takes `on-failure:3` apart.
pub(crate) fn restart_policy(text: &str) -> Result<bollard::models::RestartPolicy> {
    use bollard::models::{RestartPolicy, RestartPolicyNameEnum};
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let wrong = || {
        Error::invalid_input(format!("`{}` is no restart policy", text.escape_debug()))
            .with_hint("known: no, always, unless-stopped, on-failure, on-failure:N")
    };
    let name = match name {
        "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => return Err(wrong()),
    };
    let maximum_retry_count = match count {
        None => None,
        Some(count) if name == RestartPolicyNameEnum::ON_FAILURE => {
            Some(i64::from(count.parse::<u32>().map_err(|_| wrong())?))
        }
        Some(_) => return Err(wrong()),
    };
    Ok(RestartPolicy { name: Some(name), maximum_retry_count })
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
        let error = DockerOptions::of(&config().with_option("hostnam", "x")).unwrap_err();
        assert!(error.is_invalid_input() && error.message().contains("hostnam"), "{error}");
    }

    #[test]
    fn auto_remove_is_refused() {
        assert!(DockerOptions::of(&config().with_option("auto_remove", true)).unwrap_err().is_unsupported());
        assert!(DockerOptions::of(&config().with_option("auto_remove", false)).is_ok());
    }

    #[test]
    fn restart_policies_are_read_or_refused() {
        assert_eq!(restart_policy("on-failure:3").unwrap().maximum_retry_count, Some(3));
        assert!(restart_policy("always").is_ok());
        for wrong in ["", "sometimes", "always:3", "on-failure:x", "on-failure:-1"] {
            assert!(restart_policy(wrong).is_err(), "{wrong}");
        }
    }
}
