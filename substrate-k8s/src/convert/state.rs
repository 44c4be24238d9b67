//! What an instance is doing, from its workload and its pods. A pod that is `Running` may be anything but.

use substrate_core::{ErrorKind, InstanceState};

use super::pod::{ContainerStatus, Pod};

/// A state, and the cluster's own words for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) state: InstanceState,
    /// `CrashLoopBackOff: back-off 10s restarting failed container (exit code 1)`.
    pub(crate) words: String,
    /// Whether what runs is also ready to be used.
    pub(crate) ready: bool,
    /// Why it will not run by waiting, where that can be said.
    pub(crate) refusal: Option<ErrorKind>,
}

impl Seen {
    pub(super) fn plain(state: InstanceState, words: impl Into<String>) -> Self {
        Self { state, words: words.into(), ready: false, refusal: None }
    }

    pub(super) fn failed(kind: ErrorKind, words: String) -> Self {
        Self { state: InstanceState::Failed, words, ready: false, refusal: Some(kind) }
    }
}

/// Why a container waits, when waiting longer does not help.
const REFUSALS: &[(&str, ErrorKind)] = &[
    ("ErrImagePull", ErrorKind::NotFound),
    ("ImagePullBackOff", ErrorKind::NotFound),
    ("ErrImageNeverPull", ErrorKind::NotFound),
    ("RegistryUnavailable", ErrorKind::Unavailable),
    ("ImageInspectError", ErrorKind::InvalidInput),
    ("InvalidImageName", ErrorKind::InvalidInput),
    ("CreateContainerConfigError", ErrorKind::InvalidInput),
    ("CreateContainerError", ErrorKind::InvalidInput),
    ("RunContainerError", ErrorKind::InvalidInput),
    ("StartError", ErrorKind::InvalidInput),
    ("ContainerCannotRun", ErrorKind::InvalidInput),
    ("PostStartHookError", ErrorKind::InvalidInput),
    ("CrashLoopBackOff", ErrorKind::Internal),
];

/// The pod that an instance is now: the newest that has not come to its end, else the newest of all.
pub(crate) fn current<'a>(pods: &[&'a Pod]) -> Option<&'a Pod> {
    let rank = |pod: &Pod| {
        (!pod.is_over() && !pod.metadata.is_going(), !pod.is_over(), pod.metadata.creation_timestamp.clone())
    };
    pods.iter().copied().max_by_key(|pod| rank(pod))
}

/// The state of a workload that shall have `replicas` pods and has these.
pub(crate) fn of_workload(going: bool, replicas: i32, pods: &[&Pod]) -> Seen {
    let Some(pod) = current(pods) else {
        return match (going, replicas) {
            (true, _) => Seen::plain(InstanceState::Stopping, "Terminating"),
            (false, 0) => Seen::plain(InstanceState::Stopped, "ScaledToZero"),
            (false, _) => Seen::plain(InstanceState::Creating, "NoPod"),
        };
    };
    // What was evicted stays in the list for ever, and runs no more.
    if going || (replicas == 0 && !pod.is_over()) {
        return Seen::plain(InstanceState::Stopping, "Terminating");
    }
    if replicas == 0 {
        return Seen::plain(InstanceState::Stopped, "ScaledToZero");
    }
    of_pod(pod)
}

/// The state of a pod.
pub(crate) fn of_pod(pod: &Pod) -> Seen {
    if pod.metadata.is_going() {
        return Seen::plain(InstanceState::Stopping, "Terminating");
    }
    let status = &pod.status;
    match status.phase.as_str() {
        "Succeeded" => return Seen::plain(InstanceState::Stopped, "Succeeded"),
        "Failed" => {
            let reason = status.reason.as_deref().unwrap_or("Failed");
            return Seen::failed(ErrorKind::Internal, with_message(reason, status.message.as_deref()));
        }
        "Unknown" => return Seen::plain(InstanceState::Unknown, "Unknown: the node does not answer"),
        _ => {}
    }
    for container in status.init_container_statuses.iter().chain(&status.container_statuses) {
        if let Some(refused) = refusal(container) {
            return refused;
        }
    }
    if status.phase == "Running" && !status.container_statuses.is_empty() {
        return of_containers(pod);
    }
    if let Some(condition) = pod.condition("PodScheduled").filter(|condition| condition.status == "False") {
        let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
        // The scheduler goes on trying: a start waits, and says this when its time is over.
        let words = with_message(reason, condition.message.as_deref());
        return Seen { refusal: None, ..Seen::failed(ErrorKind::Exhausted, words) };
    }
    let waiting = status
        .container_statuses
        .iter()
        .find_map(|container| container.state.waiting.as_ref()?.reason.clone());
    Seen::plain(InstanceState::Creating, waiting.unwrap_or_else(|| "Pending".to_owned()))
}

fn of_containers(pod: &Pod) -> Seen {
    let containers = &pod.status.container_statuses;
    if let Some(ended) = containers.iter().find_map(|container| container.state.terminated.as_ref()) {
        let reason = ended.reason.as_deref().unwrap_or("Terminated");
        let words = format!("{reason} (exit code {})", ended.exit_code);
        return Seen::plain(InstanceState::Failed, words);
    }
    if containers.iter().any(|container| container.state.running.is_none()) {
        return Seen::plain(InstanceState::Creating, "ContainerCreating");
    }
    let ready = pod.condition("Ready").is_some_and(|condition| condition.status == "True");
    let words = if ready { "Running" } else { "Running, not ready" };
    Seen { ready, ..Seen::plain(InstanceState::Running, words) }
}

