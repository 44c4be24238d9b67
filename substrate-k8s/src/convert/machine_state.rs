//! The state of a virtual machine of KubeVirt: what is there, and what KubeVirt says of it.

use substrate_core::{ErrorKind, InstanceState};

use super::pod::{Condition, Pod};
use super::state::{self, Seen, with_message};
use super::workload::Workload;

/// What KubeVirt says of a machine that does not come up, when waiting longer does not help. Only `ErrorUnschedulable` may
/// pass by itself: a start waits, and says it when its time is over.
const REFUSALS: &[(&str, Option<ErrorKind>)] = &[
    ("ErrorUnschedulable", None),
    ("ErrImagePull", Some(ErrorKind::NotFound)),
    ("ImagePullBackOff", Some(ErrorKind::NotFound)),
    ("ErrorPvcNotFound", Some(ErrorKind::NotFound)),
    ("DataVolumeNotFound", Some(ErrorKind::NotFound)),
    ("ErrorDataVolume", Some(ErrorKind::Internal)),
    ("DataVolumeError", Some(ErrorKind::Internal)),
    ("CrashLoopBackOff", Some(ErrorKind::Internal)),
];

/// The state of a machine that runs as these instances.
///
/// What is there decides, and then what KubeVirt says in a word: the word comes later, and an old one would tell of a
/// machine that has ended long ago.
pub(crate) fn seen(machine: &Workload, instances: &[&Pod]) -> Seen {
    let status = &machine.status;
    let word = status.printable_status.as_str();
    let plain = |state: InstanceState, words: &str| Seen::plain(state, with_message(words, None));
    if machine.metadata.is_going() {
        return plain(InstanceState::Stopping, "Terminating");
    }
    let shall_run = machine.replicas() > 0;
    let Some(instance) = state::current(instances) else {
        // One that nobody but its own subresource switches is started by a request in its status.
        let is_manual = machine.spec.run_strategy.as_deref() == Some("Manual");
        let is_asked = status.state_change_requests.iter().any(|request| request.action == "Start");
        if !shall_run || (is_manual && !is_asked) {
            return plain(InstanceState::Stopped, "Stopped");
        }
        let words = if matches!(word, "" | "Stopped" | "Running" | "Stopping") { "Starting" } else { word };
        return refusal(word, &status.conditions, None)
            .unwrap_or_else(|| plain(InstanceState::Creating, words));
    };
    let phase = instance.status.phase.as_str();
    if instance.metadata.is_going() || (!shall_run && !instance.is_over()) {
        return plain(InstanceState::Stopping, "Stopping");
    }
    match phase {
        "Running" => of_running(word, instance),
        "Unknown" => plain(InstanceState::Unknown, "Unknown: the node does not answer"),
        "Succeeded" | "Failed" => {
            let is_run_again = machine.spec.run_strategy.as_deref() == Some("Always")
                || machine.spec.running == Some(true)
                || (phase == "Failed" && machine.spec.run_strategy.as_deref() == Some("RerunOnFailure"));
            if shall_run && let Some(seen) = refusal(word, &status.conditions, Some(instance)) {
                return seen;
            }
            match (shall_run && is_run_again, phase) {
                (true, _) => plain(InstanceState::Creating, "Starting"),
                (false, "Failed") if shall_run => Seen::failed(
                    ErrorKind::Internal,
                    with_message("Failed", message(&instance.status.conditions)),
                ),
                _ => plain(InstanceState::Stopped, phase),
            }
        }
        _ => refusal(word, &status.conditions, Some(instance)).unwrap_or_else(|| {
            let words = match word {
                "Provisioning" | "WaitingForVolumeBinding" | "WaitingForReceiver" | "Starting" => word,
                _ if phase.is_empty() => "Starting",
                _ => phase,
            };
            plain(InstanceState::Creating, words)
        }),
    }
}

fn of_running(word: &str, instance: &Pod) -> Seen {
    let holds = |kind: &str| instance.condition(kind).is_some_and(|condition| condition.status == "True");
    if holds("Paused") {
        return Seen::plain(InstanceState::Paused, "Paused");
    }
    let ready = holds("Ready");
    let words = match word {
        // The guest runs on while it is moved to another node.
        "Migrating" => "Migrating",
        _ if ready => "Running",
        _ => "Running, not ready",
    };
    Seen { ready, ..Seen::plain(InstanceState::Running, words) }
}

