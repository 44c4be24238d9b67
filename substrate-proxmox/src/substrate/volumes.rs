//! Disks that outlive guests.

use substrate_core::{
    Error, InstanceConfig, Result, Volume, VolumeMount, VolumeName, VolumeSource, VolumeSpec,
};

use super::ProxmoxSubstrate;
use super::prepare::gate;
use super::storage::{Stored, storage_in};
use super::waiting::wait_at_most;
use crate::client::{Form, Upid, path};
use crate::convert::guest::GuestKind;
use crate::convert::inventory::Storage;
use crate::convert::property::Properties;
use crate::convert::text::{Fields, text};
use crate::convert::volume;
use crate::error;
use crate::options::{self, ProxmoxOptions, ProxmoxVolumeOptions};

/// The size of a volume when none is asked for.
const DEFAULT_SIZE: u64 = 8 << 30;
/// What disks are, on storages.
const DISKS: [&str; 2] = ["images", "rootdir"];

fn none(name: &str) -> Error {
    Error::not_found(format!("there is no volume called `{}`", name.escape_debug()))
}

/// Whether a setting of a guest is this disk.
fn is_disk(fields: &Fields, id: &str) -> bool {
    fields.iter().any(|(key, _)| {
        text(fields, key).is_some_and(|value| {
            value == id || Properties::parse(&value).first().is_some_and(|(_, first)| first == id)
        })
    })
}

impl ProxmoxSubstrate {
    fn volume(&self, stored: &Stored) -> Option<Volume> {
        let id = &stored.content.volid;
        let (name, labels) = volume::read(id, self.config.volume_vmid)
            .unwrap_or_else(|| (id.clone(), substrate_core::Labels::new()));
        // What no name can be has no place in the list.
        let mut volume = Volume::new(id.clone(), VolumeName::new(name).ok()?);
        volume.size_bytes = stored.content.size;
        volume.location = Some(format!("{}/{}", stored.node, stored.storage.storage));
        volume.labels = labels;
        Some(volume)
    }

    /// Every disk: volumes by their names, those of guests by their ids.
    pub(super) async fn volumes(&self) -> Result<Vec<Volume>> {
        let found = self.contents(&DISKS).await?;
        let mut volumes: Vec<Volume> = found.iter().filter_map(|stored| self.volume(stored)).collect();
        volumes.sort_by(|one, other| (&one.name, &one.location).cmp(&(&other.name, &other.location)));
        Ok(volumes)
    }

    /// The disk that a name or an id means.
    async fn volume_called(&self, name: &VolumeName) -> Result<Stored> {
        let wanted = name.as_str();
        if !volume::is_volume_name(wanted) && storage_in(wanted).is_none() {
            return Err(none(wanted));
        }
        let mut found = self.contents(&DISKS).await?;
        found.retain(|stored| {
            let id = &stored.content.volid;
            id == wanted || volume::read(id, self.config.volume_vmid).is_some_and(|(name, _)| name == wanted)
        });
        if found.len() > 1 {
            let places: Vec<String> =
                found.iter().map(|one| format!("{} on {}", one.content.volid, one.node)).collect();
            return Err(Error::conflict(format!("`{wanted}` is the name of {} volumes", places.len()))
                .with_hint(format!("use one id in place of the name: {}", places.join(", "))));
        }
        found.pop().ok_or_else(|| none(wanted))
    }

    // ---- making -----------------------------------------------------------------------------------

