//! Typed settings of an LXD or Incus substrate.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use substrate_core::config::{Environment, Location, Section};
use substrate_core::{Error, Result};

/// The port of a server on HTTPS.
const HTTPS_PORT: u16 = 8443;

/// Where Incus listens, unless told otherwise.
const INCUS_SOCKETS: &[&str] = &["/run/incus/unix.socket", "/var/lib/incus/unix.socket"];
/// Where LXD listens: the snap first, which is how most have it.
const LXD_SOCKETS: &[&str] = &["/var/snap/lxd/common/lxd/unix.socket", "/var/lib/lxd/unix.socket"];

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerKind {
    /// LXD.
    Lxd,
    /// Incus.
    Incus,
}

impl ServerKind {
    /// The name in configurations and descriptors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lxd => "lxd",
            Self::Incus => "incus",
        }
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Lxd => "LXD",
            Self::Incus => "Incus",
        })
    }
}

/// How to reach a server, and what to do by default. Unknown keys are refused.
///
/// ```
/// use substrate_lxc::LxcConfig;
///
/// let config: LxcConfig = serde_json::from_str(r#"{
///     "address": "https://10.0.0.5:8443",
///     "project": "web",
///     "tls": {"server_certificate": "server.crt", "cert": "client.crt", "key": "client.key"},
///     "remotes": {"images": {"server": "https://images.example.org", "protocol": "simplestreams"}}
/// }"#)?;
/// assert_eq!(config.project.as_deref(), Some("web"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LxcConfig {
    /// `unix:///path/unix.socket` or `https://host:port`. Left out: `INCUS_SOCKET`, `INCUS_DIR`, `LXD_SOCKET`,
    /// `LXD_DIR`, else the first socket that is there at a usual place.
    pub address: Option<String>,
    /// Which server it is. A connect to the other one fails: their commands, images and clusters differ.
    /// Left out: whichever answers.
    pub server: Option<ServerKind>,
    /// The project that everything happens in; the server's `default` when left out.
    pub project: Option<String>,
    /// TLS on HTTPS.
    pub tls: Option<TlsConfig>,
    /// A trust token of the server. Used once, when the server does not trust our certificate yet.
    pub token: Option<SecretString>,
    /// The storage pool of new volumes; that of the default profile's root disk when left out.
    pub storage_pool: Option<String>,
    /// The profiles of new instances; the server's `default` when left out.
    pub profiles: Option<Vec<String>>,
    /// Servers of images. An image is then called `remote:alias`.
    pub remotes: BTreeMap<String, RemoteConfig>,
    /// Whether the server's host can limit bandwidth (packet scheduling and policing in its kernel), which the
    /// server does not tell. `false` refuses such limits at once instead of when an instance starts.
    pub bandwidth_limits: bool,
    /// Whether terminals are offered by a server that loses what a program writes to one shortly before its end, as LXD
    /// before 5.0.3 does. Somebody at a keyboard hardly notices; whoever reads the output cannot rely on it.
    pub lossy_terminals: bool,
    /// How long one exchange with the server may take, except those that wait for something to happen.
    #[serde(with = "substrate_core::config::duration")]
    pub request_timeout: Duration,
}

impl Default for LxcConfig {
    fn default() -> Self {
        Self {
            address: None,
            server: None,
            project: None,
            tls: None,
            token: None,
            storage_pool: None,
            profiles: None,
            remotes: BTreeMap::new(),
            bandwidth_limits: true,
            lossy_terminals: false,
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// TLS on the connection to a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's own certificate, as a PEM file: exactly this one is accepted, whatever name is in it. A
    /// server signs its certificate itself, so this is the usual way.
    #[serde(default)]
    pub server_certificate: Option<PathBuf>,
    /// The certificate of the authority that signed the server's, as a PEM file.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Our certificate, as a PEM file (X.509 version 3).
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// Its key, as a PEM file.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Whether the server's certificate is checked. `false` lets anybody in between read and change
    /// everything; health reports say so.
    #[serde(default = "yes")]
    pub verify: bool,
}

fn yes() -> bool {
    true
}

impl TlsConfig {
    /// The files of a client's folder as the servers' own tools name them: `client.crt`, `client.key`, with the
    /// certificate of the server beside them.
    #[must_use]
    pub fn new(
        server_certificate: impl Into<PathBuf>,
        cert: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        Self {
            server_certificate: Some(server_certificate.into()),
            ca: None,
            cert: Some(cert.into()),
            key: Some(key.into()),
            verify: true,
        }
    }
}

/// A server of images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Its address: `https://host[:port]`.
    pub server: String,
    /// What it speaks.
    #[serde(default)]
    pub protocol: ImageProtocol,
    /// The server's own certificate, as a PEM file, where no authority signed it.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
}

/// What a server of images speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageProtocol {
    /// A tree of files, as the public image servers have it.
    #[default]
    Simplestreams,
    /// Another LXD.
    Lxd,
    /// Another Incus.
    Incus,
}

