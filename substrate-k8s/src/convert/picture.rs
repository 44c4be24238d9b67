//! What happened, from the changes of two lists: a picture of all instances, and the difference that each change makes.

use std::collections::HashMap;
use std::time::SystemTime;

use substrate_core::{EventKind, InstanceState};

use super::pod::Pod;
use super::state::{self, Seen};
use super::workload::Workload;
use crate::config::Workload as Kind;

/// Something that happened to an instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happened {
    pub(crate) kind: EventKind,
    pub(crate) instance: String,
    pub(crate) time: SystemTime,
    pub(crate) detail: Option<String>,
}

/// All instances of a namespace as they were last seen.
#[derive(Debug)]
pub(crate) struct Picture {
    kind: Kind,
    workloads: HashMap<String, Entry>,
    pods: HashMap<String, Pod>,
    /// Of the last event: events are told in the order of their times, and the server's clock has whole seconds.
    last: SystemTime,
}

#[derive(Debug)]
struct Entry {
    workload: Workload,
    state: InstanceState,
    /// The pod that was told to have started.
    up: Option<String>,
    /// It was scaled up, and no pod of it has been seen since.
    awaits_pod: bool,
}

impl Entry {
    fn new(workload: Workload) -> Self {
        let awaits_pod = workload.replicas() > 0;
        Self { workload, state: InstanceState::Stopped, up: None, awaits_pod }
    }
}

/// A change of a list.
#[derive(Debug)]
pub(crate) enum Difference<T> {
    /// There, as it is now.
    Is(T),
    /// Gone, as it was last.
    Gone(T),
}

impl Picture {
    /// What is there before anything happens.
    pub(crate) fn new(kind: Kind, workloads: Vec<Workload>, pods: Vec<Pod>) -> Self {
        let mut picture =
            Self { kind, workloads: HashMap::new(), pods: HashMap::new(), last: SystemTime::UNIX_EPOCH };
        picture.pods = pods.into_iter().map(|pod| (pod.metadata.uid.clone(), pod)).collect();
        for workload in workloads {
            let uid = workload.metadata.uid.clone();
            picture.last = picture.last.max(workload.metadata.created_at().unwrap_or(picture.last));
            picture.workloads.insert(uid.clone(), Entry::new(workload));
            // Nobody is told what was already so.
            let _ = picture.evaluate(&uid);
        }
        picture
    }

    /// What is there now, after changes that nobody told: the differences, as far as they still show.
    pub(crate) fn catch_up(&mut self, workloads: Vec<Workload>, pods: Vec<Pod>) -> Vec<Happened> {
        let is_among = |uids: &[&str], uid: &str| uids.contains(&uid);
        let now: Vec<&str> = pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
        let gone: Vec<Pod> =
            self.pods.values().filter(|pod| !is_among(&now, &pod.metadata.uid)).cloned().collect();
        let mut happened: Vec<Happened> =
            gone.into_iter().flat_map(|pod| self.pod(Difference::Gone(pod))).collect();
        let now: Vec<&str> = workloads.iter().map(|workload| workload.metadata.uid.as_str()).collect();
        let old = self.workloads.values().map(|entry| &entry.workload);
        let gone: Vec<Workload> = old.filter(|old| !is_among(&now, &old.metadata.uid)).cloned().collect();
        happened.extend(gone.into_iter().flat_map(|workload| self.workload(Difference::Gone(workload))));
        if self.kind != Kind::Pod {
            happened
                .extend(workloads.into_iter().flat_map(|workload| self.workload(Difference::Is(workload))));
        }
        happened.extend(pods.into_iter().flat_map(|pod| self.pod(Difference::Is(pod))));
        happened
    }

    pub(crate) fn workload(&mut self, difference: Difference<Workload>) -> Vec<Happened> {
        match difference {
            Difference::Is(workload) => self.workload_is(workload),
            Difference::Gone(workload) => self.workload_gone(&workload),
        }
    }

