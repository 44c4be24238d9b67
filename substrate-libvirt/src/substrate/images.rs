//! What disks begin as.

use substrate_core::{Error, Image, Result};
use virt::connect::Connect;
use virt::storage_vol::StorageVol;

use super::{LibvirtSubstrate, storage};
use crate::config::LibvirtConfig;
use crate::convert::domain::DirectBoot;
use crate::convert::volume::VolumeFacts;
use crate::error::Attempt;
use crate::name;

/// An image that was found.
pub(super) struct Source {
    pub(super) volume: StorageVol,
    pub(super) facts: VolumeFacts,
    pub(super) boot: Option<DirectBoot>,
}

/// The image that a name means: one of the settings, else a volume of the image pool.
pub(super) fn find(connect: &Connect, settings: &LibvirtConfig, image: &str) -> Result<Source> {
    name::check_image(image)?;
    let configured = settings.images.get(image);
    let wanted = configured.map_or(image, |configured| configured.volume.as_str());
    let pool = storage::pool(connect, settings.image_pool())?;
    let volume = if name::is_own(wanted) { None } else { storage::volume_or_file(&pool, wanted)? };
    let Some(volume) = volume else {
        return Err(Error::not_found(format!(
            "there is no image `{image}`: the storage pool `{}` has no volume `{wanted}`",
            settings.image_pool()
        ))
        .with_hint("upload it with virsh vol-upload, or name a volume that is there"));
    };
    let facts = storage::facts(&volume)?;
    let boot = configured.and_then(|configured| {
        Some(DirectBoot {
            kernel: configured.kernel.clone()?,
            initrd: configured.initrd.clone(),
            arguments: configured.kernel_arguments.clone(),
        })
    });
    Ok(Source { volume, facts, boot })
}

fn image(settings: &LibvirtConfig, facts: &VolumeFacts) -> Image {
    let mut names = vec![facts.name.clone()];
    let configured = settings.images.iter().filter(|(_, image)| image.volume == facts.name);
    names.extend(configured.map(|(name, _)| name.clone()).filter(|name| *name != facts.name));
    let mut image = Image::new(&facts.path, names);
    image.size_bytes = Some(facts.capacity);
    image
}

impl LibvirtSubstrate {
    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let settings = std::sync::Arc::clone(&self.config);
        self.client
            .look(move |connection| {
                let pool = storage::pool(connection, settings.image_pool())?;
                let _ = pool.refresh(0);
                let mut images = Vec::new();
                for volume in pool.list_all_volumes(0).attempt("list the images")? {
                    // It may go while it is looked at.
                    let Ok(facts) = storage::facts(&volume) else { continue };
                    if !name::is_own(&facts.name) {
                        images.push(image(&settings, &facts));
                    }
                }
                images.sort_by(|left, right| left.names.cmp(&right.names));
                Ok(images)
            })
            .await
    }

    /// Images are not fetched from anywhere: libvirt knows no place that they come from.
    pub(super) async fn image(&self, reference: &str) -> Result<Image> {
        name::check_image(reference)?;
        let (settings, wanted) = (std::sync::Arc::clone(&self.config), reference.to_owned());
        self.client
            .look(move |connection| {
                let found = find(connection, &settings, &wanted)?;
                Ok(image(&settings, &found.facts))
            })
            .await
    }
}
