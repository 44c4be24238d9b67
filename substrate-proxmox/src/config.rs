//! Typed settings of a Proxmox VE substrate.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use substrate_core::config::{Environment, Section};
use substrate_core::{Error, InstanceKind, Result};

/// The port of the API.
const DEFAULT_PORT: u16 = 8006;
/// Ids that nobody picks by hand: the web interface takes the lowest free one above 100. Eight digits, so that
/// the names of network devices made from an id stay within what Linux allows.
const DEFAULT_IDS: (u64, u64) = (10_000_000, 99_999_999);

/// How to reach a node or a cluster, and what to do by default. Unknown keys are refused.
///
/// ```
/// use substrate_proxmox::ProxmoxConfig;
///
/// let config: ProxmoxConfig = serde_json::from_str(r#"{
///     "hosts": ["pve1.example.org", "pve2.example.org:8006"],
///     "token_id": "automation@pve!substrate",
///     "token_secret": "00000000-0000-0000-0000-000000000000",
///     "storage": "local-lvm"
/// }"#)?;
/// assert_eq!(config.hosts.len(), 2);
/// assert!(!format!("{config:?}").contains("00000000-0000"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxmoxConfig {
    /// One API host: `host`, `host:port` or `https://host:port`. Left out: `PROXMOX_HOST`. Also called `url`.
    #[serde(alias = "url")]
    pub host: Option<String>,
    /// The port, for hosts that name none [default: 8006].
    pub port: Option<u16>,
    /// Several API hosts of one cluster. When one cannot be reached, the next one is asked.
    pub hosts: Vec<String>,
    /// The user with its realm, for a ticket: `root@pam`. Without a realm: `@pam`.
    #[serde(alias = "user")]
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// The id of an API token: `user@realm!name`. Wins over a password.
    pub token_id: Option<String>,
    /// The token's secret.
    pub token_secret: Option<SecretString>,
    /// Whether the hosts' certificates are checked. `false` lets anybody in between read and change everything,
    /// credentials included; health reports say so.
    pub verify_ssl: bool,
    /// The certificate of the authority that signed the hosts', as a PEM file (`/etc/pve/pve-root-ca.pem`). Only
    /// this one is then trusted.
    pub ca: Option<PathBuf>,
    /// The SHA-256 fingerprint of the one certificate that is accepted, as the web interface shows it. One per
    /// host where hosts differ: the same order as `hosts`, or one list for all.
    #[serde(deserialize_with = "one_or_many")]
    pub fingerprint: Vec<String>,
    /// The node on which guests are made; the one with the most free memory when left out.
    pub node: Option<String>,
    /// The storage for the disks of new guests; the first one that can hold them when left out.
    pub storage: Option<String>,
    /// The bridge of guests that are made without networks [default: `vmbr0`].
    pub bridge: String,
    /// The resource pool of new guests.
    pub pool: Option<String>,
    /// The kinds of guests that this substrate is about; the first is made when none is asked for.
    pub kinds: Vec<InstanceKind>,
    /// New guests get a random id from here, both ends included [default: 10,000,000 to 99,999,999]. Labels are
    /// looked for on guests within it: whoever shares a cluster should share the range.
    pub vmid_range: (u64, u64),
    /// The owner of volumes: a disk's name holds the number of a guest, and a volume's that of one that never is
    /// [default: 999,999,999]. Whoever shares a cluster should share it.
    pub volume_vmid: u64,
    /// How long one exchange with the API may take.
    #[serde(with = "substrate_core::config::duration")]
    pub request_timeout: Duration,
    /// How long a lock that another operation holds is waited for before a call fails with `Busy`.
    #[serde(with = "substrate_core::config::duration")]
    pub lock_timeout: Duration,
    /// How long the guest agent of a running machine is waited for.
    #[serde(with = "substrate_core::config::duration")]
    pub agent_timeout: Duration,
    /// How often a watch asks the nodes what happened.
    #[serde(with = "substrate_core::config::duration")]
    pub watch_interval: Duration,
}

