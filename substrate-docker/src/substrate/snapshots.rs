//! Snapshots and copies: commits of the container's file system. Volumes and memory are not in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerConfig;
use bollard::query_parameters::{CommitContainerOptions, RemoveImageOptions};
use serde_json::{Value, json};
use std::collections::HashMap;
use substrate_core::{
    CloneConfig, Error, Feature, Instance, InstanceName, Outcome, Result, Snapshot, SnapshotConfig,
    SnapshotName,
};

use super::DockerSubstrate;
use super::restore::{Recreation, text_map};
use crate::client::Target;
use crate::convert::instance::{Inspection, object};
use crate::convert::snapshot::{
    CLONE, ImageSummary, LINEAGE, SOURCE, clone_labels, image_labels, reference, repository, tag,
};
use crate::convert::{labels, snapshot};
use crate::name::check_new_container;

/// How long a commit may take: it writes everything that the container changed.
pub(super) const COMMIT_LIMIT: Duration = Duration::from_secs(1800);

impl DockerSubstrate {
    // ---- snapshots --------------------------------------------------------------------------------

    pub(super) async fn take_snapshot(
        &self,
        name: &InstanceName,
        config: &SnapshotConfig,
    ) -> Result<Snapshot> {
        if config.memory {
            self.descriptor.get().capabilities.require(Feature::SnapshotMemory)?;
        }
        let container = self.inspect(name).await?;
        let lineage = container.lineage();
        let instance = InstanceName::new(container.plain_name())?;
        let _held = self.names.hold("snapshot", &reference(lineage, &config.name)).await;
        let taken = self.snapshots_of(lineage, &instance).await?;
        if taken.iter().any(|snapshot| snapshot.name == config.name) {
            return Err(Error::already_exists(format!("it has a snapshot called `{}` already", config.name)));
        }
        let tag = tag(&config.name);
        let labels = image_labels(lineage, container.plain_name(), config);
        let image = self.commit(&container.id, Some((repository(lineage), tag)), labels).await?;
        let all = self.snapshots_of(lineage, &instance).await?;
        all.into_iter().find(|snapshot| snapshot.name == config.name).ok_or_else(|| {
            Error::protocol(format!("the daemon made the image {image}, but does not list it as a snapshot"))
        })
    }

    pub(super) async fn snapshots(&self, name: &InstanceName) -> Result<Vec<Snapshot>> {
        let container = self.inspect(name).await?;
        let instance = InstanceName::new(container.plain_name())?;
        self.snapshots_of(container.lineage(), &instance).await
    }

    /// The snapshots of a line of containers, oldest first.
    pub(super) async fn snapshots_of(&self, lineage: &str, instance: &InstanceName) -> Result<Vec<Snapshot>> {
        let images = self.images_labelled(&format!("{LINEAGE}={lineage}")).await?;
        let mut snapshots: Vec<Snapshot> =
            images.iter().filter_map(|image| image.snapshot(lineage, instance)).collect();
        snapshots.sort_by(|left, right| (left.created_at, &left.name).cmp(&(right.created_at, &right.name)));
        self.order_within_seconds(&mut snapshots).await?;
        Ok(snapshots)
    }

    /// The list of images counts whole seconds: where two snapshots share one, their inspections tell.
    async fn order_within_seconds(&self, snapshots: &mut [Snapshot]) -> Result<()> {
        let shares_second = snapshots
            .iter()
            .zip(snapshots.iter().skip(1))
            .any(|(left, right)| left.created_at == right.created_at);
        if !shares_second {
            return Ok(());
        }
        for snapshot in snapshots.iter_mut() {
            let id = snapshot.id.clone().unwrap_or_default();
            let image: Value = self
                .client
                .get("look at the snapshot", &Target::new("/images").segment(&id).segment("json"))
                .await?;
            let created = image.get("Created").and_then(Value::as_str).and_then(crate::convert::time::parse);
            snapshot.created_at = created.or(snapshot.created_at);
        }
        snapshots.sort_by(|left, right| (left.created_at, &left.name).cmp(&(right.created_at, &right.name)));
        Ok(())
    }

    async fn images_labelled(&self, label: &str) -> Result<Vec<ImageSummary>> {
        let filters = json!({"label": [label]}).to_string();
        let target = Target::new("/images/json").with("filters", &filters);
        self.client.get("list the snapshots", &target).await
    }

    /// The image of a snapshot.
    pub(super) async fn snapshot_image(&self, container: &Inspection, name: &SnapshotName) -> Result<String> {
        let instance = InstanceName::new(container.plain_name())?;
        let all = self.snapshots_of(container.lineage(), &instance).await?;
        all.into_iter()
            .find(|snapshot| snapshot.name == *name)
            .and_then(|snapshot| snapshot.id)
            .ok_or_else(|| Error::not_found(format!("it has no snapshot called `{name}`")))
    }

