//! Configuration: from files, texts and the environment to typed settings, with every problem in its place.
//!
//! ```
//! use substrate_core::config::{Config, Environment};
//!
//! let text = r#"
//! docker:
//!   registry: {host: 10.0.0.69, port: 9443}
//! substrates:
//!   pve-paris: {type: proxmox, url: "https://${PVE_HOST:-pve.local}:8006"}
//!   pve-lyon: {type: proxmox, url: "https://lyon.local:8006"}
//! global:
//!   enable_metrics: true
//! "#;
//! let environment = Environment::from_iter([("SUBSTRATE_PVE_PARIS_PASSWORD", "hunter2")]);
//! let config = Config::from_yaml_with("substrate.yaml", text, environment)?;
//!
//! assert_eq!(config.get("docker", "registry.port", 5000_u16)?, 9443);
//! let paris = config.substrate("pve-paris")?;
//! assert_eq!(paris.provider_type, "proxmox");
//! assert_eq!(paris.section.get("url", String::new())?, "https://pve.local:8006");
//! assert!(!format!("{config:?}").contains("hunter2"));
//! # Ok::<(), substrate_core::config::ConfigError>(())
//! ```
//!
//! **Forms.** `substrates:` holds named substrates, each with its `type`. Any other key at the top level is a
//! substrate whose name is its type. `global:` concerns all of them. Keys that begin with `x-` are left alone, as
//! room for anchors. One name may be defined once per source; later sources are laid over earlier ones.
//!
//! **Precedence.** Defaults of the settings' types < sources in their order < environment < what a caller lays
//! over a [`Section`] with [`Section::overlay`].
//!
//! **Variables.** `${NAME}` and `${NAME:-default}` in strings are replaced; `$${` is a literal `${`. In unquoted text
//! the result is typed like unquoted text (`port: ${PORT}` is a number), in quotes it is text unless a setting
//! wants a number.
//!
//! **Overrides.** `SUBSTRATE_<NAME>_<KEY>` sets a key of a substrate, `SUBSTRATE_GLOBAL_<KEY>` one of `global`. Names
//! are upper case with `_` for every other character; the longest fitting name wins. `__` leads one level down
//! (`SUBSTRATE_DOCKER_REGISTRY__HOST`); a single `_` does so only along a path that exists, and a key that spells
//! the same without going down comes first. Variables that fit no name are ignored.
//!
//! **Secrets.** A value that came from the environment or stands under a key that looks like a secret (`password`,
//! `token`, `key`, …, mistyped too) is in no error and in no `Debug`.

mod collect;
mod deserialize;
mod document;
mod environment;
mod fault;
mod interpolate;
mod load;
mod location;
mod nearest;
mod node;
mod overrides;
mod placeholder;
mod problem;
mod quantity;
mod quote;
mod scalar;
mod secret_keys;
mod section;
mod subsection;
#[cfg(test)]
mod tests;
mod yaml;

use std::path::PathBuf;

use serde::de::DeserializeOwned;

pub use environment::Environment;
pub use load::ConfigBuilder;
pub use location::Location;
pub use problem::{ConfigError, Problem};
pub use quantity::{QuantityError, bytes_size, duration, parse_duration, parse_size};
pub use secret_keys::looks_secret;
pub use section::Section;
pub use subsection::{Substitution, TextAt};

use document::GLOBAL;
pub use nearest::nearest;

use nearest::sorted_by_nearness;
use node::Node;
pub use quote::quoted;

/// A loaded configuration: the substrates, and what concerns all of them. `Debug` shows no secret.
///
/// `Config::default()` is the configuration of nothing in an empty environment.
#[derive(Clone, Debug)]
pub struct Config {
    substrates: Vec<SubstrateSection>,
    global: Section,
    environment: Environment,
}

/// One configured substrate.
#[derive(Clone, Debug)]
pub struct SubstrateSection {
    /// Its name; for a substrate at the top level of a document, its type.
    pub name: String,
    /// The technology, such as `docker`: what a registry knows.
    pub provider_type: String,
    /// The provider's settings, without `type`.
    pub section: Section,
}

