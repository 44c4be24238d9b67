//! Typed settings of a libvirt substrate.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use substrate_core::config::{Environment, Location, Section};
use substrate_core::{Error, Result};

use crate::error::shown;
use crate::substrate::PROVIDER_TYPE;

/// Where a hypervisor is, when nothing says otherwise.
const DEFAULT_URI: &str = "qemu:///system";

/// How to reach a hypervisor, and what machines are made of by default. Unknown keys are refused.
///
/// ```
/// use substrate_libvirt::LibvirtConfig;
///
/// let config: LibvirtConfig = serde_json::from_str(r#"{
///     "uri": "qemu+ssh://root@kvm-3/system",
///     "pool": "machines",
///     "image_pool": "images",
///     "images": {"debian": {"volume": "debian-12-genericcloud-amd64.qcow2"}},
///     "default_resources": {"memory_mb": 1024, "cpu_cores": 2.0}
/// }"#)?;
/// assert_eq!(config.pool, "machines");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LibvirtConfig {
    /// Any URI of libvirt: `qemu:///system`, `qemu:///session`, `qemu+ssh://host/system`, `qemu+tls://host/system`,
    /// `test:///default`. Left out: `LIBVIRT_DEFAULT_URI`, else `qemu:///system`.
    pub uri: Option<String>,
    /// The storage pool in which disks and volumes are made [default: `default`].
    pub pool: String,
    /// The storage pool in which images are looked for; `pool` when left out.
    pub image_pool: Option<String>,
    /// The network of machines that are created without one. Left out: `default`, if the server has a network of
    /// that name.
    pub default_network: Option<String>,
    /// `kvm` or `qemu`. Left out: `kvm` where the host can.
    pub domain_type: Option<DomainType>,
    /// The machine type, such as `q35`; the hypervisor's default when left out.
    pub machine: Option<String>,
    /// What a machine without bounds of its own gets: a machine cannot be without.
    pub default_resources: DefaultResources,
    /// Up to how much memory, in MiB, a running machine can be given. It starts with that much and hands back, by
    /// its balloon driver, what is above its bound: a guest without such a driver keeps it. Left out: memory of
    /// running machines does not change.
    pub live_memory_mb: Option<u64>,
    /// Whether the hypervisor's host can limit bandwidth [default: `false`]. Its kernel needs queues in one direction
    /// (`sch_htb`, `sch_sfq`, `cls_fw`) and policing in the other (`sch_ingress`, `cls_u32`, `act_police`), which libvirt
    /// does not tell: a machine with such a bound does not start where they are missing.
    pub bandwidth_limits: bool,
    /// Where new snapshots are kept [default: `internal`].
    pub snapshots: SnapshotForm,
    /// Images by names of your own, for those that need more than a disk.
    pub images: BTreeMap<String, ImageConfig>,
    /// How long looking at something may take.
    #[serde(with = "substrate_core::config::duration")]
    pub call_timeout: Duration,
    /// How long a command waits until the guest's agent answers.
    #[serde(with = "substrate_core::config::duration")]
    pub agent_timeout: Duration,
}

impl Default for LibvirtConfig {
    fn default() -> Self {
        Self {
            uri: None,
            pool: "default".to_owned(),
            image_pool: None,
            default_network: None,
            domain_type: None,
            machine: None,
            default_resources: DefaultResources::default(),
            live_memory_mb: None,
            bandwidth_limits: false,
            snapshots: SnapshotForm::default(),
            images: BTreeMap::new(),
            call_timeout: Duration::from_secs(60),
            agent_timeout: Duration::from_secs(120),
        }
    }
}

/// How a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainType {
    /// With the processor's help.
    Kvm,
    /// In software: slow, and possible everywhere.
    Qemu,
}

impl DomainType {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Qemu => "qemu",
        }
    }
}

