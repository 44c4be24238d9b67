//! From files, texts and the environment to a [`Config`].

use std::path::{Path, PathBuf};

use super::document::{Draft, Drafts, GLOBAL};
use super::environment::Environment;
use super::location::Location;
use super::node::Node;
use super::overrides;
use super::problem::{ConfigError, Problem};
use super::section::Section;
use super::yaml;
use super::{Config, SubstrateSection};

/// Gathers the sources of a configuration; later ones win. Made by [`Config::builder`].
///
/// ```
/// # use substrate_core::config::{Config, Environment};
/// let config = Config::builder()
///     .text("defaults.yaml", "docker: {registry: {host: localhost, port: 5000}}")
///     .text("site.yaml", "docker: {registry: {host: 10.0.0.69}}")
///     .environment(Environment::from_iter([("SUBSTRATE_DOCKER_REGISTRY_PORT", "9443")]))
///     .load()?;
/// assert_eq!(config.get("docker", "registry.host", String::new())?, "10.0.0.69");
/// assert_eq!(config.get("docker", "registry.port", 0_u16)?, 9443);
/// # Ok::<(), substrate_core::config::ConfigError>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "nothing is read before `load`"]
pub struct ConfigBuilder {
    sources: Vec<Source>,
    environment: Environment,
}

#[derive(Clone)]
enum Source {
    Text { name: String, text: String },
    File(PathBuf),
}

impl ConfigBuilder {
    /// A YAML text; `name` stands for the file in messages.
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.sources.push(Source::Text { name: name.into(), text: text.into() });
        self
    }

    /// A YAML file; it must exist.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.push(Source::File(path.into()));
        self
    }

    /// The environment for overrides, `${…}` and the providers; empty unless given.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Reads all sources, merges them and applies the overrides of the environment.
    ///
    /// # Errors
    /// The problems of all sources at once: files that cannot be read, text that is no YAML, undefined variables,
    /// substrates without a type or defined twice in one source.
    pub fn load(self) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let mut drafts = Drafts::default();
        for source in &self.sources {
            match read(source, &self.environment) {
                Ok(document) => problems.extend(drafts.add(document)),
                Err(found) => problems.extend(found),
            }
        }
        problems.extend(override_settings(&mut drafts, &self.environment));

        let mut substrates = Vec::with_capacity(drafts.substrates.len());
        for mut draft in drafts.substrates {
            match draft.take_type() {
                Ok(provider_type) => {
                    let section = Section::new(&draft.name, draft.settings, self.environment.clone())
                        .at(draft.named_at);
                    substrates.push(SubstrateSection { name: draft.name, provider_type, section });
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems.into_iter().collect());
        }
        let global = drafts.global.unwrap_or_else(|| Node::empty_map(None));
        let global = Section::new(GLOBAL, global, self.environment.clone());
        Ok(Config { substrates, global, environment: self.environment })
    }
}

fn override_settings(drafts: &mut Drafts, environment: &Environment) -> Vec<Problem> {
    let global = drafts.global.get_or_insert_with(|| Node::empty_map(None));
    let mut sections: Vec<(&str, &mut Node)> = drafts
        .substrates
        .iter_mut()
        .map(|Draft { name, settings, .. }| (name.as_str(), settings))
        .chain(std::iter::once((GLOBAL, global)))
        .collect();
    overrides::apply(&mut sections, environment)
}

fn read(source: &Source, environment: &Environment) -> Result<Node, Vec<Problem>> {
    match source {
        Source::Text { name, text } => yaml::read(name, text, environment),
        Source::File(path) => {
            let text = read_file(path).map_err(|problem| vec![problem])?;
            yaml::read(&path.display().to_string(), &text, environment)
        }
    }
}

fn read_file(path: &Path) -> Result<String, Problem> {
    let shown = path.display();
    let cannot =
        |reason: String| Problem::new("", format!("cannot read the configuration file `{shown}`: {reason}"));
    let size = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
    if size > yaml::LARGEST as u64 {
        return Err(cannot(format!("it is larger than {} MiB", yaml::LARGEST / 1024 / 1024)));
    }
    let bytes = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        Problem::new("", "the text is not UTF-8").at(Location::in_source(shown.to_string(), line, 1))
    })
}
