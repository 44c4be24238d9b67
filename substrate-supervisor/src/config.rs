//! Typed settings of a supervisord substrate.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use substrate_core::config::{Environment, Section};
use substrate_core::{Error, Result};

/// Where supervisord listens, when nothing says otherwise: the place that distributions give it.
const DEFAULT_URL: &str = "unix:///var/run/supervisor.sock";
/// supervisord's own default port.
const DEFAULT_PORT: u16 = 9001;
/// The longest path of a unix socket that the kernel takes.
const LONGEST_SOCKET_PATH: usize = 107;

/// How to reach supervisord, and where its programs are written. Unknown keys are refused.
///
/// ```
/// use substrate_supervisor::SupervisorConfig;
///
/// let config: SupervisorConfig = serde_json::from_str(r#"{
///     "url": "http://127.0.0.1:9001",
///     "username": "admin",
///     "password": "secret",
///     "include_folder": "/etc/supervisor/conf.d"
/// }"#)?;
/// assert_eq!(config.file_extension, "conf");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SupervisorConfig {
    /// `unix:///path` or `http://host:port`. Left out: `SUPERVISOR_SERVER_URL`, which supervisord gives its own
    /// children, else `/var/run/supervisor.sock`. supervisord has no TLS; to another host, tunnel it.
    pub url: Option<String>,
    /// The user of `[unix_http_server]` or `[inet_http_server]`.
    pub username: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// The folder that supervisord's `[include]` reads, as this program sees it. Without it nothing can be
    /// created or deleted: supervisord has no call for that.
    pub include_folder: Option<PathBuf>,
    /// What the `[include]` pattern asks of file names: `conf`, the default, for `*.conf`, `ini` for `*.ini`.
    pub file_extension: String,
    /// Where created programs write their logs. Left out: supervisord's own folder (`childlogdir`), where they
    /// are lost whenever supervisord starts anew.
    pub log_folder: Option<PathBuf>,
    /// Whether supervisord runs on this host, so that `/proc` and its log files can be read. Left out: found out
    /// by its process id.
    pub same_host: Option<bool>,
    /// How long one exchange with supervisord may take.
    #[serde(with = "substrate_core::config::duration")]
    pub request_timeout: Duration,
    /// How long a start may take in all, retries of supervisord included.
    #[serde(with = "substrate_core::config::duration")]
    pub start_timeout: Duration,
    /// How often a watch looks.
    #[serde(with = "substrate_core::config::duration")]
    pub poll_interval: Duration,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            password: None,
            include_folder: None,
            file_extension: "conf".to_owned(),
            log_folder: None,
            same_host: None,
            request_timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(120),
            poll_interval: Duration::from_secs(1),
        }
    }
}

/// Where supervisord listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    Http { authority: String, loopback: bool },
}

impl SupervisorConfig {
    /// The settings of a section, with `SUPERVISOR_SERVER_URL` for an address that was left out.
    ///
    /// # Errors
    /// `InvalidInput` with every problem of the section.
    pub fn from_section(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        Ok(config.with_environment(section.environment()))
    }

    /// Fills in the address from `SUPERVISOR_SERVER_URL` when it was left out.
    #[must_use]
    pub fn with_environment(mut self, environment: &Environment) -> Self {
        if self.url.is_none() {
            let variable = environment.get("SUPERVISOR_SERVER_URL").filter(|url| !url.is_empty());
            self.url = variable.map(str::to_owned);
        }
        self
    }

    /// Sets the address.
    #[must_use]
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Sets the credentials.
    #[must_use]
    pub fn with_credentials(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self.password = Some(SecretString::from(password.into()));
        self
    }

    /// Sets the folder that supervisord includes.
    #[must_use]
    pub fn with_include_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.include_folder = Some(folder.into());
        self
    }

    /// Sets where created programs write their logs.
    #[must_use]
    pub fn with_log_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.log_folder = Some(folder.into());
        self
    }

    /// Sets how long one exchange may take.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets how often a watch looks.
    #[must_use]
    pub fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Says whether supervisord runs on this host.
    #[must_use]
    pub fn with_same_host(mut self, same_host: bool) -> Self {
        self.same_host = Some(same_host);
        self
    }

    /// The address, and the other settings checked.
    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        if self.username.is_some() != self.password.is_some() {
            return Err(Error::invalid_input("`username` and `password` belong together: one is missing"));
        }
        if self.username.as_deref().is_some_and(|name| name.contains(':')) {
            return Err(Error::invalid_input(
                "a `username` with `:` cannot be sent with basic authentication",
            ));
        }
        let extension = &self.file_extension;
        if extension.is_empty() || !extension.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return Err(Error::invalid_input("`file_extension` is letters and digits, such as `conf`"));
        }
        for (key, folder) in [("include_folder", &self.include_folder), ("log_folder", &self.log_folder)] {
            if folder.as_ref().is_some_and(|folder| !folder.is_absolute()) {
                return Err(Error::invalid_input(format!("`{key}` must be an absolute path")));
            }
        }
        if self.poll_interval.is_zero() {
            return Err(Error::invalid_input("`poll_interval` must be more than nothing"));
        }
        parse_url(self.url.as_deref().unwrap_or(DEFAULT_URL))
    }
}

