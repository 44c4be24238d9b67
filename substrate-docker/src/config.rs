//! Typed settings of a Docker substrate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use substrate_core::config::{Environment, Location, Section};
use substrate_core::{Error, ResourceLimits, Result};

use crate::substrate::PROVIDER_TYPE;

/// Where a daemon is, when nothing says otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The port of a daemon on plain TCP, and with TLS.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// How to reach a daemon, and what to do by default. Unknown keys are refused.
///
/// ```
/// use substrate_docker::{DockerConfig, PullPolicy};
///
/// let config: DockerConfig = serde_json::from_str(r#"{
///     "host": "tcp://10.0.0.5:2376",
///     "tls": {"ca": "/etc/docker/ca.pem", "cert": "/etc/docker/cert.pem", "key": "/etc/docker/key.pem"},
///     "pull_policy": "missing",
///     "default_resources": {"memory_mb": 512, "cpu_cores": 1.0}
/// }"#)?;
/// assert_eq!(config.pull_policy, PullPolicy::Missing);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DockerConfig {
    /// `unix:///path` (Docker's or Podman's socket) or `tcp://host:port`. Left out: `DOCKER_HOST`, else
    /// `/var/run/docker.sock`.
    pub host: Option<String>,
    /// TLS on TCP. Left out: `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, else none. Needs the feature `tls`.
    pub tls: Option<TlsConfig>,
    /// When to fetch an image before an instance is created.
    pub pull_policy: PullPolicy,
    /// A registry of one's own. Images that name it (`host:port/image`) are fetched with its credentials, which
    /// are sent to nobody else. Images that name no registry come from the daemon's default, as ever.
    pub registry: Option<RegistryConfig>,
    /// Bounds of instances that are created without their own.
    pub default_resources: DefaultResources,
    /// How long one exchange with the daemon may take, except those that wait for something to happen
    /// (stop, pull, commit).
    #[serde(with = "substrate_core::config::duration")]
    pub request_timeout: Duration,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            host: None,
            tls: None,
            pull_policy: PullPolicy::default(),
            registry: None,
            default_resources: DefaultResources::default(),
            request_timeout: Duration::from_secs(120),
        }
    }
}

/// TLS on the connection to the daemon.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate of the authority that signed the daemon's, as a PEM file. The system's authorities
    /// are not asked: a daemon's certificate is signed by its own authority, and nobody else's should do.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Our certificate, as a PEM file (X.509 version 3).
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// Its key, as a PEM file.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Whether the daemon's certificate is checked. `false` lets anybody in between read and change
    /// everything; health reports say so.
    #[serde(default = "yes")]
    pub verify: bool,
}

fn yes() -> bool {
    true
}

impl TlsConfig {
    /// The files that Docker's own tools look for in a folder: `ca.pem`, `cert.pem`, `key.pem`.
    #[must_use]
    pub fn from_folder(folder: &Path) -> Self {
        Self {
            ca: Some(folder.join("ca.pem")),
            cert: Some(folder.join("cert.pem")),
            key: Some(folder.join("key.pem")),
            verify: true,
        }
    }
}

/// When an image is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Only images that the daemon has are used.
    Never,
    /// When the daemon does not have it.
    #[default]
    Missing,
    /// Before every creation, so that a moved tag is noticed.
    Always,
}

/// A registry of images.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    #[serde(default)]
    pub port: Option<u16>,
    /// The user.
    #[serde(default)]
    pub username: Option<String>,
    /// The password or token.
    #[serde(default)]
    pub password: Option<SecretString>,
}

