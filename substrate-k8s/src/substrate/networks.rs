//! Networks: services, and the labels that make pods their members.

use serde_json::{Value, json};
use substrate_core::{
    Error, Feature, InstanceName, Network, NetworkConfig, NetworkName, NetworkSpec, Outcome, Result,
};

use super::K8sSubstrate;
use super::lookup::Found;
use super::machines::Launcher;
use super::power::require_single;
use crate::client::{Patch, Resource, Target};
use crate::config::Workload as Kind;
use crate::convert::create::running_resource;
use crate::convert::labels::{PORTS, membership};
use crate::convert::service::{self, Service};
use crate::name::is_object_name;

const DELETE: &str = "delete the service";

impl K8sSubstrate {
    pub(super) async fn networks(&self) -> Result<Vec<Network>> {
        let target = Resource::Services.all(self.client.namespace().await?);
        let services = self.client.list::<Service>("list the services", &target).await?.items;
        // An instance's own service for its ports is nobody's network.
        let networks = services.iter().filter(|service| !service.metadata.labels.contains_key(PORTS));
        let mut networks = networks.map(Service::network).collect::<Result<Vec<_>>>()?;
        networks.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(networks)
    }

    pub(super) async fn make_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let body = service::of_spec(spec)?;
        let target = Resource::Services.all(self.client.namespace().await?);
        let made: Service = self.client.create("create the service", &target, &body).await?;
        if let Some(policy) = service::policy_of_spec(spec, &made.metadata)?
            && let Err(error) = self.make_policy(spec.name.as_str(), &policy).await
        {
            // A failed creation leaves nothing behind, and a network without its policy would be open.
            let target = Resource::Services.one(self.client.namespace().await?, spec.name.as_str());
            return Err(match self.delete_and_wait(DELETE, &target, &made.metadata, "Foreground").await {
                Ok(()) => error,
                Err(left) => error
                    .with_outcome(Outcome::Unknown)
                    .with_hint(format!("the service could not be removed: {}", left.message())),
            });
        }
        made.network()
    }

    async fn make_policy(&self, name: &str, policy: &Value) -> Result<()> {
        let target = Resource::Policies.one(self.client.namespace().await?, name);
        self.client.apply_new::<Value>("create the network policy", &target, policy).await.map(drop)
    }

    pub(super) async fn drop_network(&self, network: &NetworkName) -> Result<()> {
        let absent =
            || Error::not_found(format!("there is no network `{}`", network.as_str().escape_debug()));
        if !is_object_name(network.as_str()) {
            return Err(absent());
        }
        let namespace = self.client.namespace().await?;
        let target = Resource::Services.one(namespace, network.as_str());
        let found: Option<Service> = self.client.find("look at the service", &target).await?;
        let found = found.ok_or_else(absent)?;
        let members = self.members(network).await?;
        if let Some(member) = members.first() {
            return Err(Error::conflict(format!("`{member}` is attached to the network"))
                .with_hint("detach it first"));
        }
        // With its policy, and after it.
        self.delete_and_wait(DELETE, &target, &found.metadata, "Foreground").await
    }

    /// The workloads that are attached, of whatever kind: they carry the label too.
    async fn members(&self, network: &NetworkName) -> Result<Vec<String>> {
        let namespace = self.client.namespace().await?;
        let mut members = Vec::new();
        let pods = [Resource::StatefulSets, Resource::Deployments, Resource::Pods];
        for resource in pods.into_iter().chain(self.machines_beside()) {
            let target = resource.all(namespace).with("labelSelector", &membership(network.as_str()));
            let found =
                self.client.list::<crate::convert::meta::Versioned>("look for members", &target).await;
            let found = match found {
                // Not this substrate's own affair, nor its rights.
                Err(error) if resource == Resource::Machines && self.may_overlook_machines(&error) => {
                    continue;
                }
                found => found?,
            };
            members.extend(
                found.items.into_iter().filter(|one| !one.metadata.is_going()).map(|one| one.metadata.name),
            );
        }
        Ok(members)
    }

    pub(super) async fn attach(&self, name: &InstanceName, place: &NetworkConfig) -> Result<()> {
        if place.ip_address.is_some() {
            self.descriptor.get().require(Feature::FixedAddress)?;
        }
        if place.gateway.is_some() || !place.dns_servers.is_empty() {
            return Err(Error::unsupported("a pod's gateway and name servers are the cluster's to choose"));
        }
        let workload = self.find_workload(name.as_str()).await?;
        let network = place.network_name.as_str();
        self.require(Resource::Services, "network", network).await?;
        let _held = self.names.hold("workload", &workload.metadata.uid).await;
        let found = self.with_pods(self.again(&workload).await?).await?;
        self.set_member(&found, network, Some("")).await
    }

    pub(super) async fn detach(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        let workload = self.find_workload(name.as_str()).await?;
        self.require(Resource::Services, "network", network.as_str()).await?;
        let _held = self.names.hold("workload", &workload.metadata.uid).await;
        let found = self.with_pods(self.again(&workload).await?).await?;
        self.set_member(&found, network.as_str(), None).await
    }

    /// Sets or removes the label of membership: on the workload, for its next pod, and on the pod that runs.
    async fn set_member(&self, found: &Found, network: &str, value: Option<&str>) -> Result<()> {
        let kind = self.workload();
        let is_member = found.workload.networks(kind).any(|member| member == network);
        if is_member == value.is_some() {
            return Ok(());
        }
        require_single(&found.workload)?;
        let labels = json!({membership(network): value});
        let namespace = self.client.namespace().await?;
        let running = || found.pods.iter().filter(|pod| !pod.is_over() && !pod.metadata.is_going());
        // The pod first: what is told of the instance is in its template, and true only then.
        if kind != Kind::Pod {
            for pod in running() {
                let target = running_resource(kind).one(namespace, &pod.metadata.name);
                let body = json!({"metadata": {"uid": pod.metadata.uid, "labels": labels}});
                self.label_if_there("label the pod", &target, &body).await?;
                // KubeVirt gives the labels of a machine instance to its pod when it makes it, and not later.
                if let Launcher::Pod(launcher) = self.launcher(pod).await? {
                    let target = Resource::Pods.one(namespace, &launcher.metadata.name);
                    let body = json!({"metadata": {"uid": launcher.metadata.uid, "labels": labels}});
                    self.label_if_there("label the pod", &target, &body).await?;
                }
            }
        }
        let target = self.target(&found.workload).await?;
        let template = json!({"metadata": {"labels": labels}});
        let mut body = json!({"metadata": {"uid": found.workload.metadata.uid, "labels": labels}});
        if let (Value::Object(body), true) = (&mut body, kind != Kind::Pod) {
            let mut spec = json!({"template": template});
            if let (Value::Object(spec), Kind::Deployment, false) = (&mut spec, kind, found.pods.is_empty()) {
                // Or its pod would be replaced at once, by one of the new template. It goes on with the next start.
                spec.insert("paused".to_owned(), json!(true));
            }
            body.insert("spec".to_owned(), spec);
        }
        self.client.patch::<Value>("label the workload", &target, Patch::Merge, &body).await?;
        if kind == Kind::Deployment {
            // What makes another pod, should this one fail. Not sooner: a set that is not of the template is replaced.
            for owner in running().filter_map(|pod| pod.metadata.controller()) {
                let target = Resource::ReplicaSets.one(namespace, &owner.name);
                let body = json!({"metadata": {"uid": owner.uid}, "spec": {"template": template}});
                self.label_if_there("label the replica set", &target, &body).await?;
            }
        }
        Ok(())
    }

    async fn label_if_there(&self, attempt: &str, target: &Target, body: &Value) -> Result<()> {
        match self.client.patch::<Value>(attempt, target, Patch::Merge, body).await {
            // Gone meanwhile: the next one has it from the template.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }
}
