//! Creating: everything is checked before anything is made.

use std::collections::BTreeSet;
use std::sync::Arc;

use substrate_core::{
    CloudInit, Descriptor, Error, EventKind, Feature, ImageFile, Instance, InstanceConfig, InstanceKind,
    InstanceName, PortMapping, Result, VolumeSource,
};

use super::{lifecycle, networks};
use crate::call::Call;
use crate::change::Change;
use crate::error::{no_image, taken};
use crate::guest::main_invocation;
use crate::options::{self, InstanceOptions};
use crate::record::Record;
use crate::state::{State, image};

/// What a configuration comes to.
pub(super) struct Checked {
    kind: InstanceKind,
    options: InstanceOptions,
}

pub(super) async fn create_instance(call: &Call<'_>, config: &InstanceConfig) -> Result<Arc<Instance>> {
    let descriptor = &call.inner.descriptor;
    if let Some(image) = &config.image
        && ImageFile::in_reference(image)?.is_some()
    {
        call.inner.read(None, |state, _| validate(state, descriptor, config).map(drop)).await?;
        super::images::check_file(image).await?;
    }
    let main = if descriptor.capabilities.can(Feature::CreateStopped) {
        None
    } else {
        // On a technology that cannot create stopped, what cannot start is not created either.
        call.inner.read(None, |state, _| validate(state, descriptor, config).map(drop)).await?;
        Some(lifecycle::start_main(call.inner, &main_invocation(config))?)
    };
    let name = call
        .change(|change| {
            let name = create(change, descriptor, config)?;
            if let Some(main) = main {
                lifecycle::run(change, &name, main)?;
            }
            Ok(name)
        })
        .await?;
    call.inner.read(None, |state, now| state.view(&name, now)).await
}

/// # Errors
/// `InvalidInput`, `Unsupported`; `NotFound` for a missing image, network or volume.
pub(super) fn validate(state: &State, descriptor: &Descriptor, config: &InstanceConfig) -> Result<Checked> {
    config.validate()?;
    config.require_features(&descriptor.capabilities)?;
    let options = options::parse(&config.options)?;
    let kind = match config.kind {
        Some(kind) if !descriptor.kinds.contains(&kind) => {
            let kinds: Vec<&str> = descriptor.kinds.iter().map(|kind| kind.as_str()).collect();
            return Err(Error::unsupported(format!("kind: it runs no {kind}, only: {}", kinds.join(", "))));
        }
        Some(kind) => kind,
        None => descriptor.kinds.first().copied().unwrap_or(InstanceKind::Container),
    };
    // A file is looked for outside of this world, and comes into it with the instance.
    if let Some(image) = &config.image
        && ImageFile::in_reference(image)?.is_none()
        && !state.images.contains_key(image)
    {
        return Err(no_image(image));
    }
    let mut seen = BTreeSet::new();
    for place in &config.networks {
        let name = state.network_name(&place.network_name)?;
        networks::check_place(state.network(&name)?, place)?;
        if !seen.insert(name) {
            return Err(Error::invalid_input(format!("networks: `{}` is named twice", place.network_name)));
        }
    }
    let mut targets = BTreeSet::new();
    for mount in &config.volumes {
        match &mount.source {
            VolumeSource::Volume(name) => drop(state.volume(name)?),
            VolumeSource::HostPath(path) if !path.starts_with('/') => {
                return Err(Error::invalid_input(format!("volumes: `{path}` is not an absolute path")));
            }
            VolumeSource::HostPath(_) => {}
        }
        if !targets.insert(mount.target.trim_end_matches('/')) {
            return Err(Error::invalid_input(format!("volumes: `{}` is mounted twice", mount.target)));
        }
    }
    Ok(Checked { kind, options })
}

/// Makes a stopped instance.
pub(crate) fn create(
    change: &mut Change<'_>,
    descriptor: &Descriptor,
    config: &InstanceConfig,
) -> Result<InstanceName> {
    let checked = validate(change.state, descriptor, config)?;
    if let Some(file) = &config.image
        && !change.state.images.contains_key(file)
    {
        let created = change.tick();
        change.state.images.insert(file.clone(), image(file, created));
        change.happened_to(EventKind::ImageAvailable, file);
    }
    let name = insert(change, checked.kind, config.clone(), checked.options)?;
    change.happened(EventKind::Created, &name, config.image.clone());
    Ok(name)
}

/// Puts an instance into the world with its addresses and ports.
pub(super) fn insert(
    change: &mut Change<'_>,
    kind: InstanceKind,
    mut config: InstanceConfig,
    options: InstanceOptions,
) -> Result<InstanceName> {
    let name = config.name.clone();
    // Looked for by name alone: an id in place of a name is a name here.
    if change.state.instances.contains_key(&name) {
        return Err(taken("an instance", &name));
    }
    config.ports = publish(change.state, &config.ports)?;
    let attachments = networks::reserve(change.state, &name, &config.networks)?;
    let created = change.tick();
    let mut record = Record::new(change.state.random.id(), kind, config, options, created);
    record.attachments = attachments;
    // The fake's images have cloud-init: what it got is where it keeps it.
    for (part, text) in record.config.cloud_init.iter().flat_map(CloudInit::parts) {
        record.files.write(&format!("/var/lib/cloud/instance/{part}.txt"), text.to_owned().into());
    }
    change.state.insert(record);
    Ok(name)
}

/// The ports with those outside filled in.
fn publish(state: &State, ports: &[PortMapping]) -> Result<Vec<PortMapping>> {
    if ports.is_empty() {
        return Ok(Vec::new());
    }
    let mut used: BTreeSet<(u8, u16)> = state
        .instances
        .values()
        .flat_map(|record| &record.config.ports)
        .filter_map(|mapping| Some((mapping.protocol as u8, mapping.host_port?)))
        .collect();
    let mut published = ports.to_vec();
    // Those that were asked for first: one that is picked must not take their place.
    for mapping in &published {
        if let Some(port) = mapping.host_port
            && !used.insert((mapping.protocol as u8, port))
        {
            return Err(Error::conflict(format!("ports: {port} on the host is taken")));
        }
    }
    for mapping in &mut published {
        if mapping.host_port.is_none() {
            let free = (32_768..=u16::MAX).find(|port| used.insert((mapping.protocol as u8, *port)));
            mapping.host_port =
                Some(free.ok_or_else(|| Error::exhausted("ports: none is left on the host"))?);
        }
    }
    Ok(published)
}
