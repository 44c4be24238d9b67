//! What only libvirt has, in the `options` of a configuration.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use substrate_core::{Error, InstanceConfig, Result};

use crate::block_limits::BlockLimits;
use crate::config::DomainType;

/// The `options` of an [`InstanceConfig`] on libvirt. Unknown keys are refused.
///
/// ```
/// use substrate_core::InstanceConfig;
/// use substrate_libvirt::{DiskForm, LibvirtOptions};
///
/// let config = InstanceConfig::new("web".parse()?)
///     .with_image("debian-12.qcow2")
///     .with_option("machine", "q35")
///     .with_option("disk", "copy");
/// assert_eq!(LibvirtOptions::of(&config)?.disk, DiskForm::Copy);
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LibvirtOptions {
    /// `kvm` or `qemu` instead of what the settings say.
    pub domain_type: Option<DomainType>,
    /// The machine type, such as `q35`.
    pub machine: Option<String>,
    /// How the disk comes from its image.
    pub disk: DiskForm,
    /// A kernel on the hypervisor's host, booted directly. Without an image, the machine has no disk.
    pub kernel: Option<String>,
    /// The kernel's initial RAM disk.
    pub initrd: Option<String>,
    /// The kernel's command line; with an image that boots a kernel, in the place of the image's.
    pub kernel_arguments: Option<String>,
    /// How fast the machine may read from its disk and write to it.
    pub block_limits: Option<BlockLimits>,
    /// A domain document to define instead of one made from the configuration. Its name, UUID, our metadata and the
    /// bounds that are given are set; everything else is taken as it is, disks too: they are not ours and stay when
    /// the machine is deleted. Excludes `image`, `networks`, `cloud_init` and the other options.
    pub xml: Option<String>,
}

/// How a machine's disk comes from its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskForm {
    /// A new qcow2 disk that holds what differs from the image, which must stay as it is.
    #[default]
    Backing,
    /// A copy of the whole image.
    Copy,
}

impl LibvirtOptions {
    /// The options of a configuration.
    ///
    /// # Errors
    /// `InvalidInput` for unknown keys, wrong values, and options that exclude each other.
    pub fn of(config: &InstanceConfig) -> Result<Self> {
        let options: Self = parse("instance", &config.options)?;
        if let Some(xml) = &options.xml {
            let others = Self { xml: Some(xml.clone()), ..Self::default() };
            let is_contradicted =
                config.image.is_some() || !config.networks.is_empty() || config.cloud_init.is_some();
            if options != others || is_contradicted {
                return Err(Error::invalid_input(
                    "the option `xml` describes the whole machine: it excludes `image`, `networks`, `cloud_init` and \
                     other options",
                ));
            }
        }
        options.block_limits.as_ref().map_or(Ok(()), BlockLimits::validate)?;
        for (name, path) in [("kernel", &options.kernel), ("initrd", &options.initrd)] {
            if path.as_deref().is_some_and(|path| !path.starts_with('/')) {
                return Err(Error::invalid_input(format!("the option `{name}` is not an absolute path")));
            }
        }
        Ok(options)
    }
}

/// The `options` of a [`NetworkSpec`](substrate_core::NetworkSpec) on libvirt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LibvirtNetworkOptions {
    /// The name of the bridge on the host; libvirt chooses one when left out.
    pub bridge: Option<String>,
    /// The domain name that the network's name server answers for.
    pub domain: Option<String>,
}

/// The `options` of a [`VolumeSpec`](substrate_core::VolumeSpec) on libvirt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LibvirtVolumeOptions {
    /// `raw` or `qcow2` [default: `qcow2`].
    pub format: Option<String>,
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, options: &Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(options.clone()))
        .map_err(|error| Error::invalid_input(format!("the options of the {what} cannot be used: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("web".parse().unwrap())
    }

    #[test]
    fn an_unknown_option_is_refused_and_named() {
        let error = LibvirtOptions::of(&config().with_option("machin", "x")).unwrap_err();
        assert!(error.is_invalid_input() && error.message().contains("machin"), "{error}");
    }

    #[test]
    fn given_xml_excludes_what_it_would_contradict() {
        let given = config().with_option("xml", "<domain/>");
        assert!(LibvirtOptions::of(&given).is_ok());
        assert!(LibvirtOptions::of(&given.clone().with_image("x")).is_err());
        assert!(LibvirtOptions::of(&given.with_option("machine", "pc")).is_err());
    }

    #[test]
    fn bounds_of_the_disk_are_looked_at_before_anything_happens() {
        let of = |value| LibvirtOptions::of(&config().with_option("block_limits", value));
        let limits = of(serde_json::json!({"read_bytes_per_second": 1})).unwrap().block_limits.unwrap();
        assert_eq!(limits.read_bytes_per_second, Some(1));
        for wrong in [serde_json::json!({"bps": 1}), serde_json::json!({"weight": 5}), serde_json::json!(7)] {
            assert!(of(wrong.clone()).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }

    #[test]
    fn a_kernel_is_an_absolute_path() {
        assert!(LibvirtOptions::of(&config().with_option("kernel", "../vmlinuz")).is_err());
        assert!(LibvirtOptions::of(&config().with_option("kernel", "/boot/vmlinuz")).is_ok());
    }
}
