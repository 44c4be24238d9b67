//! Carrying out a plan: every step as soon as what it waits for is done and a place on its facility is free.

pub(crate) mod directives;
mod inputs;
mod progress;
mod report;
mod step;
mod timeline;
mod timeline_drawing;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use substrate_core::Error;
use tokio::time::Instant;
pub use tokio_util::sync::CancellationToken;

pub use progress::{Progress, ProgressEvent, Stage};
pub use report::{Failure, Report, Skipped};
pub use timeline::{Span, Timeline};

use crate::engine::Selector;
use crate::engine::world::World;
use crate::journal::Journal;
use crate::model::{Name, ResourceId};
use crate::plan::{Observed, Plan, Prerequisite, Step};
use step::StepError;

/// How a run is carried out.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// What takes part; everything unless it is narrowed.
    pub selector: Selector,
    /// Cancelling it lets what is in flight finish, and begins nothing more.
    pub cancel: CancellationToken,
    /// Who hears of it.
    pub progress: Option<Arc<dyn Progress>>,
    /// Whether a run that failed is rolled back at once.
    pub rollback_on_failure: bool,
}

impl RunOptions {
    /// Narrows what takes part.
    #[must_use]
    pub fn only(mut self, selector: Selector) -> Self {
        self.selector = selector;
        self
    }

    /// Sets what stops it.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Sets who hears of it.
    #[must_use]
    pub fn telling(mut self, progress: impl Progress + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Lets a run that failed be rolled back at once.
    #[must_use]
    pub fn rolling_back_on_failure(mut self) -> Self {
        self.rollback_on_failure = true;
        self
    }
}

impl std::fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunOptions")
            .field("selector", &self.selector)
            .field("rollback_on_failure", &self.rollback_on_failure)
            .finish_non_exhaustive()
    }
}

/// A plan while it is carried out.
pub(crate) struct Running<'a> {
    pub(crate) world: &'a World<'a>,
    pub(crate) observed: &'a Observed,
    pub(crate) journals: &'a HashMap<Name, Journal>,
    pub(crate) options: &'a RunOptions,
    /// Whether this is a rollback.
    undoes: bool,
    /// What was made in this run gives these outputs.
    outputs: Mutex<HashMap<ResourceId, BTreeMap<String, Value>>>,
    /// The journal was lost: nothing more may be done.
    lost: AtomicBool,
    ended: AtomicUsize,
    steps: usize,
    start: Instant,
}

/// When the parts of a step began.
pub(crate) struct Times {
    ready: Instant,
    began: Option<Instant>,
    made: Option<Instant>,
}

impl Times {
    fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    fn make(&mut self) {
        self.made.get_or_insert_with(Instant::now);
    }
}

impl<'a> Running<'a> {
    pub(crate) fn new(
        world: &'a World<'a>,
        observed: &'a Observed,
        journals: &'a HashMap<Name, Journal>,
        options: &'a RunOptions,
        undoes: bool,
        steps: usize,
    ) -> Self {
        Self {
            world,
            observed,
            journals,
            options,
            undoes,
            outputs: Mutex::default(),
            lost: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
            steps,
            start: Instant::now(),
        }
    }

    /// Carries out a plan. Everything is done by this one future: dropped, it leaves nothing running.
    pub(crate) async fn carry_out(&self, plan: &Plan) -> (Report, Option<Error>) {
        self.set_given_outputs();
        let mut order = Order::new(plan);
        let mut report = Report::new();
        report.unchanged = plan.kept.len();
        let mut lost = None;
        let mut flying = FuturesUnordered::new();
        let mut ready = order.first();
        loop {
            if !self.is_stopping() {
                for number in ready.drain(..) {
                    let Some(step) = plan.steps.get(number) else { continue };
                    let mut times = Times { ready: Instant::now(), began: None, made: None };
                    flying.push(async move {
                        let result = self.take(step, &mut times).await;
                        (number, step, result, times)
                    });
                }
            }
            let Some((number, step, result, times)) = flying.next().await else { break };
            let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
            let failure = match result {
                Ok(()) => {
                    report.add_done(step.action, step.resource.clone());
                    self.tell_ended(step, Stage::Done, ended);
                    ready.extend(order.done(number));
                    None
                }
                Err(StepError::Cancelled) => {
                    order.leave(number);
                    None
                }
                Err(StepError::Lost(error)) => {
                    self.lost.store(true, Ordering::Relaxed);
                    order.leave(number);
                    lost.get_or_insert(error);
                    None
                }
                Err(StepError::Failed(error)) => {
                    let reason = error.to_string();
                    self.tell_ended(step, Stage::Failed(reason.clone()), ended);
                    order.failed(number);
                    report.failed.push(Failure {
                        resource: step.resource.clone(),
                        action: step.action,
                        reason: reason.clone(),
                        stuck: self.advice_when_stuck(&error),
                    });
                    Some(reason)
                }
            };
            if let Some(began) = times.began {
                report.timeline.spans.push(Span {
                    resource: step.resource.clone(),
                    action: step.action,
                    facility: step.facility.as_deref().map(str::to_owned),
                    after: order
                        .last_before(number)
                        .and_then(|before| plan.steps.get(before))
                        .map(|one| one.resource.clone()),
                    ready: times.ready - self.start,
                    began: began - self.start,
                    made: times.made.map(|made| made - self.start),
                    ended: self.start.elapsed(),
                    failure,
                });
            }
        }
        for (number, reason) in order.not_begun(plan) {
            if let Some(step) = plan.steps.get(number) {
                self.tell(step, Stage::Skipped(reason.clone()));
                report.skipped.push(Skipped { resource: step.resource.clone(), reason });
            }
        }
        report.timeline.spans.sort_by_key(|span| span.began);
        report.timeline.total = self.start.elapsed();
        report.conclude(self.options.cancel.is_cancelled(), lost.as_ref());
        (report, lost)
    }

