//! Which handler reads which kind, in which version.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use substrate_core::config::{ConfigError, Section, nearest, quoted};
use substrate_core::{Error, Result};

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::site::{Found, Site};
use super::{
    CommandHandler, ComputeHandler, ConfigureHandler, NetworkHandler, ServiceHandler, StorageHandler,
    ValuesHandler, WriteFileHandler,
};
use crate::model::{Name, Version, VersionRange};

/// What one kind of resource means, in a range of its versions, and how it is made.
///
/// What has no `async` is pure: the same subject gives the same answer, and nothing outside is asked or changed. The
/// rest is called while a deployment runs: in the order of the plan, and for one resource never twice at once. Its
/// **properties** are those of the [`Interpretation`], with references replaced by what they refer to.
///
/// The process may be killed at any await point. What is found afterwards is brought in line with
/// [`update`](Self::update), so that one must cope with a resource that is half made.
#[async_trait]
pub trait ResourceHandler: Send + Sync + fmt::Debug {
    /// The kind, as `type` or `kind` of a document names it.
    fn kind(&self) -> &str;

    /// The versions of the kind that it reads.
    fn versions(&self) -> VersionRange {
        VersionRange::major(1)
    }

    /// Whether its resources live on a facility. One that does not (a file on this machine, a value) takes no
    /// `provider`.
    fn needs_facility(&self) -> bool {
        true
    }

    /// Within what its names must be unique on a facility. Kinds whose resources are the same sort of thing there share
    /// one: a `service` and a `compute` resource are both instances.
    fn namespace(&self) -> &str {
        self.kind()
    }

    /// Reads specs and says what they mean and need.
    ///
    /// # Errors
    /// All mistakes in them at once, each with its place.
    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError>;

    /// What a change of the property at a dotted path costs. Only asked for paths that
    /// [`interpret`](Self::interpret) produced once.
    fn effect_of(&self, property: &str) -> ChangeEffect {
        let _ = property;
        ChangeEffect::Replace
    }

    /// Whether its resources are instances: those are started and stopped, and directives run on them.
    fn is_instance(&self) -> bool {
        false
    }

    /// Whether the journal may hold its outputs. Those of a kind that may give secrets are worked out anew each time.
    fn keeps_outputs(&self) -> bool {
        true
    }

    /// The outputs of a kind that gives to others what its specs say and nothing else, found in its properties; `None`
    /// for every other kind.
    ///
    /// Outputs that are worked out from the documents are there in every run though no journal holds them, and a plan
    /// sees at once whom a change of one of them concerns. References in them are replaced by the engine.
    fn outputs_in<'p>(&self, properties: &'p Value) -> Option<&'p Map<String, Value>> {
        let _ = properties;
        None
    }

    /// The resource that it is a part of, for a kind that does something to another one: it lives where that one lives.
    /// It must be an instance of the same blueprint.
    fn part_of(&self, specs: &Section) -> Option<Name> {
        let _ = specs;
        None
    }

    /// Looks at the resource; `None` when it is not there, by a complete answer.
    ///
    /// # Errors
    /// Whatever keeps it from being looked at: never read as absence.
    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>>;

    /// Makes the resource, with the marks of the site inside the call that makes it.
    ///
    /// # Errors
    /// [`AlreadyExists`](substrate_core::ErrorKind::AlreadyExists) when its name is taken: the engine then looks at
    /// the marks. With the outcome [`Unknown`](substrate_core::Outcome::Unknown) it may be there all the same.
    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found>;

    /// Brings a resource that is there in line, whatever state it is in: only for changes that
    /// [`effect_of`](Self::effect_of) calls an update. Repeating it does no harm.
    ///
    /// # Errors
    /// Those of the calls that it makes.
    async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        let _ = properties;
        self.read(site).await?.ok_or_else(|| Error::not_found(format!("`{}` is gone", site.name)))
    }

    /// Removes the resource; one that is gone already is a success.
    ///
    /// # Errors
    /// Those of the calls that it makes.
    async fn delete(&self, site: &Site<'_>) -> Result<()>;
}

