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

impl ProxmoxOptions {
    /// The options of a configuration.
    ///
    /// # Errors
    /// `InvalidInput` for unknown keys and wrong values.
    pub fn of(config: &InstanceConfig) -> Result<Self> {
        let options: Self = serde_json::from_value(Value::Object(config.options.clone()))
            .map_err(|error| Error::invalid_input(format!("the options cannot be read: {error}")))?;
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

fn is_plain(name: &str) -> bool {
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
