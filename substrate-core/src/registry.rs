//! Which technologies a program knows, and how a configured substrate is made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::config::{Config, ConfigError, Section};
use crate::error::{Error, Result};
use crate::layer::{Stack, StackSettings};
use crate::substrate::Substrate;

/// Makes a provider from its name and its section of the configuration. Does not connect.
pub type Factory = dyn Fn(&str, &Section) -> Result<Arc<dyn Substrate>> + Send + Sync;

/// From a technology's name to the [`Factory`] of its providers: a value, no global. A third party's crate
/// registers the same way as ours.
///
/// ```
/// use std::sync::Arc;
/// use substrate_core::{Result, Substrate};
/// use substrate_core::config::Section;
/// use substrate_core::registry::Registry;
///
/// # fn my_provider(_: &str, _: &Section) -> Result<Arc<dyn Substrate>> { unimplemented!() }
/// let mut registry = Registry::new();
/// registry.register("mine", my_provider)?;
/// assert_eq!(registry.available().collect::<Vec<_>>(), ["mine"]);
/// # Ok::<(), substrate_core::Error>(())
/// ```
#[derive(Default)]
pub struct Registry {
    factories: BTreeMap<String, Box<Factory>>,
}

impl Registry {
    /// A registry that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Teaches it a technology.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`](crate::ErrorKind::AlreadyExists) when it knows one of that name: which of
    /// the two was meant is not for us to guess.
    pub fn register<F>(&mut self, provider_type: impl Into<String>, factory: F) -> Result<()>
    where
        F: Fn(&str, &Section) -> Result<Arc<dyn Substrate>> + Send + Sync + 'static,
    {
        let provider_type = provider_type.into();
        if self.factories.contains_key(&provider_type) {
            return Err(Error::already_exists(format!(
                "provider type `{provider_type}` is registered already"
            )));
        }
        self.factories.insert(provider_type, Box::new(factory));
        Ok(())
    }

    /// The technologies that it knows, in order.
    pub fn available(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// Makes a provider: bare, not connected.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown type, listing the known
    /// ones, and for settings that the provider does not understand, all of them at once.
    pub fn create(&self, provider_type: &str, name: &str, section: &Section) -> Result<Arc<dyn Substrate>> {
        let Some(factory) = self.factories.get(provider_type) else {
            let known: Vec<&str> = self.available().collect();
            return Err(Error::invalid_input(format!(
                "unknown provider type `{provider_type}`; this program knows: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ))
            .with_hint("a provider is known when its crate's feature is on and it was registered"));
        };
        factory(name, section).map_err(|error| error.with_substrate(name))
    }

    /// Makes a configured substrate with the standard layers around it, as `global:` of the configuration
    /// asks for. `name_or_type` is the substrate's name, or its type when one substrate has it; a type that
    /// is not configured at all gets that technology's local default.
    ///
    /// # Errors
    /// Those of [`create`](Self::create) and [`Stack::standard`];
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown or ambiguous name.
    pub fn open(&self, config: &Config, name_or_type: &str) -> Result<Stack> {
        let configured = if self.factories.contains_key(name_or_type) {
            config.substrate_or_default(name_or_type)?
        } else {
            config.substrate(name_or_type)?.clone()
        };
        let settings: StackSettings = config.global().parse()?;
        let provider = self.create(&configured.provider_type, &configured.name, &configured.section)?;
        Stack::standard(provider, &settings)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.factories.keys()).finish()
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::invalid_input(error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str, _: &Section) -> Result<Arc<dyn Substrate>> {
        Err(Error::unavailable("this factory makes nothing"))
    }

    #[test]
    fn an_unknown_type_lists_the_known_ones() {
        let mut registry = Registry::new();
        registry.register("docker", nothing).unwrap();
        registry.register("fake", nothing).unwrap();
        let error = registry.create("dokcer", "x", &Section::empty("x")).unwrap_err();
        assert!(error.is_invalid_input());
        assert!(error.message().contains("docker, fake"), "{error}");
    }

    #[test]
    fn a_duplicate_is_an_error() {
        let mut registry = Registry::new();
        registry.register("docker", nothing).unwrap();
        assert!(registry.register("docker", nothing).unwrap_err().is_already_exists());
    }

    #[test]
    fn a_factory_s_error_names_the_substrate() {
        let mut registry = Registry::new();
        registry.register("docker", nothing).unwrap();
        let error = registry.create("docker", "docker-paris", &Section::empty("x")).unwrap_err();
        assert_eq!(error.substrate(), Some("docker-paris"));
    }
}
