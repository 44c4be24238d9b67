//! Starting and stopping: one replica, or none, and waiting for what comes of it.

use std::time::Duration;

use serde_json::{Value, json};
use substrate_core::{
    Error, ErrorKind, Feature, InstanceName, InstanceState, Operation, Outcome, Result, StopMode,
};

use super::K8sSubstrate;
use super::lookup::{Found, missing};
use super::patience;
use crate::client::{Patch, Resource, deletion};
use crate::config::Workload as Kind;
use crate::convert::create::port_service;
use crate::convert::pod::Pod;
use crate::convert::workload::Workload;

impl K8sSubstrate {
    pub(super) async fn start(&self, name: &InstanceName) -> Result<()> {
        let workload = self.find_workload(name.as_str()).await?;
        let _held = self.names.hold("workload", &workload.metadata.uid).await;
        let found = self.with_pods(self.again(&workload).await?).await?;
        self.start_found(found).await
    }

    pub(super) async fn start_found(&self, found: Found) -> Result<()> {
        let seen = found.seen(self.workload());
        if seen.state == InstanceState::Running && seen.ready {
            return Ok(());
        }
        if found.workload.metadata.is_going() {
            return Err(Error::conflict("the instance is being deleted"));
        }
        if self.workload() == Kind::VirtualMachine {
            return self.start_machine(&found, seen.state).await;
        }
        if self.workload() == Kind::Pod {
            return match seen.state {
                InstanceState::Stopped => {
                    Err(Error::unsupported("a bare pod that has ended cannot be started again")
                        .with_hint("delete it and create it anew, or use the workload `stateful`"))
                }
                _ => {
                    self.publish(&found.workload).await?;
                    self.wait_until_up(&found.workload).await
                }
            };
        }
        require_single(&found.workload)?;
        if found.workload.replicas() == 0 {
            if self.workload() == Kind::Deployment {
                // The controller of a set waits for the old pod by itself.
                self.wait_until_down(&found.workload, None).await?;
            }
            self.publish(&found.workload).await?;
            self.scale(&found.workload, 1).await?;
        }
        self.wait_until_up(&found.workload).await
    }

    /// Has the cluster pick ports, where it shall. At each start, so that a creation stays one request.
    pub(super) async fn publish(&self, workload: &Workload) -> Result<()> {
        let Some((_, service)) = port_service(workload, self.workload()) else { return Ok(()) };
        let target = Resource::Services.all(self.client.namespace().await?);
        match self.client.create::<Value>("publish the ports", &target, &service).await {
            Err(error) if error.is_already_exists() => Ok(()),
            result => result.map(drop),
        }
    }

    pub(super) async fn stop(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        self.require_stop(Operation::StopInstance, mode)?;
        let workload = self.find_workload(name.as_str()).await?;
        let _held = self.names.hold("workload", &workload.metadata.uid).await;
        let found = self.with_pods(self.again(&workload).await?).await?;
        self.stop_found(&found, mode).await
    }

    pub(super) async fn restart(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        self.require_stop(Operation::RestartInstance, mode)?;
        let workload = self.find_workload(name.as_str()).await?;
        let _held = self.names.hold("workload", &workload.metadata.uid).await;
        let found = self.with_pods(self.again(&workload).await?).await?;
        self.stop_found(&found, mode).await?;
        let found = self.with_pods(self.again(&workload).await?).await?;
        self.start_found(found).await.map_err(|error| error.with_hint("the restart had already stopped it"))
    }

    fn require_stop(&self, operation: Operation, mode: StopMode) -> Result<()> {
        let descriptor = self.descriptor.get();
        descriptor.require(operation)?;
        if matches!(mode, StopMode::Graceful(_)) {
            descriptor.require(Feature::GracefulStop)?;
        }
        Ok(())
    }

    /// The same workload as it is now: somebody may have had the lock before us.
    pub(super) async fn again(&self, workload: &Workload) -> Result<Workload> {
        let name = &workload.metadata.name;
        let now = self.named(name).await?;
        now.filter(|now| now.metadata.uid == workload.metadata.uid).ok_or_else(|| missing(name))
    }

