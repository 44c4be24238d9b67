//! Which directive is called what.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use substrate_core::config::{ConfigError, Section, nearest, quoted};
use substrate_core::{Command, Error, InstanceName, Operation, Substrate};

use super::{Action, CloudInit, Exec, Files, WaitFor};
use crate::handler::{Need, RegistrationError};
use crate::model::{Readiness, ResourceId};
use crate::readiness::{PortProbe, wait_until};

/// One kind of directive: what its settings mean, and what is done on an instance.
///
/// [`check`](Self::check) is pure. The other two get the settings that it returned as properties, with references
/// replaced by what they refer to.
#[async_trait]
pub trait Directive: Send + Sync + fmt::Debug {
    /// Its name, as documents use it.
    fn name(&self) -> &str;

    /// Reads its settings.
    ///
    /// # Errors
    /// All mistakes in them at once, each with its place.
    fn check(&self, settings: &Section) -> Result<CheckedDirective, ConfigError>;

    /// Changes the properties that the instance is about to be created with. Does nothing unless it is overridden, and
    /// is asked only if [`check`](Self::check) says that the directive is
    /// [fixed at the creation](CheckedDirective::fixed_at_creation).
    ///
    /// # Errors
    /// [`InvalidInput`](substrate_core::ErrorKind::InvalidInput) for properties that it cannot change.
    fn prepare(&self, settings: &Value, properties: &mut Value) -> substrate_core::Result<()> {
        let _ = (settings, properties);
        Ok(())
    }

    /// Does its work on an instance, after it was started or before it is stopped. Does nothing unless it is
    /// overridden, and is not asked of a directive that is fixed at the creation.
    ///
    /// After a crash in the middle it is run again, so it is run at least once.
    ///
    /// # Errors
    /// Whatever keeps it from being done; the resource has then failed.
    async fn run(&self, settings: &Value, on: &DirectiveSite<'_>) -> substrate_core::Result<()> {
        let _ = (settings, on);
        Ok(())
    }
}

/// The instance that a directive works on.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct DirectiveSite<'a> {
    /// Which resource it is.
    pub id: &'a ResourceId,
    /// The facility.
    pub substrate: &'a dyn Substrate,
    /// What it is called there.
    pub instance: &'a InstanceName,
    pub(crate) probe: &'a dyn PortProbe,
}

impl DirectiveSite<'_> {
    /// Waits until a condition holds.
    ///
    /// # Errors
    /// [`Timeout`](substrate_core::ErrorKind::Timeout) with what was seen last, and
    /// [`Conflict`](substrate_core::ErrorKind::Conflict) as soon as the instance has ended.
    pub async fn wait_until(&self, readiness: &Readiness) -> substrate_core::Result<()> {
        wait_until(readiness, self.substrate, self.instance, self.probe).await
    }

    /// Runs a command inside the instance; its exit code must be 0.
    ///
    /// # Errors
    /// [`Internal`](substrate_core::ErrorKind::Internal) with the end of what it said when it failed, and those of
    /// [`Substrate::execute_command`].
    pub async fn execute(&self, command: &Command) -> substrate_core::Result<()> {
        let output = self.substrate.execute_command(self.instance, command).await?;
        if output.success() {
            return Ok(());
        }
        // What a command prints may hold anything, so only the program is named, and only its complaint is shown.
        let program = command.argv.first().map(String::as_str).unwrap_or_default();
        let complaint = last_line(&output.stderr_text());
        Err(Error::internal(format!("`{program}` ended with {}{complaint}", output.status))
            .with_operation(Operation::ExecuteCommand)
            .with_instance(self.instance))
    }
}

pub(crate) fn last_line(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(
            ": {}",
            line.trim().chars().take(LONGEST).flat_map(char::escape_debug).collect::<String>()
        ),
        None => String::new(),
    }
}

impl fmt::Debug for DirectiveSite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectiveSite")
            .field("id", self.id)
            .field("instance", self.instance)
            .finish_non_exhaustive()
    }
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
    /// Whether it says how the instance is made, so that a change of it makes the instance anew.
    pub is_fixed_at_creation: bool,
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
        Self { name: name.into(), actions, properties, needs: Vec::new(), is_fixed_at_creation: false }
    }

    /// Adds what the facility must be able to do.
    #[must_use]
    pub fn needing(mut self, needs: impl IntoIterator<Item = Need>) -> Self {
        self.needs.extend(needs);
        self
    }

    /// Says that it takes part in the creation and in nothing else: a change of it makes the instance anew.
    #[must_use]
    pub fn fixed_at_creation(mut self) -> Self {
        self.is_fixed_at_creation = true;
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
