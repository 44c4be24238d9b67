//! Typed settings of a Kubernetes substrate.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use substrate_core::config::{Environment, Location, Section};
use substrate_core::{Error, InstanceKind, Result};

use crate::substrate::PROVIDER_TYPE;

/// Which cluster, and what instances are there. Unknown keys are refused.
///
/// ```
/// use substrate_k8s::{K8sConfig, Workload};
///
/// let config: K8sConfig = serde_json::from_str(r#"{
///     "kubeconfig": "/home/me/.kube/config",
///     "context": "paris",
///     "namespace": "shop",
///     "workload": "deployment"
/// }"#)?;
/// assert_eq!(config.workload, Workload::Deployment);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct K8sConfig {
    /// The kubeconfig. Left out: `KUBECONFIG` (one file or several with colons between), else `~/.kube/config`, else
    /// the service account of the pod that this program runs in.
    pub kubeconfig: Option<String>,
    /// The kubeconfig's context; its current one when left out.
    pub context: Option<String>,
    /// The namespace; the context's when left out, else `default`.
    pub namespace: Option<String>,
    /// What an instance is. One kind per substrate: what is not of it is not seen.
    pub workload: Workload,
    /// When a node fetches an image.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Whether a bound is also reserved on the node, as Kubernetes has it by default. Without it, instances without a
    /// reservation of their own (see [`K8sOptions`](crate::K8sOptions)) share what the node has.
    pub reserve_limits: bool,
    /// The size of volumes that are created without one, in bytes.
    pub volume_size_bytes: u64,
    /// The memory of virtual machines that are created without a bound, in MiB: a machine must have some.
    pub machine_memory_mb: u64,
    /// Whether a command can read the end of its input. Left out: by the server's version (1.30 and newer can).
    pub end_of_input: Option<bool>,
    /// Objects per answer to a list.
    pub page_size: u32,
    /// How long one exchange with the server may take, except streams.
    #[serde(with = "substrate_core::config::duration")]
    pub request_timeout: Duration,
    /// How long a start may take: image, scheduling, readiness.
    #[serde(with = "substrate_core::config::duration")]
    pub start_timeout: Duration,
    /// How long something that is deleted may stay, beyond its grace period, until that is an error that says what
    /// holds it.
    #[serde(with = "substrate_core::config::duration")]
    pub deletion_timeout: Duration,
}

impl Default for K8sConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: None,
            workload: Workload::default(),
            image_pull_policy: None,
            reserve_limits: true,
            volume_size_bytes: 1 << 30,
            machine_memory_mb: 1024,
            end_of_input: None,
            page_size: 250,
            request_timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(180),
            deletion_timeout: Duration::from_secs(60),
        }
    }
}

/// What an instance is on the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Workload {
    /// A StatefulSet of one replica: its pod keeps its name.
    #[default]
    Stateful,
    /// A Deployment of one replica.
    Deployment,
    /// A bare Pod. It runs from its creation, cannot be stopped or restarted, and is lost with its node.
    Pod,
    /// A VirtualMachine of KubeVirt, in a cluster that has KubeVirt; in another, every call says that it has not.
    VirtualMachine,
}

impl Workload {
    /// The kind of its instances.
    #[must_use]
    pub fn instance_kind(self) -> InstanceKind {
        match self {
            Self::VirtualMachine => InstanceKind::VirtualMachine,
            Self::Stateful | Self::Deployment | Self::Pod => InstanceKind::Pod,
        }
    }
}

/// When a node fetches an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImagePullPolicy {
    /// Before every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Only images that the node has are used.
    Never,
}

impl ImagePullPolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl K8sConfig {
    /// Fills in `kubeconfig` from `KUBECONFIG`, if it was left out.
    #[must_use]
    pub fn with_environment(mut self, environment: &Environment) -> Self {
        if self.kubeconfig.is_none() {
            let variable = environment.get("KUBECONFIG").filter(|value| !value.is_empty());
            self.kubeconfig = variable.map(str::to_owned);
        }
        self
    }

    /// The settings of a section, with `KUBECONFIG` over the file for the substrate that is called `k8s`, as every
    /// Kubernetes tool has it, and under it for a substrate with a name of its own.
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section.
    pub fn from_section(name: &str, section: &Section) -> Result<Self> {
        let mut config: Self = section.parse()?;
        let environment = section.environment();
        let is_named_here = matches!(section.location_of("kubeconfig"), Some(Location::Environment { .. }));
        let is_set = environment.get("KUBECONFIG").is_some_and(|path| !path.is_empty());
        if name == PROVIDER_TYPE && is_set && !is_named_here {
            config.kubeconfig = None;
        }
        Ok(config.with_environment(environment))
    }