/// Where a snapshot is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotForm {
    /// Inside the disk, which has to be qcow2. Memory is saved with each of a running machine.
    #[default]
    Internal,
    /// In files beside the disk: what was there stays as it is, and what is written from then on goes to another file.
    /// Disks may be raw, firmware may be UEFI, and memory is saved only where it is asked for. Needs libvirt 10.0 on the
    /// server.
    External,
}

/// An image that is more than a disk, or is called otherwise than its volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ImageConfig {
    /// The volume of the image pool that disks begin as.
    pub volume: String,
    /// A kernel on the hypervisor's host, to be booted directly instead of what is on the disk.
    #[serde(default)]
    pub kernel: Option<String>,
    /// Its initial RAM disk.
    #[serde(default)]
    pub initrd: Option<String>,
    /// Its command line.
    #[serde(default)]
    pub kernel_arguments: Option<String>,
}

impl ImageConfig {
    /// An image that begins as this volume.
    #[must_use]
    pub fn new(volume: impl Into<String>) -> Self {
        Self { volume: volume.into(), ..Self::default() }
    }

    /// Boots a kernel of the host directly.
    #[must_use]
    pub fn with_kernel(
        mut self,
        kernel: impl Into<String>,
        initrd: impl Into<String>,
        arguments: impl Into<String>,
    ) -> Self {
        self.kernel = Some(kernel.into());
        self.initrd = Some(initrd.into());
        self.kernel_arguments = Some(arguments.into());
        self
    }
}

/// What a machine without bounds of its own gets.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultResources {
    /// Memory in MiB [default: 512].
    pub memory_mb: u64,
    /// Processor cores [default: 1].
    pub cpu_cores: f64,
}

impl Default for DefaultResources {
    fn default() -> Self {
        Self { memory_mb: 512, cpu_cores: 1.0 }
    }
}

impl LibvirtConfig {
    /// Fills in what was left out from the variable of libvirt's own tools, `LIBVIRT_DEFAULT_URI`.
    #[must_use]
    pub fn with_environment(mut self, environment: &Environment) -> Self {
        if self.uri.is_none() {
            self.uri =
                environment.get("LIBVIRT_DEFAULT_URI").filter(|uri| !uri.is_empty()).map(str::to_owned);
        }
        self
    }

    /// The settings of a section. `LIBVIRT_DEFAULT_URI` wins for the substrate that is called `libvirt`, as every
    /// tool of libvirt's has it, and fills in for others. A `SUBSTRATE_…` variable wins over both.
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section.
    pub fn from_section(name: &str, section: &Section) -> Result<Self> {
        let mut config: Self = section.parse()?;
        let environment = section.environment();
        let is_named_here = matches!(section.location_of("uri"), Some(Location::Environment { .. }));
        let is_set = environment.get("LIBVIRT_DEFAULT_URI").is_some_and(|uri| !uri.is_empty());
        if name == PROVIDER_TYPE && is_set && !is_named_here {
            config.uri = None;
        }
        Ok(config.with_environment(environment))
    }