    pub(super) async fn drop_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let container = self.inspect(name).await?;
        self.snapshot_image(&container, snapshot).await?;
        self.untag(&reference(container.lineage(), snapshot)).await
    }

    /// Takes a snapshot's name away, and with it the image, unless a container was made from it: then the
    /// image goes with that one.
    async fn untag(&self, reference: &str) -> Result<()> {
        let options = RemoveImageOptions { force: true, ..Default::default() };
        let result = self
            .client
            .long_call("delete the snapshot's image", COMMIT_LIMIT, async |docker| {
                docker.remove_image(reference, Some(options), None).await
            })
            .await;
        match result {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    async fn commit(
        &self,
        container: &str,
        name: Option<(String, String)>,
        labels: HashMap<String, String>,
    ) -> Result<String> {
        let (repo, tag) = name.unzip();
        let options = CommitContainerOptions {
            container: Some(container.to_owned()),
            repo,
            tag,
            // Frozen while it is copied: otherwise the files would be from different moments.
            pause: true,
            ..Default::default()
        };
        let config = ContainerConfig { labels: Some(labels), ..Default::default() };
        let committed = self
            .client
            .long_call("commit the container", COMMIT_LIMIT, async |docker| {
                docker.commit_container(options, config).await
            })
            .await?;
        Ok(committed.id)
    }

    // ---- what goes with an instance ---------------------------------------------------------------

    /// Deletes the images that only a container which is gone had use for: its snapshots, and the image that
    /// it was itself made from, if a restore or a copy made that.
    pub(super) async fn delete_images_of(&self, container: &Inspection) -> Result<()> {
        let lineage = container.lineage();
        for image in self.images_labelled(&format!("{LINEAGE}={lineage}")).await? {
            for name in image.names() {
                self.untag(name).await?;
            }
            self.release_image(&image.id).await?;
        }
        for image in self.images_labelled(&format!("{SOURCE}={lineage}")).await? {
            self.release_image(&image.id).await?;
        }
        if let Some(image) = &container.image {
            self.release_image(image).await?;
        }
        self.delete_leftovers(container).await
    }

    /// Deletes an image of ours that has no name and that no container needs any more.
    pub(super) async fn release_image(&self, image: &str) -> Result<()> {
        let target = Target::new("/images").segment(image).segment("json");
        let document: Value = match self.client.get("look at the image", &target).await {
            Ok(document) => document,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let labels = document.pointer("/Config/Labels");
        let label = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .and_then(Value::as_str)
                .is_some_and(|value| !value.is_empty())
        };
        let is_named =
            document.get("RepoTags").and_then(Value::as_array).is_some_and(|tags| !tags.is_empty());
        if is_named || !(label(CLONE) || label(LINEAGE)) {
            return Ok(());
        }
        let result = self
            .client
            .long_call("delete the image", COMMIT_LIMIT, async |docker| {
                docker.remove_image(image, None::<RemoveImageOptions>, None).await
            })
            .await;
        match result {
            // Another container was made from it too, or another image stands on it: it goes with the last.
            Err(error) if error.is_conflict() || error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    // ---- copies -----------------------------------------------------------------------------------

    pub(super) async fn copy(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        check_new_container(config.name.as_str())?;
        labels::check(&config.labels)?;
        let document = self.inspect_raw(source.as_str()).await?;
        let container = super::restore::typed(&document)?;
        match self.inspect(&config.name).await {
            // An id is accepted in place of a name, but takes no name.
            Ok(holder) if holder.plain_name() == config.name.as_str() => {
                return Err(Error::already_exists(format!(
                    "there is a container called `{}` already",
                    config.name
                )));
            }
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        let image = match &config.snapshot {
            Some(snapshot) => self.snapshot_image(&container, snapshot).await?,
            None => {
                self.commit(&container.id, None, clone_labels(container.lineage(), config.name.as_str()))
                    .await?
            }
        };
        match self.create_copy(&document, &container, &image, config).await {
            Ok(instance) => Ok(Arc::new(instance)),
            Err(error) => {
                if config.snapshot.is_none() {
                    // The failure is the answer; an image without a name costs only space.
                    let _ = self.release_image(&image).await;
                }
                Err(error)
            }
        }
    }

    async fn create_copy(
        &self,
        document: &Value,
        container: &Inspection,
        image: &str,
        config: &CloneConfig,
    ) -> Result<Instance> {
        let mut inherited: BTreeMap<String, String> = text_map(object(document, "Config")?.get("Labels"));
        // A snapshot hands down what its container had when it was taken.
        let target = Target::new("/images").segment(image).segment("json");
        let image_document: Value = self.client.get("look at the image", &target).await?;
        for (key, value) in text_map(image_document.pointer("/Config/Labels")) {
            inherited.entry(key).or_insert(value);
        }
        let original = container.label(labels::ORIGINAL_IMAGE).or(container.config.image.as_deref());
        let labels = labels::of_clone(&config.labels, &inherited, original.unwrap_or_default());
        let mut recreation = Recreation::of(document, image, &labels)?;
        recreation.forget_identity();
        let id = self.create_recreation(config.name.as_str(), &recreation).await?;
        let finish = async {
            self.connect_recreation(&id, &recreation).await?;
            self.inspect_id(&id)
                .await?
                .ok_or_else(|| {
                    Error::conflict("the copy was deleted while it was being made")
                        .with_outcome(Outcome::Unknown)
                })?
                .into_instance()
        };
        match finish.await {
            Ok(instance) => Ok(instance),
            Err(error) => Err(self.undo(&id, error).await),
        }
    }

    /// Deletes what an interrupted restore left beside a container.
    async fn delete_leftovers(&self, container: &Inspection) -> Result<()> {
        if let Some(replaced) = container.label(labels::REPLACES)
            && let Some(old) = self.inspect_id(replaced).await?
            && snapshot::is_temporary(old.plain_name())
        {
            self.remove_if_there(&old.id).await?;
        }
        for volume in super::restore::adopted_volumes(container) {
            self.remove_adopted_volume(&volume).await?;
        }
        Ok(())
    }
}
