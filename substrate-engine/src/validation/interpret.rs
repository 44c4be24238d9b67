//! What each declaration means, by its handler and directives, and whether its facility can do it.

use std::sync::Arc;

use serde_json::{Value, json};
use substrate_core::config::{ConfigError, Location, Problem, Section, Substitution, quoted};
use substrate_core::{Descriptor, Support};

use super::desired::{Interpreted, salt};
use super::surroundings::Siblings;
use super::{Facilities, Rules};
use crate::directive::{CheckedDirective, When};
use crate::document::{Documents, without_consequences};
use crate::handler::{Mention, Need, Requirement, ResourceHandler, Subject};
use crate::model::{Name, Resource, ResourceId, count_instances};
use crate::plan::{Canonical, CanonicalVersion};

/// More instances than this in one run are a mistake, and would take more memory than it is worth to find that out.
pub(super) const MOST_INSTANCES: usize = 1_000_000;

/// A resource as declared, and what became of its interpretation.
pub(super) struct Declaration {
    pub(super) blueprint: Name,
    pub(super) resource: Arc<Resource>,
    /// How many there are, and whether they have an index.
    pub(super) count: Option<u32>,
    pub(super) meaning: Meaning,
}

pub(super) enum Meaning {
    /// It was reported, or cannot be judged because of something that was.
    Unknown,
    /// All instances mean the same.
    Shared(Arc<Interpreted>),
    /// `${count.index}` makes them differ.
    PerIndex(Vec<Arc<Interpreted>>),
}

impl Declaration {
    /// The other resources that its specs name.
    pub(super) fn mentions(&self) -> &[Mention] {
        let one = match &self.meaning {
            Meaning::Unknown => None,
            Meaning::Shared(one) => Some(one),
            Meaning::PerIndex(all) => all.first(),
        };
        one.map(|one| one.interpretation.mentions.as_slice()).unwrap_or_default()
    }
}

pub(super) fn declarations(
    documents: &Documents,
    rules: &Rules,
    facilities: &Facilities,
    problems: &mut Vec<Problem>,
) -> Vec<Declaration> {
    let mut left = MOST_INSTANCES;
    let mut declarations = Vec::new();
    for blueprint in &documents.blueprints {
        let siblings = Siblings::new(blueprint, rules, facilities);
        siblings.check_defaults(problems);
        for resource in &blueprint.resources {
            let with_defaults = siblings.with_defaults(resource);
            let resource = with_defaults.as_ref().unwrap_or(resource);
            let siblings = &siblings;
            let mut checking =
                Checking { rules, siblings, blueprint: &blueprint.name.value, resource, left, problems };
            let (count, meaning) = checking.interpret();
            left = checking.left;
            declarations.push(Declaration {
                blueprint: blueprint.name.value.clone(),
                resource: resource.clone(),
                count,
                meaning,
            });
        }
    }
    declarations
}

struct Checking<'a, 'b> {
    rules: &'a Rules,
    siblings: &'a Siblings<'b>,
    blueprint: &'a Name,
    resource: &'a Resource,
    left: usize,
    problems: &'a mut Vec<Problem>,
}

