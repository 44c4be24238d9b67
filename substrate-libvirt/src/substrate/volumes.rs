//! Volumes of the pool.

use substrate_core::{Error, Operation, Result, Volume, VolumeName, VolumeSpec};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::LibvirtSubstrate;
use super::{lookup, storage};
use crate::convert::volume::VolumeDocument;
use crate::error::Attempt;
use crate::name;
use crate::options::{LibvirtVolumeOptions, parse};

/// What a volume without a size of its own has.
const DEFAULT_SIZE: u64 = 1 << 30;

fn described(volume: &StorageVol, pool: &str) -> Result<Volume> {
    let facts = storage::facts(volume)?;
    let name = VolumeName::new(&facts.name).map_err(|error| Error::protocol(error.message()))?;
    let id = if facts.path.is_empty() { facts.name } else { facts.path };
    let mut volume = Volume::new(id, name);
    volume.size_bytes = Some(facts.capacity);
    volume.location = Some(pool.to_owned());
    Ok(volume)
}

/// Whatever is on a volume's file: a machine's disk, or the image of one.
fn check_unused(connect: &Connect, pool: &StoragePool, path: &str) -> Result<()> {
    // A pool that is no folder has no files made beside it.
    let folder = storage::folder(pool).unwrap_or_default();
    let mut chains = Chains { connect, pool, folder, is_fresh: false };
    for domain in connect.list_all_domains(0).attempt("list the machines")? {
        let facts = match lookup::facts(&domain) {
            Ok(facts) => facts,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let mut used = facts.uses(path);
        for disk in facts.disks() {
            // A document defined without its disk's images does not name them; the disk's volume does.
            used |= chains.begin_as(disk.path, path)?;
        }
        if used {
            return Err(Error::conflict(format!("the machine `{}` uses it", facts.name)));
        }
    }
    Ok(())
}

/// How many images a disk may stand on, one upon the other.
const DEEPEST: usize = 256;

/// What disks stand on, followed from volume to volume.
struct Chains<'a> {
    connect: &'a Connect,
    pool: &'a StoragePool,
    folder: String,
    is_fresh: bool,
}

impl Chains<'_> {
    /// Whether a disk, or a file that it stands on, holds the differences to the file at `path`.
    fn begin_as(&mut self, disk: String, path: &str) -> Result<bool> {
        let mut file = disk;
        for _ in 0..DEEPEST {
            let volume = self.volume(&file)?;
            let Some(below) = volume.and_then(|volume| storage::facts(&volume).ok()?.backing) else {
                return Ok(false);
            };
            if below == path {
                return Ok(true);
            }
            file = below;
        }
        Ok(false)
    }

    fn volume(&mut self, file: &str) -> Result<Option<StorageVol>> {
        let look = || self.connect.lookup_storage_vol_by_path(file).attempt_to_find("look for a disk");
        let found = look()?;
        let is_in_pool = file.rsplit_once('/').is_some_and(|(folder, _)| folder == self.folder);
        if found.is_some() || self.is_fresh || !is_in_pool {
            return Ok(found);
        }
        // Made by the hypervisor, which tells the pool nothing: a snapshot's.
        storage::refresh(self.pool)?;
        self.is_fresh = true;
        look()
    }
}

impl LibvirtSubstrate {
    pub(super) async fn volumes(&self) -> Result<Vec<Volume>> {
        self.require(Operation::ListVolumes)?;
        let pool_name = self.config.pool.clone();
        self.client
            .look(move |connection| {
                let pool = storage::pool(connection, &pool_name)?;
                let mut volumes = Vec::new();
                for volume in pool.list_all_volumes(0).attempt("list the volumes")? {
                    if name::is_own(&volume.name().attempt("name a volume")?) {
                        continue;
                    }
                    match described(&volume, &pool_name) {
                        Ok(volume) => volumes.push(volume),
                        // It went in the meantime.
                        Err(error) if error.is_not_found() => {}
                        Err(error) => return Err(error),
                    }
                }
                volumes.sort_by(|left, right| left.name.cmp(&right.name));
                Ok(volumes)
            })
            .await
    }

    pub(super) async fn make_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        self.require(Operation::CreateVolume)?;
        if !spec.labels.is_empty() {
            self.descriptor.get().capabilities.require(substrate_core::Feature::ResourceLabels)?;
        }
        name::check_new_volume(spec.name.as_str())?;
        let options: LibvirtVolumeOptions = parse("volume", &spec.options)?;
        let format = options.format.unwrap_or_else(|| "qcow2".to_owned());
        if !matches!(format.as_str(), "raw" | "qcow2") {
            return Err(Error::invalid_input(format!(
                "`{}` is no format of a volume",
                format.escape_debug()
            ))
            .with_hint("known: raw, qcow2"));
        }
        let pool_name = spec.location.clone().unwrap_or_else(|| self.config.pool.clone());
        if pool_name != self.config.pool {
            return Err(Error::unsupported(format!(
                "volumes lie in the pool `{}` of the settings, and nowhere else",
                self.config.pool
            )));
        }
        let document = VolumeDocument {
            name: spec.name.to_string(),
            capacity: spec.size_bytes.unwrap_or(DEFAULT_SIZE),
            format,
            backing: None,
        };
        let held = self.names.hold("volume", spec.name.as_str()).await;
        self.client
            .change(move |connection| {
                let _held = held;
                let pool = storage::pool(connection, &pool_name)?;
                if storage::volume(&pool, &document.name)?.is_some() {
                    return Err(Error::already_exists(format!(
                        "there is a volume called `{}` already",
                        document.name
                    )));
                }
                described(&storage::make(&pool, &document)?, &pool_name)
            })
            .await
    }

    pub(super) async fn drop_volume(&self, volume: &VolumeName) -> Result<()> {
        self.require(Operation::DeleteVolume)?;
        let (wanted, pool_name) = (volume.clone(), self.config.pool.clone());
        let held = self.names.hold("volume", volume.as_str()).await;
        self.client
            .change(move |connection| {
                let _held = held;
                let missing = || {
                    Error::not_found(format!(
                        "there is no volume called `{}`",
                        wanted.as_str().escape_debug()
                    ))
                };
                let pool = storage::pool(connection, &pool_name)?;
                // What belongs to a machine goes with it, and not by this way.
                if name::is_own(wanted.as_str()) {
                    return Err(missing());
                }
                let found = storage::volume(&pool, wanted.as_str())?.ok_or_else(missing)?;
                check_unused(connection, &pool, &found.path().attempt("ask for the volume's path")?)?;
                found.delete(0).attempt("delete the volume")
            })
            .await
    }
}