    pub(crate) fn pod(&mut self, difference: Difference<Pod>) -> Vec<Happened> {
        if self.kind == Kind::Pod {
            return match difference {
                Difference::Is(pod) => {
                    let workload = Workload::of_pod(&pod);
                    self.pods.insert(pod.metadata.uid.clone(), pod);
                    self.workload_is(workload)
                }
                Difference::Gone(pod) => {
                    self.pods.remove(&pod.metadata.uid);
                    self.workload_gone(&Workload::of_pod(&pod))
                }
            };
        }
        let (Difference::Is(pod) | Difference::Gone(pod)) = &difference;
        let Some(owner) = self.owner(pod) else {
            // Its workload may come after it: the two lists are told apart from each other.
            match difference {
                Difference::Is(pod) => drop(self.pods.insert(pod.metadata.uid.clone(), pod)),
                Difference::Gone(pod) => drop(self.pods.remove(&pod.metadata.uid)),
            }
            return Vec::new();
        };
        match difference {
            Difference::Is(pod) => {
                self.pods.insert(pod.metadata.uid.clone(), pod);
                self.evaluate(&owner)
            }
            Difference::Gone(pod) => {
                // Its last state tells when it ended.
                let ended = pod.finished_at();
                self.pods.remove(&pod.metadata.uid);
                if let Some(ended) = ended {
                    self.last = self.last.max(ended);
                }
                self.evaluate(&owner)
            }
        }
    }

    /// Whether the pods of a workload have more to tell than is known: it has some, or was to have one.
    pub(crate) fn awaits_pods_of(&self, uid: &str) -> bool {
        self.workloads.get(uid).is_some_and(|entry| {
            entry.awaits_pod || self.pods.values().any(|pod| entry.workload.owns(self.kind, pod))
        })
    }

    fn owner(&self, pod: &Pod) -> Option<String> {
        if matches!(self.kind, Kind::Stateful | Kind::VirtualMachine) {
            let uid = &pod.metadata.controller()?.uid;
            return self.workloads.contains_key(uid).then(|| uid.clone());
        }
        let mut entries = self.workloads.iter();
        entries.find(|(_, entry)| entry.workload.owns(self.kind, pod)).map(|(uid, _)| uid.clone())
    }

    fn workload_is(&mut self, workload: Workload) -> Vec<Happened> {
        let uid = workload.metadata.uid.clone();
        let mut happened = Vec::new();
        match self.workloads.get_mut(&uid) {
            Some(entry) => {
                let before = std::mem::replace(&mut entry.workload, workload);
                entry.awaits_pod |= before.replicas() == 0 && entry.workload.replicas() > 0;
                happened.extend(self.changed(&uid, &before));
            }
            None => {
                let at = workload.metadata.created_at();
                let name = workload.metadata.name.clone();
                self.workloads.insert(uid.clone(), Entry::new(workload));
                happened.push(self.event(EventKind::Created, name, at, None));
            }
        }
        happened.extend(self.evaluate(&uid));
        happened
    }

    fn workload_gone(&mut self, workload: &Workload) -> Vec<Happened> {
        let Some(entry) = self.workloads.remove(&workload.metadata.uid) else {
            return Vec::new();
        };
        let name = workload.metadata.name.clone();
        let mut happened = Vec::new();
        if entry.up.is_some() {
            happened.push(self.event(EventKind::Stopped, name.clone(), None, None));
        }
        let at = workload.metadata.deletion_timestamp.as_deref().and_then(super::time::parse);
        // A bare pod's time of deletion is when its grace ends, which it need not wait for.
        let at = at.filter(|_| self.kind != Kind::Pod);
        happened.push(self.event(EventKind::Deleted, name, at, None));
        happened
    }

    /// What changed in the workload itself.
    fn changed(&mut self, uid: &str, before: &Workload) -> Vec<Happened> {
        let Some(entry) = self.workloads.get(uid) else { return Vec::new() };
        let (kind, now) = (self.kind, &entry.workload);
        let name = now.metadata.name.clone();
        let mut changes: Vec<(EventKind, Option<String>)> = Vec::new();
        if now.limits() != before.limits() {
            changes.push((EventKind::LimitsChanged, None));
        }
        let networks = |workload: &Workload| workload.networks(kind).map(str::to_owned).collect::<Vec<_>>();
        let (old, new) = (networks(before), networks(now));
        changes.extend(
            new.iter()
                .filter(|name| !old.contains(name))
                .map(|name| (EventKind::NetworkAttached, Some(name.clone()))),
        );
        changes.extend(
            old.iter()
                .filter(|name| !new.contains(name))
                .map(|name| (EventKind::NetworkDetached, Some(name.clone()))),
        );
        changes.into_iter().map(|(kind, detail)| self.event(kind, name.clone(), None, detail)).collect()
    }

