//! From the names in documents to open substrates: those that are needed, and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use substrate_core::config::{Config, ConfigError, Problem, Section, SubstrateSection, nearest, quoted};
use substrate_core::layer::{Stack, StackSettings};
use substrate_core::registry::Registry;
use substrate_core::{Error, Result, Substrate};

use super::{EngineBuilder, EngineError};
use crate::document::Documents;
use crate::model::{Blueprint, Name, Version};
use crate::validation::Configured;

/// The key of a configuration that concerns all substrates.
const GLOBAL: &str = "global";
/// The key of a configuration that holds named substrates.
const SUBSTRATES: &str = "substrates";

impl EngineBuilder {
    /// Adds the substrates of a configuration that documents and their journals name, each with the standard layers
    /// around it. Those that nobody names stay closed: they need not be reachable.
    ///
    /// A `provider` names a substrate of the configuration or its type; a type that the configuration does not mention
    /// opens with its local defaults ([`Config::substrate_or_default`]). A resource without `provider` gets the only
    /// substrate that is configured. A provider that there is not is no mistake here: `validate` tells it, in its place
    /// and together with all the others.
    ///
    /// `metadata.engine_config` of a blueprint has the form of the configuration and is laid over it, behind the
    /// environment; it may also define a substrate of its own, with a `type`. One run opens a substrate once: blueprints
    /// that use the same one have to agree on it.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] with everything that is wrong with an `engine_config` or with the settings of a substrate,
    /// in its place, and with what was wrong with the documents already. [`EngineError::Failed`] when the journal cannot be
    /// read or a substrate cannot be made.
    pub async fn open(
        mut self,
        documents: &Documents,
        config: &Config,
        registry: &Registry,
    ) -> std::result::Result<Self, EngineError> {
        let mut opening = Opening { config, registry, wanted: BTreeMap::new(), problems: Vec::new() };
        for blueprint in &documents.blueprints {
            let layover = opening.layover(blueprint);
            let words = providers_of(blueprint, |kind, version| {
                self.rules.handlers.find(kind, version).is_ok_and(|handler| !handler.needs_facility())
            });
            for word in words {
                opening.want(word, &blueprint.name.value, &layover);
            }
            let state = self.journals.state(blueprint.name.value.as_str()).await?;
            for (_, record) in state.recorded.known() {
                if let Some(facility) = record.facility.as_deref() {
                    opening.want(Some(facility), &blueprint.name.value, &layover);
                }
            }
        }
        let is_closed = |one: &&SubstrateSection| !opening.wanted.contains_key(&one.name);
        let closed = config.substrates().filter(is_closed);
        self.configured = Some(Configured {
            closed: closed.map(|one| (one.name.clone(), one.provider_type.clone())).collect(),
            types: registry.available().map(str::to_owned).collect(),
            only: only_of(config).map(|one| one.name.clone()),
        });
        let substrates = opening.open(&documents.problems)?;
        self.facilities.extend(substrates);
        Ok(self)
    }
}

/// What `provider` says, once each; `None` for resources that leave it out.
fn providers_of(
    blueprint: &Blueprint,
    lives_nowhere: impl Fn(&str, Option<Version>) -> bool,
) -> impl Iterator<Item = Option<&str>> {
    let resources =
        blueprint.resources.iter().filter(|resource| !lives_nowhere(&resource.kind.value, resource.version));
    let words: BTreeSet<Option<&str>> =
        resources.map(|resource| resource.provider.as_ref().map(|provider| &*provider.value)).collect();
    words.into_iter()
}

/// What one blueprint lays over the configuration.
#[derive(Default)]
struct Layover {
    global: Option<Section>,
    /// By the word that stands there: a name or a type.
    substrates: Vec<(String, Section)>,
}

struct Opening<'a> {
    config: &'a Config,
    registry: &'a Registry,
    wanted: BTreeMap<String, Wanted>,
    problems: Vec<Problem>,
}

/// A substrate to be opened.
struct Wanted {
    configured: SubstrateSection,
    /// Who laid what over it first; another one must say the same.
    by: Name,
    own: Option<Section>,
    global: Option<Section>,
    /// It was said already that two do not agree.
    disputed: bool,
}

