//! Files as a program inside an instance sees them: its own disk with volumes and host folders mounted.

use bytes::Bytes;
use substrate_core::{InstanceName, VolumeMount, VolumeSource};

use crate::files::{Files, absolute};
use crate::state::State;

/// Folders that every image has.
const FOLDERS: [&str; 10] = ["/", "/bin", "/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/usr", "/var"];

/// The mount that a path lies on and the path below it.
fn mount_of<'a>(mounts: &'a [VolumeMount], path: &'a str) -> Option<(&'a VolumeMount, String)> {
    let below = mounts.iter().filter_map(|mount| {
        let target = absolute("/", &mount.target);
        let rest = path.strip_prefix(target.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| (mount, target.len(), rest.to_owned()))
    });
    // The deepest mount hides the others.
    below.max_by_key(|(_, depth, _)| *depth).map(|(mount, _, rest)| (mount, rest))
}

fn mounted<'a>(state: &'a State, source: &VolumeSource) -> Option<&'a Files> {
    match source {
        VolumeSource::Volume(name) => state.volumes.get(name).map(|record| &record.files),
        VolumeSource::HostPath(path) => state.host_folders.get(path),
    }
}

fn mounted_mut<'a>(state: &'a mut State, source: &VolumeSource) -> Option<&'a mut Files> {
    match source {
        VolumeSource::Volume(name) => state.volumes.get_mut(name).map(|record| &mut record.files),
        VolumeSource::HostPath(path) => Some(state.host_folders.entry(path.clone()).or_default()),
    }
}

pub(super) fn read(state: &State, instance: &InstanceName, path: &str) -> Option<Bytes> {
    let record = state.instances.get(instance)?;
    match mount_of(&record.config.volumes, path) {
        Some((mount, rest)) => mounted(state, &mount.source)?.read(&rest),
        None => record.files.read(path),
    }
}

/// Writes a file, or says why it cannot in the words of a program.
pub(super) fn write(
    state: &mut State,
    instance: &InstanceName,
    path: &str,
    data: Bytes,
) -> Result<(), &'static str> {
    let Some(record) = state.instances.get(instance) else { return Err("Input/output error") };
    if path == "/" || folder_exists(state, instance, path) {
        return Err("Is a directory");
    }
    if let Some((mount, rest)) = mount_of(&record.config.volumes, path) {
        if mount.read_only {
            return Err("Read-only file system");
        }
        let source = mount.source.clone();
        mounted_mut(state, &source).ok_or("Input/output error")?.write(&rest, data);
        return Ok(());
    }
    let before = record.files.read(path).map_or(0, |old| old.len() as u64);
    let after = record.files.size() - before + data.len() as u64;
    if record.config.limits.disk_gb.is_some_and(|limit| after > limit.saturating_mul(1 << 30)) {
        return Err("No space left on device");
    }
    if let Ok(record) = state.instance_mut(instance) {
        record.files.write(path, data);
    }
    Ok(())
}

pub(super) fn remove(state: &mut State, instance: &InstanceName, path: &str) -> Result<(), &'static str> {
    const MISSING: &str = "No such file or directory";
    let record = state.instances.get(instance).ok_or(MISSING)?;
    let removed = match mount_of(&record.config.volumes, path) {
        Some((mount, _)) if mount.read_only => return Err("Read-only file system"),
        Some((mount, rest)) => {
            let source = mount.source.clone();
            mounted_mut(state, &source).is_some_and(|files| files.remove(&rest))
        }
        None => state.instance_mut(instance).is_ok_and(|record| record.files.remove(path)),
    };
    if removed { Ok(()) } else { Err(MISSING) }
}

pub(super) fn folder_exists(state: &State, instance: &InstanceName, path: &str) -> bool {
    let Some(record) = state.instances.get(instance) else { return false };
    if FOLDERS.contains(&path) || record.files.has_folder(path) {
        return true;
    }
    match mount_of(&record.config.volumes, path) {
        Some((mount, rest)) => {
            rest.is_empty() || mounted(state, &mount.source).is_some_and(|files| files.has_folder(&rest))
        }
        None => false,
    }
}