/// A container that cannot run.
fn refusal(container: &ContainerStatus) -> Option<Seen> {
    let known = |reason: &str| REFUSALS.iter().find(|(known, _)| *known == reason).map(|(_, kind)| *kind);
    // Between two tries it counts as ended, or as waiting after an end; why it could not run stays in its last state.
    let ends = [&container.state.terminated, &container.last_state.terminated];
    let not_started = ends
        .into_iter()
        .flatten()
        .find(|ended| matches!(ended.reason.as_deref(), Some("ContainerCannotRun" | "StartError")));
    if let Some(waiting) = &container.state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let mut kind = known(reason)?;
        let mut message = waiting.message.clone().unwrap_or_default();
        if let Some(ended) = not_started {
            kind = ErrorKind::InvalidInput;
            message = ended.message.clone().unwrap_or(message);
        } else if let Some(ended) = &container.last_state.terminated {
            message = format!("{message} (exit code {})", ended.exit_code);
        }
        return Some(Seen::failed(kind, with_message(reason, Some(message.trim()))));
    }
    let ended = container.state.terminated.as_ref().and(not_started)?;
    let reason = ended.reason.as_deref().unwrap_or_default();
    Some(Seen::failed(ErrorKind::InvalidInput, with_message(reason, ended.message.as_deref())))
}

pub(super) fn with_message(reason: &str, message: Option<&str>) -> String {
    match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "a document that is written where it is used")]
    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a-0", "uid": "1", "creationTimestamp": "2026-11-21T10:00:00Z"},
            "spec": {"containers": [{"name": "main"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn waiting(reason: &str) -> Pod {
        pod(json!({"phase": "Running", "containerStatuses": [
            {"name": "main", "state": {"waiting": {"reason": reason, "message": "why"}}}]}))
    }

    fn running(ready: &str) -> Pod {
        pod(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [
            {"name": "main", "state": {"running": {"startedAt": "2026-11-21T10:00:01Z"}}}]}),
        )
    }

    #[test]
    fn a_running_pod_in_a_crash_loop_does_not_run() {
        for (reason, kind) in [
            ("CrashLoopBackOff", ErrorKind::Internal),
            ("ImagePullBackOff", ErrorKind::NotFound),
            ("ErrImageNeverPull", ErrorKind::NotFound),
            ("CreateContainerConfigError", ErrorKind::InvalidInput),
        ] {
            let seen = of_pod(&waiting(reason));
            assert_eq!((seen.state, seen.refusal), (InstanceState::Failed, Some(kind)));
            assert!(seen.words.starts_with(reason) && seen.words.contains("why"), "{}", seen.words);
        }
        assert_eq!(of_pod(&waiting("ContainerCreating")).state, InstanceState::Creating);
    }

    #[test]
    fn an_unschedulable_pod_has_failed_for_now_and_says_why() {
        let seen = of_pod(&pod(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]})));
        assert_eq!((seen.state, seen.refusal), (InstanceState::Failed, None));
        assert_eq!(seen.words, "Unschedulable: 0/1 nodes");
    }

    #[test]
    fn readiness_is_told_apart_from_running() {
        assert!(of_pod(&running("True")).ready);
        let seen = of_pod(&running("False"));
        assert_eq!((seen.state, seen.ready), (InstanceState::Running, false));
    }

    #[test]
    fn a_program_that_could_not_start_is_the_callers_mistake_in_every_moment_of_its_loop() {
        let ended = json!({"terminated": {"exitCode": 127, "reason": "ContainerCannotRun", "message": "no such file"}});
        let loops = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
        for container in [
            json!({"name": "main", "state": ended}),
            json!({"name": "main", "state": loops, "lastState": ended}),
        ] {
            let seen = of_pod(&pod(json!({"phase": "Running", "containerStatuses": [container]})));
            assert_eq!(seen.refusal, Some(ErrorKind::InvalidInput));
            assert!(seen.words.contains("no such file"), "{}", seen.words);
        }
    }

    #[test]
    fn an_evicted_pod_stays_in_the_list_and_is_not_the_instance() {
        let evicted = pod(json!({"phase": "Failed", "reason": "Evicted", "message": "disk"}));
        let new = running("True");
        assert_eq!(of_workload(false, 1, &[&evicted, &new]).state, InstanceState::Running);
        assert_eq!(of_workload(false, 0, &[&evicted]).state, InstanceState::Stopped);
        let seen = of_workload(false, 1, &[&evicted]);
        assert_eq!((seen.state, seen.words.as_str()), (InstanceState::Failed, "Evicted: disk"));
    }

    #[test]
    fn an_instance_is_stopped_when_its_pod_has_gone_and_not_before() {
        let pod = running("True");
        assert_eq!(of_workload(false, 0, &[&pod]).state, InstanceState::Stopping);
        assert_eq!(of_workload(false, 0, &[]).state, InstanceState::Stopped);
        assert_eq!(of_workload(false, 1, &[]).state, InstanceState::Creating);
        assert_eq!(of_workload(true, 1, &[&pod]).state, InstanceState::Stopping);
    }
}
