//! What a plan is made of.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::ResourceId;

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAction {
    /// Make it.
    Create,
    /// Change it where it is.
    Update,
    /// Delete it, then make it anew.
    Replace,
    /// Make a new one, then delete the old one.
    ReplaceCreateFirst,
    /// Delete it.
    Delete,
    /// Leave it.
    Keep,
}

impl StepAction {
    /// The action in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::ReplaceCreateFirst => "replace_create_first",
            Self::Delete => "delete",
            Self::Keep => "keep",
        }
    }

    /// Whether something else than before is there afterwards, so that its outputs may differ.
    #[must_use]
    pub const fn makes_anew(self) -> bool {
        matches!(self, Self::Create | Self::Replace | Self::ReplaceCreateFirst)
    }
}

impl fmt::Display for StepAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a step is taken. Values are short, and secrets are never in them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// It is in the documents and was never deployed.
    New,
    /// It was deployed and is not there any more.
    Vanished,
    /// It is there with our marks, but no record of it: a deployment was interrupted.
    Unrecorded,
    /// A change of it was begun and never finished.
    Unfinished,
    /// It is no longer in the documents.
    Removed,
    /// It is no longer in the documents, and not there any more: only the record goes.
    AlreadyGone,
    /// The documents say something else than before.
    Changed {
        /// Which property.
        property: String,
        /// As it was deployed.
        from: Option<String>,
        /// As it shall be.
        to: Option<String>,
    },
    /// Somebody changed it behind the engine's back.
    Drifted {
        /// Which property.
        property: String,
        /// As it was found.
        found: Option<String>,
        /// As it shall be.
        wanted: String,
    },
    /// It is another kind of thing now.
    KindChanged {
        /// As it was deployed.
        from: String,
        /// As it shall be.
        to: String,
    },
    /// It shall live elsewhere.
    FacilityChanged {
        /// As it was deployed.
        from: Option<String>,
        /// As it shall be.
        to: Option<String>,
    },
    /// An output of something that it uses is not what it was made with.
    InputChanged {
        /// Of which property.
        property: String,
        /// The reference.
        reference: String,
    },
    /// It uses an output of something that is made anew.
    InputMayChange {
        /// Of which property.
        property: String,
        /// The reference.
        reference: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        match self {
            Self::New => f.write_str("new"),
            Self::Vanished => f.write_str("it is gone"),
            Self::Unrecorded => f.write_str("it is there, but was not recorded"),
            Self::Unfinished => f.write_str("a change of it was interrupted"),
            Self::Removed => f.write_str("no longer in the documents"),
            Self::AlreadyGone => f.write_str("no longer in the documents, and gone already"),
            Self::Changed { property, from, to } => write!(f, "{property}: {} → {}", shown(from), shown(to)),
            Self::Drifted { property, found, wanted } => {
                write!(f, "{property} drifted to {}, wanted {wanted}", shown(found))
            }
            Self::KindChanged { from, to } => write!(f, "type: {from} → {to}"),
            Self::FacilityChanged { from, to } => write!(f, "provider: {} → {}", shown(from), shown(to)),
            Self::InputChanged { reference, .. } => write!(f, "${{{reference}}} changed"),
            Self::InputMayChange { reference, .. } => write!(f, "${{{reference}}} may change"),
        }
    }
}

/// Something that must be finished first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Prerequisite {
    /// The step with this number.
    Step(usize),
    /// The gate with this number.
    Gate(usize),
}

/// One atomic step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What is done.
    pub action: StepAction,
    /// To which resource.
    pub resource: ResourceId,
    /// Its kind.
    pub kind: Arc<str>,
    /// Its facility; that of the old one when it is replaced elsewhere is in the record.
    pub facility: Option<Arc<str>>,
    /// Why; at least one cause.
    pub causes: Vec<Cause>,
    /// What must be finished first, in ascending order.
    pub after: Vec<Prerequisite>,
}

/// A point in the order where nothing is done: it is passed when all before it is finished. Gates keep a plan small
/// where many steps wait for many others, and carry the order through resources that stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// What passes here: `shop/web[*]`, or a resource that is kept.
    pub label: String,
    /// What must be finished first, in ascending order.
    pub after: Vec<Prerequisite>,
}

/// What has to be done. Steps stand in an order in which each comes after all that it waits for.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// What is done; empty when everything is as it shall be.
    pub steps: Vec<Step>,
    /// Where the order passes through.
    pub gates: Vec<Gate>,
    /// What stays as it is, in document order.
    pub kept: Vec<ResourceId>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan without the steps that `keeps` says no to. What waited for one of those waits for what that one waited
    /// for.
    #[must_use]
    pub(crate) fn retaining(mut self, keeps: impl Fn(&Step) -> bool) -> Self {
        let kept: Vec<bool> = self.steps.iter().map(keeps).collect();
        if kept.iter().all(|kept| *kept) {
            return self;
        }
        // A step that is left out becomes a gate: the order passes through it as before.
        let mut new_numbers = Vec::with_capacity(kept.len());
        let mut steps = Vec::new();
        for (step, kept) in self.steps.into_iter().zip(kept) {
            if kept {
                new_numbers.push(Prerequisite::Step(steps.len()));
                steps.push(step);
            } else {
                new_numbers.push(Prerequisite::Gate(self.gates.len()));
                self.gates.push(Gate { label: step.resource.to_string(), after: step.after });
                if step.action != StepAction::Delete {
                    self.kept.push(step.resource);
                }
            }
        }
        let afters = steps.iter_mut().map(|step| &mut step.after);
        for after in afters.chain(self.gates.iter_mut().map(|gate| &mut gate.after)) {
            for prerequisite in after.iter_mut() {
                if let Prerequisite::Step(number) = prerequisite
                    && let Some(new) = new_numbers.get(*number)
                {
                    *prerequisite = *new;
                }
            }
            after.sort_unstable();
        }
        self.steps = steps;
        self
    }

    /// How many steps of each kind there are.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { keep: self.kept.len(), ..Summary::default() };
        for step in &self.steps {
            let count = match step.action {
                StepAction::Create => &mut summary.create,
                StepAction::Update => &mut summary.update,
                StepAction::Replace | StepAction::ReplaceCreateFirst => &mut summary.replace,
                StepAction::Delete => &mut summary.delete,
                StepAction::Keep => &mut summary.keep,
            };
            *count += 1;
        }
        summary
    }

    /// The step of a resource, if something is done to it.
    #[must_use]
    pub fn step_of(&self, id: &ResourceId) -> Option<&Step> {
        self.steps.iter().find(|step| step.resource == *id)
    }
}

/// How many steps of each kind a plan has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "each field is the number of steps of its name")]
pub struct Summary {
    pub create: usize,
    pub update: usize,
    pub replace: usize,
    pub delete: usize,
    pub keep: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} to create, {} to update, {} to replace, {} to delete, {} unchanged",
            self.create, self.update, self.replace, self.delete, self.keep
        )
    }
}