/// The handlers by kind, several versions of a kind side by side. A value: nothing is registered behind its back.
///
/// ```
/// use substrate_engine::handler::{Found, HandlerRegistry, Interpretation, ResourceHandler, Site, Subject};
/// use substrate_engine::model::{Version, VersionRange};
/// use substrate_core::Result;
/// use substrate_core::config::ConfigError;
///
/// #[derive(Debug)]
/// struct Bucket;
///
/// #[async_trait::async_trait]
/// impl ResourceHandler for Bucket {
///     fn kind(&self) -> &str { "bucket" }
///     fn versions(&self) -> VersionRange { VersionRange::major(2) }
///     fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
///         Ok(Interpretation::new(subject.specs.to_value()?))
///     }
///
///     async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
///         Ok(None) // ask the bucket service
///     }
///
///     async fn create(&self, site: &Site<'_>, properties: &serde_json::Value) -> Result<Found> {
///         Ok(Found::new(properties.clone())) // make it, with `site.marks`
///     }
///
///     async fn delete(&self, site: &Site<'_>) -> Result<()> {
///         Ok(()) // remove it
///     }
/// }
///
/// let mut registry = HandlerRegistry::standard();
/// registry.register(Bucket)?;
/// assert!(registry.find("bucket", Some(Version::new(2, 7))).is_ok());
/// assert!(registry.find("bucket", Some(Version::new(1, 0))).is_err());
/// assert!(registry.register(Bucket).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct HandlerRegistry {
    // Per kind in ascending order of versions; ranges do not overlap.
    handlers: BTreeMap<String, Vec<Arc<dyn ResourceHandler>>>,
}

/// A handler that cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationError(String);

impl RegistrationError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for RegistrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RegistrationError {}

impl HandlerRegistry {
    /// No handler at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The built-in handlers: `compute`, `network`, `storage`, `service` and `configure`, and those that live on no
    /// facility: `Values`, `Command` and `WriteFile`.
    #[must_use]
    pub fn standard() -> Self {
        let built_in: [Arc<dyn ResourceHandler>; 8] = [
            Arc::new(ComputeHandler),
            Arc::new(NetworkHandler),
            Arc::new(StorageHandler),
            Arc::new(ServiceHandler),
            Arc::new(ConfigureHandler),
            Arc::new(ValuesHandler),
            Arc::new(CommandHandler),
            Arc::new(WriteFileHandler),
        ];
        let handlers = built_in.into_iter().map(|handler| (handler.kind().to_owned(), vec![handler]));
        Self { handlers: handlers.collect() }
    }

    /// Adds a handler.
    ///
    /// # Errors
    /// A range that is empty, or that overlaps the range of another handler of the kind: which of the two was meant
    /// would depend on the order of registration.
    pub fn register(
        &mut self,
        handler: impl ResourceHandler + 'static,
    ) -> std::result::Result<(), RegistrationError> {
        let (kind, versions) = (handler.kind().to_owned(), handler.versions());
        if kind.is_empty() || versions.is_empty() {
            let message =
                format!("the handler of {} has no kind or an empty range of versions", quoted(&kind));
            return Err(RegistrationError(message));
        }
        let of_kind = self.handlers.entry(kind).or_default();
        if let Some(other) = of_kind.iter().find(|other| other.versions().overlaps(&versions)) {
            return Err(RegistrationError(format!(
                "the kind {} has a handler for versions {} already, which overlap {versions}",
                quoted(other.kind()),
                other.versions()
            )));
        }
        of_kind.push(Arc::new(handler));
        of_kind.sort_by_key(|handler| handler.versions().first());
        Ok(())
    }

    /// The handler of a kind in a version; its newest when none is given.
    ///
    /// # Errors
    /// One line: the kind is unknown (with the nearest known one), or it has no such version (with those it has).
    pub fn find(
        &self,
        kind: &str,
        version: Option<Version>,
    ) -> std::result::Result<&Arc<dyn ResourceHandler>, String> {
        let Some(of_kind) = self.handlers.get(kind) else {
            let message = format!("there is no resource type {}", quoted(kind));
            return Err(match nearest(kind, self.kinds()) {
                Some(known) => format!("{message}: did you mean {}?", quoted(known)),
                None => {
                    let known: Vec<String> = self.kinds().map(quoted).collect();
                    format!("{message}: the known types are {}", known.join(", "))
                }
            });
        };
        let found = match version {
            None => of_kind.last(),
            Some(version) => of_kind.iter().find(|handler| handler.versions().contains(version)),
        };
        found.ok_or_else(|| {
            let known: Vec<String> = of_kind.iter().map(|handler| handler.versions().to_string()).collect();
            let wanted = version.map(|version| version.to_string()).unwrap_or_default();
            format!("{} has no version {wanted}: there is {}", quoted(kind), known.join(", "))
        })
    }

    /// The known kinds, in alphabetical order.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }
}
