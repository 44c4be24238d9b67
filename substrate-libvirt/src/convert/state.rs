//! A domain's state and the reason for it, in our words and in libvirt's.

use substrate_core::InstanceState;
use virt::sys;

/// What a `virDomainState` is to us.
pub(crate) fn state(state: i32) -> InstanceState {
    match u32::try_from(state).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => InstanceState::Running,
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => InstanceState::Paused,
        sys::VIR_DOMAIN_SHUTDOWN => InstanceState::Stopping,
        sys::VIR_DOMAIN_SHUTOFF => InstanceState::Stopped,
        sys::VIR_DOMAIN_CRASHED => InstanceState::Failed,
        _ => InstanceState::Unknown,
    }
}

/// The same with the reason: a domain that is being started is paused until its memory is there.
pub(crate) fn state_for_reason((number, reason): (i32, i32)) -> InstanceState {
    let paused = i32::try_from(sys::VIR_DOMAIN_PAUSED).unwrap_or(i32::MAX);
    let starting = i32::try_from(sys::VIR_DOMAIN_PAUSED_STARTING_UP).unwrap_or(i32::MAX);
    if number == paused && reason == starting { InstanceState::Creating } else { state(number) }
}

/// libvirt's own words, as `virsh domstate --reason` has them.
pub(crate) fn words((state, reason): (i32, i32)) -> String {
    let (name, reasons): (&str, &[&str]) = match u32::try_from(state).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_RUNNING => (
            "running",
            &[
                "unknown",
                "booted",
                "migrated",
                "restored",
                "from snapshot",
                "unpaused",
                "migration canceled",
                "save canceled",
                "event wakeup",
                "crashed",
                "post-copy",
                "post-copy failed",
            ],
        ),
        sys::VIR_DOMAIN_BLOCKED => ("idle", &[]),
        sys::VIR_DOMAIN_PAUSED => (
            "paused",
            &[
                "unknown",
                "user",
                "migrating",
                "saving",
                "dumping",
                "I/O error",
                "watchdog",
                "from snapshot",
                "shutting down",
                "creating snapshot",
                "crashed",
                "starting up",
                "post-copy",
                "post-copy failed",
                "api error",
            ],
        ),
        sys::VIR_DOMAIN_SHUTDOWN => ("in shutdown", &["unknown", "user"]),
        sys::VIR_DOMAIN_SHUTOFF => (
            "shut off",
            &[
                "unknown",
                "shutdown",
                "destroyed",
                "crashed",
                "migrated",
                "saved",
                "failed",
                "from snapshot",
                "daemon",
            ],
        ),
        sys::VIR_DOMAIN_CRASHED => ("crashed", &["unknown", "panicked"]),
        sys::VIR_DOMAIN_PMSUSPENDED => ("pmsuspended", &[]),
        _ => ("no state", &[]),
    };
    match usize::try_from(reason).ok().and_then(|reason| reasons.get(reason)) {
        Some(reason) => format!("{name} ({reason})"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_libvirt_is_one_of_ours() {
        use InstanceState::{Failed, Paused, Running, Stopped, Stopping, Unknown};
        let expected = [Unknown, Running, Running, Paused, Stopping, Stopped, Failed, Paused, Unknown];
        for (number, expected) in (0..).zip(expected) {
            assert_eq!(state(number), expected, "{number}");
        }
        assert_eq!(state(-1), Unknown);
    }

    #[test]
    fn a_domain_that_is_being_started_is_not_called_paused() {
        assert_eq!(state_for_reason((3, 11)), InstanceState::Creating);
        assert_eq!(state_for_reason((3, 1)), InstanceState::Paused);
    }

    #[test]
    fn the_reason_is_told_where_there_is_one() {
        assert_eq!(words((1, 1)), "running (booted)");
        assert_eq!(words((5, 2)), "shut off (destroyed)");
        assert_eq!(words((5, 99)), "shut off");
        assert_eq!(words((-1, 0)), "no state");
    }
}
