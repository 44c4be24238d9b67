//! One resource of a blueprint, as it was declared.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use substrate_core::config::{Location, Section};

use super::address::{Dependency, Reference};
use super::apply_rules::ApplyRules;
use super::name::Name;
use super::version::Version;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place; `None` for values of the program.
    pub location: Option<Location>,
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self { value, location: None }
    }
}

/// A resource as a document declares it: one, or with a `count` several of a kind.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resource {
    /// Its name, unique in the blueprint.
    pub name: Located<Name>,
    /// The kind of thing: what a [`HandlerRegistry`](crate::handler::HandlerRegistry) knows.
    pub kind: Located<Arc<str>>,
    /// Which version of the kind; the newest when left out.
    pub version: Option<Version>,
    /// The facility, by name or by type; may be left out when there is only one.
    pub provider: Option<Located<Arc<str>>>,
    /// What the handler reads, with variables replaced and references still in it.
    pub specs: Section,
    /// What must be there before it.
    pub dependencies: Vec<Dependency>,
    /// Outputs of other resources that specs, directives and metadata use: dependencies too.
    pub references: Vec<Reference>,
    /// How many; `None` makes one whose id has no index.
    pub count: Option<u32>,
    /// Free data.
    pub metadata: Map<String, Value>,
    /// What is to be done on actions, in order.
    pub directives: Vec<DirectiveSpec>,
    /// How it may be changed.
    pub lifecycle: Lifecycle,
    /// When it counts as ready; as soon as it is created and started when left out.
    pub readiness: Option<Readiness>,
    /// When it takes part in what is done to all.
    pub rules: ApplyRules,
    /// The metadata as it was written: knows which of it must not be shown.
    pub(crate) metadata_source: Option<Section>,
    /// Something about it was wrong and reported: what can still be read of it is checked, nothing is planned.
    pub(crate) broken: bool,
}

impl Resource {
    /// A resource with nothing but a name and a kind.
    pub fn new(name: Name, kind: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            kind: kind.into().into(),
            version: None,
            provider: None,
            specs: Section::empty("specs"),
            dependencies: Vec::new(),
            references: Vec::new(),
            count: None,
            metadata: Map::new(),
            directives: Vec::new(),
            lifecycle: Lifecycle::default(),
            readiness: None,
            rules: ApplyRules::default(),
            metadata_source: None,
            broken: false,
        }
    }

    /// Whether `text` shows something that the document keeps secret.
    pub(crate) fn hides(&self, text: &str) -> bool {
        let directives = self.directives.iter().map(|directive| &directive.settings);
        std::iter::once(&self.specs)
            .chain(&self.metadata_source)
            .chain(directives)
            .any(|part| part.hides(text))
    }

    /// Sets what the handler reads, and finds the references in it.
    #[must_use]
    pub fn with_specs(mut self, specs: Section) -> Self {
        // A text that is no template is reported when the document is read; a program's own has no place to show.
        self.references = crate::document::references_of(&specs).0;
        self.specs = specs;
        self
    }

    /// Adds a resource that must be there before it.
    #[must_use]
    pub fn with_dependency(mut self, name: Name) -> Self {
        use super::address::{Address, Selection};
        let address = Address { blueprint: None, name, selection: Selection::Whole };
        self.dependencies.push(Dependency { address, location: None });
        self
    }

    /// Sets the facility.
    #[must_use]
    pub fn with_provider(mut self, provider: impl Into<Arc<str>>) -> Self {
        self.provider = Some(provider.into().into());
        self
    }

    /// Sets how many there shall be.
    #[must_use]
    pub fn with_count(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    /// Sets how it may be changed.
    #[must_use]
    pub fn with_lifecycle(mut self, lifecycle: Lifecycle) -> Self {
        self.lifecycle = lifecycle;
        self
    }
}

/// The indexes of the instances that a count makes: one without an index, or as many as it says.
pub fn count_instances(count: Option<u32>) -> impl Iterator<Item = Option<u32>> {
    let one = count.is_none().then_some(None);
    one.into_iter().chain((0..count.unwrap_or(0)).map(Some))
}

/// How a resource may be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lifecycle {
    /// Refuse every plan that would delete or replace it.
    pub protect: bool,
    /// When it must be replaced, make the new one before the old one goes.
    pub create_before_destroy: bool,
    /// Dotted property paths whose changes are left alone; a path covers what is below it.
    pub ignore_changes: Vec<String>,
}

impl Lifecycle {
    /// Refuse to delete or replace it.
    #[must_use]
    pub fn protected() -> Self {
        Self { protect: true, ..Self::default() }
    }

    /// Leave changes of a property alone.
    #[must_use]
    pub fn ignoring(mut self, property: impl Into<String>) -> Self {
        self.ignore_changes.push(property.into());
        self
    }

    /// Whether changes of `property` are left alone.
    #[must_use]
    pub fn ignores(&self, property: &str) -> bool {
        self.ignore_changes.iter().any(|ignored| {
            property
                .strip_prefix(ignored.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// Something that can be waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// A TCP port of the instance takes connections.
    Port(u16),
    /// A command inside the instance ends with exit code 0.
    Command(Vec<String>),
    /// A line of the instance's log contains this text.
    Log(String),
    /// The substrate says that the instance runs and, where it knows more, that it is healthy.
    Health,
}

/// When a resource counts as ready: those that depend on it wait for that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// What must hold.
    pub condition: Condition,
    /// How long to wait before the resource has failed.
    pub timeout: Duration,
    /// How long to wait between two looks.
    pub interval: Duration,
}

impl Readiness {
    /// How long is waited when nothing else is said.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
    /// How long between two looks when nothing else is said.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

    /// A condition with the default times.
    #[must_use]
    pub fn new(condition: Condition) -> Self {
        Self { condition, timeout: Self::DEFAULT_TIMEOUT, interval: Self::DEFAULT_INTERVAL }
    }
}

/// A directive as a document holds it: checked by a [`DirectiveRegistry`](crate::directive::DirectiveRegistry).
#[derive(Debug, Clone)]
pub struct DirectiveSpec {
    /// Which directive.
    pub name: Located<Arc<str>>,
    /// Its settings.
    pub settings: Section,
}

#[cfg(test)]
mod tests {
    use super::{Lifecycle, count_instances};

    #[test]
    fn an_ignored_path_covers_what_is_below_it_and_nothing_beside_it() {
        let lifecycle = Lifecycle::default().ignoring("limits").ignoring("labels.team");
        assert!(lifecycle.ignores("limits") && lifecycle.ignores("limits.cpu_cores"));
        assert!(lifecycle.ignores("labels.team") && !lifecycle.ignores("labels"));
        assert!(!lifecycle.ignores("limits_of_another"));
    }

    #[test]
    fn no_count_is_one_without_an_index_and_zero_is_none() {
        assert_eq!(count_instances(None).collect::<Vec<_>>(), [None]);
        assert_eq!(count_instances(Some(2)).collect::<Vec<_>>(), [Some(0), Some(1)]);
        assert_eq!(count_instances(Some(0)).count(), 0);
    }
}
