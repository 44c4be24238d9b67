//! What only supervisord has: the `options` of a configuration, typed, unknown keys refused.

use serde::{Deserialize, Serialize};
use substrate_core::{Error, InstanceConfig, Result};

use crate::convert::ini::plain;

/// The `options` of an [`InstanceConfig`] under supervisord. Each has the meaning and, when left out, the default
/// that supervisord's documentation gives it, unless it is said otherwise.
///
/// ```
/// use substrate_core::InstanceConfig;
/// use substrate_supervisor::SupervisorOptions;
///
/// let config = InstanceConfig::new("web".parse()?)
///     .with_command(["/usr/bin/python3", "-m", "http.server"])
///     .with_option("directory", "/srv/www")
///     .with_option("autorestart", "unexpected");
/// assert_eq!(SupervisorOptions::of(&config)?.directory.as_deref(), Some("/srv/www"));
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SupervisorOptions {
    /// The working directory, an absolute path.
    pub directory: Option<String>,
    /// Runs as this user; supervisord must be root for that.
    pub user: Option<String>,
    /// The file mode mask, octal: `022`.
    pub umask: Option<String>,
    /// Whether supervisord starts it again when it ends: `never`, `unexpected` (exit codes that are not in
    /// `exitcodes`) or `always` [default: `never`, unlike supervisord's own]. With any other than `never` it
    /// cannot be stopped gracefully without the right to kill it.
    pub autorestart: Option<Autorestart>,
    /// It must stay up for so many seconds to count as started.
    pub startsecs: Option<u32>,
    /// How often supervisord tries again when it did not stay up.
    pub startretries: Option<u32>,
    /// Exit codes that are expected.
    pub exitcodes: Option<Vec<u8>>,
    /// What a stop sends: `TERM`, `HUP`, `INT`, `QUIT`, `KILL`, `USR1` or `USR2`.
    pub stopsignal: Option<StopSignal>,
    /// How many seconds after its own stop supervisord kills.
    pub stopwaitsecs: Option<u32>,
    /// Whether supervisord's own stop, and its kill, reach the processes that it started too [default: yes, unlike
    /// supervisord's own: children would be left behind].
    pub stopasgroup: Option<bool>,
    /// Writes standard error into the log of standard output.
    pub redirect_stderr: Option<bool>,
    /// A log grows to so many bytes; `0` = without bound.
    pub logfile_maxbytes: Option<u32>,
    /// How many full logs are kept beside it.
    pub logfile_backups: Option<u8>,
    /// Lower ones are started first and stopped last.
    pub priority: Option<i32>,
}

/// When supervisord starts a program again that has ended by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autorestart {
    /// Not at all.
    #[default]
    Never,
    /// After an exit code that is not expected, and after a signal.
    Unexpected,
    /// Whatever its end was.
    Always,
}

impl Autorestart {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Never => "false",
            Self::Unexpected => "unexpected",
            Self::Always => "true",
        }
    }
}

/// A signal that asks a program to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "their names say it")]
pub enum StopSignal {
    #[default]
    Term,
    Hup,
    Int,
    Quit,
    Kill,
    Usr1,
    Usr2,
}

impl StopSignal {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }
}

impl SupervisorOptions {
    /// The options of a configuration.
    ///
    /// # Errors
    /// `InvalidInput` for unknown keys and wrong values.
    pub fn of(config: &InstanceConfig) -> Result<Self> {
        let options = serde_json::Value::Object(config.options.clone());
        let options: Self = serde_json::from_value(options)
            .map_err(|error| Error::invalid_input(format!("the options cannot be used: {error}")))?;
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<()> {
        if let Some(directory) = &self.directory
            && !plain("directory", directory)?.starts_with('/')
        {
            return Err(Error::invalid_input("`directory` is not an absolute path"));
        }
        if let Some(user) = &self.user {
            plain("user", user)?;
        }
        let octal = |mask: &str| mask.len() <= 4 && u32::from_str_radix(mask, 8).is_ok();
        if self.umask.as_deref().is_some_and(|mask| !octal(mask)) {
            return Err(Error::invalid_input("`umask` is no octal number such as `022`"));
        }
        // `getAllConfigInfo` fails as a whole, for everybody, when one of these does not fit into XML-RPC.
        let numbers = [self.startsecs, self.startretries, self.stopwaitsecs, self.logfile_maxbytes];
        if numbers.into_iter().flatten().any(|number| i32::try_from(number).is_err()) {
            return Err(Error::invalid_input("a number in the options is larger than 2147483647"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(key: &str, value: impl Into<serde_json::Value>) -> Result<SupervisorOptions> {
        SupervisorOptions::of(&InstanceConfig::new("web".parse().unwrap()).with_option(key, value))
    }

    #[test]
    fn known_options_are_read() {
        assert_eq!(options("autorestart", "always").unwrap().autorestart, Some(Autorestart::Always));
        assert_eq!(options("stopsignal", "INT").unwrap().stopsignal, Some(StopSignal::Int));
        assert_eq!(options("umask", "022").unwrap().umask.as_deref(), Some("022"));
    }

    #[test]
    fn unknown_options_and_wrong_values_are_refused() {
        for (key, value) in [
            ("autorestrat", serde_json::json!("never")),
            ("autorestart", serde_json::json!("sometimes")),
            ("stopsignal", serde_json::json!("SIGTERM")),
            ("directory", serde_json::json!("srv")),
            ("directory", serde_json::json!("/a\nuser=root")),
            ("user", serde_json::json!("root ;x")),
            ("umask", serde_json::json!("9")),
            ("stopwaitsecs", serde_json::json!(3_000_000_000_u32)),
        ] {
            assert!(options(key, value.clone()).unwrap_err().is_invalid_input(), "{key} = {value}");
        }
    }
}
