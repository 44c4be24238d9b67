//! Faults by meaning: what goes wrong, and when.

use std::time::Duration;

use substrate_core::{ErrorKind, Operation};
use tokio::time::Instant;

use crate::clock::deadline;
use crate::random::Random;

/// Something that goes wrong, on selected calls.
///
/// Without a selection a fault strikes the next call that it fits, once. [`on`](Self::on) and
/// [`instance`](Self::instance) say which calls it fits; [`nth`](Self::nth), [`times`](Self::times),
/// [`every`](Self::every) and [`probability`](Self::probability) say which of those it strikes.
///
/// ```
/// use std::time::Duration;
/// use substrate_core::{ErrorKind, Operation};
/// use substrate_fake::{Fake, Fault};
/// let fake = Fake::builder()
///     // The third create is done, and its answer is lost.
///     .fault(Fault::answer_lost().on(Operation::CreateInstance).nth(3))
///     // A tenth of all calls about `db` find it busy.
///     .fault(Fault::error(ErrorKind::Busy).instance("db").probability(0.1))
///     .build();
/// // And from now on every read is two seconds late.
/// fake.inject(Fault::stale_read(Duration::from_secs(2)));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(crate) what: What,
    operation: Option<Operation>,
    instance: Option<String>,
    nth: u64,
    times: Option<u64>,
    probability: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Error(ErrorKind),
    Hang,
    Latency(Duration),
    AnswerLost,
    AnswerLostHanging,
    StaleRead(Duration),
    LockHeld(Duration),
    EventDropped,
    EventDuplicated,
    EventGap,
    DaemonRestart { down: Duration, after_effect: bool },
}

impl What {
    fn is_about_events(self) -> bool {
        matches!(self, Self::EventDropped | Self::EventDuplicated | Self::EventGap)
    }

    /// Whether it means something for an operation that was not named.
    fn fits(self, operation: Operation) -> bool {
        match self {
            Self::StaleRead(_) => operation.is_read(),
            Self::AnswerLost | Self::AnswerLostHanging | Self::LockHeld(_) => !operation.is_read(),
            _ => true,
        }
    }
}

impl Fault {
    fn new(what: What) -> Self {
        Self { what, operation: None, instance: None, nth: 1, times: None, probability: None }
    }

    /// The call fails with this kind, with no effect. The outcome is the kind's own: `Unknown` for a
    /// `Timeout`, although nothing happened: the caller cannot know that.
    #[must_use]
    pub fn error(kind: ErrorKind) -> Self {
        Self::new(What::Error(kind))
    }