    pub(super) async fn stop_found(&self, found: &Found, mode: StopMode) -> Result<()> {
        require_single(&found.workload)?;
        if self.workload() == Kind::VirtualMachine {
            return self.stop_machine(found, mode).await;
        }
        let grace = whole_seconds(mode.grace());
        if self.workload() == Kind::Deployment {
            self.check_grace(found, grace)?;
        }
        let stop_first = self.workload() == Kind::Stateful;
        if stop_first {
            // The pod before the number: the controller deletes with the pod's own grace, and older nodes do not heed a
            // shorter one that comes later. It makes no new pod before this one has gone.
            self.end_pods(&found.pods, grace).await?;
        }
        if found.workload.replicas() != 0 {
            if stop_first {
                self.scale(&found.workload, 0).await?;
            } else {
                self.scale_down_and_end(found, grace).await?;
            }
        }
        self.wait_until_down(&found.workload, Some(grace)).await
    }

    /// Of a deployment: everything in one moment. Its pod is replaced as soon as it is deleted, unless the number is 0 by
    /// then; and once the number is 0 it is deleted with its own grace, which nodes before 1.22 do not shorten any more. The
    /// controllers need longer to look than three requests that are sent at once; and should one of them be quicker, the
    /// wait for the end ends what it has made.
    async fn scale_down_and_end(&self, found: &Found, grace: u64) -> Result<()> {
        let namespace = self.client.namespace().await?;
        let sets = async {
            for owner in found.pods.iter().filter_map(|pod| pod.metadata.controller()) {
                let target = Resource::ReplicaSets.one(namespace, &owner.name);
                let body = json!({"metadata": {"uid": owner.uid}, "spec": {"replicas": 0}});
                match self.client.patch::<Value>("stop the instance", &target, Patch::Merge, &body).await {
                    Err(error) if error.is_not_found() || error.is_conflict() => {}
                    result => drop(result?),
                }
            }
            Ok(())
        };
        let (scaled, sets, ended) =
            tokio::join!(self.scale(&found.workload, 0), sets, self.end_pods(&found.pods, grace));
        scaled.and(sets).and(ended)
    }

    /// A deployment's pod cannot be given more grace than its own: the controllers may delete it, too.
    fn check_grace(&self, found: &Found, grace: u64) -> Result<()> {
        let most = found.workload.spec.template.spec.termination_grace_period_seconds.unwrap_or(30);
        if grace > most && !found.pods.is_empty() {
            return Err(Error::unsupported(format!(
                "the pod of a deployment is killed after {most} s at the latest"
            ))
            .with_hint("raise the option `termination_grace_seconds`"));
        }
        Ok(())
    }

    /// Asks pods to end, and has them killed after `grace` seconds.
    pub(super) async fn end_pods(&self, pods: &[Pod], grace: u64) -> Result<()> {
        for pod in pods.iter().filter(|pod| is_later_than(pod, grace)) {
            self.end_pod(pod, grace).await?;
        }
        Ok(())
    }

    async fn end_pod(&self, pod: &Pod, grace: u64) -> Result<()> {
        let target = Resource::Pods.one(self.client.namespace().await?, &pod.metadata.name);
        let mut options = deletion(&pod.metadata, "Background");
        if let Value::Object(options) = &mut options {
            options.insert("gracePeriodSeconds".to_owned(), json!(grace));
        }
        match self.client.delete("end the pod", &target, &options).await {
            // Gone, or another one has its name.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            result => result,
        }
    }

    pub(super) async fn scale(&self, workload: &Workload, replicas: u32) -> Result<()> {
        let target = self.target(workload).await?;
        // The id, so that a workload that was made anew meanwhile is left alone.
        let mut body = json!({"metadata": {"uid": workload.metadata.uid}, "spec": {"replicas": replicas}});
        if let (Kind::Deployment, Some(Value::Object(spec))) = (self.workload(), body.get_mut("spec")) {
            // What was changed while it ran, without a new pod for that, holds from this start on. One that is stopped
            // stays as it is: there is no pod to be replaced any more when it starts.
            if replicas > 0 {
                spec.insert("paused".to_owned(), json!(false));
            }
        }
        let attempt = if replicas == 0 { "stop the instance" } else { "start the instance" };
        self.client.patch::<Value>(attempt, &target, Patch::Merge, &body).await.map(drop)
    }