    /// An undoing that failed leaves something behind that somebody must look after.
    fn advice_when_stuck(&self, error: &Error) -> Option<String> {
        if !self.undoes {
            return None;
        }
        let advice = error
            .hint()
            .unwrap_or("mend the cause, then roll back again: what is undone already is left alone");
        Some(advice.to_owned())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.options.cancel.is_cancelled() || self.lost.load(Ordering::Relaxed)
    }

    async fn stopping(&self) {
        self.options.cancel.cancelled().await;
    }

    fn tell(&self, step: &Step, stage: Stage) {
        self.tell_ended(step, stage, self.ended.load(Ordering::Relaxed));
    }

    fn tell_ended(&self, step: &Step, stage: Stage, ended: usize) {
        if let Some(progress) = &self.options.progress {
            let (resource, action) = (&step.resource, step.action);
            progress.on_event(&ProgressEvent { resource, action, stage, ended, steps: self.steps });
        }
    }
}

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waiting,
    Done,
    Failed,
    /// It was not begun, or left in the middle.
    Left,
}

/// Which steps can be taken next. Time and memory are linear in the plan.
struct Order {
    /// By step, then by gate: for how much it waits.
    waiting_for: Vec<usize>,
    /// By step, then by gate: who waits for it.
    waiting: Vec<Vec<usize>>,
    fates: Vec<Fate>,
    /// By step or gate: the step that ended last of those that it waited for.
    last_before: Vec<Option<usize>>,
    steps: usize,
}

impl Order {
    fn new(plan: &Plan) -> Self {
        let steps = plan.steps.len();
        let count = steps + plan.gates.len();
        let mut waiting = vec![Vec::new(); count];
        let mut waiting_for = Vec::with_capacity(count);
        let afters =
            plan.steps.iter().map(|step| &step.after).chain(plan.gates.iter().map(|gate| &gate.after));
        for (number, after) in afters.enumerate() {
            waiting_for.push(after.len());
            for before in after {
                let before = match before {
                    Prerequisite::Step(step) => *step,
                    Prerequisite::Gate(gate) => steps + gate,
                };
                if let Some(waiting) = waiting.get_mut(before) {
                    waiting.push(number);
                }
            }
        }
        Self {
            waiting_for,
            waiting,
            fates: vec![Fate::Waiting; count],
            last_before: vec![None; count],
            steps,
        }
    }

    fn first(&mut self) -> Vec<usize> {
        let free =
            self.waiting_for.iter().enumerate().filter(|(_, count)| **count == 0).map(|(number, _)| number);
        free.filter(|number| *number < self.steps).collect()
    }

    /// What can be taken now that a step is done.
    fn done(&mut self, number: usize) -> Vec<usize> {
        let mut free = Vec::new();
        let mut passed = vec![number];
        while let Some(before) = passed.pop() {
            if let Some(fate) = self.fates.get_mut(before) {
                *fate = Fate::Done;
            }
            for after in self.waiting.get(before).into_iter().flatten() {
                if let Some(last) = self.last_before.get_mut(*after) {
                    *last = Some(number);
                }
                let Some(count) = self.waiting_for.get_mut(*after) else { continue };
                *count = count.saturating_sub(1);
                if *count == 0 {
                    if *after < self.steps { free.push(*after) } else { passed.push(*after) }
                }
            }
        }
        free
    }

    fn failed(&mut self, number: usize) {
        if let Some(fate) = self.fates.get_mut(number) {
            *fate = Fate::Failed;
        }
    }

    fn leave(&mut self, number: usize) {
        if let Some(fate) = self.fates.get_mut(number) {
            *fate = Fate::Left;
        }
    }

    fn last_before(&self, number: usize) -> Option<usize> {
        self.last_before.get(number).copied().flatten()
    }

    /// The steps that were not brought to an end, each with the reason. Steps stand in an order in which each comes
    /// after what it waits for; gates too, and a gate may stand behind steps of a higher number.
    fn not_begun(&self, plan: &Plan) -> Vec<(usize, String)> {
        let mut blocked_by: Vec<Option<usize>> = vec![None; self.fates.len()];
        let mut queue: Vec<usize> =
            (0..self.steps).filter(|number| self.fates.get(*number) == Some(&Fate::Failed)).collect();
        for failed in queue.clone() {
            if let Some(slot) = blocked_by.get_mut(failed) {
                *slot = Some(failed);
            }
        }
        while let Some(number) = queue.pop() {
            let cause = blocked_by.get(number).copied().flatten();
            for after in self.waiting.get(number).into_iter().flatten() {
                if let Some(slot) = blocked_by.get_mut(*after).filter(|slot| slot.is_none()) {
                    *slot = cause;
                    queue.push(*after);
                }
            }
        }
        let left = (0..self.steps)
            .filter(|number| matches!(self.fates.get(*number), Some(Fate::Waiting | Fate::Left)));
        left.map(|number| {
            let cause = blocked_by.get(number).copied().flatten().and_then(|cause| plan.steps.get(cause));
            let reason = match (cause, self.fates.get(number)) {
                (Some(cause), _) => format!("it needs `{}`, which failed", cause.resource),
                (None, Some(Fate::Left)) => "the run stopped while it was waiting".to_owned(),
                (None, _) => "the run stopped before its turn".to_owned(),
            };
            (number, reason)
        })
        .collect()
    }
}
