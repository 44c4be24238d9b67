//! Which directive is called what.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use substrate_core::config::{ConfigError, Section, nearest, quoted};

use super::{Action, CloudInit, Exec, Files, WaitFor};
use crate::handler::{Need, RegistrationError};

/// One kind of directive. Pure, like a [`ResourceHandler`](crate::handler::ResourceHandler).
pub trait Directive: Send + Sync + fmt::Debug {
    /// Its name, as documents use it.
    fn name(&self) -> &str;

    /// Reads its settings.
    ///
    /// # Errors
    /// All mistakes in them at once, each with its place.
    fn check(&self, settings: &Section) -> Result<CheckedDirective, ConfigError>;
}

/// A directive that was found in order.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CheckedDirective {
    /// Which directive.
    pub name: Arc<str>,
    /// The actions that it reacts to, in the order of [`Action::ALL`].
    pub actions: Vec<Action>,
    /// Its settings in canonical form: a change of them is a change of the resource.
    pub properties: Value,
    /// What the facility must be able to do.
    pub needs: Vec<Need>,
}

impl CheckedDirective {
    /// A directive that needs nothing special.
    pub fn new(
        name: impl Into<Arc<str>>,
        actions: impl IntoIterator<Item = Action>,
        properties: Value,
    ) -> Self {
        let mut actions: Vec<Action> = actions.into_iter().collect();
        actions.sort_unstable();
        actions.dedup();
        Self { name: name.into(), actions, properties, needs: Vec::new() }
    }

    /// Adds what the facility must be able to do.
    #[must_use]
    pub fn needing(mut self, needs: impl IntoIterator<Item = Need>) -> Self {
        self.needs.extend(needs);
        self
    }

    /// Whether it reacts to an action.
    #[must_use]
    pub fn reacts_to(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }
}

/// The directives by name. A value: nothing is registered behind its back.
#[derive(Debug, Clone, Default)]
pub struct DirectiveRegistry {
    directives: BTreeMap<String, Arc<dyn Directive>>,
}

impl DirectiveRegistry {
    /// No directive at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The built-in directives: `exec`, `wait-for`, `files` and `cloud-init`.
    #[must_use]
    pub fn standard() -> Self {
        let built_in: [Arc<dyn Directive>; 4] =
            [Arc::new(Exec), Arc::new(WaitFor), Arc::new(Files), Arc::new(CloudInit)];
        Self { directives: built_in.into_iter().map(|one| (one.name().to_owned(), one)).collect() }
    }

    /// Adds a directive.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn register(&mut self, directive: impl Directive + 'static) -> Result<(), RegistrationError> {
        let name = directive.name().to_owned();
        if self.directives.contains_key(&name) {
            return Err(RegistrationError::new(format!("there is a directive {} already", quoted(&name))));
        }
        self.directives.insert(name, Arc::new(directive));
        Ok(())
    }

    /// A directive by its name.
    ///
    /// # Errors
    /// One line: it is unknown, with the nearest known one.
    pub fn find(&self, name: &str) -> Result<&Arc<dyn Directive>, String> {
        self.directives.get(name).ok_or_else(|| {
            let message = format!("there is no directive {}", quoted(name));
            match nearest(name, self.names()) {
                Some(known) => format!("{message}: did you mean {}?", quoted(known)),
                None => {
                    let known: Vec<String> = self.names().map(quoted).collect();
                    format!("{message}: the known directives are {}", known.join(", "))
                }
            }
        })
    }

    /// The known names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.directives.keys().map(String::as_str)
    }
}