impl Default for Config {
    fn default() -> Self {
        Self::from_environment(Environment::empty())
    }
}

impl Config {
    /// Gathers several sources.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Reads a YAML text, with the environment of this process; `name` stands for the file in messages.
    ///
    /// # Errors
    /// See [`ConfigBuilder::load`].
    pub fn from_yaml(name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::from_yaml_with(name, text, Environment::from_process())
    }

    /// Reads a YAML text, with a given environment: for tests, and for programs that keep their own.
    ///
    /// # Errors
    /// See [`ConfigBuilder::load`].
    ///
    /// ```
    /// # use substrate_core::config::{Config, Environment};
    /// let error = Config::from_yaml_with("site.yaml", "docker:\n  host: ${NOWHERE}\n", Environment::empty());
    /// assert_eq!(
    ///     error.err().map(|error| error.to_string()).as_deref(),
    ///     Some(
    ///         "site.yaml:2:9: `docker.host`: the environment variable `NOWHERE` is not set \
    ///          (`${NOWHERE:-default}` gives it a default)"
    ///     ),
    /// );
    /// ```
    pub fn from_yaml_with(name: &str, text: &str, environment: Environment) -> Result<Self, ConfigError> {
        Self::builder().text(name, text).environment(environment).load()
    }

    /// Reads a YAML file, with the environment of this process. Blocks for the time of a small file.
    ///
    /// # Errors
    /// A file that cannot be read, and see [`ConfigBuilder::load`].
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        Self::from_file_with(path, Environment::from_process())
    }

    /// Reads a YAML file, with a given environment. Blocks for the time of a small file.
    ///
    /// # Errors
    /// A file that cannot be read, and see [`ConfigBuilder::load`].
    pub fn from_file_with(path: impl Into<PathBuf>, environment: Environment) -> Result<Self, ConfigError> {
        Self::builder().file(path).environment(environment).load()
    }

    /// The configuration of nothing but an environment.
    ///
    /// Overrides of `global` count; those of substrates do once [`Config::substrate_or_default`] asks for one.
    pub fn from_environment(environment: Environment) -> Self {
        let global = overridden(GLOBAL, &environment);
        Self { substrates: Vec::new(), global, environment }
    }

    /// All substrates, in the order of the documents.
    pub fn substrates(&self) -> impl Iterator<Item = &SubstrateSection> {
        self.substrates.iter()
    }

    /// A substrate by its name, or else the only one of a type.
    ///
    /// # Errors
    /// One problem, without a place: nothing has the name or type (the message lists what there is, the nearest
    /// first), or several have the type (the message lists their names).
    ///
    /// ```
    /// # use substrate_core::config::{Config, Environment};
    /// let text = "{docker: {}, substrates: {a: {type: lxc}, b: {type: lxc}}}";
    /// let config = Config::from_yaml_with("x.yaml", text, Environment::empty())?;
    /// assert_eq!(config.substrate("docker")?.name, "docker");
    /// let several = config.substrate("lxc").err().map(|error| error.to_string());
    /// assert_eq!(several.as_deref(), Some("several substrates have the type `lxc`: choose one of `a`, `b`"));
    /// # Ok::<(), substrate_core::config::ConfigError>(())
    /// ```
    pub fn substrate(&self, name_or_type: &str) -> Result<&SubstrateSection, ConfigError> {
        match self.find(name_or_type)? {
            Some(found) => Ok(found),
            None => Err(self.unknown(name_or_type).into()),
        }
    }

    /// A substrate by its name or type, or else the local default of a type that the configuration does not
    /// mention: a section with nothing but the environment's overrides.
    ///
    /// # Errors
    /// Several substrates have the type.
    pub fn substrate_or_default(&self, name_or_type: &str) -> Result<SubstrateSection, ConfigError> {
        Ok(match self.find(name_or_type)? {
            Some(found) => found.clone(),
            None => SubstrateSection {
                name: name_or_type.to_owned(),
                provider_type: name_or_type.to_owned(),
                section: overridden(name_or_type, &self.environment),
            },
        })
    }

    /// What concerns all substrates; empty when no source has it.
    pub fn global(&self) -> &Section {
        &self.global
    }

    /// The environment that the configuration was loaded with.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The setting at a dotted path of a substrate (by name, or by type where only one has it) or of `global`;
    /// `default` when the substrate or the setting is not there, or is `~`.
    ///
    /// # Errors
    /// A setting that is there but cannot be read as a `T`: a default in its place would hide the mistake. And a
    /// type that several substrates have.
    ///
    /// ```
    /// # use substrate_core::config::{Config, Environment};
    /// let text = "docker: {registry: {host: 10.0.0.69}}";
    /// let config = Config::from_yaml_with("substrate.yaml", text, Environment::empty())?;
    /// assert_eq!(config.get("docker", "registry.host", "localhost".to_owned())?, "10.0.0.69");
    /// assert_eq!(config.get("docker", "registry.port", 5000_u16)?, 5000);
    /// assert_eq!(config.get("lxc", "default_profile", "default".to_owned())?, "default");
    /// let error = config.get("docker", "registry.host", 1_u16).err().map(|error| error.to_string());
    /// assert_eq!(
    ///     error.as_deref(),
    ///     Some(
    ///         "substrate.yaml:1:27: `docker.registry.host` must be a whole number from 0 to 65535, \
    ///          not the string `10.0.0.69`"
    ///     ),
    /// );
    /// # Ok::<(), substrate_core::config::ConfigError>(())
    /// ```
    pub fn get<T: DeserializeOwned>(&self, section: &str, path: &str, default: T) -> Result<T, ConfigError> {
        Ok(self.get_optional(section, path)?.unwrap_or(default))
    }

    /// As [`Config::get`], `None` when there is no such setting.
    ///
    /// # Errors
    /// As [`Config::get`].
    pub fn get_optional<T: DeserializeOwned>(
        &self,
        section: &str,
        path: &str,
    ) -> Result<Option<T>, ConfigError> {
        if section == GLOBAL {
            return self.global.get_optional(path);
        }
        match self.find(section)? {
            Some(found) => found.section.get_optional(path),
            None => Ok(None),
        }
    }

    fn find(&self, name_or_type: &str) -> Result<Option<&SubstrateSection>, ConfigError> {
        if let Some(found) = self.substrates.iter().find(|substrate| substrate.name == name_or_type) {
            return Ok(Some(found));
        }
        let mut of_type = self.substrates.iter().filter(|substrate| substrate.provider_type == name_or_type);
        let first = of_type.next();
        let others: Vec<&SubstrateSection> = of_type.collect();
        if others.is_empty() {
            return Ok(first);
        }
        let names: Vec<String> =
            first.into_iter().chain(others).map(|substrate| quoted(&substrate.name)).collect();
        let wanted = quoted(name_or_type);
        let message =
            format!("several substrates have the type {wanted}: choose one of {}", names.join(", "));
        Err(Problem::new(name_or_type, message).into())
    }

    fn unknown(&self, wanted: &str) -> Problem {
        let mut known: Vec<&str> = Vec::new();
        for word in self.substrates.iter().flat_map(|one| [one.name.as_str(), one.provider_type.as_str()]) {
            if !known.contains(&word) {
                known.push(word);
            }
        }
        if known.is_empty() {
            let message = format!("there is no substrate {}: the configuration has none", quoted(wanted));
            return Problem::new(wanted, message);
        }
        let suggestion = nearest(wanted, known.iter().copied());
        let known: Vec<String> = sorted_by_nearness(wanted, known).into_iter().map(quoted).collect();
        let message = format!(
            "there is no substrate {} in the configuration, which has {}",
            quoted(wanted),
            known.join(", ")
        );
        Problem::new(wanted, message).suggest(suggestion)
    }
}

/// A section of nothing but the environment's overrides.
fn overridden(name: &str, environment: &Environment) -> Section {
    let mut root = Node::empty_map(None);
    // One section alone cannot be ambiguous, which is all that can go wrong.
    let _ = overrides::apply(&mut [(name, &mut root)], environment);
    Section::new(name, root, environment.clone())
}
