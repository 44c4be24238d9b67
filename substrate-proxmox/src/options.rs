//! What only Proxmox VE has: the `options` of configurations, typed, unknown keys refused.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use substrate_core::{Error, InstanceConfig, Result};

/// The `options` of an [`InstanceConfig`] on Proxmox VE.
///
/// ```
/// use substrate_core::InstanceConfig;
/// use substrate_proxmox::ProxmoxOptions;
///
/// let config = InstanceConfig::new("web".parse()?)
///     .with_image("debian-12")
///     .with_option("storage", "local-lvm")
///     .with_option("tags", vec!["prod", "web"])
///     .with_option("cloud_init", serde_json::json!({"user": "admin", "ssh_keys": ["ssh-ed25519 AAAA"]}));
/// assert_eq!(ProxmoxOptions::of(&config)?.storage.as_deref(), Some("local-lvm"));
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxmoxOptions {
    /// The node to make it on.
    pub node: Option<String>,
    /// The storage of its disks.
    pub storage: Option<String>,
    /// The resource pool.
    pub pool: Option<String>,
    /// Tags, beside the labels: the API makes them lower-case and sorts them.
    pub tags: Vec<String>,
    /// The text that the web interface shows as notes.
    pub description: Option<String>,
    /// Start it with its node.
    pub onboot: Option<bool>,
    /// Forbid its deletion.
    pub protection: Option<bool>,
    /// From a template: a linked clone, which stays tied to the template. A full one when left out.
    pub linked: bool,
    /// Machines: the guest agent is inside [default: true]. Commands need it.
    pub agent: Option<bool>,
    /// Machines: the processor type, such as `host`.
    pub cpu: Option<String>,
    /// Machines: the operating system type [default: `l26`].
    pub ostype: Option<String>,
    /// Machines: `seabios` or `ovmf`.
    pub bios: Option<String>,
    /// Machines: an ISO image to put into the drive: `local:iso/debian.iso`.
    pub iso: Option<String>,
    /// Machines: volumes to put in as further disks, by their names. A machine has no mount points: what is inside
    /// mounts them.
    pub disks: Vec<String>,
    /// Machines: a drive for cloud-init [default: true for disks that are imported, and where there is something to
    /// tell].
    pub cloud_init_drive: Option<bool>,
    /// Machines: first settings inside.
    pub cloud_init: Option<CloudInit>,
    /// Containers: without the node's root [default: true].
    pub unprivileged: Option<bool>,
    /// Containers: `nesting=1`, `keyctl=1`, …
    pub features: Option<String>,
    /// Containers: the swap in MiB.
    pub swap_mb: Option<u64>,
    /// Containers: root's password.
    pub password: Option<SecretString>,
    /// Containers: keys for root.
    pub ssh_keys: Vec<String>,
}

/// First settings of a machine whose image has cloud-init. Addresses come from `networks`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CloudInit {
    /// The user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// The user's keys.
    pub ssh_keys: Vec<String>,
    /// The search domain.
    pub search_domain: Option<String>,
    /// Files of one's own in place of generated ones: `user=local:snippets/user.yaml`.
    pub custom: Option<String>,
}

/// The `options` of a [`NetworkSpec`](substrate_core::NetworkSpec) on Proxmox VE.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxmoxNetworkOptions {
    /// Bridges: the nodes that get one; every node that is online when left out.
    pub nodes: Vec<String>,
    /// Bridges: interfaces of the nodes that are its way out, such as `enp5s0`. Without one, guests reach each other
    /// and the node.
    pub ports: Vec<String>,
    /// Bridges and virtual networks: guests may use VLANs on it.
    pub vlan_aware: Option<bool>,
    /// Virtual networks (`driver: vnet`): the zone. It has to be there.
    pub zone: Option<String>,
    /// Virtual networks: the VLAN or VXLAN number, where the zone wants one.
    pub tag: Option<u32>,
    /// A text that the web interface shows beside it.
    pub comment: Option<String>,
}

/// The `options` of a [`VolumeSpec`](substrate_core::VolumeSpec) on Proxmox VE.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxmoxVolumeOptions {
    /// The node to make it on, where its storage is not shared.
    pub node: Option<String>,
    /// `raw`, `qcow2`, `vmdk` or `subvol`. When left out: `subvol` where it is for containers, else what the storage can
    /// snapshot.
    pub format: Option<String>,
}

/// Options as their type.
pub(crate) fn read<T: serde::de::DeserializeOwned>(options: &serde_json::Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(options.clone()))
        .map_err(|error| Error::invalid_input(format!("the options cannot be read: {error}")))
}

impl ProxmoxOptions {
    /// The options of a configuration.
    ///
    /// # Errors
    /// `InvalidInput` for unknown keys and wrong values.
    pub fn of(config: &InstanceConfig) -> Result<Self> {
        let options: Self = read(&config.options)?;
        if let Some(tag) = options.tags.iter().find(|tag| !is_tag(tag)) {
            return Err(Error::invalid_input(format!("`{}` is no tag", tag.escape_debug()))
                .with_hint("letters, digits, `_`, `-`, `+` and `.`; not beginning with a sign"));
        }
        let names = [&options.node, &options.storage, &options.pool];
        if let Some(name) = names.into_iter().flatten().find(|name| !is_plain(name)) {
            return Err(Error::invalid_input(format!(
                "`{}` can be no node, storage or pool",
                name.escape_debug()
            )));
        }
        Ok(options)
    }
}

fn is_tag(tag: &str) -> bool {
    tag.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte))
}

pub(crate) fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(key: &str, value: impl Into<Value>) -> Result<ProxmoxOptions> {
        ProxmoxOptions::of(&InstanceConfig::new("a".parse().unwrap()).with_option(key, value))
    }

    #[test]
    fn what_is_unknown_or_wrong_is_refused() {
        for (key, value) in [
            ("nod", Value::from("pve")),
            ("onboot", "yes".into()),
            ("tags", vec!["a;b"].into()),
            ("storage", "a,b".into()),
            ("cloud_init", serde_json::json!({"usr": "x"})),
        ] {
            assert!(options(key, value).unwrap_err().is_invalid_input(), "{key}");
        }
        assert!(options("node", "pve1").is_ok());
    }

    #[test]
    fn no_secret_is_shown() {
        let options = options("password", "hunter2").unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
