//! Looking: one instance, and all of them.

use std::collections::HashMap;
use std::sync::Arc;

use substrate_core::{Error, Instance, InstanceFilter, InstanceName, Result};

use super::K8sSubstrate;
use crate::client::{Listing, Resource, Target};
use crate::config::Workload as Kind;
use crate::convert::create::{resource, running_resource};
use crate::convert::labels;
use crate::convert::pod::Pod;
use crate::convert::state::Seen;
use crate::convert::workload::Workload;
use crate::name::{is_object_name, is_uid};

const ATTEMPT: &str = "look at the instance";
const LIST: &str = "list the instances";

/// A workload with its pods.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) workload: Workload,
    pub(super) pods: Vec<Pod>,
}

impl Found {
    pub(super) fn seen(&self, kind: Kind) -> Seen {
        self.workload.seen(kind, &self.pods())
    }

    pub(super) fn pods(&self) -> Vec<&Pod> {
        self.pods.iter().collect()
    }

    pub(super) fn instance(&self, kind: Kind) -> Result<Instance> {
        self.workload.instance(kind, &self.pods())
    }
}

pub(super) fn missing(name: &str) -> Error {
    Error::not_found(format!("there is no instance `{}`", name.escape_debug()))
}

impl K8sSubstrate {
    pub(super) fn resource(&self) -> Resource {
        resource(self.workload())
    }

    pub(super) async fn target(&self, workload: &Workload) -> Result<Target> {
        Ok(self.resource().one(self.client.namespace().await?, &workload.metadata.name))
    }

    pub(super) async fn get(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        Ok(Arc::new(self.find(name).await?.instance(self.workload())?))
    }

    /// The workload that `name` means, by its name or its id, with its pods.
    pub(super) async fn find(&self, name: &InstanceName) -> Result<Found> {
        let workload = self.find_workload(name.as_str()).await?;
        self.with_pods(workload).await
    }

    pub(super) async fn find_workload(&self, name: &str) -> Result<Workload> {
        if !is_object_name(name) {
            return Err(missing(name));
        }
        if let Some(workload) = self.named(name).await? {
            return Ok(workload);
        }
        if !is_uid(name) {
            return Err(missing(name));
        }
        // The server cannot be asked by id.
        let all = self.workloads(None, None).await?.items;
        all.into_iter().find(|workload| workload.metadata.uid == name).ok_or_else(|| missing(name))
    }

    /// A workload by its name; `None` when there is none.
    pub(super) async fn named(&self, name: &str) -> Result<Option<Workload>> {
        let target = self.resource().one(self.client.namespace().await?, name);
        if self.workload() == Kind::Pod {
            let pod: Option<Pod> = self.client.find(ATTEMPT, &target).await?;
            return Ok(pod.filter(is_bare).map(|pod| Workload::of_pod(&pod)));
        }
        let found = self.client.find(ATTEMPT, &target).await?;
        if found.is_none() {
            // Where there is no KubeVirt nothing has the name either, and that would be half the truth.
            self.require_kubevirt().await?;
        }
        Ok(found)
    }

    pub(super) async fn with_pods(&self, workload: Workload) -> Result<Found> {
        let pods = self.pods_of(&workload).await?;
        Ok(Found { workload, pods })
    }

    pub(super) async fn pods_of(&self, workload: &Workload) -> Result<Vec<Pod>> {
        let namespace = self.client.namespace().await?;
        if self.workload() == Kind::Pod {
            let target = Resource::Pods.one(namespace, &workload.metadata.name);
            let pod: Option<Pod> = self.client.find(ATTEMPT, &target).await?;
            return Ok(pod.filter(|pod| pod.metadata.uid == workload.metadata.uid).into_iter().collect());
        }
        if self.workload() == Kind::VirtualMachine {
            // It has the machine's name.
            let target = Resource::MachineInstances.one(namespace, &workload.metadata.name);
            let instance: Option<Pod> = self.client.find(ATTEMPT, &target).await?;
            return Ok(instance.filter(|one| workload.owns(self.workload(), one)).into_iter().collect());
        }
        let selector = workload.spec.selector.to_query();
        let target = Resource::Pods.all(namespace).with("labelSelector", &selector);
        let pods = self.client.list::<Pod>(ATTEMPT, &target).await?.items;
        Ok(pods.into_iter().filter(|pod| workload.owns(self.workload(), pod)).collect())
    }

