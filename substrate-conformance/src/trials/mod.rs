//! The rules, one file per area of the contract.

mod bulk;
mod cancellation;
mod clone;
mod commands;
mod concurrency;
mod connection;
mod creation;
mod deletion;
mod errors;
mod hostile;
mod images;
mod limits;
mod logs;
mod metrics;
mod networks;
mod pausing;
mod reading;
mod sessions;
mod snapshots;
mod starting;
mod stopping;
mod unsupported;

mod volumes;
mod watching;

use crate::context::Context;
use crate::trial::{Trial, trials};
use crate::verdict::Verdict;

/// The trial that runs after all others.
pub(crate) const LEAVES_NOTHING_BEHIND: &str = "leaves_nothing_behind";

trials! {
    leaves_nothing_behind => DeleteInstance;
}

/// After every trial has removed what it made, nothing of it is there: no container, network, volume, image.
async fn leaves_nothing_behind(context: &Context) -> Verdict {
    context.run().reap().await
}

/// Every trial; the position of one is its number. Long ones come first, so that they do not hold the end.
pub(crate) fn all() -> impl Iterator<Item = &'static Trial> {
    [
        bulk::TRIALS,
        cancellation::TRIALS,
        concurrency::TRIALS,
        connection::TRIALS,
        creation::TRIALS,
        reading::TRIALS,
        starting::TRIALS,
        stopping::TRIALS,
        pausing::TRIALS,
        deletion::TRIALS,
        commands::TRIALS,
        sessions::TRIALS,
        logs::TRIALS,
        metrics::TRIALS,
        limits::TRIALS,
        snapshots::TRIALS,
        clone::TRIALS,
        networks::TRIALS,
        volumes::TRIALS,
        images::TRIALS,
        watching::TRIALS,
        hostile::TRIALS,
        unsupported::TRIALS,
        errors::TRIALS,
        TRIALS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_trial_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        assert!(all().all(|trial| names.insert(trial.name)));
    }

    #[test]
    fn a_number_has_three_digits() {
        assert!(all().count() < 1_000);
    }

    #[test]
    fn every_operation_has_a_trial() {
        for operation in substrate_core::Operation::ALL {
            assert!(all().any(|trial| trial.operation == *operation), "{operation}");
        }
    }
}
