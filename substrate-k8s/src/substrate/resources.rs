//! Bounds.

use serde_json::{Value, json};
use substrate_core::{Error, InstanceName, InstanceState, Operation, ResourceLimits, Result};

use super::K8sSubstrate;
use super::power::require_single;
use crate::client::{Patch, Resource, Target};
use crate::config::Workload as Kind;
use crate::convert::create::bounds;
use crate::convert::machine::hardware;
use crate::convert::pod::Pod;
use crate::convert::workload::Workload;
use crate::options::K8sOptions;

const ATTEMPT: &str = "set the bounds";

impl K8sSubstrate {
    pub(super) async fn limits(&self, name: &InstanceName) -> Result<ResourceLimits> {
        Ok(self.find_workload(name.as_str()).await?.limits())
    }

    pub(super) async fn set_limits(&self, name: &InstanceName, limits: &ResourceLimits) -> Result<()> {
        let descriptor = self.descriptor.get();
        descriptor.require(Operation::SetResourceLimits)?;
        limits.validate()?;
        limits.require_features(&descriptor.capabilities)?;
        let workload = self.find_workload(name.as_str()).await?;
        let _held = self.names.hold("workload", &workload.metadata.uid).await;
        let found = self.with_pods(self.again(&workload).await?).await?;
        if limits.is_empty() {
            return Ok(());
        }
        require_single(&found.workload)?;
        let state = found.seen(self.workload()).state;
        if state == InstanceState::Stopped {
            return self.set_in_template(&found.workload, limits).await;
        }
        let never_live = matches!(self.workload(), Kind::Deployment | Kind::VirtualMachine);
        if !self.discovered().resize || never_live {
            return Err(Error::conflict(format!(
                "the instance is {state}, and its bounds can only change while it is stopped"
            )));
        }
        for pod in found.pods.iter().filter(|pod| !pod.is_over()) {
            self.resize(pod, limits).await?;
        }
        if self.workload() == Kind::Pod {
            return Ok(());
        }
        // Also for the next pod; the one that runs is not replaced for that.
        self.set_in_template(&found.workload, limits).await
    }

    async fn set_in_template(&self, workload: &Workload, limits: &ResourceLimits) -> Result<()> {
        let target = self.target(workload).await?;
        if self.workload() == Kind::VirtualMachine {
            let domain = hardware(limits, &K8sOptions::default(), self.config.reserve_limits);
            let body = json!({
                "metadata": {"uid": workload.metadata.uid},
                "spec": {"template": {"spec": {"domain": domain}}},
            });
            return self.client.patch::<Value>(ATTEMPT, &target, Patch::Merge, &body).await.map(drop);
        }
        let main = workload.spec.template.spec.containers.first();
        let main = main.ok_or_else(|| Error::protocol("the workload has no container"))?;
        let body = json!({
            "metadata": {"uid": workload.metadata.uid},
            "spec": {"template": {"spec": {"containers": [self.container(&main.name, limits)]}}},
        });
        self.client.patch::<Value>(ATTEMPT, &target, Patch::Strategic, &body).await.map(drop)
    }

    /// In place, by the way that pods have for it since 1.33.
    async fn resize(&self, pod: &Pod, limits: &ResourceLimits) -> Result<()> {
        let Some(main) = pod.main_container() else { return Ok(()) };
        let target: Target =
            Resource::Pods.one(self.client.namespace().await?, &pod.metadata.name).segment("resize");
        let body = json!({
            "metadata": {"uid": pod.metadata.uid},
            "spec": {"containers": [self.container(main, limits)]},
        });
        self.client.patch::<Value>(ATTEMPT, &target, Patch::Strategic, &body).await.map(drop)
    }

    fn container(&self, name: &str, limits: &ResourceLimits) -> Value {
        let bounds = bounds(limits);
        let mut resources = json!({"limits": bounds});
        // What was reserved with the old bound would else stay, or be above the new one.
        if let Value::Object(resources) = &mut resources {
            let requests: serde_json::Map<String, Value> = bounds
                .iter()
                .map(|(key, value)| {
                    let reserved = if self.config.reserve_limits { value.clone() } else { "0".to_owned() };
                    ((*key).to_owned(), json!(reserved))
                })
                .collect();
            resources.insert("requests".to_owned(), Value::Object(requests));
        }
        json!({"name": name, "resources": resources})
    }
}
