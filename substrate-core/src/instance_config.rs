//! What an instance shall be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::capability::{Capabilities, Feature};
use crate::cloud_init::CloudInit;
use crate::error::{Error, Result};
use crate::image_file::ImageFile;
use crate::instance::InstanceKind;
use crate::label::Labels;
use crate::name::{InstanceName, VolumeName};
use crate::network::NetworkConfig;
use crate::resource::ResourceLimits;

/// What [`create_instance`](crate::Substrate::create_instance) takes.
///
/// ```
/// use substrate_core::{InstanceConfig, NetworkConfig};
/// let config = InstanceConfig::new("web".parse()?)
///     .with_image("nginx:1.27")
///     .with_cpu_cores(0.5)
///     .with_memory_mb(256)
///     .with_environment("PORT", "8080")
///     .with_label("role", "web")
///     .with_network(NetworkConfig::new("front".parse()?));
/// config.validate()?;
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct InstanceConfig {
    /// The name; unique on a substrate.
    pub name: InstanceName,
    /// The kind; the substrate's first kind when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<InstanceKind>,
    /// The image, template or base disk. Where the substrate has
    /// [`Feature::ImageFiles`](crate::Feature::ImageFiles), also a file of this machine: `file:/absolute/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The command to run instead of the image's own, as an argument vector. Never a shell string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Bounds.
    #[serde(default, skip_serializing_if = "ResourceLimits::is_empty")]
    pub limits: ResourceLimits,
    /// Networks to attach; the substrate's default network when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkConfig>,
    /// Environment variables. `Debug` shows the names only: values are often secrets.
    #[serde(default, skip_serializing_if = "EnvironmentVariables::is_empty")]
    pub environment: EnvironmentVariables,
    /// Volumes and folders to mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeMount>,
    /// Ports to publish.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// What it configures itself with at its first boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// Labels, ownership marks included.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Free data, kept on the substrate and handed back in [`Instance::metadata`](crate::Instance).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// What only one technology has; each provider documents its own and refuses unknown keys.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub options: serde_json::Map<String, serde_json::Value>,
}

impl InstanceConfig {
    /// A configuration with nothing but a name.
    #[must_use]
    pub fn new(name: InstanceName) -> Self {
        Self {
            name,
            kind: None,
            image: None,
            command: Vec::new(),
            limits: ResourceLimits::default(),
            networks: Vec::new(),
            environment: EnvironmentVariables::default(),
            volumes: Vec::new(),
            ports: Vec::new(),
            cloud_init: None,
            labels: Labels::new(),
            metadata: BTreeMap::new(),
            options: serde_json::Map::new(),
        }
    }

    /// Sets the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: InstanceKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Sets the image.
    #[must_use]
    pub fn with_image(mut self, image: impl Into<String>) -> Self {
        self.image = Some(image.into());
        self
    }

    /// Sets the command.
    #[must_use]
    pub fn with_command<A: Into<String>>(mut self, argv: impl IntoIterator<Item = A>) -> Self {
        self.command = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Bounds the processor cores.
    #[must_use]
    pub fn with_cpu_cores(mut self, cores: f64) -> Self {
        self.limits.cpu_cores = Some(cores);
        self
    }

    /// Bounds the memory, in MiB.
    #[must_use]
    pub fn with_memory_mb(mut self, megabytes: u64) -> Self {
        self.limits.memory_mb = Some(megabytes);
        self
    }

    /// Sets all bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: ResourceLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Attaches a network.
    #[must_use]
    pub fn with_network(mut self, network: NetworkConfig) -> Self {
        self.networks.push(network);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_environment(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(key, value);
        self
    }

    /// Mounts a volume or folder.
    #[must_use]
    pub fn with_volume(mut self, mount: VolumeMount) -> Self {
        self.volumes.push(mount);
        self
    }

    /// Publishes a port.
    #[must_use]
    pub fn with_port(mut self, port: PortMapping) -> Self {
        self.ports.push(port);
        self
    }

    /// Sets what it configures itself with at its first boot.
    #[must_use]
    pub fn with_cloud_init(mut self, data: CloudInit) -> Self {
        self.cloud_init = Some(data);
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key, value);
        self
    }

    /// Keeps a piece of free data.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets an option of the provider.
    #[must_use]
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }

    /// Checks what holds on every technology.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming the field.
    pub fn validate(&self) -> Result<()> {
        self.limits.validate()?;
        check_argv(&self.command, true)?;
        self.environment.validate()?;
        self.cloud_init.iter().try_for_each(CloudInit::validate)?;
        if self.image.as_deref().is_some_and(|image| image.is_empty() || image.chars().any(char::is_control))
        {
            return Err(Error::invalid_input("the image is empty or contains a control character"));
        }
        self.image.iter().try_for_each(|image| ImageFile::in_reference(image).map(drop))?;
        if let Some(key) =
            self.labels.iter().map(|(key, _)| key).find(|key| key.is_empty() || key.contains('='))
        {
            return Err(Error::invalid_input(format!("label key `{key}` is empty or contains `=`")));
        }
        for mount in &self.volumes {
            if !mount.target.starts_with('/') || mount.target.contains('\0') {
                return Err(Error::invalid_input(format!(
                    "mount target `{}` is not an absolute path",
                    mount.target
                )));
            }
        }
        Ok(())
    }

    /// Refuses everything in it that the substrate cannot do: what is asked for is never ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) naming the feature and the reason.
    pub fn require_features(&self, capabilities: &Capabilities) -> Result<()> {
        let mut needed: Vec<Feature> = Vec::new();
        let mut need = |asked: bool, feature: Feature| {
            if asked {
                needed.push(feature);
            }
        };
        need(!self.labels.is_empty(), Feature::Labels);
        need(!self.metadata.is_empty(), Feature::Metadata);
        need(!self.command.is_empty(), Feature::CreateCommand);
        need(!self.environment.is_empty(), Feature::CreateEnvironment);
        need(!self.networks.is_empty(), Feature::CreateNetworks);
        need(self.networks.iter().any(|network| network.ip_address.is_some()), Feature::FixedAddress);
        need(!self.volumes.is_empty(), Feature::CreateVolumes);
        need(!self.ports.is_empty(), Feature::CreatePorts);
        need(self.cloud_init.is_some(), Feature::CloudInit);
        needed.into_iter().try_for_each(|feature| capabilities.require(feature))?;
        self.image.iter().try_for_each(|image| capabilities.require_image(image))?;
        self.limits.require_features(capabilities)
    }
}

/// An argument vector reaches `execve`, which ends each argument at a NUL byte.
pub(crate) fn check_argv(argv: &[String], may_be_empty: bool) -> Result<()> {
    match argv.first() {
        None if !may_be_empty => return Err(Error::invalid_input("the command is empty")),
        Some(program) if program.is_empty() => {
            return Err(Error::invalid_input("the command's program is empty"));
        }
        _ => {}
    }
    match argv.iter().position(|argument| argument.contains('\0')) {
        Some(position) => {
            Err(Error::invalid_input(format!("argument {position} of the command has a NUL byte")))
        }
        None => Ok(()),
    }
}

/// Environment variables, in key order. `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvironmentVariables(BTreeMap<String, String>);

impl EnvironmentVariables {
    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a variable.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), value.into());
    }

    /// The variables in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks what every operating system asks of an environment.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming the variable, never its value.
    pub fn validate(&self) -> Result<()> {
        for (key, value) in &self.0 {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                let shown = key.escape_debug();
                return Err(Error::invalid_input(format!(
                    "environment variable `{shown}`: a name must not be empty nor hold `=`, and neither part a NUL byte"
                )));
            }
        }
        Ok(())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for EnvironmentVariables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl fmt::Debug for EnvironmentVariables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// A volume or a folder of the host inside an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where, as an absolute path inside the instance.
    pub target: String,
    /// Whether writing is forbidden.
    #[serde(default)]
    pub read_only: bool,
}

