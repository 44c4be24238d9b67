//! What is to be done with one resource, and why.

use std::collections::BTreeMap;

use super::build::Refusal;
use super::canonical::{Canonical, Property};
use super::state::{Observation, Ownership, Recorded, RecordedResource, drift, is_below};
use super::step::{Cause, StepAction};
use crate::directive::When;
use crate::handler::ChangeEffect;
use crate::model::{Part, Reference, ResourceId, Template};
use crate::validation::DesiredResource;

/// A decision about one resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) action: StepAction,
    pub(super) causes: Vec<Cause>,
}

impl Decision {
    fn new(action: StepAction, cause: Cause) -> Self {
        Self { action, causes: vec![cause] }
    }

    fn keep() -> Self {
        Self { action: StepAction::Keep, causes: Vec::new() }
    }
}

/// What is known of everything else, for a decision about one resource.
pub(super) trait Surroundings {
    /// Whether what a reference points at is made anew in this plan.
    fn is_made_anew(&self, reference: &Reference) -> bool;

    /// The digest of what a reference stands for now; `None` when that is not known.
    fn input(&self, reference: &Reference) -> Option<String>;
}

/// Decides about a resource that shall be.
pub(super) fn desired(
    desired: &DesiredResource,
    recorded: &Recorded,
    observed: Option<&Observation>,
    surroundings: &impl Surroundings,
) -> Result<Decision, Refusal> {
    let refuse = |reason: String, advice: &str| Refusal::new(&desired.id, reason, advice);
    let unfinished = recorded.unfinished(&desired.id);
    let recorded = recorded.get(&desired.id);
    let present = match observed {
        Some(Observation::Unknown(reason)) => {
            return Err(refuse(
                format!("its state could not be found out: {reason}"),
                "see that the provider can be reached, then plan again",
            ));
        }
        Some(Observation::Present(present)) if present.ownership == Ownership::Foreign => {
            return Err(refuse(
                "something of this name is on the provider that this deployment did not make".to_owned(),
                "rename the resource, or remove what is there",
            ));
        }
        Some(Observation::Absent) => {
            let cause = if recorded.is_some() { Cause::Vanished } else { Cause::New };
            return Ok(Decision::new(StepAction::Create, cause));
        }
        Some(Observation::Present(present)) => Some(present),
        None if recorded.is_none() && unfinished.is_none() => {
            return Ok(Decision::new(StepAction::Create, Cause::New));
        }
        None => None,
    };
    let mut change = Change::new(desired);
    let believed = match present {
        // Of a replacement that was interrupted, either the old or the new one is there: the key tells which.
        Some(present) => [unfinished, recorded]
            .into_iter()
            .flatten()
            .find(|record| present.key.as_ref().is_some_and(|key| *key == record.key))
            .or(recorded.or(unfinished)),
        None => recorded.or(unfinished),
    };
    if let Some(believed) = believed {
        change.since(believed)?;
    }
    if recorded.is_none() {
        change.add(ChangeEffect::Update, Cause::Unrecorded);
    } else if unfinished.is_some() {
        change.add(ChangeEffect::Update, Cause::Unfinished);
    }
    if let Some(present) = present {
        let reported = believed.and_then(|record| record.reported.as_deref());
        change.behind_our_back(reported, &present.properties, &present.complete_below);
    }
    change.through_references(believed.map(|record| &record.inputs), surroundings);
    change.decision()
}

/// Decides about a resource that is recorded and no longer desired.
pub(super) fn removed(
    id: &ResourceId,
    recorded: &RecordedResource,
    observed: Option<&Observation>,
) -> Result<Decision, Refusal> {
    let refuse = |reason: &str, advice: &str| Err(Refusal::new(id, reason.to_owned(), advice));
    match observed {
        Some(Observation::Absent) => Ok(Decision::new(StepAction::Delete, Cause::AlreadyGone)),
        Some(Observation::Present(present)) if present.ownership == Ownership::Foreign => {
            refuse("what has its name now was not made by this deployment", "remove or rename it by hand")
        }
        Some(Observation::Unknown(reason)) => refuse(
            &format!("its state could not be found out: {reason}"),
            "see that the provider can be reached, then plan again",
        ),
        _ if recorded.protect => refuse(
            "it is protected and would be deleted",
            "put it back with `lifecycle.protect: false`, deploy, then take it out",
        ),
        _ => Ok(Decision::new(StepAction::Delete, Cause::Removed)),
    }
}

/// The change of one resource while its causes are gathered.
struct Change<'a> {
    desired: &'a DesiredResource,
    effect: Option<ChangeEffect>,
    causes: Vec<Cause>,
}

impl<'a> Change<'a> {
    fn new(desired: &'a DesiredResource) -> Self {
        Self { desired, effect: None, causes: Vec::new() }
    }

    fn add(&mut self, effect: ChangeEffect, cause: Cause) {
        self.effect = self.effect.max(Some(effect));
        self.causes.push(cause);
    }

    fn effect_of(&self, property: &str) -> ChangeEffect {
        let mut path = property.split('.');
        match (path.next(), path.next()) {
            (Some("resource"), Some(part)) if part == When::Creating.key() => ChangeEffect::Replace,
            // What the engine itself does on a resource that is there never needs a new one.
            (Some("resource"), _) => ChangeEffect::Update,
            _ => self.desired.interpreted.handler.effect_of(property),
        }
    }