impl ImageProtocol {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Simplestreams => "simplestreams",
            Self::Lxd => "lxd",
            Self::Incus => "incus",
        }
    }
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Unix(PathBuf),
    /// Host with port, as in a URL.
    Https(String),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Https(authority) => write!(formatter, "https://{authority}"),
        }
    }
}

impl LxcConfig {
    /// Fills in the address from the variables of the servers' own tools, if it was left out: `INCUS_SOCKET`,
    /// `INCUS_DIR`, `LXD_SOCKET`, `LXD_DIR`; of those of the other server none when [`server`](Self::server)
    /// says which it is. `INCUS_PROJECT` and `LXD_PROJECT` fill in the project.
    #[must_use]
    pub fn with_environment(mut self, environment: &Environment) -> Self {
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        for (kind, prefix) in [(ServerKind::Incus, "INCUS"), (ServerKind::Lxd, "LXD")] {
            if self.server.is_some_and(|server| server != kind) {
                continue;
            }
            if self.address.is_none() {
                let socket = variable(&format!("{prefix}_SOCKET")).map(PathBuf::from);
                let folder =
                    variable(&format!("{prefix}_DIR")).map(|folder| Path::new(folder).join("unix.socket"));
                self.address = socket.or(folder).map(|path| format!("unix://{}", path.display()));
            }
            if self.project.is_none() {
                self.project = variable(&format!("{prefix}_PROJECT")).map(str::to_owned);
            }
        }
        self
    }

    /// The settings of a section, with the variables of the servers' own tools under them. For the substrate
    /// that is called like its type the variables win, as those tools have it.
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section.
    pub fn from_section(provider_type: &str, name: &str, section: &Section) -> Result<Self> {
        let mut config: Self = section.parse()?;
        let kind = match provider_type {
            "lxd" => Some(ServerKind::Lxd),
            "incus" => Some(ServerKind::Incus),
            _ => None,
        };
        if let (Some(kind), Some(other)) = (kind, config.server.filter(|server| Some(*server) != kind)) {
            return Err(Error::invalid_input(format!(
                "`server: {}` contradicts the type `{}`",
                other.as_str(),
                kind.as_str()
            )));
        }
        config.server = kind.or(config.server);
        let is_named_here = matches!(section.location_of("address"), Some(Location::Environment { .. }));
        if name == provider_type && !is_named_here {
            let local = Self { address: None, server: config.server, ..Self::default() };
            if let Some(address) = local.with_environment(section.environment()).address {
                config.address = Some(address);
                config.tls = None;
            }
        }
        Ok(config.with_environment(section.environment()))
    }

    /// Sets the address.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Says which server it is.
    #[must_use]
    pub fn with_server(mut self, server: ServerKind) -> Self {
        self.server = Some(server);
        self
    }

    /// Sets the project.
    #[must_use]
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Sets TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets a trust token.
    #[must_use]
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// Adds a server of images.
    #[must_use]
    pub fn with_remote(mut self, name: impl Into<String>, remote: RemoteConfig) -> Self {
        self.remotes.insert(name.into(), remote);
        self
    }

    /// Says whether the server's host can limit bandwidth.
    #[must_use]
    pub fn with_bandwidth_limits(mut self, possible: bool) -> Self {
        self.bandwidth_limits = possible;
        self
    }

    /// Offers terminals even where the end of their output gets lost: see
    /// [`lossy_terminals`](Self::lossy_terminals).
    #[must_use]
    pub fn with_lossy_terminals(mut self, accepted: bool) -> Self {
        self.lossy_terminals = accepted;
        self
    }