/// What a [`VolumeMount`] mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeSource {
    /// A volume of the substrate.
    Volume(VolumeName),
    /// A path on the substrate's host.
    HostPath(String),
}

/// A port of the instance, reachable from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// The port inside the instance.
    pub port: u16,
    /// The port outside; the substrate picks one when left out.
    #[serde(default)]
    pub host_port: Option<u16>,
    /// The address outside; every address when left out.
    #[serde(default)]
    pub host_address: Option<IpAddr>,
    /// The protocol.
    #[serde(default)]
    pub protocol: PortProtocol,
}

/// The protocol of a [`PortMapping`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A reusable configuration with a name of its own, from which instances are made.
///
/// ```
/// use substrate_core::{InstanceConfig, InstanceTemplate};
/// let small = InstanceTemplate::new(InstanceConfig::new("small".parse()?).with_image("busybox").with_memory_mb(64));
/// let web = small.instantiate("web-1".parse()?, |config| config.limits.memory_mb = Some(128));
/// assert_eq!(web.name, "web-1");
/// assert_eq!(web.image.as_deref(), Some("busybox"));
/// assert_eq!(web.limits.memory_mb, Some(128));
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceTemplate {
    /// What an instance starts from; its name is the template's.
    config: InstanceConfig,
}

impl InstanceTemplate {
    /// A template that has the name of `config`.
    #[must_use]
    pub fn new(config: InstanceConfig) -> Self {
        Self { config }
    }

    /// The template's name.
    #[must_use]
    pub fn name(&self) -> &InstanceName {
        &self.config.name
    }

    /// The configuration of an instance called `name`, with `overrides` applied last.
    pub fn instantiate(
        &self,
        name: InstanceName,
        overrides: impl FnOnce(&mut InstanceConfig),
    ) -> InstanceConfig {
        let mut config = InstanceConfig { name, ..self.config.clone() };
        overrides(&mut config);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("web".parse().unwrap())
    }

    #[test]
    fn debug_shows_no_environment_value() {
        let text = format!("{:?}", config().with_environment("PASSWORD", "hunter2"));
        assert!(text.contains("PASSWORD") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn what_the_substrate_cannot_do_is_refused_and_not_ignored() {
        let capabilities = Capabilities::all().without(Feature::DiskLimit, "overlay has no quota");
        let mut asked = config();
        asked.limits.disk_gb = Some(1);
        let error = asked.require_features(&capabilities).unwrap_err();
        assert!(error.is_unsupported() && error.message().contains("overlay has no quota"));
        assert!(config().require_features(&Capabilities::required_only()).is_ok());
    }

    #[test]
    fn a_file_as_an_image_is_refused_where_there_are_none() {
        let capabilities = Capabilities::all().without(Feature::ImageFiles, "it has no upload");
        let error = config().with_image("file:/a.tar").require_features(&capabilities).unwrap_err();
        assert!(error.is_unsupported() && error.message().contains("it has no upload"), "{error}");
        config().with_image("a").require_features(&capabilities).unwrap();
    }

    #[test]
    fn impossible_values_are_refused() {
        assert!(config().with_environment("A=B", "x").validate().is_err());
        assert!(config().with_command(["a\0b"]).validate().is_err());
        assert!(config().with_image("").validate().is_err());
        assert!(config().with_image("file:relative.tar").validate().is_err());
        assert!(config().with_label("", "x").validate().is_err());
        assert!(config().with_cpu_cores(-1.0).validate().is_err());
        let relative =
            VolumeMount { source: VolumeSource::HostPath("/x".into()), target: "y".into(), read_only: false };
        assert!(config().with_volume(relative).validate().is_err());
        assert!(config().with_command(["true"]).validate().is_ok());
    }

    #[test]
    fn an_error_about_the_environment_shows_no_value() {
        let error = config().with_environment("A\0", "hunter2").validate().unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        let error = serde_json::from_str::<InstanceConfig>(r#"{"name":"a","imgae":"b"}"#).unwrap_err();
        assert!(error.to_string().contains("imgae"));
    }
}
