//! The settings of one substrate, or of everything: read as a type, or key by key.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::collect::parse;
use super::environment::Environment;
use super::location::Location;
use super::node::{Content, Node, dotted};
use super::problem::ConfigError;
use super::yaml;

/// A map of settings with the place of each, still without types. Cheap to hand on; never changes.
///
/// `Debug` hides what came from the environment and what stands under a key that looks like a secret.
///
/// ```
/// # use substrate_core::config::Section;
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     uri: String,
///     #[serde(default)]
///     retries: u32,
/// }
///
/// let section = Section::from_value(serde_json::json!({"uri": "qemu:///system"})).named("libvirt");
/// let settings: Settings = section.parse()?;
/// assert_eq!((settings.uri.as_str(), settings.retries), ("qemu:///system", 0));
///
/// let section = Section::from_value(serde_json::json!({"url": 5, "retries": "many"})).named("libvirt");
/// let error = section.parse::<Settings>().err().ok_or("it must not parse")?;
/// assert_eq!(error.problems().len(), 3);
/// assert!(error.to_string().contains("unknown key `url` in `libvirt`: did you mean `uri`?"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Section {
    pub(super) name: String,
    /// The key that holds the settings: where a missing one is reported.
    pub(super) named_at: Option<Location>,
    pub(super) root: Node,
    pub(super) environment: Environment,
}

impl Section {
    pub(crate) fn new(name: &str, mut root: Node, environment: Environment) -> Self {
        root.hide_secrets();
        Self { name: name.to_owned(), named_at: None, root, environment }
    }

    pub(crate) fn at(self, named_at: Option<Location>) -> Self {
        Self { named_at, ..self }
    }

    /// A section without settings, in an empty environment.
    pub fn empty(name: impl Into<String>) -> Self {
        Self::new(&name.into(), Node::empty_map(None), Environment::empty())
    }

    /// A section from values of the program, without a name, in an empty environment. Problems in it have a path
    /// but no place.
    pub fn from_value(settings: Value) -> Self {
        Self::new("", Node::from_json(settings), Environment::empty())
    }

    /// A section from a YAML document that is no configuration of substrates: an instance to create, a list of
    /// things of one's own. `${…}` is replaced from `environment`; `source` names the text in problems.
    ///
    /// ```
    /// # use substrate_core::config::{Environment, Section};
    /// # use substrate_core::InstanceConfig;
    /// let text = "name: web\nimage: busybox\nlimits: {memory_mb: 64}";
    /// let web: InstanceConfig = Section::from_yaml("web.yaml", text, Environment::empty())?.parse()?;
    /// assert_eq!(web.limits.memory_mb, Some(64));
    /// # Ok::<(), substrate_core::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Text that is no YAML, undefined variables: all problems at once.
    pub fn from_yaml(source: &str, text: &str, environment: Environment) -> Result<Self, ConfigError> {
        let root = yaml::read(source, text, &environment).map_err(ConfigError::from_iter)?;
        Ok(Self::new(source, root, environment))
    }

    /// The same settings under another name: the one that messages use.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same settings with another environment.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The name of the substrate, or `global`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The environment that the configuration was loaded with. A provider looks up the variables of its technology
    /// here (`DOCKER_HOST`, `KUBECONFIG`, …), never in the process. Overrides of the form `SUBSTRATE_…` are
    /// already part of the settings.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Whether there is no setting at all.
    pub fn is_empty(&self) -> bool {
        match &self.root.content {
            Content::Map(entries) => entries.is_empty(),
            Content::Null => true,
            _ => false,
        }
    }

    /// The keys of the uppermost level, in the order of the document.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.root.entries().iter().map(|entry| entry.key.as_str())
    }

    /// Whether there is something at a dotted path, be it `~`.
    pub fn contains(&self, path: &str) -> bool {
        self.root.find(path).is_some()
    }

    /// Reads all settings as a type. Use `#[serde(deny_unknown_fields)]`, so that mistyped keys are found.
    ///
    /// A text takes any scalar as it was written (`password: 123`, `version: 1.10`); a number takes no text; a key
    /// with nothing behind it is an empty list or map where one is wanted, and nothing to a text.
    ///
    /// # Errors
    /// All problems at once: unknown keys, wrong types, missing keys, values that a type refuses. Below `flatten`,
    /// `untagged` and `tag = …` serde forgets the place, and the whole value is named instead.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        parse(&self.root, &self.name, self.named_at.as_ref())
    }

    /// The setting at a dotted path, or `default` when there is none or it is `~`.
    ///
    /// A part of the path that is a number picks from a list.
    ///
    /// # Errors
    /// A setting that is there but of another type: a default in its place would hide the mistake.
    ///
    /// ```
    /// # use substrate_core::config::Section;
    /// let docker = Section::from_value(serde_json::json!({"registry": {"host": "10.0.0.69"}}));
    /// assert_eq!(docker.get("registry.host", "localhost".to_owned())?, "10.0.0.69");
    /// assert_eq!(docker.get("registry.port", 5000_u16)?, 5000);
    /// assert!(docker.get("registry.host", 0_u16).is_err());
    /// # Ok::<(), substrate_core::config::ConfigError>(())
    /// ```
    pub fn get<T: DeserializeOwned>(&self, path: &str, default: T) -> Result<T, ConfigError> {
        Ok(self.get_optional(path)?.unwrap_or(default))
    }

    /// The setting at a dotted path, if there is one and it is not `~`.
    ///
    /// # Errors
    /// A setting that is there but of another type.
    pub fn get_optional<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ConfigError> {
        match self.root.find(path) {
            Some((_, node)) if matches!(node.content, Content::Null) => Ok(None),
            Some((steps, node)) => parse(node, &dotted(&self.name, &steps), None).map(Some),
            None => Ok(None),
        }
    }

    /// These settings with `other` laid over them: maps are merged key by key, everything else is replaced by
    /// `other`'s, `~` included. Name and environment stay.
    ///
    /// ```
    /// # use substrate_core::config::Section;
    /// # use serde_json::json;
    /// let file = Section::from_value(json!({"registry": {"host": "a", "port": 1}}));
    /// let blueprint = Section::from_value(json!({"registry": {"port": 2}}));
    /// let both = file.overlay(&blueprint);
    /// assert_eq!(both.get("registry.host", String::new())?, "a");
    /// assert_eq!(both.get("registry.port", 0)?, 2);
    /// # Ok::<(), substrate_core::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn overlay(&self, other: &Self) -> Self {
        let mut root = self.root.clone();
        if !matches!(other.root.content, Content::Null) {
            root.overlay(other.root.clone());
        }
        Self::new(&self.name, root, self.environment.clone()).at(self.named_at.clone())
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section")
            .field("name", &self.name)
            .field("settings", &self.root)
            .finish_non_exhaustive()
    }
}