impl Checking<'_, '_> {
    fn interpret(&mut self) -> (Option<u32>, Meaning) {
        let resource = self.resource;
        let handler = self.handler();
        let facility = self.facility(handler.as_deref());
        let directives = self.directives();
        let Some(handler) = handler else { return (resource.count, Meaning::Unknown) };
        let per_index = uses_index(&resource.specs);
        if per_index && resource.count.is_none() {
            self.report("`${count.index}` needs a `count`", resource.specs.key_location());
            return (None, Meaning::Unknown);
        }
        let first = self.interpret_specs(&*handler, per_index.then_some(0));
        let Some((first, own_specs)) = first else { return (resource.count, Meaning::Unknown) };
        let count = self.count(first.replicas);
        self.check_needs(facility.as_ref(), &first.needs);
        for directive in directives.iter().flatten() {
            self.check_needs(facility.as_ref(), &directive.needs);
        }
        // Its checks are done; whether a plan can be made of it is another matter.
        let (Some(facility), Some(directives), false) = (facility, directives, resource.broken) else {
            return (count, Meaning::Unknown);
        };
        let facility = facility.map(|descriptor| descriptor.name);
        let finish = |interpretation, own_specs| {
            self.finish(handler.clone(), interpretation, own_specs, directives.clone(), facility.clone())
        };
        if !per_index {
            return (count, finish(first, None).map_or(Meaning::Unknown, Meaning::Shared));
        }
        let mut all: Vec<Arc<Interpreted>> = finish(first, own_specs).into_iter().collect();
        for index in count_instances(count).skip(1) {
            let Some((interpretation, own_specs)) = self.interpret_specs(&*handler, index) else {
                return (count, Meaning::Unknown);
            };
            let (directives, facility) = (directives.clone(), facility.clone());
            all.extend(self.finish(handler.clone(), interpretation, own_specs, directives, facility));
        }
        (count, Meaning::PerIndex(all))
    }

    fn handler(&mut self) -> Option<Arc<dyn ResourceHandler>> {
        let kind = &self.resource.kind;
        if kind.value.is_empty() && self.resource.broken {
            return None;
        }
        match self.rules.handlers.find(&kind.value, self.resource.version) {
            Ok(handler) => Some(handler.clone()),
            Err(message) => {
                self.report(message, kind.location.as_ref());
                None
            }
        }
    }

    /// The facility: outside `None` when there is a mistake, inside when the kind lives on none.
    fn facility(&mut self, handler: Option<&dyn ResourceHandler>) -> Option<Option<Descriptor>> {
        match self.siblings.facility_of(self.resource, handler) {
            Ok(descriptor) => Some(descriptor.cloned()),
            Err((message, location)) => {
                self.report(message, location.as_ref());
                None
            }
        }
    }

    fn directives(&mut self) -> Option<Vec<CheckedDirective>> {
        let mut checked = Vec::new();
        let mut sound = true;
        for directive in &self.resource.directives {
            match self.rules.directives.find(&directive.name.value) {
                Ok(known) => match known.check(&directive.settings) {
                    Ok(directive) => checked.push(directive),
                    Err(error) => {
                        let found = error.into_problems();
                        self.problems.extend(without_consequences(&directive.settings, found));
                        sound = false;
                    }
                },
                Err(message) => {
                    self.report(message, directive.name.location.as_ref());
                    sound = false;
                }
            }
        }
        sound.then_some(checked)
    }

    fn interpret_specs(
        &mut self,
        handler: &dyn ResourceHandler,
        index: Option<u32>,
    ) -> Option<(crate::handler::Interpretation, Option<Section>)> {
        let own = match index.map(|index| with_index(&self.resource.specs, index)).transpose() {
            Ok(own) => own,
            Err(error) => {
                self.problems.extend(error.into_problems());
                return None;
            }
        };
        let specs = own.as_ref().unwrap_or(&self.resource.specs);
        let id =
            ResourceId { blueprint: self.blueprint.clone(), name: self.resource.name.value.clone(), index };
        match handler.interpret(Subject { name: &id.instance_name(), specs }) {
            Ok(interpretation) => Some((interpretation, own)),
            Err(error) => {
                self.problems.extend(without_consequences(specs, error.into_problems()));
                None
            }
        }
    }

    /// How many there shall be: `count`, or what the specs say.
    fn count(&mut self, replicas: Option<u32>) -> Option<u32> {
        let count = match (self.resource.count, replicas) {
            (Some(count), Some(_)) => {
                let location = self.resource.specs.location_of("replicas");
                self.report("both `count` and `replicas` say how many there shall be: keep one", location);
                Some(count)
            }
            (count, replicas) => count.or(replicas),
        };
        let instances = count.map_or(1, |count| count as usize);
        match self.left.checked_sub(instances) {
            Some(left) => {
                self.left = left;
                count
            }
            None => {
                let name = self.resource.name.value.as_str();
                let message = format!("with {} there are more than {MOST_INSTANCES} instances", quoted(name));
                self.report(message, self.resource.name.location.as_ref());
                Some(0)
            }
        }
    }

