//! From libvirt's events to ours.

use std::sync::Arc;
use std::time::SystemTime;

use substrate_core::{Event, EventKind, EventOrigin, InstanceName};
use virt::sys;

use crate::client::native::NativeEvent;

/// What a lifecycle event means, with a word about it.
fn lifecycle(event: i32, detail: i32) -> Option<(EventKind, Option<&'static str>)> {
    let detail = u32::try_from(detail).unwrap_or(u32::MAX);
    Some(match u32::try_from(event).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_EVENT_DEFINED => match detail {
            sys::VIR_DOMAIN_EVENT_DEFINED_ADDED => (EventKind::Created, None),
            sys::VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT => (EventKind::SnapshotRestored, None),
            sys::VIR_DOMAIN_EVENT_DEFINED_RENAMED => (EventKind::Changed, Some("renamed")),
            _ => (EventKind::Changed, Some("defined anew")),
        },
        sys::VIR_DOMAIN_EVENT_UNDEFINED => match detail {
            sys::VIR_DOMAIN_EVENT_UNDEFINED_RENAMED => (EventKind::Changed, Some("renamed")),
            _ => (EventKind::Deleted, None),
        },
        sys::VIR_DOMAIN_EVENT_STARTED => (
            EventKind::Started,
            Some(match detail {
                sys::VIR_DOMAIN_EVENT_STARTED_BOOTED => "booted",
                sys::VIR_DOMAIN_EVENT_STARTED_MIGRATED => "migrated here",
                sys::VIR_DOMAIN_EVENT_STARTED_RESTORED => "restored from a file",
                sys::VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT => "from a snapshot",
                _ => "woken up",
            }),
        ),
        // Sent after a migration too, whether it succeeded or failed: the machine did not freeze for anybody here.
        sys::VIR_DOMAIN_EVENT_SUSPENDED => match detail {
            sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED => (EventKind::Changed, Some("paused by a migration")),
            sys::VIR_DOMAIN_EVENT_SUSPENDED_IOERROR => (EventKind::Paused, Some("an I/O error")),
            _ => (EventKind::Paused, None),
        },
        sys::VIR_DOMAIN_EVENT_RESUMED => (EventKind::Resumed, None),
        sys::VIR_DOMAIN_EVENT_STOPPED => (
            EventKind::Stopped,
            Some(match detail {
                sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => "shut down",
                sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => "destroyed",
                sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => "crashed",
                sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => "migrated away",
                sys::VIR_DOMAIN_EVENT_STOPPED_SAVED => "saved to a file",
                sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => "the hypervisor failed",
                _ => "for a snapshot",
            }),
        ),
        sys::VIR_DOMAIN_EVENT_SHUTDOWN => (EventKind::Changed, Some("shutting down")),
        sys::VIR_DOMAIN_EVENT_PMSUSPENDED => (EventKind::Paused, Some("asleep by its own power management")),
        sys::VIR_DOMAIN_EVENT_CRASHED => (EventKind::Failed, Some("the guest panicked")),
        _ => return None,
    })
}

/// Our event; nothing for what says nothing to anybody.
pub(crate) fn event(native: &NativeEvent, substrate: &Arc<str>, time: SystemTime) -> Option<Event> {
    let (name, kind, detail) = match native {
        NativeEvent::Lifecycle { name, event, detail, .. } => {
            let (kind, detail) = lifecycle(*event, *detail)?;
            (name, kind, detail.map(str::to_owned))
        }
        NativeEvent::Agent { name, connected } => {
            let what = if *connected { "the guest agent answers" } else { "the guest agent is gone" };
            (name, EventKind::Changed, Some(what.to_owned()))
        }
        NativeEvent::DeviceRemoved { name, alias } => {
            (name, EventKind::Changed, Some(format!("device {alias} is gone")))
        }
        NativeEvent::Metadata { name, .. } => {
            (name, EventKind::Changed, Some("its metadata changed".to_owned()))
        }
        NativeEvent::Lost { .. } => return None,
    };
    let event = Event::new(time, Arc::clone(substrate), kind, EventOrigin::Observed)
        .with_instance(InstanceName::new(name).ok()?);
    Some(match detail {
        Some(detail) => event.with_detail(detail),
        None => event,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(number: u32, detail: u32) -> Option<EventKind> {
        let native = NativeEvent::Lifecycle {
            name: "web".into(),
            uuid: String::new(),
            event: number.try_into().unwrap(),
            detail: detail.try_into().unwrap(),
        };
        event(&native, &Arc::from("lab"), SystemTime::UNIX_EPOCH).map(|event| event.kind)
    }

    #[test]
    fn a_life_is_told_in_our_words() {
        assert_eq!(kind(sys::VIR_DOMAIN_EVENT_DEFINED, 0), Some(EventKind::Created));
        assert_eq!(kind(sys::VIR_DOMAIN_EVENT_DEFINED, 1), Some(EventKind::Changed));
        assert_eq!(kind(sys::VIR_DOMAIN_EVENT_STARTED, 0), Some(EventKind::Started));
        assert_eq!(kind(sys::VIR_DOMAIN_EVENT_STOPPED, 1), Some(EventKind::Stopped));
        assert_eq!(kind(sys::VIR_DOMAIN_EVENT_UNDEFINED, 0), Some(EventKind::Deleted));
        assert_eq!(kind(99, 0), None);
    }

    #[test]
    fn a_failed_migration_is_no_pause() {
        let migrated = sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED;
        assert_eq!(kind(sys::VIR_DOMAIN_EVENT_SUSPENDED, migrated), Some(EventKind::Changed));
        assert_eq!(kind(sys::VIR_DOMAIN_EVENT_SUSPENDED, 0), Some(EventKind::Paused));
    }
}