impl Default for ProxmoxConfig {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            hosts: Vec::new(),
            username: None,
            password: None,
            token_id: None,
            token_secret: None,
            verify_ssl: true,
            ca: None,
            fingerprint: Vec::new(),
            node: None,
            storage: None,
            bridge: "vmbr0".to_owned(),
            pool: None,
            kinds: vec![InstanceKind::VirtualMachine, InstanceKind::Container],
            vmid_range: DEFAULT_IDS,
            volume_vmid: 999_999_999,
            request_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(120),
            agent_timeout: Duration::from_secs(30),
            watch_interval: Duration::from_secs(2),
        }
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Option::<Written>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Written::One(one)) => vec![one],
        Some(Written::Many(many)) => many,
    })
}

/// Who we are to the API.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// Said when something is asked, so that a configuration can be opened without its secrets.
    Missing,
    Token {
        id: String,
        secret: SecretString,
    },
    Password {
        username: String,
        password: SecretString,
    },
}

impl ProxmoxConfig {
    /// Settings for one host.
    #[must_use]
    pub fn new(host: impl Into<String>) -> Self {
        Self { host: Some(host.into()), ..Self::default() }
    }

    /// Sets an API token.
    #[must_use]
    pub fn with_token(mut self, id: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        self.token_id = Some(id.into());
        self.token_secret = Some(secret.into());
        self
    }

    /// Sets a user and a password.
    #[must_use]
    pub fn with_password(mut self, username: impl Into<String>, password: impl Into<SecretString>) -> Self {
        self.username = Some(username.into());
        self.password = Some(password.into());
        self
    }

    /// Fills in what was left out from the variables that Proxmox tools use: `PROXMOX_HOST` (or `PROXMOX_URL`),
    /// `PROXMOX_USER`, `PROXMOX_PASSWORD`, `PROXMOX_TOKEN_ID`, `PROXMOX_TOKEN_SECRET`, `PROXMOX_NODE`,
    /// `PROXMOX_VERIFY_SSL` (`0` or `false`).
    #[must_use]
    pub fn with_environment(mut self, environment: &Environment) -> Self {
        let variable =
            |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(str::to_owned);
        if self.host.is_none() && self.hosts.is_empty() {
            self.host = variable("PROXMOX_HOST").or_else(|| variable("PROXMOX_URL"));
            let unchecked = variable("PROXMOX_VERIFY_SSL")
                .is_some_and(|text| matches!(text.as_str(), "0" | "false" | "False" | "no"));
            self.verify_ssl = self.verify_ssl && !unchecked;
        }
        let bare = self.token_id.is_none() && self.token_secret.is_none() && self.password.is_none();
        if bare {
            self.username = self.username.or_else(|| variable("PROXMOX_USER"));
            self.password = variable("PROXMOX_PASSWORD").map(SecretString::from);
            self.token_id = variable("PROXMOX_TOKEN_ID");
            self.token_secret = variable("PROXMOX_TOKEN_SECRET").map(SecretString::from);
        }
        self.node = self.node.or_else(|| variable("PROXMOX_NODE"));
        self
    }

    /// The settings of a section, filled in by [`with_environment`](Self::with_environment).
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section.
    pub fn from_section(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        Ok(config.with_environment(section.environment()))
    }

    /// The addresses of the API hosts, without a path.
    pub(crate) fn addresses(&self) -> Result<Vec<String>> {
        let all = self.host.iter().chain(&self.hosts);
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let addresses = all.map(|text| address(text, port)).collect::<Result<Vec<_>>>()?;
        if addresses.is_empty() {
            return Err(Error::invalid_input("no host of Proxmox VE is named")
                .with_hint("set `host` or `hosts`, or PROXMOX_HOST"));
        }
        Ok(addresses)
    }