    /// Until the instance runs and is ready, or cannot.
    pub(super) async fn wait_until_up(&self, workload: &Workload) -> Result<()> {
        let limit = self.config.start_timeout;
        let mut wait = patience::at_most(limit);
        loop {
            let now = self.with_pods(self.again(workload).await?).await?;
            let seen = now.seen(self.workload());
            match (seen.state, seen.refusal) {
                (InstanceState::Running, _) if seen.ready => return Ok(()),
                (InstanceState::Failed, Some(kind)) => return Err(cannot_run(kind, &seen.words)),
                (InstanceState::Paused, _) => {
                    return Err(Error::conflict("somebody else has paused it meanwhile"));
                }
                (InstanceState::Stopped, _) if self.workload() != Kind::Pod => {
                    return Err(Error::conflict("somebody else has stopped it meanwhile"));
                }
                // A bare pod that has done its work.
                (InstanceState::Stopped, _) => return Ok(()),
                _ => {}
            }
            if now.workload.metadata.is_going() {
                return Err(Error::conflict("it is being deleted"));
            }
            if !wait.pause().await {
                let kind = if ["Unschedulable", "ErrorUnschedulable"]
                    .iter()
                    .any(|word| seen.words.starts_with(word))
                {
                    ErrorKind::Exhausted
                } else {
                    ErrorKind::Timeout
                };
                return Err(Error::new(kind, format!("it does not run after {limit:?}: {}", seen.words))
                    .with_outcome(Outcome::Unknown)
                    .with_hint("it will when the cluster can; `start_timeout` says how long to wait"));
            }
        }
    }

    /// Until the last pod has gone from the API: then its node has confirmed that nothing of it runs. With `grace`, in
    /// seconds, pods that appear meanwhile are ended too.
    pub(super) async fn wait_until_down(&self, workload: &Workload, grace: Option<u64>) -> Result<()> {
        let given = grace.or(workload.spec.template.spec.termination_grace_period_seconds).unwrap_or(30);
        let mut wait = patience::at_most(Duration::from_secs(given) + self.config.deletion_timeout);
        loop {
            let pods = self.pods_of(workload).await?;
            let left: Vec<&Pod> =
                pods.iter().filter(|pod| !pod.is_over() || pod.metadata.is_going()).collect();
            let Some(first) = left.first() else {
                return Ok(());
            };
            if !wait.pause().await {
                return Err(held(
                    &first.metadata.name,
                    &first.metadata.holders(),
                    first.spec.node_name.as_deref(),
                ));
            }
            let Some(grace) = grace else { continue };
            for pod in left.into_iter().filter(|pod| is_later_than(pod, grace)) {
                self.end_pod(pod, grace).await?;
            }
        }
    }
}

/// Kubernetes counts seconds, and 0 means that nobody waits for the node to confirm the end.
fn whole_seconds(grace: Duration) -> u64 {
    (grace.as_secs() + u64::from(grace.subsec_nanos() > 0)).max(1)
}

/// Whether a pod would go on for longer than `grace` if nothing were done.
fn is_later_than(pod: &Pod, grace: u64) -> bool {
    if pod.is_over() && !pod.metadata.is_going() {
        return false;
    }
    !pod.metadata.is_going() || pod.metadata.deletion_grace_period_seconds.is_some_and(|given| given > grace)
}

fn cannot_run(kind: ErrorKind, words: &str) -> Error {
    let error = Error::new(kind, format!("it cannot run: {words}")).with_outcome(Outcome::Rejected);
    match kind {
        ErrorKind::Internal => error.with_hint("its log says more"),
        ErrorKind::NotFound => error.with_hint("does the image exist, and may the node fetch it?"),
        _ => error,
    }
}

/// What is deleted and does not go.
pub(super) fn held(name: &str, holders: &[&str], node: Option<&str>) -> Error {
    let error = Error::timeout(match holders {
        [] => format!("`{name}` was deleted and is still there"),
        holders => format!("`{name}` was deleted and is held by the finalizer {}", holders.join(", ")),
    });
    match (holders, node) {
        ([], Some(node)) => error.with_hint(format!("does the node {node} answer?")),
        ([], None) => error,
        _ => error.with_hint("whoever put the finalizer there has to take it away"),
    }
}

/// An instance is a workload of one replica: what has more is not ours to switch.
pub(super) fn require_single(workload: &Workload) -> Result<()> {
    match workload.replicas() {
        0 | 1 => Ok(()),
        replicas => {
            Err(Error::conflict(format!("the workload has {replicas} replicas, an instance has one")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_stop_is_confirmed_by_the_node() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1500)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(10)), 10);
    }

    #[test]
    fn what_holds_a_deleted_thing_is_named() {
        let error = held("web", &["example.org/backup"], None);
        assert!(error.is_timeout() && error.message().contains("example.org/backup"), "{error}");
        assert!(held("web-0", &[], Some("n1")).to_string().contains("n1"));
    }
}