    /// All workloads, as of `version` if one is given.
    pub(super) async fn workloads(
        &self,
        selector: Option<&str>,
        version: Option<&str>,
    ) -> Result<Listing<Workload>> {
        let target = self.resource().all(self.client.namespace().await?).maybe("labelSelector", selector);
        if self.workload() == Kind::Pod {
            let listing = self.client.list_of::<Pod>(LIST, &target, version).await?;
            let workloads = listing.items.iter().filter(|pod| is_bare(pod)).map(Workload::of_pod).collect();
            return Ok(Listing { items: workloads, version: listing.version });
        }
        match self.client.list_of(LIST, &target, version).await {
            Err(error) if error.is_not_found() => {
                self.require_kubevirt().await?;
                Err(error)
            }
            result => result,
        }
    }

    async fn all_pods(&self) -> Result<Listing<Pod>> {
        let target = running_resource(self.workload()).all(self.client.namespace().await?);
        self.client.list(LIST, &target).await
    }

    pub(super) async fn list(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let kind = self.workload();
        if filter.kind.is_some_and(|asked| asked != kind.instance_kind()) {
            return Ok(Vec::new());
        }
        let selector = labels::selector(&filter.labels);
        let mut instances = Vec::new();
        let mut take = |workload: &Workload, pods: &[&Pod]| -> Result<()> {
            let instance = workload.instance(kind, pods)?;
            if filter.matches(&instance) {
                instances.push(Arc::new(instance));
            }
            Ok(())
        };
        if kind == Kind::Pod {
            let target = Resource::Pods
                .all(self.client.namespace().await?)
                .maybe("labelSelector", selector.as_deref());
            for pod in self.client.list::<Pod>(LIST, &target).await?.items.iter().filter(|pod| is_bare(pod)) {
                take(&Workload::of_pod(pod), &[pod])?;
            }
        } else {
            // Workloads last: a pod whose workload is not yet there is nobody's, and a workload whose pod is not yet
            // there would be taken for one that does not run.
            let (workloads, pods) = tokio::join!(self.workloads(selector.as_deref(), None), self.all_pods());
            let (workloads, pods) = (workloads?, pods?);
            let by_owner = self.by_owner(&workloads.items, &pods.items);
            for workload in &workloads.items {
                let own = by_owner.get(workload.metadata.uid.as_str()).map(Vec::as_slice).unwrap_or_default();
                take(workload, own)?;
            }
        }
        instances.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(instances)
    }

    /// Each workload's pods, by its id.
    fn by_owner<'a>(&self, workloads: &'a [Workload], pods: &'a [Pod]) -> HashMap<&'a str, Vec<&'a Pod>> {
        let mut by_owner: HashMap<&str, Vec<&Pod>> = HashMap::new();
        if matches!(self.workload(), Kind::Stateful | Kind::VirtualMachine) {
            for pod in pods {
                if let Some(owner) = pod.metadata.controller() {
                    by_owner.entry(&owner.uid).or_default().push(pod);
                }
            }
            return by_owner;
        }
        // A deployment's pods are known by the name of their replica set, which is the deployment's and a hash.
        let named: HashMap<&str, &Workload> =
            workloads.iter().map(|workload| (workload.metadata.name.as_str(), workload)).collect();
        for pod in pods {
            let owner = pod.metadata.controller().and_then(|owner| owner.name.rsplit_once('-'));
            let workload = owner.and_then(|(name, _)| named.get(name));
            if let Some(workload) = workload.filter(|workload| workload.owns(self.workload(), pod)) {
                by_owner.entry(&workload.metadata.uid).or_default().push(pod);
            }
        }
        by_owner
    }
}

/// Whether a pod is nobody's: those of a workload are not instances of their own.
fn is_bare(pod: &Pod) -> bool {
    pod.metadata.controller().is_none()
}