    pub(crate) fn credentials(&self) -> Result<Credentials> {
        let refuse = |what: &str| {
            Err(Error::invalid_input(what.to_owned())
                .with_hint("set `token_id` and `token_secret`, or `username` and `password`"))
        };
        match (&self.token_id, &self.token_secret, &self.username, &self.password) {
            (Some(id), Some(secret), ..) => {
                // Also the short form: the user is named beside it.
                let id = match (id.contains('!'), &self.username) {
                    (false, Some(user)) => format!("{}!{id}", with_realm(user)),
                    _ => id.clone(),
                };
                if !id.contains('@') || !id.contains('!') {
                    return refuse("`token_id` is not of the form `user@realm!name`");
                }
                Ok(Credentials::Token { id, secret: secret.clone() })
            }
            (_, _, Some(user), Some(password)) => {
                Ok(Credentials::Password { username: with_realm(user), password: password.clone() })
            }
            _ => Ok(Credentials::Missing),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let (first, last) = self.vmid_range;
        if first < 100 || last > 999_999_999 || first > last {
            return Err(Error::invalid_input(format!(
                "`vmid_range` {first} to {last} is no range of ids: they go from 100 to 999999999"
            )));
        }
        if !(100..=999_999_999).contains(&self.volume_vmid) || (first..=last).contains(&self.volume_vmid) {
            return Err(Error::invalid_input(format!(
                "`volume_vmid` {} is no number of a guest, or one that a new guest may get",
                self.volume_vmid
            )));
        }
        let foreign =
            |kind: &&InstanceKind| !matches!(kind, InstanceKind::VirtualMachine | InstanceKind::Container);
        if let Some(kind) = self.kinds.iter().find(foreign) {
            return Err(Error::invalid_input(format!("Proxmox VE runs no {kind}")));
        }
        if self.kinds.is_empty() {
            return Err(Error::invalid_input("`kinds` names no kind of guest"));
        }
        Ok(())
    }
}

fn with_realm(user: &str) -> String {
    if user.contains('@') { user.to_owned() } else { format!("{user}@pam") }
}

fn address(text: &str, default_port: u16) -> Result<String> {
    let wrong = |why: &str| {
        Error::invalid_input(format!("`{}` is no address of an API host: {why}", text.escape_debug()))
            .with_hint("write host, host:port or https://host:port")
    };
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("https" | "http"), rest)) => (scheme, rest),
        Some(_) => return Err(wrong("the scheme is not https")),
        None => ("https", text),
    };
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix("/api2/json").unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong("the port is no number up to 65535"))?)
        }
        _ => (rest, default_port),
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(wrong("the host is missing or holds characters that no host has"));
    }
    Ok(format!("{scheme}://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        assert_eq!(address("pve", 8006).unwrap(), "https://pve:8006");
        assert_eq!(address("pve:1", 8006).unwrap(), "https://pve:1");
        assert_eq!(address("https://pve:1/api2/json", 8006).unwrap(), "https://pve:1");
        assert_eq!(address("[::1]", 8006).unwrap(), "https://[::1]:8006");
        for wrong in ["", "ftp://pve", "u@pve", "pve:99999", "pve/x"] {
            assert!(address(wrong, 1).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }

    #[test]
    fn a_token_wins_over_a_password_and_a_user_without_a_realm_is_of_pam() {
        let config = ProxmoxConfig::new("pve").with_password("root", "p");
        assert!(
            matches!(config.credentials().unwrap(), Credentials::Password { username, .. } if username == "root@pam")
        );
        let config = config.with_token("lab", "s");
        assert!(
            matches!(config.credentials().unwrap(), Credentials::Token { id, .. } if id == "root@pam!lab")
        );
        assert!(matches!(ProxmoxConfig::new("pve").credentials().unwrap(), Credentials::Missing));
        assert!(ProxmoxConfig::new("pve").with_token("x", "s").credentials().unwrap_err().is_invalid_input());
    }

    #[test]
    fn the_environment_fills_in_what_was_left_out() {
        let environment = Environment::from_iter([
            ("PROXMOX_HOST", "pve"),
            ("PROXMOX_USER", "root@pam"),
            ("PROXMOX_PASSWORD", "hunter2"),
            ("PROXMOX_VERIFY_SSL", "false"),
        ]);
        let config = ProxmoxConfig::default().with_environment(&environment);
        assert_eq!((config.host.as_deref(), config.verify_ssl), (Some("pve"), false));
        assert!(!format!("{config:?}").contains("hunter2"));
        // A host of one's own is not talked to without a check because of a variable.
        let config = ProxmoxConfig::new("other").with_environment(&environment);
        assert_eq!((config.host.as_deref(), config.verify_ssl), (Some("other"), true));
    }

    #[test]
    fn unknown_keys_and_impossible_ranges_are_refused() {
        assert!(serde_json::from_str::<ProxmoxConfig>(r#"{"hots": "x"}"#).is_err());
        let config: ProxmoxConfig = serde_json::from_str(r#"{"vmid_range": [5, 7]}"#).unwrap();
        assert!(config.check().unwrap_err().is_invalid_input());
        let config: ProxmoxConfig = serde_json::from_str(r#"{"fingerprint": "AA:BB"}"#).unwrap();
        assert_eq!(config.fingerprint, ["AA:BB"]);
    }
}
