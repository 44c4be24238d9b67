//! Volumes: claims.

use substrate_core::{Error, Result, Volume, VolumeName, VolumeSpec};

use super::K8sSubstrate;
use crate::client::Resource;
use crate::convert::claim::{self, Claim};
use crate::convert::pod::Pod;
use crate::name::is_object_name;

impl K8sSubstrate {
    pub(super) async fn volumes(&self) -> Result<Vec<Volume>> {
        let target = Resource::Claims.all(self.client.namespace().await?);
        let claims = self.client.list::<Claim>("list the claims", &target).await?.items;
        let mut volumes = claims.iter().map(Claim::volume).collect::<Result<Vec<_>>>()?;
        volumes.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(volumes)
    }

    /// The claim; its storage comes with it or with the first pod, as the storage class has it.
    pub(super) async fn make_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        let body = claim::of_spec(spec, self.config.volume_size_bytes)?;
        let target = Resource::Claims.one(self.client.namespace().await?, spec.name.as_str());
        let made: Claim = self.client.apply_new("create the claim", &target, &body).await?;
        made.volume()
    }

    pub(super) async fn drop_volume(&self, volume: &VolumeName) -> Result<()> {
        let absent = || Error::not_found(format!("there is no volume `{}`", volume.as_str().escape_debug()));
        if !is_object_name(volume.as_str()) {
            return Err(absent());
        }
        let target = Resource::Claims.one(self.client.namespace().await?, volume.as_str());
        let found: Option<Claim> = self.client.find("look at the claim", &target).await?;
        let found = found.ok_or_else(absent)?;
        if let Some(user) = self.user_of(volume.as_str()).await? {
            return Err(Error::conflict(format!("`{user}` mounts the volume"))
                .with_hint("delete that instance first"));
        }
        self.delete_and_wait("delete the claim", &target, &found.metadata, "Background").await
    }

    /// An instance that mounts the claim, running or not: Kubernetes itself only keeps what a pod mounts.
    async fn user_of(&self, claim: &str) -> Result<Option<String>> {
        let namespace = self.client.namespace().await?;
        let workloads = [Resource::StatefulSets, Resource::Deployments];
        for resource in workloads.into_iter().chain(self.machines_beside()) {
            let target = resource.all(namespace);
            let all = self.client.list::<crate::convert::workload::Workload>("look for users", &target).await;
            let all = match all {
                // Not this substrate's own affair, nor its rights.
                Err(error) if resource == Resource::Machines && self.may_overlook_machines(&error) => {
                    continue;
                }
                all => all?.items,
            };
            let user = all.into_iter().find(|workload| workload.claims().any(|name| name == claim));
            if let Some(user) = user {
                return Ok(Some(user.metadata.name));
            }
        }
        let target = Resource::Pods.all(namespace);
        let pods = self.client.list::<Pod>("look for users", &target).await?.items;
        let mounts =
            |pod: &Pod| crate::convert::workload::Workload::of_pod(pod).claims().any(|name| name == claim);
        Ok(pods.into_iter().find(|pod| !pod.is_over() && mounts(pod)).map(|pod| pod.metadata.name))
    }
}
