//! What KubeVirt has of its own: whether it is there, the power of machines, and the pods behind them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use substrate_core::{Error, InstanceName, InstanceState, Operation, Outcome, Result, StopMode};

use super::K8sSubstrate;
use super::lookup::Found;
use super::patience;
use super::power::held;
use crate::client::{Patch, Resource, Target};
use crate::config::Workload as Kind;
use crate::convert::machine::RUN_STRATEGY;
use crate::convert::pod::Pod;
use crate::convert::state;
use crate::convert::workload::Workload;
use crate::options::RUN_STRATEGIES;

/// Which pod was made for a machine instance, by the instance's id.
const CREATED_BY: &str = "kubevirt.io/created-by";

/// What is said wherever machines are asked for and cannot be.
pub(super) const NO_KUBEVIRT: &str =
    "KubeVirt is not installed in this cluster: it does not have the API group kubevirt.io/v1";

/// The pod behind what runs.
pub(super) enum Launcher {
    /// What runs is a pod.
    NotNeeded,
    /// A machine's, which is not there yet.
    Awaited,
    /// A machine's.
    Pod(Box<Pod>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Served {
    resources: Option<Vec<ServedResource>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServedResource {
    name: String,
}

pub(super) fn no_kubevirt() -> Error {
    Error::unsupported(NO_KUBEVIRT)
        .with_hint("install KubeVirt, or use the workload `stateful`, `deployment` or `pod`")
        .with_outcome(Outcome::NotSent)
}

impl K8sSubstrate {
    /// Nothing where no machines are asked for, or where there are such.
    ///
    /// # Errors
    /// `Unsupported` where the cluster does not have KubeVirt.
    pub(super) async fn require_kubevirt(&self) -> Result<()> {
        if self.workload() != Kind::VirtualMachine {
            return Ok(());
        }
        let target = Target::new("/apis/kubevirt.io/v1");
        let served: Option<Served> = self.client.find("look for KubeVirt", &target).await?;
        let resources = served.and_then(|served| served.resources).unwrap_or_default();
        if resources.iter().any(|one| one.name == "virtualmachines") { Ok(()) } else { Err(no_kubevirt()) }
    }

    /// Machines, where their users matter too: always on a substrate of machines, else where there are such.
    pub(super) fn machines_beside(&self) -> Option<Resource> {
        let are_there = self.workload() == Kind::VirtualMachine || self.discovered().machines;
        are_there.then_some(Resource::Machines)
    }

    /// Whether a failure to look at machines is none of this substrate's business.
    pub(super) fn may_overlook_machines(&self, error: &Error) -> bool {
        self.workload() != Kind::VirtualMachine && (error.is_permission_denied() || error.is_not_found())
    }

    // ---- power ------------------------------------------------------------------------------------

    pub(super) async fn start_machine(&self, found: &Found, state: InstanceState) -> Result<()> {
        let machine = &found.workload;
        if state == InstanceState::Paused {
            return Err(Error::conflict("the instance is paused").with_hint("resume it"));
        }
        if is_manual(machine) {
            if state == InstanceState::Stopped {
                self.publish(machine).await?;
                self.act_on(Resource::Machines, machine, "start", &json!({})).await?;
            }
            return self.wait_until_up(machine).await;
        }
        if state == InstanceState::Stopped && machine.replicas() != 0 {
            // It ended by itself, and by its strategy it stays so: switched off and on again it runs.
            self.switch(machine, false).await?;
            self.wait_until_unplugged(machine, Duration::ZERO).await?;
        }
        self.publish(machine).await?;
        self.switch(machine, true).await?;
        self.wait_until_up(machine).await
    }

    /// Asks the guest to end, and cuts its power when `mode`'s time is over. KubeVirt counts seconds.
    pub(super) async fn stop_machine(&self, found: &Found, mode: StopMode) -> Result<()> {
        let machine = &found.workload;
        let grace = mode.grace();
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        if found.pods.iter().any(|instance| !instance.is_over()) {
            match self.act_on(Resource::Machines, machine, "stop", &json!({"gracePeriod": seconds})).await {
                // It has ended meanwhile, or is about to end at least as soon.
                Err(error) if error.is_conflict() => {}
                result => result?,
            }
        }
        if !is_manual(machine) {
            // Also where nothing runs yet. KubeVirt has done it itself for some of the strategies.
            self.switch(machine, false).await?;
        }
        self.wait_until_unplugged(machine, grace).await
    }

    /// Has a machine run or not, in the words that it is written in: `running` is the older one.
    async fn switch(&self, machine: &Workload, on: bool) -> Result<()> {
        let wanted = machine.metadata.annotations.get(RUN_STRATEGY).map(String::as_str);
        let strategy = RUN_STRATEGIES.into_iter().find(|known| Some(*known) == wanted).unwrap_or("Always");
        let spec = match machine.spec.running {
            Some(_) => json!({"running": on}),
            None => json!({"runStrategy": if on { strategy } else { "Halted" }}),
        };
        let target = self.target(machine).await?;
        let body = json!({"metadata": {"uid": machine.metadata.uid}, "spec": spec});
        let attempt = if on { "start the instance" } else { "stop the instance" };
        self.client.patch::<Value>(attempt, &target, Patch::Merge, &body).await.map(drop)
    }

    /// Until its machine instance has gone. Where nobody but its own requests switches it, one that has come to its end stays
    /// as a record.
    async fn wait_until_unplugged(&self, machine: &Workload, grace: Duration) -> Result<()> {
        let mut wait = patience::at_most(grace + self.config.deletion_timeout);
        loop {
            let instances = self.pods_of(machine).await?;
            let is_record = |one: &Pod| is_manual(machine) && one.is_over() && !one.metadata.is_going();
            let Some(left) = instances.iter().find(|one| !is_record(one)) else {
                return Ok(());
            };
            if !wait.pause().await {
                return Err(held(&left.metadata.name, &left.metadata.holders(), left.node()));
            }
        }
    }

    // ---- pausing ----------------------------------------------------------------------------------

    pub(super) async fn pause(&self, name: &InstanceName) -> Result<()> {
        self.freeze(name, Operation::PauseInstance, "pause", InstanceState::Paused).await
    }

    pub(super) async fn resume(&self, name: &InstanceName) -> Result<()> {
        self.freeze(name, Operation::ResumeInstance, "unpause", InstanceState::Running).await
    }

    async fn freeze(
        &self,
        name: &InstanceName,
        operation: Operation,
        act: &str,
        wanted: InstanceState,
    ) -> Result<()> {
        self.descriptor.get().require(operation)?;
        let machine = self.find_workload(name.as_str()).await?;
        let _held = self.names.hold("workload", &machine.metadata.uid).await;
        let found = self.with_pods(self.again(&machine).await?).await?;
        let state = found.seen(self.workload()).state;
        if state == wanted {
            return Ok(());
        }
        if !matches!(state, InstanceState::Running | InstanceState::Paused) {
            return Err(Error::conflict(format!("the instance is {state}")).with_hint("start it first"));
        }
        let refused = match self.act_on(Resource::MachineInstances, &machine, act, &json!({})).await {
            // Somebody else was quicker, or it is being moved: which of them shows.
            Err(error) if error.is_conflict() => Some(error),
            result => result.map(|()| None)?,
        };
        let mut wait = patience::at_most(self.config.request_timeout);
        loop {
            let now = self.with_pods(self.again(&machine).await?).await?.seen(self.workload());
            if now.state == wanted {
                return Ok(());
            }
            if let Some(refused) = refused {
                return Err(refused);
            }
            if !matches!(now.state, InstanceState::Running | InstanceState::Paused) {
                return Err(Error::conflict(format!("the instance is {} meanwhile", now.state)));
            }
            if !wait.pause().await {
                return Err(Error::timeout(format!(
                    "KubeVirt took the request to {act} it, and it is {}",
                    now.words
                ))
                .with_outcome(Outcome::Unknown));
            }
        }
    }

    // ---- what is behind it ------------------------------------------------------------------------

    /// The pod in which a machine runs.
    pub(super) async fn launcher(&self, running: &Pod) -> Result<Launcher> {
        if self.workload() != Kind::VirtualMachine {
            return Ok(Launcher::NotNeeded);
        }
        let selector = format!("{CREATED_BY}={}", running.metadata.uid);
        let target = Resource::Pods.all(self.client.namespace().await?).with("labelSelector", &selector);
        let pods = self.client.list::<Pod>("look for the machine's pod", &target).await?.items;
        // While it is moved to another node there are two.
        let node = running.node();
        let here: Vec<&Pod> = pods.iter().filter(|pod| node.is_none() || pod.node() == node).collect();
        Ok(match state::current(&here) {
            Some(pod) => Launcher::Pod(Box::new(pod.clone())),
            None => Launcher::Awaited,
        })
    }

    /// Has KubeVirt itself do something.
    async fn act_on(&self, resource: Resource, machine: &Workload, act: &str, body: &Value) -> Result<()> {
        let name = &machine.metadata.name;
        let target = resource.act(self.client.namespace().await?, name, act);
        match self.client.act(&format!("{act} the instance"), &target, body).await {
            // No such machine, or nobody who could do it.
            Err(error) if error.is_not_found() => {
                self.again(machine).await?;
                let all = self.pods_of(machine).await?;
                Err(match (resource, all.is_empty()) {
                    (Resource::MachineInstances, true) => {
                        Error::conflict("the instance does not run any more")
                    }
                    _ => {
                        Error::unavailable(format!("KubeVirt's own API does not answer: {}", error.message()))
                            .with_hint("is virt-api running? it serves subresources.kubevirt.io")
                    }
                }
                .with_outcome(Outcome::Rejected))
            }
            result => result,
        }
    }
}

/// Whether nothing but its own requests switches it.
fn is_manual(machine: &Workload) -> bool {
    machine.spec.run_strategy.as_deref() == Some("Manual")
}