    fn check_needs(&mut self, facility: Option<&Option<Descriptor>>, needs: &[Need]) {
        let Some(Some(descriptor)) = facility else { return };
        for need in needs {
            let (what, reason) = match need.requirement {
                Requirement::Ability(ability) => match descriptor.capabilities.support(ability) {
                    Support::Yes => continue,
                    Support::No(reason) => (ability.to_string(), reason.to_string()),
                },
                Requirement::Kind(kind) if descriptor.kinds.contains(&kind) => continue,
                Requirement::Kind(kind) => {
                    let kinds: Vec<&str> = descriptor.kinds.iter().map(|kind| kind.as_str()).collect();
                    (kind.to_string(), format!("it runs {}", kinds.join(", ")))
                }
            };
            let message = format!(
                "{} needs `{what}`, which the provider {} does not have: {reason}",
                quoted(self.resource.name.value.as_str()),
                quoted(&descriptor.name)
            );
            self.report(message, need.location.as_ref().or(self.resource.name.location.as_ref()));
        }
    }

    /// Adds what every kind of resource has, and brings everything into canonical form.
    fn finish(
        &self,
        handler: Arc<dyn ResourceHandler>,
        mut interpretation: crate::handler::Interpretation,
        own_specs: Option<Section>,
        directives: Vec<CheckedDirective>,
        facility: Option<Arc<str>>,
    ) -> Option<Arc<Interpreted>> {
        let resource = self.resource;
        if let Value::Object(fields) = &mut interpretation.properties {
            // By number and not as a list: a secret in one of them hides itself, and not all of them.
            let numbered = |creating: bool| -> serde_json::Map<String, Value> {
                let shown = directives
                    .iter()
                    .filter(|one| one.is_fixed_at_creation == creating)
                    .map(|one| json!({"name": &*one.name, "on": one.actions, "settings": one.properties}));
                shown.enumerate().map(|(number, one)| (number.to_string(), one)).collect()
            };
            if !directives.is_empty() || !resource.metadata.is_empty() {
                let (acting, creating) = (numbered(false), numbered(true));
                fields.insert(
                    "resource".to_owned(),
                    json!({
                        When::Acting.key(): acting,
                        When::Creating.key(): creating,
                        "metadata": resource.metadata,
                    }),
                );
            }
        }
        let canonical = Canonical::new(
            CanonicalVersion::CURRENT,
            &interpretation.properties,
            &salt(self.blueprint, resource),
            &|text| own_specs.as_ref().is_some_and(|specs| specs.hides(text)) || resource.hides(text),
        )?;
        Some(Arc::new(Interpreted {
            handler,
            interpretation,
            directives,
            facility,
            canonical,
            unknown_secrets: Vec::new(),
            own_specs,
        }))
    }

    fn report(&mut self, message: impl Into<String>, location: Option<&Location>) {
        let path = format!("{}/{}", self.blueprint, self.resource.name.value);
        self.problems.push(Problem::new(path, message).at(location.cloned()));
    }
}

const INDEX: &str = "${count.index}";

fn uses_index(specs: &Section) -> bool {
    let mut uses = false;
    specs.for_each_text(|at| uses |= at.text.contains(INDEX));
    uses
}

fn with_index(specs: &Section, index: u32) -> Result<Section, ConfigError> {
    specs.substitute(|at| {
        if at.text == INDEX {
            return Ok(Substitution::Section(Box::new(Section::from_value(index.into()))));
        }
        // A doubled dollar in front makes it plain text; put aside while the others are replaced.
        let escaped = format!("${INDEX}");
        let parts: Vec<String> =
            at.text.split(&escaped).map(|part| part.replace(INDEX, &index.to_string())).collect();
        Ok(Substitution::Text(parts.join(&escaped)))
    })
}