    /// The difference that the pods of a workload make.
    fn evaluate(&mut self, uid: &str) -> Vec<Happened> {
        let Some(entry) = self.workloads.get(uid) else { return Vec::new() };
        let pods: Vec<&Pod> = self.pods.values().filter(|pod| entry.workload.owns(self.kind, pod)).collect();
        let pod = state::current(&pods);
        let awaits_pod = entry.awaits_pod && pods.is_empty();
        let Seen { state, words, .. } = entry.workload.seen(self.kind, &pods);
        let (pod_uid, started) = (pod.map(|pod| pod.metadata.uid.clone()), pod.and_then(Pod::started_at));
        let finished = pod.and_then(Pod::finished_at);
        let name = entry.workload.metadata.name.clone();
        let (before, up) = (entry.state, entry.up.clone());
        let mut happened = Vec::new();
        let mut now_up = up.clone();
        let over = state == InstanceState::Stopped && pod_uid.is_some();
        if up.is_some() && (pod_uid != up || over) {
            happened.push(self.event(EventKind::Stopped, name.clone(), finished.filter(|_| over), None));
            now_up = None;
        }
        match state {
            InstanceState::Running if before == InstanceState::Paused && now_up.is_some() => {
                happened.push(self.event(EventKind::Resumed, name, None, None));
            }
            InstanceState::Paused if before != InstanceState::Paused => {
                if now_up.is_none() {
                    happened.push(self.event(EventKind::Started, name.clone(), started, None));
                    now_up = pod_uid;
                }
                happened.push(self.event(EventKind::Paused, name, None, None));
            }
            InstanceState::Running if before != InstanceState::Running || now_up.is_none() => {
                happened.push(self.event(EventKind::Started, name, started, None));
                now_up = pod_uid;
            }
            InstanceState::Failed if before != InstanceState::Failed => {
                happened.push(self.event(EventKind::Failed, name, finished, Some(words)));
                // It is to be told that it has stopped, too.
                now_up = pod_uid;
            }
            _ => {}
        }
        if let Some(entry) = self.workloads.get_mut(uid) {
            entry.state = state;
            entry.up = now_up;
            entry.awaits_pod = awaits_pod;
        }
        happened
    }