fn refusal(word: &str, conditions: &[Condition], instance: Option<&Pod>) -> Option<Seen> {
    // The scheduler's word may be there before KubeVirt's.
    let unscheduled = instance.and_then(|instance| instance.condition("PodScheduled")).filter(|condition| {
        condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        let words = with_message("ErrorUnschedulable", condition.message.as_deref());
        return Some(Seen { refusal: None, ..Seen::failed(ErrorKind::Exhausted, words) });
    }
    let (word, kind) = REFUSALS.iter().find(|(known, _)| *known == word)?;
    let inner = instance.and_then(|instance| message(&instance.status.conditions));
    let words = with_message(word, message(conditions).or(inner));
    Some(Seen { refusal: *kind, ..Seen::failed(ErrorKind::Internal, words) })
}

/// What conditions say against it: a failure, else the first thing that does not hold.
fn message(conditions: &[Condition]) -> Option<&str> {
    let failure =
        conditions.iter().find(|condition| condition.kind == "Failure" && condition.status == "True");
    let broken = conditions.iter().filter(|condition| condition.status == "False");
    failure.into_iter().chain(broken).find_map(|condition| {
        condition.message.as_deref().or(condition.reason.as_deref()).filter(|text| !text.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "a document that is written where it is used")]
    fn look(strategy: &str, word: &str, instance: Option<Value>) -> Seen {
        let machine: Workload = serde_json::from_value(json!({"metadata": {"name": "vm", "uid": "u1"},
            "spec": {"runStrategy": strategy},
            "status": {"printableStatus": word, "conditions": [
                {"type": "Ready", "status": "False", "message": "why"}]}}))
        .unwrap();
        let instance: Option<Pod> = instance.map(|status| {
            serde_json::from_value(json!({"metadata": {"name": "vm", "uid": "i1"}, "status": status}))
                .unwrap()
        });
        seen(&machine, &instance.iter().collect::<Vec<_>>())
    }

    #[test]
    fn every_word_of_kubevirt_has_its_state() {
        let pending = || Some(json!({"phase": "Scheduling"}));
        for (word, state, kind) in [
            ("Provisioning", InstanceState::Creating, None),
            ("WaitingForVolumeBinding", InstanceState::Creating, None),
            ("Starting", InstanceState::Creating, None),
            ("ErrorUnschedulable", InstanceState::Failed, None),
            ("ErrImagePull", InstanceState::Failed, Some(ErrorKind::NotFound)),
            ("ImagePullBackOff", InstanceState::Failed, Some(ErrorKind::NotFound)),
            ("ErrorPvcNotFound", InstanceState::Failed, Some(ErrorKind::NotFound)),
            ("CrashLoopBackOff", InstanceState::Failed, Some(ErrorKind::Internal)),
        ] {
            for instance in [None, pending()] {
                let seen = look("Always", word, instance);
                assert_eq!((seen.state, seen.refusal), (state, kind), "{word}");
                assert!(seen.words.starts_with(word), "{}", seen.words);
                assert_eq!(seen.words.contains("why"), state == InstanceState::Failed, "{}", seen.words);
            }
        }
    }

    #[test]
    fn what_runs_decides_before_the_word() {
        let running = |more: Value| {
            let mut conditions = vec![json!({"type": "Ready", "status": "True"})];
            conditions.push(more);
            Some(json!({"phase": "Running", "conditions": conditions}))
        };
        let plain = json!({"type": "LiveMigratable", "status": "True"});
        for (strategy, word, instance, state) in [
            ("Always", "Running", running(plain.clone()), InstanceState::Running),
            ("Always", "Starting", running(plain.clone()), InstanceState::Running),
            ("Always", "Migrating", running(plain.clone()), InstanceState::Running),
            (
                "Always",
                "Running",
                running(json!({"type": "Paused", "status": "True"})),
                InstanceState::Paused,
            ),
            ("Halted", "Running", running(plain), InstanceState::Stopping),
            ("Halted", "Running", None, InstanceState::Stopped),
            ("Always", "Running", None, InstanceState::Creating),
            ("Manual", "Stopped", None, InstanceState::Stopped),
            ("RerunOnFailure", "Stopped", Some(json!({"phase": "Succeeded"})), InstanceState::Stopped),
            ("RerunOnFailure", "", Some(json!({"phase": "Failed"})), InstanceState::Creating),
            ("Once", "", Some(json!({"phase": "Failed"})), InstanceState::Failed),
            ("Always", "Unknown", Some(json!({"phase": "Unknown"})), InstanceState::Unknown),
        ] {
            assert_eq!(look(strategy, word, instance).state, state, "{strategy} {word}");
        }
        assert_eq!(look("Always", "Migrating", running(json!({"type": "x"}))).words, "Migrating");
    }

    #[test]
    fn what_the_scheduler_says_is_told_before_kubevirt_says_it() {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"});
        let seen =
            look("Always", "Starting", Some(json!({"phase": "Scheduling", "conditions": [condition]})));
        assert_eq!((seen.state, seen.words.as_str()), (InstanceState::Failed, "ErrorUnschedulable: 0/1"));
    }
}
