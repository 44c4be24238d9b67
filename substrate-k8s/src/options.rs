//! What only Kubernetes has: the `options` of configurations, typed, unknown keys refused.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use substrate_core::{Error, InstanceConfig, Result};

/// The `options` of an [`InstanceConfig`] on Kubernetes.
///
/// ```
/// use serde_json::json;
/// use substrate_core::InstanceConfig;
/// use substrate_k8s::K8sOptions;
///
/// let config = InstanceConfig::new("web".parse()?)
///     .with_image("nginx:1.27")
///     .with_option("secret_environment", json!({"PASSWORD": {"secret": "shop", "key": "password"}}))
///     .with_option("readiness_probe", json!({"httpGet": {"port": 80, "path": "/"}}))
///     .with_option("empty_dirs", json!(["/var/cache/nginx"]));
/// assert_eq!(K8sOptions::of(&config)?.empty_dirs, ["/var/cache/nginx"]);
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct K8sOptions {
    /// Replaces the image's entry point; the configuration's `command` is then its arguments.
    pub entrypoint: Option<Vec<String>>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// Environment variables from secrets of the namespace: no value stands in the workload.
    pub secret_environment: BTreeMap<String, KeyReference>,
    /// Environment variables from configuration maps of the namespace.
    pub config_environment: BTreeMap<String, KeyReference>,
    /// Folders that live as long as the pod does.
    pub empty_dirs: Vec<String>,
    /// Configuration maps as folders: path → name.
    pub config_maps: BTreeMap<String, String>,
    /// Secrets as folders: path → name.
    pub secrets: BTreeMap<String, String>,
    /// Annotations of the workload and its pod.
    pub annotations: BTreeMap<String, String>,
    /// Cores that are reserved on the node; those of the bound when left out, see
    /// [`K8sConfig::reserve_limits`](crate::K8sConfig::reserve_limits).
    pub cpu_request: Option<f64>,
    /// Memory that is reserved on the node, in MiB; likewise.
    pub memory_request_mb: Option<u64>,
    /// Tells whether the instance is ready, as Kubernetes writes probes. A start waits for it.
    pub readiness_probe: Option<Value>,
    /// Tells whether the instance has to be restarted.
    pub liveness_probe: Option<Value>,
    /// Tells whether the instance has come up.
    pub startup_probe: Option<Value>,
    /// How long the pod is given to end in order when somebody else deletes it, in seconds [default: 30].
    pub termination_grace_seconds: Option<u64>,
    /// The service account, whose credentials for the cluster's API the pod gets; without one it gets none.
    pub service_account: Option<String>,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Secrets with which the node fetches the image.
    pub image_pull_secrets: Vec<String>,
    /// What only a virtual machine has. Only for the workload `virtual-machine`.
    pub machine: Option<K8sMachineOptions>,
    /// Whether a bare pod starts again when its program has ended: `Always`, `OnFailure` or `Never`. Only for the
    /// workload `pod`.
    pub restart_policy: Option<String>,
}

/// What only a virtual machine has: the option `machine` of an [`InstanceConfig`].
///
/// ```
/// use serde_json::json;
/// use substrate_core::InstanceConfig;
/// use substrate_k8s::K8sOptions;
///
/// let config = InstanceConfig::new("db".parse()?)
///     .with_memory_mb(2048)
///     .with_option("machine", json!({"root_claim": "db-root", "disks": ["db-data"]}));
/// let machine = K8sOptions::of(&config)?.machine.unwrap_or_default();
/// assert_eq!(machine.root_claim.as_deref(), Some("db-root"));
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct K8sMachineOptions {
    /// The claim that it boots from, instead of an image that holds a disk and forgets what was written to it.
    pub root_claim: Option<String>,
    /// Claims that are its further disks, in this order.
    pub disks: Vec<String>,
    /// Further interfaces: network attachment definitions of Multus, as `name` or `namespace/name`. The first
    /// interface is on the pod network, behind the pod's address.
    pub multus: Vec<String>,
    /// What becomes of it when it ends by itself: `Always` (it is started again, the default), `RerunOnFailure`, `Once`.
    pub run_strategy: Option<String>,
    /// The secret whose key `userdata` is cloud-init's user data, for data that is longer than KubeVirt takes in the
    /// machine itself, or that not everybody may read who may read the machine.
    pub cloud_init_secret: Option<String>,
}