    fn since(&mut self, recorded: &RecordedResource) -> Result<(), Refusal> {
        let kind = &self.desired.declaration.kind.value;
        if recorded.kind != **kind {
            let cause = Cause::KindChanged { from: recorded.kind.clone(), to: kind.to_string() };
            self.add(ChangeEffect::Replace, cause);
        }
        if recorded.facility.as_deref() != self.desired.facility().map(|facility| &**facility) {
            let to = self.desired.facility().map(ToString::to_string);
            self.add(ChangeEffect::Replace, Cause::FacilityChanged { from: recorded.facility.clone(), to });
        }
        let before = &recorded.canonical;
        let current = &self.desired.interpreted.canonical;
        if before.version() == current.version() {
            // Most resources of most plans are as they were: one comparison of digests says so.
            if before.digest() != current.digest() {
                self.differences(before, current);
            }
            return Ok(());
        }
        match self.desired.interpreted.canonical_by(before.version(), self.desired) {
            Some(now) => {
                self.differences(before, &now);
                Ok(())
            }
            None => Err(Refusal::new(
                &self.desired.id,
                "it was recorded by a newer version of this program".to_owned(),
                "plan with that version",
            )),
        }
    }

    fn differences(&mut self, before: &Canonical, now: &Canonical) {
        let shown = |property: Option<&Property>| property.map(ToString::to_string);
        for (property, from, to) in before.differences(now) {
            if !self.desired.lifecycle().ignores(property) {
                let cause =
                    Cause::Changed { property: property.to_owned(), from: shown(from), to: shown(to) };
                self.add(self.effect_of(property), cause);
            }
        }
    }

    /// Compares what is seen with what was seen when it was made; if nobody looked then, with what is desired.
    fn behind_our_back(&mut self, reported: Option<&Canonical>, seen: &Canonical, complete_below: &[String]) {
        let of_that_rule;
        let current = &self.desired.interpreted.canonical;
        let baseline = match reported {
            Some(reported) if reported.version() == seen.version() => reported,
            _ if current.version() == seen.version() => current,
            _ => match self.desired.interpreted.canonical_by(seen.version(), self.desired) {
                Some(canonical) => {
                    of_that_rule = canonical;
                    &of_that_rule
                }
                None => return,
            },
        };
        let drifts: Vec<_> = drift(baseline, seen, complete_below)
            .filter(|(property, ..)| {
                // What was asked for may be spelt otherwise by the substrate. As long as it is not known how, that is
                // no reason to make anything anew.
                reported.is_some()
                    || complete_below.iter().any(|above| is_below(property, above))
                    || self.effect_of(property) == ChangeEffect::Update
            })
            .filter(|(property, wanted, _)| {
                // A reference is compared when it is resolved; here it is still text.
                let is_reference =
                    matches!(wanted, Property::Value(value) if value.to_string().contains("${"));
                let is_explained = self.causes.iter().any(
                    |cause| matches!(cause, Cause::Changed { property: changed, .. } if changed == property),
                );
                !is_reference && !is_explained && !self.desired.lifecycle().ignores(property)
            })
            .map(|(property, wanted, found)| Cause::Drifted {
                property: property.to_owned(),
                found: found.map(ToString::to_string),
                wanted: wanted.to_string(),
            })
            .collect();
        for cause in drifts {
            if let Cause::Drifted { property, .. } = &cause {
                self.add(self.effect_of(property), cause);
            }
        }
    }

    fn through_references(
        &mut self,
        inputs: Option<&BTreeMap<String, String>>,
        surroundings: &impl Surroundings,
    ) {
        let interpretation = &self.desired.interpreted.interpretation;
        if self.desired.declaration.references.is_empty() && interpretation.uses.is_empty() {
            return;
        }
        let mut uses = interpretation.uses.clone();
        uses_of("", &interpretation.properties, &mut uses);
        for (property, reference) in uses {
            if self.desired.lifecycle().ignores(&property) {
                continue;
            }
            let shown = reference.to_string();
            if surroundings.is_made_anew(&reference) {
                let effect = self.effect_of(&property);
                self.add(effect, Cause::InputMayChange { property, reference: shown });
            } else if let Some(before) = inputs.and_then(|inputs| inputs.get(&shown))
                && surroundings.input(&reference).is_some_and(|now| now != *before)
            {
                let effect = self.effect_of(&property);
                self.add(effect, Cause::InputChanged { property, reference: shown });
            }
        }
    }

    fn decision(self) -> Result<Decision, Refusal> {
        let lifecycle = self.desired.lifecycle();
        let action = match self.effect {
            None => return Ok(Decision::keep()),
            Some(ChangeEffect::Update) => StepAction::Update,
            Some(ChangeEffect::Replace) if lifecycle.protect => {
                let causes: Vec<String> = self.causes.iter().map(ToString::to_string).collect();
                return Err(Refusal::new(
                    &self.desired.id,
                    format!("it is protected and would be replaced ({})", causes.join("; ")),
                    "take the change back, or set `lifecycle.protect: false` or `lifecycle.ignore_changes`",
                ));
            }
            Some(ChangeEffect::Replace) if lifecycle.create_before_destroy => StepAction::ReplaceCreateFirst,
            Some(ChangeEffect::Replace) => StepAction::Replace,
        };
        Ok(Decision { action, causes: self.causes })
    }
}

/// Where properties use references, with the dotted path of each.
pub(crate) fn uses_of(path: &str, value: &serde_json::Value, into: &mut Vec<(String, Reference)>) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            for part in Template::parse(text).ok().flatten().iter().flat_map(Template::parts) {
                if let Part::Reference(reference) = part {
                    into.push((path.to_owned(), reference.clone()));
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| uses_of(path, item, into)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                uses_of(&below, value, into);
            }
        }
        _ => {}
    }
}