pub(crate) fn parse_url(text: &str) -> Result<Endpoint> {
    let wrong = |why: &str| {
        // What stands before an `@` would be a password.
        let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        Error::invalid_input(format!("`{}` is no address of supervisord: {why}", shown.escape_debug()))
            .with_hint("write unix:///var/run/supervisor.sock or http://host:9001")
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("it has no scheme"));
    };
    match scheme {
        "unix" if !rest.starts_with('/') => Err(wrong("the path of the socket is not absolute")),
        "unix" if rest.len() > LONGEST_SOCKET_PATH => {
            Err(wrong("a socket's path has at most 107 bytes, and the kernel takes no more"))
        }
        "unix" => Ok(Endpoint::Unix(PathBuf::from(rest))),
        "http" => {
            let authority = rest.trim_end_matches('/').trim_end_matches("/RPC2");
            if authority.contains('@') {
                return Err(wrong("credentials are no part of it; set `username` and `password`"));
            }
            if authority.is_empty() || authority.contains(['/', '?', '#']) || authority.starts_with(':') {
                return Err(wrong("the host is missing or holds characters that no host has"));
            }
            let (host, port) = match authority.rsplit_once(':') {
                // `[::1]` has colons of its own.
                Some((host, port)) if !port.ends_with(']') => {
                    (host, port.parse().map_err(|_| wrong("the port is no number up to 65535"))?)
                }
                _ => (authority, DEFAULT_PORT),
            };
            let loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
            Ok(Endpoint::Http { authority: format!("{host}:{port}"), loopback })
        }
        "https" => Err(wrong("supervisord has no TLS; tunnel it and use http:// or unix://")),
        _ => Err(wrong("the scheme is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(authority: &str, loopback: bool) -> Endpoint {
        Endpoint::Http { authority: authority.to_owned(), loopback }
    }

    #[test]
    fn addresses_are_read_or_refused_with_a_reason() {
        assert_eq!(parse_url("unix:///a/b").unwrap(), Endpoint::Unix("/a/b".into()));
        assert_eq!(parse_url("http://h:1234").unwrap(), http("h:1234", false));
        assert_eq!(parse_url("http://localhost").unwrap(), http("localhost:9001", true));
        assert_eq!(parse_url("http://[::1]:99/").unwrap(), http("[::1]:99", true));
        assert_eq!(parse_url("http://127.0.0.1:9001/RPC2").unwrap(), http("127.0.0.1:9001", true));
        for wrong in ["/a", "unix://a", "http://:1", "http://h:99999", "https://h", "http://h/x", "ftp://h"] {
            assert!(parse_url(wrong).unwrap_err().is_invalid_input(), "{wrong}");
        }
    }

    #[test]
    fn a_socket_path_that_the_kernel_would_cut_is_refused() {
        let long = format!("unix:///{}", "n".repeat(107));
        assert!(parse_url(&long).unwrap_err().message().contains("107"));
    }

    #[test]
    fn no_secret_is_shown() {
        let config = SupervisorConfig::default().with_credentials("u", "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = parse_url("http://u:hunter2@h:1").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn unknown_keys_and_half_credentials_are_refused() {
        assert!(serde_json::from_str::<SupervisorConfig>(r#"{"ulr": "x"}"#).is_err());
        let half = SupervisorConfig { username: Some("u".to_owned()), ..SupervisorConfig::default() };
        assert!(half.endpoint().unwrap_err().is_invalid_input());
    }

    #[test]
    fn the_variable_of_supervisords_children_fills_in_the_address() {
        let environment = Environment::from_iter([("SUPERVISOR_SERVER_URL", "http://localhost:9002")]);
        let config = SupervisorConfig::default().with_environment(&environment);
        assert_eq!(config.endpoint().unwrap(), http("localhost:9002", true));
        let config = SupervisorConfig::default().with_url("unix:///x").with_environment(&environment);
        assert_eq!(config.endpoint().unwrap(), Endpoint::Unix("/x".into()));
    }
}