    /// The call never answers and has no effect.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(What::Hang)
    }

    /// The call takes so much longer.
    #[must_use]
    pub fn latency(delay: Duration) -> Self {
        Self::new(What::Latency(delay))
    }

    /// The call has its full effect and then fails with `Timeout`, outcome `Unknown`. Fits calls that change
    /// something, unless a reading operation is named.
    #[must_use]
    pub fn answer_lost() -> Self {
        Self::new(What::AnswerLost)
    }

    /// The call has its full effect and never answers. Fits calls that change something, unless a reading
    /// operation is named.
    #[must_use]
    pub fn answer_lost_hanging() -> Self {
        Self::new(What::AnswerLostHanging)
    }

    /// Reads are answered from the state as it was so long before: a change is seen only after this time.
    /// Strikes every read that it fits, from now on.
    #[must_use]
    pub fn stale_read(lag: Duration) -> Self {
        let mut fault = Self::new(What::StaleRead(lag));
        fault.times = Some(u64::MAX);
        fault
    }

    /// Somebody else holds the lock: the call that it strikes, and all that it fits for so long afterwards,
    /// fail with `Busy` and have no effect. Fits calls that change something, unless a reading operation is
    /// named.
    #[must_use]
    pub fn lock_held(held: Duration) -> Self {
        Self::new(What::LockHeld(held))
    }

    /// An event is missing from every watch, and nothing tells. Counts events instead of calls:
    /// [`on`](Self::on) is the call that causes the event.
    #[must_use]
    pub fn event_dropped() -> Self {
        Self::new(What::EventDropped)
    }

    /// An event comes twice. Counts events, as [`event_dropped`](Self::event_dropped).
    #[must_use]
    pub fn event_duplicated() -> Self {
        Self::new(What::EventDuplicated)
    }

    /// An event is missing, and a gap stands in its place. Counts events, as
    /// [`event_dropped`](Self::event_dropped).
    #[must_use]
    pub fn event_gap() -> Self {
        Self::new(What::EventGap)
    }

    /// The daemon goes down in the middle of the call, before its effect, and comes back after `down`. The
    /// call fails with `Unavailable`, outcome `Unknown`; every open watch, log and command stream ends with
    /// `Unavailable`; calls in the meantime fail with `Unavailable`, outcome `NotSent`. Instances go on.
    #[must_use]
    pub fn daemon_restart(down: Duration) -> Self {
        Self::new(What::DaemonRestart { down, after_effect: false })
    }

    /// The same, after the effect of the call.
    #[must_use]
    pub fn daemon_restart_after_effect(down: Duration) -> Self {
        Self::new(What::DaemonRestart { down, after_effect: true })
    }

    /// Only calls of this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only calls about this instance (or network, volume, image), by its name. A clone is about its source.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// From the nth call on that it fits, counted from 1 and from its injection.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// So many times, instead of once.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Every time.
    #[must_use]
    pub fn every(self) -> Self {
        self.times(u64::MAX)
    }

    /// With this probability, from 0 to 1, decided by the fake's seed; every time, unless
    /// [`times`](Self::times) says otherwise.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = Some(probability);
        self
    }
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    pub(crate) before: Option<Before>,
    pub(crate) after: Option<After>,
    pub(crate) lag: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Before {
    Error(ErrorKind),
    Hang,
    Locked(Duration),
    Restart(Duration),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum After {
    AnswerLost,
    Hang,
    Restart(Duration),
}

/// The faults that were injected.
#[derive(Debug)]
pub(crate) struct Faults {
    active: Vec<Active>,
    random: Random,
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    seen: u64,
    struck: u64,
    locked_until: Option<Instant>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        // Not the stream that ids come from: faults shall not change which ids there are.
        Self { active: Vec::new(), random: Random::new(seed ^ 0x5eed_fa17) }
    }

    pub(crate) fn inject(&mut self, fault: Fault) {
        self.active.push(Active { fault, seen: 0, struck: 0, locked_until: None });
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// How far back a read may have to look.
    pub(crate) fn greatest_lag(&self) -> Option<Duration> {
        let lags = self.active.iter().filter_map(|active| match active.fault.what {
            What::StaleRead(lag) => Some(lag),
            _ => None,
        });
        lags.max()
    }

    /// What happens to a call. Of several faults of one sort the first wins; delays add up.
    pub(crate) fn plan(&mut self, operation: Operation, target: &str, now: Instant) -> Plan {
        let mut plan = Plan::default();
        for active in &mut self.active {
            if active.fault.what.is_about_events() || !active.fits(Some(operation), target) {
                continue;
            }
            if let Some(until) = active.locked_until.filter(|until| *until > now) {
                plan.before.get_or_insert(Before::Locked(until - now));
                continue;
            }
            if !active.strikes(&mut self.random) {
                continue;
            }
            match active.fault.what {
                What::Error(kind) => {
                    plan.before.get_or_insert(Before::Error(kind));
                }
                What::Hang => {
                    plan.before.get_or_insert(Before::Hang);
                }
                What::Latency(delay) => plan.delay = plan.delay.saturating_add(delay),
                What::AnswerLost => {
                    plan.after.get_or_insert(After::AnswerLost);
                }
                What::AnswerLostHanging => {
                    plan.after.get_or_insert(After::Hang);
                }
                What::StaleRead(lag) => plan.lag = Some(plan.lag.unwrap_or_default().max(lag)),
                What::LockHeld(held) => {
                    active.locked_until = Some(deadline(now, held));
                    plan.before.get_or_insert(Before::Locked(held));
                }
                What::DaemonRestart { down, after_effect: false } => {
                    plan.before.get_or_insert(Before::Restart(down));
                }
                What::DaemonRestart { down, after_effect: true } => {
                    plan.after.get_or_insert(After::Restart(down));
                }
                What::EventDropped | What::EventDuplicated | What::EventGap => {}
            }
        }
        plan
    }

    /// What happens to an event that a call caused, or that nobody's call caused.
    pub(crate) fn on_event(&mut self, operation: Option<Operation>, instance: &str) -> Option<What> {
        let mut what = None;
        for active in &mut self.active {
            if active.fault.what.is_about_events()
                && active.fits(operation, instance)
                && active.strikes(&mut self.random)
            {
                what.get_or_insert(active.fault.what);
            }
        }
        what
    }
}

impl Active {
    fn fits(&self, operation: Option<Operation>, target: &str) -> bool {
        let named = match (self.fault.operation, operation) {
            (Some(wanted), operation) => operation == Some(wanted),
            (None, Some(operation)) => self.fault.what.fits(operation),
            (None, None) => true,
        };
        named && self.fault.instance.as_deref().is_none_or(|name| name == target)
    }

    fn strikes(&mut self, random: &mut Random) -> bool {
        self.seen += 1;
        // By default once; a probability that is asked once would be a strange thing to mean.
        let times = self.fault.times.unwrap_or(if self.fault.probability.is_some() { u64::MAX } else { 1 });
        if self.seen < self.fault.nth || self.struck >= times {
            return false;
        }
        let strikes = self.fault.probability.is_none_or(|probability| random.happens(probability));
        self.struck += u64::from(strikes);
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of ten calls of an operation fail.
    fn failing(fault: Fault) -> Vec<usize> {
        let mut faults = Faults::new(7);
        faults.inject(fault);
        (1..=10)
            .filter(|_| faults.plan(Operation::StopInstance, "web", Instant::now()).before.is_some())
            .collect()
    }

    fn busy() -> Fault {
        Fault::error(ErrorKind::Busy)
    }

    #[test]
    fn a_fault_strikes_once_unless_told_otherwise() {
        assert_eq!(failing(busy()), [1]);
        assert_eq!(failing(busy().nth(3)), [3]);
        assert_eq!(failing(busy().times(2)), [1, 2]);
        assert_eq!(failing(busy().nth(3).times(2)), [3, 4]);
        assert_eq!(failing(busy().every()).len(), 10);
        assert_eq!(failing(busy().nth(9).every()), [9, 10]);
    }

    #[test]
    fn a_fault_strikes_only_what_it_fits() {
        assert_eq!(failing(busy().on(Operation::StopInstance)), [1]);
        assert!(failing(busy().on(Operation::StartInstance)).is_empty());
        assert_eq!(failing(busy().instance("web")), [1]);
        assert!(failing(busy().instance("db")).is_empty());
    }

    #[test]
    fn chance_is_decided_by_the_seed() {
        let struck = failing(busy().probability(0.5));
        assert_eq!(struck, failing(busy().probability(0.5)));
        assert!(!struck.is_empty() && struck.len() < 10);
        assert!(failing(busy().probability(0.0)).is_empty());
    }

    #[test]
    fn calls_that_do_not_fit_are_not_counted() {
        let mut faults = Faults::new(7);
        faults.inject(busy().on(Operation::StopInstance).nth(2));
        let now = Instant::now();
        let mut strikes = |operation| faults.plan(operation, "web", now).before.is_some();
        assert!(!strikes(Operation::StopInstance));
        assert!(!strikes(Operation::StartInstance));
        assert!(strikes(Operation::StopInstance));
    }

    #[test]
    fn a_lost_answer_fits_no_read_unless_it_is_named() {
        let mut faults = Faults::new(7);
        faults.inject(Fault::answer_lost());
        assert!(faults.plan(Operation::GetInstance, "web", Instant::now()).after.is_none());
        faults.inject(Fault::answer_lost().on(Operation::GetInstance));
        assert!(faults.plan(Operation::GetInstance, "web", Instant::now()).after.is_some());
    }
}
