//! Volumes.

use substrate_core::{
    Capabilities, Error, EventKind, Feature, Result, Volume, VolumeName, VolumeSource, VolumeSpec,
};

use crate::change::Change;
use crate::error::taken;
use crate::files::Files;
use crate::options::{self, NoOptions};
use crate::state::VolumeRecord;

const LOCATION: &str = "local";

pub(super) fn create(
    change: &mut Change<'_>,
    capabilities: &Capabilities,
    spec: &VolumeSpec,
) -> Result<Volume> {
    if !spec.labels.is_empty() {
        capabilities.require(Feature::ResourceLabels)?;
    }
    options::parse::<NoOptions>(&spec.options)?;
    if spec.size_bytes == Some(0) {
        return Err(Error::invalid_input("size_bytes: a volume of nothing"));
    }
    if let Some(location) = spec.location.as_deref().filter(|location| *location != LOCATION) {
        return Err(Error::invalid_input(format!("location: there is no `{location}`; known: {LOCATION}")));
    }
    if change.state.volumes.contains_key(&spec.name) {
        return Err(taken("a volume", &spec.name));
    }
    let mut volume = Volume::new(change.state.random.id(), spec.name.clone());
    volume.size_bytes = spec.size_bytes;
    volume.location = Some(LOCATION.to_owned());
    volume.labels.clone_from(&spec.labels);
    let record = VolumeRecord { volume: volume.clone(), files: Files::default() };
    change.state.volumes.insert(spec.name.clone(), record);
    change.happened_to(EventKind::VolumeCreated, spec.name.as_str());
    Ok(volume)
}

pub(super) fn delete(change: &mut Change<'_>, volume: &VolumeName) -> Result<()> {
    change.state.volume(volume)?;
    let user = change.state.instances.values().find(|record| {
        let mounts = &record.config.volumes;
        mounts.iter().any(|mount| matches!(&mount.source, VolumeSource::Volume(name) if name == volume))
    });
    if let Some(user) = user {
        return Err(Error::conflict(format!("instance `{}` uses it", user.config.name))
            .with_hint("delete that instance first"));
    }
    change.state.volumes.remove(volume);
    change.happened_to(EventKind::VolumeDeleted, volume.as_str());
    Ok(())
}
