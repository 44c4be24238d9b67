//! Volumes.

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;
use substrate_core::{Error, Result, Volume, VolumeName, VolumeSpec};

use super::DockerSubstrate;
use crate::client::Target;
use crate::convert::inventory::{VolumeDocument, VolumeList};
use crate::name::{check_new_volume, is_volume_name};
use crate::options::{DockerVolumeOptions, parse};

impl DockerSubstrate {
    pub(super) async fn volumes(&self) -> Result<Vec<Volume>> {
        let list: VolumeList = self.client.get("list the volumes", &Target::new("/volumes")).await?;
        let documents = list.volumes.unwrap_or_default();
        let mut volumes: Vec<Volume> =
            documents.into_iter().map(VolumeDocument::into_volume).collect::<Result<_>>()?;
        volumes.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(volumes)
    }

    pub(super) async fn make_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        check_new_volume(spec.name.as_str())?;
        let options: DockerVolumeOptions = parse("volume", &spec.options)?;
        if spec.size_bytes.is_some() {
            return Err(Error::unsupported("Docker's volumes have no size of their own")
                .with_hint("leave the size out, or give a driver's own option in `driver_options`"));
        }
        let _held = self.names.hold("volume", spec.name.as_str()).await;
        // The daemon takes a second creation for a look at the first.
        if self.volume(&spec.name).await?.is_some() {
            return Err(Error::already_exists(format!("there is a volume called `{}` already", spec.name)));
        }
        let request = VolumeCreateRequest {
            name: Some(spec.name.to_string()),
            driver: spec.location.clone(),
            driver_opts: Some(options.driver_options.into_iter().collect()),
            labels: Some(spec.labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let body = serde_json::to_value(request)
            .map_err(|error| Error::internal(format!("the volume cannot be written as JSON: {error}")))?;
        let target = Target::new("/volumes/create");
        let made: VolumeDocument =
            self.client.post("create the volume", &target, &body).await.map_err(|error| {
                // A driver that is not installed is a wrong `location`, not a missing volume.
                if error.is_not_found() { Error::invalid_input(error.message()) } else { error }
            })?;
        made.into_volume()
    }

    async fn volume(&self, name: &VolumeName) -> Result<Option<Volume>> {
        let target = Target::new("/volumes").segment(name.as_str());
        match self.client.get::<VolumeDocument>("look at the volume", &target).await {
            Ok(document) => document.into_volume().map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn drop_volume(&self, name: &VolumeName) -> Result<()> {
        let missing =
            || Error::not_found(format!("there is no volume called `{}`", name.as_str().escape_debug()));
        if !is_volume_name(name.as_str()) {
            return Err(missing());
        }
        let result = self
            .client
            .call("delete the volume", async |docker| {
                docker.remove_volume(name.as_str(), None::<RemoveVolumeOptions>).await
            })
            .await;
        match result {
            Err(error) if error.is_not_found() => Err(missing()),
            other => other,
        }
    }
}