/// What may become of a machine that ends by itself.
pub(crate) const RUN_STRATEGIES: [&str; 3] = ["Always", "RerunOnFailure", "Once"];

/// One key of a secret or a configuration map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyReference {
    /// The secret or configuration map.
    #[serde(alias = "config_map")]
    pub secret: String,
    /// The key in it.
    pub key: String,
}

impl K8sOptions {
    /// The options of a configuration.
    ///
    /// # Errors
    /// `InvalidInput` for unknown keys and wrong values.
    pub fn of(config: &InstanceConfig) -> Result<Self> {
        let options: Self = parse("instance", &config.options)?;
        let folders =
            options.empty_dirs.iter().chain(options.config_maps.keys()).chain(options.secrets.keys());
        for folder in folders.chain(&options.working_dir) {
            if !folder.starts_with('/') || folder.contains([':', '\0']) {
                return Err(Error::invalid_input(format!("`{}` is no absolute path", folder.escape_debug())));
            }
        }
        if options.cpu_request.is_some_and(|cores| !(cores.is_finite() && cores >= 0.0)) {
            return Err(Error::invalid_input(
                "the option `cpu_request` must be a number that is not negative",
            ));
        }
        let policies = ["Always", "OnFailure", "Never"];
        if options.restart_policy.as_deref().is_some_and(|policy| !policies.contains(&policy)) {
            return Err(Error::invalid_input(format!(
                "the option `restart_policy` must be one of {}",
                policies.join(", ")
            )));
        }
        Ok(options)
    }
}

/// The `options` of a [`NetworkSpec`](substrate_core::NetworkSpec) on Kubernetes: a network is a service.
///
/// Its `driver` is the type: `Headless`, `ClusterIP`, `NodePort` or `LoadBalancer`. Left out: `ClusterIP` with ports,
/// `Headless` without, for only that can do without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct K8sNetworkOptions {
    /// The ports that it hands on.
    pub ports: Vec<ServicePort>,
    /// Who may talk to the network's members, and to whom they may: the `spec` of a network policy as Kubernetes writes
    /// it, without `podSelector`, which is the members. It has the network's name and goes with it. A cluster whose
    /// network plugin knows no policies keeps it and heeds it not; the API does not tell.
    pub network_policy: Option<Map<String, Value>>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePort {
    /// The service's port.
    pub port: u16,
    /// The instance's; the same when left out.
    #[serde(default)]
    pub target_port: Option<u16>,
    /// The node's, with `NodePort` and `LoadBalancer`; the cluster picks one when left out.
    #[serde(default)]
    pub node_port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP` [default: `TCP`].
    #[serde(default)]
    pub protocol: Option<String>,
}

/// The `options` of a [`VolumeSpec`](substrate_core::VolumeSpec) on Kubernetes: a volume is a claim, its location a
/// storage class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct K8sVolumeOptions {
    /// `ReadWriteOnce` (the default), `ReadWriteMany`, `ReadOnlyMany`, `ReadWriteOncePod`.
    pub access_mode: Option<String>,
    /// The `VolumeSnapshot` of the namespace whose content the volume begins with; a part of a snapshot of an instance
    /// is called `INSTANCE.SNAPSHOT.0`, the next `.1`, in the order of the instance's volumes.
    pub snapshot: Option<String>,
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, options: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(options.clone()))
        .map_err(|error| Error::invalid_input(format!("the options of the {what} cannot be used: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("ab".parse().unwrap())
    }

    #[test]
    fn an_unknown_option_is_refused_and_named() {
        let error = K8sOptions::of(&config().with_option("emptydirs", json!([]))).unwrap_err();
        assert!(error.is_invalid_input() && error.message().contains("emptydirs"), "{error}");
    }

    #[test]
    fn wrong_values_are_refused() {
        for (key, value) in [
            ("empty_dirs", json!(["cache"])),
            ("config_maps", json!({"../x": "a"})),
            ("cpu_request", json!(-1.0)),
            ("restart_policy", json!("sometimes")),
        ] {
            assert!(
                K8sOptions::of(&config().with_option(key, value)).unwrap_err().is_invalid_input(),
                "{key}"
            );
        }
    }
}