    pub(super) async fn make_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        let options: ProxmoxVolumeOptions = options::read(&spec.options)?;
        let name = spec.name.as_str();
        // `storage`, or `node/storage` as volumes tell it.
        let (at, storage) = match spec.location.as_deref().map(|location| location.split_once('/')) {
            Some(Some((node, storage))) => (Some(node.to_owned()), Some(storage.to_owned())),
            Some(None) => (None, spec.location.clone()),
            None => (None, self.config.storage.clone()),
        };
        if let Some(wrong) =
            [&options.node, &at, &storage].into_iter().flatten().find(|text| !options::is_plain(text))
        {
            return Err(Error::invalid_input(format!(
                "`{}` can be no node or storage",
                wrong.escape_debug()
            )));
        }
        let node = match options.node.or(at).or_else(|| self.config.node.clone()) {
            Some(node) => node,
            None => self.roomiest_node().await?,
        };
        let for_containers = options.format.as_deref() == Some("subvol")
            || (options.format.is_none() && !self.kinds.contains(&GuestKind::Qemu));
        let holds = if for_containers { "rootdir" } else { "images" };
        let storage = self.storage_for(&node, holds, storage.as_ref()).await?;
        let (format, size) = shape(options.format.as_deref(), for_containers, spec.size_bytes, &storage)?;
        let owner = self.config.volume_vmid;
        let disk =
            volume::disk_name(owner, name, &spec.labels, format, &storage.kind, storage.names_files())?;
        let _one = self.names.hold("volume", name).await;
        match self.volume_called(&spec.name).await {
            Err(error) if error.is_not_found() => {}
            Ok(_) => return Err(Error::already_exists(format!("there is a volume called `{name}` already"))),
            Err(error) if error.is_conflict() => {
                return Err(Error::already_exists(format!("there are volumes called `{name}` already")));
            }
            Err(error) => return Err(error),
        }
        if let Some(place) = self.whereabouts(owner).await? {
            return Err(Error::conflict(format!(
                "there is a guest with the number {owner} on {}, and its disks would be taken for volumes",
                place.node
            ))
            .with_hint("set `volume_vmid` to a number that no guest has"));
        }
        let form = Form::new()
            .with("vmid", owner)
            .with("filename", &disk)
            .with("size", size.div_ceil(1024))
            .with("format", format);
        let id = self.allocate(&node, &storage, form).await?;
        let made =
            self.content(&node, &storage.storage, holds).await?.into_iter().find(|one| one.volid == id);
        let content = made.ok_or_else(|| Error::conflict("the volume was deleted as soon as it was made"))?;
        self.volume(&Stored { node, storage, content })
            .ok_or_else(|| Error::protocol(format!("the disk `{id}` is not called as it was asked for")))
    }

    /// Makes a disk. The storage's lock is waited for.
    async fn allocate(&self, node: &str, storage: &Storage, form: Form) -> Result<String> {
        let attempt = "make the volume";
        let target = path(&["nodes", node, "storage", &storage.storage, "content"]);
        let mut wait = wait_at_most(self.config.lock_timeout);
        loop {
            let pass = self.gates.enter(&gate(node, storage)).await;
            match self.client.post(attempt, &target, form.clone()).await {
                Err(error) if error::is_locked(&error) => {
                    pass.was_locked_out();
                    if !wait.pause().await {
                        return Err(error);
                    }
                }
                result => {
                    pass.succeeded();
                    return crate::client::understood(attempt, result?);
                }
            }
        }
    }

    // ---- removing ---------------------------------------------------------------------------------

    pub(super) async fn drop_volume(&self, name: &VolumeName) -> Result<()> {
        let _one = self.names.hold("volume", name.as_str()).await;
        let stored = self.volume_called(name).await?;
        let id = &stored.content.volid;
        if let Some(vmid) = stored.content.owner()
            && let Some(place) = self.whereabouts(vmid).await?
        {
            // Also one that is not attached: it is the guest's, and a snapshot may need it.
            return Err(Error::conflict(format!("the volume belongs to guest {vmid} on {}", place.node))
                .with_hint("a guest's disks go with it"));
        }
        // The API deletes a disk under a guest that it is not named after.
        let nodes = if stored.storage.is_shared() {
            self.nodes().await?.into_iter().map(|node| node.node).collect()
        } else {
            vec![stored.node.clone()]
        };
        let user = self.user_of(&nodes, |settings| settings.both().into_iter().any(|all| is_disk(all, id)));
        if let Some(user) = user.await? {
            return Err(Error::conflict(format!("the guest {user} has the volume")));
        }
        let attempt = "delete the volume";
        let target = path(&["nodes", &stored.node, "storage", &stored.storage.storage, "content", id]);
        let data = self.client.delete(attempt, &target, Form::new()).await?;
        if data.is_null() {
            return Ok(());
        }
        self.client.follow(attempt, &Upid::parse(attempt, &data)?).await
    }

    // ---- putting into guests ----------------------------------------------------------------------

    /// The volumes that a new guest gets, and the node that it has to be on for them.
    pub(super) async fn volumes_for(
        &self,
        config: &InstanceConfig,
        kind: GuestKind,
        options: &ProxmoxOptions,
    ) -> Result<Attached> {
        let mut attached = Attached::default();
        for mount in &config.volumes {
            let VolumeSource::Volume(name) = &mount.source else {
                return Err(Error::unsupported(
                    "only a volume can be mounted: folders of a node are not the API's to give",
                )
                .with_hint("an administrator binds a folder, as root@pam, with `pct set`"));
            };
            let stored = self.volume_called(name).await?;
            attached.add(&stored, mount_point(&stored.content.volid, mount)?)?;
        }
        if kind == GuestKind::Lxc && !options.disks.is_empty() {
            return Err(Error::invalid_input("`disks` is an option of machines; a container has `volumes`"));
        }
        for name in &options.disks {
            let stored = self.volume_called(&VolumeName::new(name)?).await?;
            attached.add(&stored, stored.content.volid.clone())?;
        }
        Ok(attached)
    }
}

