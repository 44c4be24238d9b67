//! Workloads as instances.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use substrate_core::{Error, Instance, InstanceName, NetworkAttachment, NetworkName, ResourceLimits, Result};

use super::labels::{self, NETWORK_PREFIX};
use super::meta::Meta;
use super::pod::{Condition, Pod, PodSpec};
use super::quantity;
use super::state::{self, Seen};
use super::{machine, machine_state};
use crate::config::Workload as Kind;

/// A StatefulSet, a Deployment or a VirtualMachine.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Workload {
    pub(crate) metadata: Meta,
    pub(crate) spec: WorkloadSpec,
    pub(crate) status: WorkloadStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WorkloadSpec {
    pub(crate) replicas: Option<i32>,
    pub(crate) selector: Selector,
    pub(crate) template: Template,
    /// Of a machine, as the next: one of the two is given.
    #[serde(rename = "runStrategy")]
    pub(crate) run_strategy: Option<String>,
    pub(crate) running: Option<bool>,
}

/// Of a machine; that of other workloads tells nothing that their pods do not.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WorkloadStatus {
    pub(crate) printable_status: String,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) state_change_requests: Vec<ChangeRequest>,
}

/// What virt-controller shall do with a machine that nobody else switches.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ChangeRequest {
    pub(crate) action: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Template {
    pub(crate) metadata: Meta,
    pub(crate) spec: PodSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Selector {
    pub(crate) match_labels: BTreeMap<String, String>,
    pub(crate) match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Expression {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) values: Vec<String>,
}

impl Selector {
    /// In the words of a query.
    pub(crate) fn to_query(&self) -> String {
        let mut terms: Vec<String> =
            self.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for Expression { key, operator, values } in &self.match_expressions {
            let values = values.join(",");
            match operator.as_str() {
                "In" => terms.push(format!("{key} in ({values})")),
                "NotIn" => terms.push(format!("{key} notin ({values})")),
                "Exists" => terms.push(key.clone()),
                "DoesNotExist" => terms.push(format!("!{key}")),
                _ => {}
            }
        }
        terms.join(",")
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |key: &str, values: &[String]| labels.get(key).is_some_and(|value| values.contains(value));
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|Expression { key, operator, values }| {
                match operator.as_str() {
                    "In" => has(key, values),
                    "NotIn" => !has(key, values),
                    "Exists" => labels.contains_key(key),
                    "DoesNotExist" => !labels.contains_key(key),
                    _ => false,
                }
            })
    }
}

impl Workload {
    /// A bare pod, looked at as a workload that always has it.
    pub(crate) fn of_pod(pod: &Pod) -> Self {
        let template = Template { metadata: Meta::default(), spec: pod.spec.clone() };
        let spec = WorkloadSpec { replicas: Some(1), template, ..WorkloadSpec::default() };
        Self { metadata: pod.metadata.clone(), spec, status: WorkloadStatus::default() }
    }

    /// What is not said is one. A machine that shall not run has none.
    pub(crate) fn replicas(&self) -> i32 {
        match (self.spec.run_strategy.as_deref(), self.spec.running) {
            (Some("Halted"), _) | (None, Some(false)) => 0,
            _ => self.spec.replicas.unwrap_or(1),
        }
    }

    /// Whether a pod is this workload's.
    pub(crate) fn owns(&self, kind: Kind, pod: &Pod) -> bool {
        let Some(owner) = pod.metadata.controller() else {
            return kind == Kind::Pod && pod.metadata.uid == self.metadata.uid;
        };
        match kind {
            Kind::Stateful | Kind::VirtualMachine => owner.uid == self.metadata.uid,
            // Between the two is a ReplicaSet, which has the name and a hash.
            Kind::Deployment => {
                let is_replica_set = owner.kind == "ReplicaSet"
                    && owner.name.rsplit_once('-').is_some_and(|(name, _)| name == self.metadata.name);
                is_replica_set && self.spec.selector.matches(&pod.metadata.labels)
            }
            Kind::Pod => pod.metadata.uid == self.metadata.uid,
        }
    }

    pub(crate) fn seen(&self, kind: Kind, pods: &[&Pod]) -> Seen {
        match (kind, pods.first()) {
            (Kind::Pod, Some(pod)) => state::of_pod(pod),
            (Kind::VirtualMachine, _) => machine_state::seen(self, pods),
            _ => state::of_workload(self.metadata.is_going(), self.replicas(), pods),
        }
    }

