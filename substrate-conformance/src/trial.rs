//! One rule of the contract, and how to try it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use substrate_core::{Ability, Operation, Support};
use tokio::time::Instant;

use crate::context::Context;
use crate::report::{TrialOutcome, TrialReport};
use crate::run::Run;
use crate::verdict::{Failure, Verdict};

/// One rule of the contract: its name is the rule.
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    /// The method that the rule is about; also needed.
    pub(crate) operation: Operation,
    /// What the substrate must have beside it for the rule to apply.
    pub(crate) needs: &'static [Ability],
    pub(crate) run: for<'a> fn(&'a Context) -> BoxFuture<'a, Verdict>,
}

/// The table of a group: name => main operation, [further abilities that it needs].
macro_rules! trials {
    ($($name:ident => $operation:ident $([$($class:ident :: $ability:ident),* $(,)?])?;)*) => {
        pub(crate) const TRIALS: &[$crate::trial::Trial] = &[$($crate::trial::Trial {
            name: stringify!($name),
            operation: ::substrate_core::Operation::$operation,
            needs: &[$($(::substrate_core::Ability::$class(::substrate_core::$class::$ability)),*)?],
            run: |context| Box::pin($name(context)),
        }),*];
    };
}
pub(crate) use trials;

impl Trial {
    /// Runs it to its end or to its deadline, removes what it made, and tells how it went.
    pub(crate) async fn report(&'static self, number: usize, run: Arc<Run>) -> TrialReport {
        let begin = Instant::now();
        let verdict = match self.missing(&run) {
            Some(reason) => Err(Failure::skipped(reason)),
            None => self.execute(number, run).await,
        };
        let (outcome, reason) = match verdict {
            Ok(()) => (TrialOutcome::Passed, None),
            Err(Failure::Broken(reason)) => (TrialOutcome::Failed, Some(reason)),
            Err(Failure::Skipped(reason)) => (TrialOutcome::Skipped, Some(reason)),
        };
        TrialReport {
            name: self.name.to_owned(),
            operation: self.operation,
            outcome,
            reason,
            seconds: begin.elapsed().as_secs_f64(),
        }
    }

    /// The first ability that the substrate lacks, with its reason.
    fn missing(&self, run: &Run) -> Option<String> {
        let named = std::iter::once(Ability::Operation(self.operation)).chain(self.needs.iter().copied());
        named.flat_map(|ability| [Some(ability), removal_of(ability)]).flatten().find_map(|ability| match run
            .descriptor
            .capabilities
            .support(ability)
        {
            Support::Yes => None,
            Support::No(reason) => Some(format!("{ability}: {reason}")),
        })
    }

    async fn execute(&self, number: usize, run: Arc<Run>) -> Verdict {
        let deadline = run.setup.trial_deadline;
        let context = Context::new(run, number);
        let attempt = AssertUnwindSafe((self.run)(&context)).catch_unwind();
        let verdict = match tokio::time::timeout(deadline, attempt).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => Err(Failure::broken(format!("panicked: {}", message_of(&*panic)))),
            Err(_) => Err(Failure::broken(format!("hung: it did not end within {deadline:?}"))),
        };
        context.clean_up(self.name).await;
        verdict
    }
}

/// What takes away what an ability makes: nothing is made here that has to stay.
fn removal_of(ability: Ability) -> Option<Ability> {
    match ability {
        Ability::Operation(Operation::CreateNetwork) => Some(Ability::Operation(Operation::DeleteNetwork)),
        Ability::Operation(Operation::CreateVolume) => Some(Ability::Operation(Operation::DeleteVolume)),
        _ => None,
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => message,
        (_, Some(message)) => message,
        _ => "without a message",
    }
}