    /// Sets the kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(mut self, path: impl Into<String>) -> Self {
        self.kubeconfig = Some(path.into());
        self
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets what an instance is.
    #[must_use]
    pub fn with_workload(mut self, workload: Workload) -> Self {
        self.workload = workload;
        self
    }

    /// Sets when a node fetches an image.
    #[must_use]
    pub fn with_image_pull_policy(mut self, policy: ImagePullPolicy) -> Self {
        self.image_pull_policy = Some(policy);
        self
    }

    /// Sets whether bounds are reserved on the node too.
    #[must_use]
    pub fn with_reserve_limits(mut self, reserve: bool) -> Self {
        self.reserve_limits = reserve;
        self
    }

    /// Says whether a command can read the end of its input, whatever the server's version.
    #[must_use]
    pub fn with_end_of_input(mut self, can: bool) -> Self {
        self.end_of_input = Some(can);
        self
    }

    /// Sets how many objects an answer to a list holds.
    #[must_use]
    pub fn with_page_size(mut self, objects: u32) -> Self {
        self.page_size = objects;
        self
    }

    /// Sets how long one exchange with the server may take.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets how long a start may take.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Sets how long something that is deleted may stay beyond its grace period.
    #[must_use]
    pub fn with_deletion_timeout(mut self, timeout: Duration) -> Self {
        self.deletion_timeout = timeout;
        self
    }

    /// The files of the kubeconfig, in order of precedence.
    pub(crate) fn kubeconfig_files(&self) -> Vec<PathBuf> {
        let text = self.kubeconfig.as_deref().unwrap_or_default();
        std::env::split_paths(text).filter(|path| !path.as_os_str().is_empty()).collect()
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.machine_memory_mb == 0 {
            return Err(Error::invalid_input("`machine_memory_mb` must be at least 1"));
        }
        if let Some(namespace) = &self.namespace {
            crate::name::check_namespace(namespace)?;
        }
        if self.page_size == 0 {
            return Err(Error::invalid_input("`page_size` must be at least 1"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use substrate_core::config::Config;

    use super::*;

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<K8sConfig>(r#"{"kubconfig": "x"}"#).is_err());
    }

    #[test]
    fn settings_that_nobody_can_mean_are_refused() {
        for text in [r#"{"machine_memory_mb": 0}"#, r#"{"page_size": 0}"#, r#"{"namespace": "A"}"#] {
            let config: K8sConfig = serde_json::from_str(text).unwrap();
            assert!(config.validate().unwrap_err().is_invalid_input(), "{text}");
        }
        let machines: K8sConfig = serde_json::from_str(r#"{"workload": "virtual-machine"}"#).unwrap();
        assert!(machines.validate().is_ok());
        assert_eq!(machines.workload.instance_kind(), InstanceKind::VirtualMachine);
    }

    fn kubeconfig_of(name: &str, file: &str, environment: &[(&str, &str)]) -> Option<String> {
        let environment = Environment::from_iter(environment.iter().copied());
        let text = format!("substrates: {{{name}: {{type: k8s, {file}}}}}");
        let config = Config::from_yaml_with("substrate.yaml", &text, environment).unwrap();
        let section = &config.substrate(name).unwrap().section;
        K8sConfig::from_section(name, section).unwrap().kubeconfig
    }

    #[test]
    fn kubeconfig_of_the_environment_wins_over_the_file_for_the_substrate_called_k8s_only() {
        let variable = ("KUBECONFIG", "/environment");
        assert_eq!(kubeconfig_of("k8s", "kubeconfig: /file", &[variable]).as_deref(), Some("/environment"));
        assert_eq!(kubeconfig_of("paris", "kubeconfig: /file", &[variable]).as_deref(), Some("/file"));
        assert_eq!(kubeconfig_of("paris", "", &[variable]).as_deref(), Some("/environment"));
    }

    #[test]
    fn several_files_are_one_kubeconfig() {
        let config = K8sConfig::default().with_kubeconfig("/a:/b:");
        assert_eq!(config.kubeconfig_files(), [PathBuf::from("/a"), PathBuf::from("/b")]);
    }
}