/// What a new guest gets of volumes: settings, as yet without their keys.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) node: Option<String>,
    values: Vec<String>,
}

impl Attached {
    fn add(&mut self, stored: &Stored, value: String) -> Result<()> {
        if !stored.storage.is_shared() {
            if self.node.as_ref().is_some_and(|node| *node != stored.node) {
                return Err(Error::conflict(
                    "the volumes are on different nodes, on storages that are not shared",
                ));
            }
            self.node = Some(stored.node.clone());
        }
        self.values.push(value);
        Ok(())
    }

    /// The settings, beside those that a guest has already.
    pub(super) fn settings(
        self,
        kind: GuestKind,
        has: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (String, String)> {
        let bus = if kind == GuestKind::Lxc { "mp" } else { "scsi" };
        // The first of a machine is its own disk.
        let begin = usize::from(kind == GuestKind::Qemu);
        let free: Vec<String> = (begin..)
            .map(|index| format!("{bus}{index}"))
            .filter(|key| !has(key))
            .take(self.values.len())
            .collect();
        free.into_iter().zip(self.values)
    }
}

fn mount_point(id: &str, mount: &VolumeMount) -> Result<String> {
    if mount.target.contains([',', '=']) || mount.target.chars().any(char::is_control) {
        return Err(Error::invalid_input(format!(
            "`{}` cannot be a mount point of Proxmox VE",
            mount.target.escape_debug()
        ))
        .with_hint("a path without `,` and `=`"));
    }
    let read_only = if mount.read_only { ",ro=1" } else { "" };
    Ok(format!("{id},mp={}{read_only}", mount.target))
}

/// The format and the size of a new volume on a storage.
fn shape(
    wanted: Option<&str>,
    for_containers: bool,
    size: Option<u64>,
    storage: &Storage,
) -> Result<(&'static str, u64)> {
    if size == Some(0) {
        return Err(Error::invalid_input("a volume of no size"));
    }
    let asked = size.unwrap_or(DEFAULT_SIZE);
    if for_containers {
        return match (storage.kind.as_str(), size) {
            ("zfspool" | "btrfs", _) => Ok(("subvol", asked)),
            // A folder, and nothing bounds it.
            (_, None) if storage.holds_files() => Ok(("subvol", 0)),
            (_, Some(_)) if storage.holds_files() => Err(Error::unsupported(format!(
                "a volume for containers has no size on `{}`: it is a folder there",
                storage.storage
            ))
            .with_hint("leave the size out, or use a storage of the type `zfspool` or `btrfs`")),
            (kind, _) => Err(Error::unsupported(format!(
                "a storage of the type `{kind}` holds no volume for containers: only a container's creation formats one"
            ))
            .with_hint("use a storage of the type `zfspool`, `btrfs` or `dir`")),
        };
    }
    let format = match wanted {
        None if storage.holds_files() => "qcow2",
        None | Some("raw") => "raw",
        Some("qcow2") if storage.holds_files() => "qcow2",
        Some("vmdk") if storage.holds_files() => "vmdk",
        Some(other) => {
            return Err(Error::invalid_input(format!(
                "the storage `{}` holds no disk of the format `{}`",
                storage.storage,
                other.escape_debug()
            )));
        }
    };
    Ok((format, asked))
}