    /// Sets how long one exchange with the server may take.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    pub(crate) fn provider_type(&self) -> &'static str {
        self.server.map_or("lxc", ServerKind::as_str)
    }

    pub(crate) fn resolved_address(&self) -> Result<Address> {
        match &self.address {
            Some(text) => parse_address(text),
            None => Ok(Address::Unix(self.usual_socket())),
        }
    }

    /// The first socket that is there; the first place of all when none is, so that the error names one.
    fn usual_socket(&self) -> PathBuf {
        let places: Vec<&str> = match self.server {
            Some(ServerKind::Incus) => INCUS_SOCKETS.to_vec(),
            Some(ServerKind::Lxd) => LXD_SOCKETS.to_vec(),
            None => [INCUS_SOCKETS, LXD_SOCKETS].concat(),
        };
        let found = places.iter().find(|place| Path::new(place).exists()).or(places.last());
        PathBuf::from(found.copied().unwrap_or_default())
    }
}

fn parse_address(text: &str) -> Result<Address> {
    let wrong = |why: &str| {
        Error::invalid_input(format!("`{}` is no address of a server: {why}", text.escape_debug()))
            .with_hint("write unix:///var/lib/incus/unix.socket or https://host:8443")
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("it has no scheme"));
    };
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Address::Unix(PathBuf::from(rest))),
        "unix" => Err(wrong("the path of the socket is not absolute")),
        "https" => {
            let authority = rest.trim_end_matches('/');
            if authority.is_empty() || authority.contains(['/', '@', '?', '#', ' ']) {
                return Err(wrong("the host is missing or holds characters that no host has"));
            }
            match authority.rsplit_once(':') {
                // `[::1]` has colons of its own.
                Some((_, port)) if !port.ends_with(']') => {
                    port.parse::<u16>().map_err(|_| wrong("the port is no number up to 65535"))?;
                    Ok(Address::Https(authority.to_owned()))
                }
                _ => Ok(Address::Https(format!("{authority}:{HTTPS_PORT}"))),
            }
        }
        "http" => Err(wrong("the servers do not speak plain HTTP on TCP")),
        _ => Err(wrong("the scheme is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        assert_eq!(parse_address("unix:///a/b").unwrap(), Address::Unix("/a/b".into()));
        assert_eq!(parse_address("https://h").unwrap(), Address::Https("h:8443".to_owned()));
        assert_eq!(parse_address("https://[::1]:1/").unwrap(), Address::Https("[::1]:1".to_owned()));
        assert_eq!(parse_address("https://[::1]").unwrap(), Address::Https("[::1]:8443".to_owned()));
        for wrong in ["/a", "unix://a", "http://h", "https://", "https://h:x", "https://a@b", "ssh://h"] {
            assert!(parse_address(wrong).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<LxcConfig>(r#"{"adress": "x"}"#).is_err());
        assert!(serde_json::from_str::<LxcConfig>(r#"{"tls": {"certificate": "x"}}"#).is_err());
    }

    #[test]
    fn no_secret_is_shown() {
        let config: LxcConfig = serde_json::from_str(r#"{"token": "hunter2"}"#).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_tools_variables_fill_in_what_is_left_out() {
        let environment = Environment::from_iter([("LXD_DIR", "/l"), ("INCUS_SOCKET", "/i/s")]);
        let address = |config: LxcConfig| config.with_environment(&environment).address.unwrap();
        assert_eq!(address(LxcConfig::default()), "unix:///i/s");
        assert_eq!(address(LxcConfig::default().with_server(ServerKind::Lxd)), "unix:///l/unix.socket");
        assert_eq!(address(LxcConfig::default().with_address("unix:///own")), "unix:///own");
    }

    #[test]
    fn a_type_says_which_server_it_is() {
        let section = Section::from_value(serde_json::json!({"server": "incus"}));
        assert!(LxcConfig::from_section("lxd", "x", &section).unwrap_err().is_invalid_input());
        assert_eq!(LxcConfig::from_section("lxc", "x", &section).unwrap().server, Some(ServerKind::Incus));
        assert_eq!(LxcConfig::from_section("lxd", "x", &Section::empty("x")).unwrap().provider_type(), "lxd");
    }

    #[test]
    fn variables_win_for_the_substrate_that_is_called_like_its_type() {
        let environment = Environment::from_iter([("LXD_DIR", "/l")]);
        let section =
            Section::from_value(serde_json::json!({"address": "unix:///own"})).with_environment(environment);
        let address = |name: &str| LxcConfig::from_section("lxd", name, &section).unwrap().address.unwrap();
        assert_eq!(address("lxd"), "unix:///l/unix.socket");
        assert_eq!(address("lxd-paris"), "unix:///own");
    }
}