    /// The claims that its pods mount.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        let volumes = self.spec.template.spec.volumes.iter();
        volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
    }

    /// What the volumes of those are called in the template.
    pub(crate) fn claim_volumes(&self) -> impl Iterator<Item = &str> {
        let volumes = self.spec.template.spec.volumes.iter();
        volumes.filter(|volume| volume.persistent_volume_claim.is_some()).map(|volume| volume.name.as_str())
    }

    /// The networks that its pods are members of.
    pub(crate) fn networks(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let labels =
            if kind == Kind::Pod { &self.metadata.labels } else { &self.spec.template.metadata.labels };
        labels.keys().filter_map(|key| key.strip_prefix(NETWORK_PREFIX))
    }

    pub(crate) fn limits(&self) -> ResourceLimits {
        if let Some(domain) = &self.spec.template.spec.domain {
            return machine::limits(domain);
        }
        let limits = self.spec.template.spec.containers.first().map(|main| &main.resources.limits);
        let get = |key: &str| limits.and_then(|limits| limits.get(key));
        ResourceLimits {
            cpu_cores: get("cpu").and_then(|text| quantity::parse(text)),
            memory_mb: get("memory").and_then(|text| quantity::to_mebibytes(text)),
            ..ResourceLimits::default()
        }
    }

    /// The instance that a workload and its pods are.
    ///
    /// # Errors
    /// `Protocol` for a name that is none.
    pub(crate) fn instance(&self, kind: Kind, pods: &[&Pod]) -> Result<Instance> {
        let name =
            InstanceName::new(&self.metadata.name).map_err(|error| Error::protocol(error.message()))?;
        let seen = self.seen(kind, pods);
        let pod = state::current(pods);
        let mut instance = Instance::new(&self.metadata.uid, name, kind.instance_kind(), seen.state);
        instance.provider_state = seen.words;
        instance.image = self.image();
        instance.addresses = pod.map(Pod::addresses).unwrap_or_default();
        instance.networks = self
            .networks(kind)
            .filter_map(|network| NetworkName::new(network).ok())
            .map(|network_name| NetworkAttachment {
                network_name,
                ip_address: instance.addresses.first().copied(),
                mac_address: None,
            })
            .collect();
        instance.labels = labels::read(&self.metadata);
        instance.metadata = labels::read_metadata(&self.metadata);
        instance.limits = self.limits();
        instance.created_at = self.metadata.created_at();
        instance.started_at = started_at(pod);
        instance.properties = self.properties(kind, pod, seen.ready);
        Ok(instance)
    }

    fn image(&self) -> Option<String> {
        let template = &self.spec.template.spec;
        if template.domain.is_some() {
            return template
                .volumes
                .iter()
                .find_map(|volume| Some(volume.container_disk.as_ref()?.image.clone()));
        }
        template.containers.first().and_then(|container| container.image.clone())
    }

    fn properties(&self, kind: Kind, pod: Option<&Pod>, ready: bool) -> Map<String, Value> {
        let mut properties = Map::new();
        properties.insert("workload".to_owned(), json!(kind));
        if kind == Kind::VirtualMachine {
            properties.insert("run_strategy".to_owned(), json!(self.spec.run_strategy));
            if let Some(instance) = pod {
                properties.insert("machine_instance_uid".to_owned(), json!(instance.metadata.uid));
                properties.insert("node".to_owned(), json!(instance.node()));
                properties.insert("ready".to_owned(), json!(ready));
            }
            return properties;
        }
        properties.insert("replicas".to_owned(), json!(self.replicas()));
        if let Some(pod) = pod {
            properties.insert("pod".to_owned(), json!(pod.metadata.name));
            properties.insert("pod_uid".to_owned(), json!(pod.metadata.uid));
            properties.insert("node".to_owned(), json!(pod.node()));
            properties.insert("ready".to_owned(), json!(ready));
            let restarts = pod.main_status().map_or(0, |status| status.restart_count);
            properties.insert("restarts".to_owned(), json!(restarts));
        }
        properties
    }
}

fn started_at(pod: Option<&Pod>) -> Option<SystemTime> {
    pod.and_then(Pod::started_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Workload {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "u1", "labels": {"role": "web"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"substrate/instance": "web"}}, "template": {
                "metadata": {"labels": {"substrate/instance": "web", "network.substrate/blue": ""}},
                "spec": {"containers": [{"name": "main", "image": "busybox:local",
                    "resources": {"limits": {"cpu": "500m", "memory": "96Mi"}}}],
                    "volumes": [{"name": "v0", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "v1", "emptyDir": {}}]}}}
        }))
        .unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "a document that is written where it is used")]
    fn pod(owner: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "uid": "p1", "ownerReferences": [owner],
            "labels": {"substrate/instance": "web"}}}))
        .unwrap()
    }

    #[test]
    fn a_set_is_read() {
        let set = set();
        let instance = set.instance(Kind::Stateful, &[]).unwrap();
        assert_eq!(instance.id, "u1");
        assert_eq!(instance.limits.cpu_cores, Some(0.5));
        assert_eq!(instance.limits.memory_mb, Some(96));
        assert_eq!(instance.networks.len(), 1);
        assert_eq!(set.claims().collect::<Vec<_>>(), ["data"]);
        assert_eq!(set.spec.selector.to_query(), "substrate/instance=web");
    }

    #[test]
    fn a_pod_belongs_to_the_workload_of_this_id_and_not_of_this_name() {
        let mine = pod(json!({"kind": "StatefulSet", "name": "web", "uid": "u1", "controller": true}));
        let old = pod(json!({"kind": "StatefulSet", "name": "web", "uid": "u0", "controller": true}));
        assert!(set().owns(Kind::Stateful, &mine) && !set().owns(Kind::Stateful, &old));
        let replica = pod(json!({"kind": "ReplicaSet", "name": "web-5d8f", "uid": "r1", "controller": true}));
        let other = pod(json!({"kind": "ReplicaSet", "name": "web-2-5d8f", "uid": "r2", "controller": true}));
        assert!(set().owns(Kind::Deployment, &replica) && !set().owns(Kind::Deployment, &other));
    }
}