    fn event(
        &mut self,
        kind: EventKind,
        instance: String,
        at: Option<SystemTime>,
        detail: Option<String>,
    ) -> Happened {
        self.last = at.map_or(self.last, |at| at.max(self.last));
        Happened { kind, instance, time: self.last, detail }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "a document that is written where it is used")]
    fn set(replicas: i32, more: Value) -> Workload {
        let mut meta = json!({"name": "web", "uid": "u1", "creationTimestamp": "2026-11-21T10:00:00Z"});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": meta, "spec": {"replicas": replicas}})).unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "a document that is written where it is used")]
    fn pod(uid: &str, status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-0", "uid": uid, "creationTimestamp": "2026-11-21T10:00:01Z",
                "ownerReferences": [{"kind": "StatefulSet", "name": "web", "uid": "u1", "controller": true}]},
            "spec": {"containers": [{"name": "main"}]}, "status": status}))
        .unwrap()
    }

    fn pending() -> Value {
        json!({"phase": "Pending"})
    }

    fn running() -> Value {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
            {"name": "main", "state": {"running": {"startedAt": "2026-11-21T10:00:02Z"}}}]})
    }

    fn crashed() -> Value {
        json!({"phase": "Running", "containerStatuses": [
            {"name": "main", "state": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-11-21T10:00:03Z"}}}]})
    }

    fn empty() -> Picture {
        Picture::new(Kind::Stateful, Vec::new(), Vec::new())
    }

    fn kinds(happened: &[Happened]) -> Vec<EventKind> {
        happened.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn the_end_of_an_instance_waits_for_its_pods_where_there_is_one_to_be_told_of() {
        let mut picture = empty();
        picture.workload(Difference::Is(set(0, json!({}))));
        assert!(!picture.awaits_pods_of("u1"), "it never ran");
        picture.workload(Difference::Is(set(1, json!({}))));
        picture.workload(Difference::Is(set(0, json!({}))));
        assert!(picture.awaits_pods_of("u1"), "its pod has not been seen yet");
        picture.pod(Difference::Is(pod("p1", running())));
        assert!(picture.awaits_pods_of("u1"), "its pod is still there");
        picture.pod(Difference::Gone(pod("p1", crashed())));
        assert!(!picture.awaits_pods_of("u1") && !picture.awaits_pods_of("u2"));
    }

    #[test]
    fn a_life_is_told_in_order_and_each_thing_once() {
        let mut picture = empty();
        let mut told = picture.workload(Difference::Is(set(0, json!({}))));
        told.extend(picture.workload(Difference::Is(set(1, json!({})))));
        for status in [pending(), running(), running()] {
            told.extend(picture.pod(Difference::Is(pod("p1", status))));
        }
        told.extend(picture.workload(Difference::Is(set(0, json!({})))));
        told.extend(picture.pod(Difference::Gone(pod("p1", crashed()))));
        told.extend(
            picture.workload(Difference::Is(set(0, json!({"deletionTimestamp": "2026-11-21T10:00:09Z"})))),
        );
        told.extend(
            picture.workload(Difference::Gone(set(0, json!({"deletionTimestamp": "2026-11-21T10:00:09Z"})))),
        );
        use EventKind::{Created, Deleted, Started, Stopped};
        assert_eq!(kinds(&told), [Created, Started, Stopped, Deleted]);
        assert!(told.is_sorted_by(|one, other| one.time < other.time), "{told:?}");
    }

    #[test]
    fn lists_that_are_told_out_of_step_lose_nothing() {
        let mut picture = empty();
        assert!(picture.pod(Difference::Is(pod("p1", running()))).is_empty());
        assert_eq!(
            kinds(&picture.workload(Difference::Is(set(1, json!({}))))),
            [EventKind::Created, EventKind::Started]
        );
        let told = picture.workload(Difference::Gone(set(1, json!({}))));
        assert_eq!(kinds(&told), [EventKind::Stopped, EventKind::Deleted]);
        assert!(picture.pod(Difference::Gone(pod("p1", running()))).is_empty());
    }

    #[test]
    fn what_was_there_before_is_no_news() {
        let mut picture = Picture::new(Kind::Stateful, vec![set(1, json!({}))], vec![pod("p1", running())]);
        assert!(picture.pod(Difference::Is(pod("p1", running()))).is_empty());
        assert_eq!(kinds(&picture.pod(Difference::Is(pod("p1", crashed())))), [EventKind::Failed]);
        assert_eq!(kinds(&picture.pod(Difference::Is(pod("p1", running())))), [EventKind::Started]);
        let told = picture.pod(Difference::Is(pod("p2", running())));
        assert!(told.is_empty() || kinds(&told) == [EventKind::Stopped, EventKind::Started]);
    }

    #[test]
    fn what_nobody_told_is_told_as_far_as_it_still_shows() {
        let other: Workload = serde_json::from_value(
            json!({"metadata": {"name": "new", "uid": "u2"}, "spec": {"replicas": 0}}),
        )
        .unwrap();
        let mut picture = Picture::new(Kind::Stateful, vec![set(1, json!({}))], vec![pod("p1", running())]);
        let told = picture.catch_up(vec![set(0, json!({})), other.clone()], Vec::new());
        assert_eq!(kinds(&told), [EventKind::Stopped, EventKind::Created]);
        assert!(picture.catch_up(vec![set(0, json!({})), other], Vec::new()).is_empty());
        assert_eq!(
            kinds(&picture.catch_up(Vec::new(), Vec::new())),
            [EventKind::Deleted, EventKind::Deleted]
        );
    }

    #[test]
    fn a_machine_that_is_paused_and_goes_on_has_not_started_anew() {
        let machine: Workload = serde_json::from_value(
            json!({"metadata": {"name": "vm", "uid": "u1"}, "spec": {"runStrategy": "Always"}}),
        )
        .unwrap();
        let instance = |paused: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "vm", "uid": "i1",
                "ownerReferences": [{"kind": "VirtualMachine", "name": "vm", "uid": "u1", "controller": true}]},
                "status": {"phase": "Running", "conditions": [{"type": "Paused", "status": paused}]}}))
            .unwrap()
        };
        let mut picture = Picture::new(Kind::VirtualMachine, vec![machine], Vec::new());
        let mut told = Vec::new();
        for paused in ["False", "True", "True", "False"] {
            told.extend(picture.pod(Difference::Is(instance(paused))));
        }
        told.extend(picture.pod(Difference::Gone(instance("False"))));
        use EventKind::{Paused, Resumed, Started, Stopped};
        assert_eq!(kinds(&told), [Started, Paused, Resumed, Stopped]);
    }

    #[test]
    fn changes_of_bounds_and_networks_are_told() {
        let with = |cpu: &str, network: &str| -> Workload {
            serde_json::from_value(
                json!({"metadata": {"name": "web", "uid": "u1"}, "spec": {"replicas": 0, "template": {
                "metadata": {"labels": {format!("network.substrate/{network}"): ""}},
                "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": cpu}}}]}}}}),
            )
            .unwrap()
        };
        let mut picture = Picture::new(Kind::Stateful, vec![with("1", "blue")], Vec::new());
        let told = picture.workload(Difference::Is(with("2", "green")));
        use EventKind::{LimitsChanged, NetworkAttached, NetworkDetached};
        assert_eq!(kinds(&told), [LimitsChanged, NetworkAttached, NetworkDetached]);
    }
}
