//! Waiting for what the cluster does in its own time.

use std::time::Duration;

use substrate_core::provider::Wait;

/// Looks seldomer than at a daemon of one machine: each look goes through the API's node to the guest's.
pub(super) fn wait_at_most(limit: Duration) -> Wait {
    Wait::at_most(limit).with_pauses(Duration::from_millis(20), Duration::from_millis(700))
}
