//! How often one looks whether the cluster has done what it was asked to.

use std::time::Duration;

use substrate_core::provider::Wait;

/// Controllers and nodes take tenths of a second at their best.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Each look at an instance is two requests, and a list is read from the cluster's store.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A wait with pauses that suit a cluster.
pub(super) fn at_most(limit: Duration) -> Wait {
    Wait::at_most(limit).with_pauses(FIRST_PAUSE, LONGEST_PAUSE)
}