    /// Sets the URI.
    #[must_use]
    pub fn with_uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = Some(uri.into());
        self
    }

    /// Sets the pool of disks and volumes.
    #[must_use]
    pub fn with_pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = pool.into();
        self
    }

    /// Sets the pool of images.
    #[must_use]
    pub fn with_image_pool(mut self, pool: impl Into<String>) -> Self {
        self.image_pool = Some(pool.into());
        self
    }

    /// Adds an image.
    #[must_use]
    pub fn with_image(mut self, name: impl Into<String>, image: ImageConfig) -> Self {
        self.images.insert(name.into(), image);
        self
    }

    /// Sets how machines run.
    #[must_use]
    pub fn with_domain_type(mut self, domain_type: DomainType) -> Self {
        self.domain_type = Some(domain_type);
        self
    }

    /// Sets what a machine without bounds of its own gets.
    #[must_use]
    pub fn with_default_resources(mut self, memory_mb: u64, cpu_cores: f64) -> Self {
        self.default_resources = DefaultResources { memory_mb, cpu_cores };
        self
    }

    /// Sets up to how much memory a running machine can be given.
    #[must_use]
    pub fn with_live_memory_mb(mut self, megabytes: u64) -> Self {
        self.live_memory_mb = Some(megabytes);
        self
    }

    /// Says whether the hypervisor's host can limit bandwidth.
    #[must_use]
    pub fn with_bandwidth_limits(mut self, possible: bool) -> Self {
        self.bandwidth_limits = possible;
        self
    }

    /// Sets where new snapshots are kept.
    #[must_use]
    pub fn with_snapshots(mut self, form: SnapshotForm) -> Self {
        self.snapshots = form;
        self
    }

    /// Sets how long looking at something may take.
    #[must_use]
    pub fn with_call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets how long a command waits for the guest's agent.
    #[must_use]
    pub fn with_agent_timeout(mut self, timeout: Duration) -> Self {
        self.agent_timeout = timeout;
        self
    }

    pub(crate) fn resolved_uri(&self) -> Result<&str> {
        let uri = self.uri.as_deref().unwrap_or(DEFAULT_URI);
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
        let fits = scheme.is_some_and(|scheme| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        if fits && !uri.chars().any(|character| character.is_control() || character == ' ') {
            return Ok(uri);
        }
        Err(Error::invalid_input(format!("`{}` is no URI of libvirt", shown(uri).escape_debug()))
            .with_hint("such as qemu:///system, qemu+ssh://user@host/system or test:///default"))
    }

    pub(crate) fn image_pool(&self) -> &str {
        self.image_pool.as_deref().unwrap_or(&self.pool)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.resolved_uri()?;
        let DefaultResources { memory_mb, cpu_cores } = self.default_resources;
        if memory_mb == 0 || !(cpu_cores.is_finite() && cpu_cores > 0.0) {
            return Err(Error::invalid_input("default_resources: a machine needs memory and a processor"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use substrate_core::config::Config;

    use super::*;

    fn of(yaml: &str, variables: &[(&str, &str)], name: &str) -> LibvirtConfig {
        let environment = Environment::from_iter(variables.iter().copied());
        let config = Config::from_yaml_with("substrate.yaml", yaml, environment).unwrap();
        LibvirtConfig::from_section(name, &config.substrate(name).unwrap().section).unwrap()
    }

    #[test]
    fn the_variable_of_libvirts_tools_wins_for_libvirt_and_fills_in_for_others() {
        let variables = [("LIBVIRT_DEFAULT_URI", "test:///default")];
        let yaml = "libvirt: {uri: 'qemu:///session'}\nsubstrates:\n  lv-a: {type: libvirt, uri: 'qemu:///system'}\n  \
                    lv-b: {type: libvirt}\n";
        assert_eq!(of(yaml, &variables, "libvirt").uri.as_deref(), Some("test:///default"));
        assert_eq!(of(yaml, &variables, "lv-a").uri.as_deref(), Some("qemu:///system"));
        assert_eq!(of(yaml, &variables, "lv-b").uri.as_deref(), Some("test:///default"));
        let named = [variables[0], ("SUBSTRATE_LIBVIRT_URI", "qemu:///system")];
        assert_eq!(of(yaml, &named, "libvirt").uri.as_deref(), Some("qemu:///system"));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for uri in ["", "/var/run/x", "qemu ///system", "qe\nmu:///system", "1:///x"] {
            assert!(LibvirtConfig::default().with_uri(uri).resolved_uri().is_err(), "{uri}");
        }
        assert_eq!(LibvirtConfig::default().resolved_uri().unwrap(), "qemu:///system");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = serde_json::from_str::<LibvirtConfig>(r#"{"ury": "x"}"#).unwrap_err();
        assert!(error.to_string().contains("ury"));
    }
}