impl RegistryConfig {
    /// `host:port`, as it stands in image names.
    #[must_use]
    pub fn address(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// Bounds of instances that are created without their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultResources {
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// Processor cores.
    pub cpu_cores: Option<f64>,
}

impl DefaultResources {
    pub(crate) fn limits(self) -> ResourceLimits {
        ResourceLimits { cpu_cores: self.cpu_cores, memory_mb: self.memory_mb, ..ResourceLimits::default() }
    }
}

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl DockerConfig {
    /// Fills in what was left out from the variables of Docker's own tools: `DOCKER_HOST`, and
    /// `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` for a daemon on TCP.
    #[must_use]
    pub fn with_environment(mut self, environment: &Environment) -> Self {
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        if self.host.is_none() {
            self.host = variable("DOCKER_HOST").map(str::to_owned);
        }
        let on_tcp = self.host.as_deref().is_some_and(|host| !host.starts_with("unix://"));
        if self.tls.is_none() && on_tcp {
            // As Docker's own tools have it: the path alone asks for TLS too, any value of VERIFY for checks.
            let verify = variable("DOCKER_TLS_VERIFY").is_some();
            self.tls = match variable("DOCKER_CERT_PATH") {
                Some(folder) => Some(TlsConfig { verify, ..TlsConfig::from_folder(Path::new(folder)) }),
                None if verify => {
                    let home = variable("HOME").unwrap_or("/root");
                    Some(TlsConfig::from_folder(&Path::new(home).join(".docker")))
                }
                None => None,
            };
        }
        self
    }

    /// The settings of a section, with the variables of Docker's own tools over them or under them.
    ///
    /// Over the file for the substrate that is called `docker`, as every Docker tool has it: `DOCKER_HOST` says
    /// which daemon, and its TLS variables come with it. Under the file for a substrate with a name of its own:
    /// a variable that moved `docker-paris` *and* `docker-lyon` to one daemon would be nobody's wish. A
    /// `SUBSTRATE_…` variable names its substrate, and wins over both.
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section.
    pub fn from_section(name: &str, section: &Section) -> Result<Self> {
        let mut config: Self = section.parse()?;
        let environment = section.environment();
        let is_named_here = matches!(section.location_of("host"), Some(Location::Environment { .. }));
        let is_set = environment.get("DOCKER_HOST").is_some_and(|host| !host.is_empty());
        if name == PROVIDER_TYPE && is_set && !is_named_here {
            config.host = None;
            config.tls = None;
        }
        Ok(config.with_environment(environment))
    }

    /// Sets the daemon's address.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets when images are fetched.
    #[must_use]
    pub fn with_pull_policy(mut self, policy: PullPolicy) -> Self {
        self.pull_policy = policy;
        self
    }

    /// Sets how long one exchange with the daemon may take.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    pub(crate) fn resolved_host(&self) -> Result<Host> {
        let text = self.host.as_deref().unwrap_or(DEFAULT_HOST);
        let port = if self.tls.is_some() { TLS_PORT } else { PLAIN_PORT };
        parse_host(text, port)
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<Host> {
    let wrong = |why: &str| {
        Error::invalid_input(format!("`{}` is no address of a daemon: {why}", text.escape_debug()))
            .with_hint("write unix:///var/run/docker.sock or tcp://host:port")
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("it has no scheme"));
    };
    match scheme {
        "unix" if rest.starts_with('/') => Ok(Host::Unix(PathBuf::from(rest))),
        "unix" => Err(wrong("the path of the socket is not absolute")),
        "tcp" | "http" | "https" => {
            let authority = rest.trim_end_matches('/');
            let (host, port) = match authority.rsplit_once(':') {
                // `[::1]` has colons of its own.
                Some((host, port)) if !port.ends_with(']') => {
                    (host, port.parse().map_err(|_| wrong("the port is no number up to 65535"))?)
                }
                _ => (authority, default_port),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if host.is_empty() || host.contains(['/', '@', '?', '#']) {
                return Err(wrong("the host is missing or holds characters that no host has"));
            }
            Ok(Host::Tcp(host.to_owned(), port))
        }
        "ssh" => Err(wrong("ssh is not supported; forward the socket with `ssh -L` and use unix://")),
        _ => Err(wrong("the scheme is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use substrate_core::config::Config;

    use super::*;

    #[test]
    fn the_sample_section_loads_as_it_stands() {
        let config: DockerConfig = serde_json::from_value(serde_json::json!({
            "registry": {"host": "10.0.0.69", "port": 9443},
            "default_resources": {"memory_mb": 512, "cpu_cores": 1.0}
        }))
        .unwrap();
        assert_eq!(config.registry.unwrap().address(), "10.0.0.69:9443");
        assert_eq!(config.default_resources.limits().memory_mb, Some(512));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<DockerConfig>(r#"{"hots": "x"}"#).is_err());
        assert!(serde_json::from_str::<DockerConfig>(r#"{"registry": {"host": "x", "user": "y"}}"#).is_err());
    }

    #[test]
    fn no_secret_is_shown() {
        let config: DockerConfig =
            serde_json::from_str(r#"{"registry": {"host": "r", "username": "u", "password": "hunter2"}}"#)
                .unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        assert_eq!(parse_host("unix:///a/b", 1).unwrap(), Host::Unix("/a/b".into()));
        assert_eq!(parse_host("tcp://h:1234", 1).unwrap(), Host::Tcp("h".to_owned(), 1234));
        assert_eq!(parse_host("tcp://h", 2375).unwrap(), Host::Tcp("h".to_owned(), 2375));
        assert_eq!(parse_host("tcp://[::1]:99", 1).unwrap(), Host::Tcp("::1".to_owned(), 99));
        assert_eq!(parse_host("tcp://[::1]", 7).unwrap(), Host::Tcp("::1".to_owned(), 7));
        for wrong in ["/a", "unix://a", "tcp://:1", "tcp://h:99999", "ssh://h", "tcp://u@h:1", "ftp://h"] {
            assert!(parse_host(wrong, 1).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }

    fn host_of(name: &str, file: &str, environment: &[(&str, &str)]) -> Option<String> {
        let environment = Environment::from_iter(environment.iter().copied());
        let text = format!("substrates: {{{name}: {{type: docker, {file}}}}}");
        let config = Config::from_yaml_with("substrate.yaml", &text, environment).unwrap();
        let section = &config.substrate(name).unwrap().section;
        DockerConfig::from_section(name, section).unwrap().host
    }

    #[test]
    fn docker_host_wins_over_the_file_for_the_substrate_called_docker_only() {
        let host = ("DOCKER_HOST", "unix:///environment");
        assert_eq!(
            host_of("docker", "host: 'unix:///file'", &[host]).as_deref(),
            Some("unix:///environment")
        );
        assert_eq!(host_of("paris", "host: 'unix:///file'", &[host]).as_deref(), Some("unix:///file"));
        assert_eq!(host_of("paris", "", &[host]).as_deref(), Some("unix:///environment"));
        let named = ("SUBSTRATE_DOCKER_HOST", "unix:///named");
        assert_eq!(
            host_of("docker", "host: 'unix:///file'", &[host, named]).as_deref(),
            Some("unix:///named")
        );
    }

    #[test]
    fn the_environment_fills_in_what_was_left_out() {
        let environment = Environment::from_iter([
            ("DOCKER_HOST", "tcp://h:2376"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("DOCKER_CERT_PATH", "/c"),
        ]);
        let config = DockerConfig::default().with_environment(&environment);
        assert_eq!(config.host.as_deref(), Some("tcp://h:2376"));
        assert_eq!(config.tls.unwrap().ca, Some("/c/ca.pem".into()));
        let config = DockerConfig::default().with_host("unix:///x").with_environment(&environment);
        assert_eq!(config.host.as_deref(), Some("unix:///x"));
        assert!(config.tls.is_none());
    }
}