impl Opening<'_> {
    /// Reads `engine_config`, with what is wrong with its shape and its words.
    fn layover(&mut self, blueprint: &Blueprint) -> Layover {
        let mut layover = Layover::default();
        let Some(section) = &blueprint.engine_config else { return layover };
        let mut named = Vec::new();
        for (key, entry) in self.entries(section.clone()) {
            match key.as_str() {
                GLOBAL => layover.global = Some(entry),
                SUBSTRATES => named.extend(self.entries(entry)),
                _ if key.starts_with("x-") => {}
                _ => named.push((key, entry)),
            }
        }
        for (word, entry) in named {
            if !entry.is_map() && !entry.is_null() {
                self.problems
                    .extend(entry.into_entries().err().into_iter().flat_map(ConfigError::into_problems));
            } else if self.configured(&word, Some(&entry)).is_none() {
                self.problems.push(self.unknown(&word, &entry));
            } else {
                layover.substrates.push((word, entry));
            }
        }
        layover
    }

    fn entries(&mut self, section: Section) -> Vec<(String, Section)> {
        section.into_entries().unwrap_or_else(|error| {
            self.problems.extend(error.into_problems());
            Vec::new()
        })
    }

    fn unknown(&self, word: &str, entry: &Section) -> Problem {
        let names = self.config.substrates().flat_map(|one| [one.name.as_str(), one.provider_type.as_str()]);
        let known: Vec<&str> = names.chain(self.registry.available()).collect();
        let message =
            format!("`engine_config` sets up {}, which is no substrate of the configuration", quoted(word));
        Problem::new(entry.name(), message)
            .at(entry.key_location().cloned())
            .suggest(nearest(word, known.iter().copied()))
    }

    /// The substrate behind a word: a configured one, one that `entry` defines with a `type`, or a type's default.
    fn configured(&self, word: &str, entry: Option<&Section>) -> Option<SubstrateSection> {
        if let Ok(found) = self.config.substrate(word) {
            return Some(found.clone());
        }
        // Several of the type: `validate` says so, in its place.
        let of_type = self.config.substrates().any(|one| one.provider_type == word);
        if of_type {
            return None;
        }
        let own_type = entry.and_then(|entry| entry.get_optional::<String>("type").ok().flatten());
        let provider_type = own_type.as_deref().unwrap_or(word);
        let is_known = self.registry.available().any(|known| known == provider_type);
        let default = || self.config.substrate_or_default(word).ok();
        is_known
            .then(default)?
            .map(|default| SubstrateSection { provider_type: provider_type.to_owned(), ..default })
    }

    /// Notes that a blueprint needs a substrate, or the only one that there is.
    fn want(&mut self, word: Option<&str>, by: &Name, layover: &Layover) {
        let configured = match word {
            Some(word) => {
                let entry = layover.substrates.iter().find(|(one, _)| one == word).map(|(_, entry)| entry);
                self.configured(word, entry)
            }
            None => only_of(self.config).cloned(),
        };
        let Some(configured) = configured else { return };
        let own = layover.substrates.iter().find(|(word, entry)| {
            self.configured(word, Some(entry)).is_some_and(|meant| meant.name == configured.name)
        });
        let own = own.and_then(|(_, entry)| self.without_type(entry, &configured));
        match self.wanted.get_mut(&configured.name) {
            None => {
                let name = configured.name.clone();
                let global = layover.global.clone();
                let wanted = Wanted { configured, by: by.clone(), own, global, disputed: false };
                self.wanted.insert(name, wanted);
            }
            Some(wanted) if wanted.by == *by || wanted.disputed => {}
            Some(wanted) => {
                let differ = [(&wanted.own, &own), (&wanted.global, &layover.global)]
                    .into_iter()
                    .find(|(one, other)| value_of(one.as_ref()) != value_of(other.as_ref()));
                if let Some((one, other)) = differ {
                    wanted.disputed = true;
                    let message = format!(
                        "the blueprints `{}` and `{by}` set up {} differently in `engine_config`, and one run opens it \
                         once: let both say the same, or run them one after the other",
                        wanted.by,
                        quoted(&configured.name)
                    );
                    let place = other.as_ref().or(one.as_ref()).and_then(Section::key_location).cloned();
                    self.problems.push(Problem::new(configured.name, message).at(place));
                }
            }
        }
    }

    /// The settings alone: no provider knows the key `type`.
    fn without_type(&mut self, entry: &Section, configured: &SubstrateSection) -> Option<Section> {
        let (mut settings, mut provider_type) = (Vec::new(), None);
        for (key, value) in self.entries(entry.clone()) {
            if key == "type" { provider_type = Some(value) } else { settings.push((key, value)) }
        }
        if let Some(value) = provider_type
            && value.parse::<String>().ok().as_deref() != Some(&configured.provider_type)
        {
            let (name, known) = (quoted(&configured.name), quoted(&configured.provider_type));
            self.problems
                .push(value.problem(format!("{name} has the type {known}, which cannot be changed")));
        }
        (!settings.is_empty()).then(|| Section::from_entries(entry, settings))
    }

    /// Makes all of them; what is wrong with several is told at once.
    fn open(mut self, before: &[Problem]) -> std::result::Result<Vec<Arc<dyn Substrate>>, EngineError> {
        let mut substrates = Vec::with_capacity(self.wanted.len());
        for wanted in self.wanted.values() {
            match self.open_one(wanted) {
                Ok(substrate) => substrates.push(substrate),
                Err(error) => match problems_in(&error) {
                    Some(problems) => self.problems.extend(problems.iter().cloned()),
                    None => return Err(error.into()),
                },
            }
        }
        if self.problems.is_empty() {
            return Ok(substrates);
        }
        let mut all: Vec<Problem> = before.to_vec();
        // Two substrates with the same `global` have the same mistake in it.
        for problem in self.problems {
            if !all.contains(&problem) {
                all.push(problem);
            }
        }
        Err(EngineError::Invalid(all.into_iter().collect()))
    }

    fn open_one(&self, wanted: &Wanted) -> Result<Arc<dyn Substrate>> {
        let over = |below: &Section, above: &Option<Section>| match above {
            Some(above) => below.overlay(above),
            None => below.clone(),
        };
        let settings: StackSettings = over(self.config.global(), &wanted.global).parse()?;
        let SubstrateSection { name, provider_type, section } = &wanted.configured;
        let provider = self.registry.create(provider_type, name, &over(section, &wanted.own))?;
        Ok(Stack::standard(provider, &settings)?.substrate())
    }
}

fn only_of(config: &Config) -> Option<&SubstrateSection> {
    let mut all = config.substrates();
    all.next().filter(|_| all.next().is_none())
}

fn value_of(section: Option<&Section>) -> Value {
    section.and_then(|section| section.to_value().ok()).unwrap_or_default()
}

/// The problems behind an error, where it is about settings.
fn problems_in(error: &Error) -> Option<&[Problem]> {
    let source = std::error::Error::source(error)?.downcast_ref::<ConfigError>()?;
    Some(source.problems())
}
