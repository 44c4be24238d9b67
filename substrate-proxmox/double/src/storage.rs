//! The storages of a node: what lies there, making and removing disks, fetching files.

use serde_json::{Value, json};

use crate::Shared;
use crate::access::Caller;
use crate::params::Params;
use crate::reply::{Answer, Refusal, fail};
use crate::tasks::Done;
use crate::world::{Kind, Orphan, Storage, World};

const SIZE: u64 = 1 << 40;
const USED: u64 = 1 << 36;
const MADE: u64 = 1_795_219_526;

impl Storage {
    fn is_of_files(&self) -> bool {
        self.kind == "dir"
    }
}

/// The format of a disk, by its name.
fn format_of(volid: &str) -> &str {
    match volid.rsplit_once('.') {
        Some((_, format @ ("raw" | "qcow2" | "vmdk" | "subvol"))) => format,
        _ if volid.contains(":subvol-") => "subvol",
        _ => "raw",
    }
}

fn contents(world: &World, node: &str, name: &str, storage: &Storage, wanted: Option<&str>) -> Vec<Value> {
    let fits = |content: &str| wanted.is_none_or(|wanted| wanted == content);
    let mut all: Vec<Value> = storage
        .files
        .iter()
        .filter(|(_, content, _)| fits(content))
        .map(|(volid, content, size)| {
            json!({"volid": volid, "content": content, "size": size, "ctime": MADE,
                "format": volid.rsplit_once('.').map_or("raw", |(_, format)| format)})
        })
        .collect();
    let is_here = |volid: &str| volid.starts_with(&format!("{name}:"));
    for guest in world.guests.values().filter(|guest| guest.node == node || storage.shared) {
        let content = if guest.kind == Kind::Qemu { "images" } else { "rootdir" };
        for (_, volid, size) in
            guest.disks().into_iter().filter(|(_, volid, _)| fits(content) && is_here(volid))
        {
            // What belongs to another is listed as that one's.
            if !world.orphans.contains_key(&volid) {
                all.push(json!({"volid": volid, "content": content, "size": size, "vmid": guest.vmid,
                    "format": "qcow2", "ctime": MADE, "used": size / 8}));
            }
        }
    }
    for (volid, orphan) in world.orphans.iter().filter(|(volid, _)| is_here(volid)) {
        let content = if format_of(volid) == "subvol" { "rootdir" } else { "images" };
        if fits(content) && (storage.shared || orphan.node.as_deref().is_none_or(|at| at == node)) {
            all.push(json!({"volid": volid, "content": content, "size": orphan.size, "vmid": orphan.vmid,
                "format": format_of(volid), "ctime": MADE}));
        }
    }
    all
}

impl Shared {
    pub(crate) async fn storage(
        &self,
        node: &str,
        rest: &[&str],
        method: &str,
        caller: &Caller,
        params: &Params,
    ) -> Answer {
        let [name, rest @ ..] = rest else {
            let world = self.world();
            let storages = world.storages.iter().map(|(name, storage)| {
                json!({"storage": name, "type": storage.kind, "content": storage.content, "active": 1,
                    "enabled": 1, "shared": u8::from(storage.shared), "total": SIZE, "used": USED,
                    "avail": SIZE - USED, "used_fraction": 0.06})
            });
            return Ok(storages.collect::<Vec<_>>().into());
        };
        let Some(storage) = self.world().storages.get(*name).cloned() else {
            return fail(format!("storage '{name}' does not exist"));
        };
        match (method, rest) {
            ("GET", ["status"]) => Ok(json!({"type": storage.kind, "content": storage.content, "active": 1,
                "enabled": 1, "shared": u8::from(storage.shared), "total": SIZE, "used": USED,
                "avail": SIZE - USED})),
            ("GET", ["content"]) => {
                let wanted = params.text("content");
                Ok(contents(&self.world(), node, name, &storage, wanted.as_deref()).into())
            }
            ("POST", ["content"]) => self.make_disk(node, name, &storage, params).await,
            ("POST", ["download-url"]) => {
                let (content, file) =
                    (params.text("content").unwrap_or_default(), params.text("filename").unwrap_or_default());
                let id = format!("{name}:{content}/{file}");
                let url = params.text("url").unwrap_or_default();
                self.fetch(node, "download", name, &caller.user, id, content, !url.contains("missing"))
            }
            ("POST", ["upload"]) => self.take_upload(node, name, caller, params),
            ("GET", ["content", volume]) => match storage.files.iter().find(|(id, ..)| id == volume) {
                Some((id, _, size)) => Ok(
                    json!({"format": "raw", "used": size, "size": size, "path": format!("/var/lib/vz/{id}")}),
                ),
                None => fail(format!("volume_size_info on '{volume}' failed - no format")),
            },
            ("DELETE", ["content", volume]) => {
                let volume = (*volume).to_owned();
                if !volume.contains(':') {
                    return fail(format!("unable to parse directory volume name '{volume}'"));
                }
                let (node_name, storage_name) = (node.to_owned(), (*name).to_owned());
                self.spawn(node, "imgdel", name, &caller.user, move |shared, _| async move {
                    let hold = shared.times().quick;
                    if let Err(reason) = shared.under_storage_lock(&node_name, &storage_name, hold).await {
                        return Done::failed(Vec::new(), reason);
                    }
                    let mut world = shared.world();
                    world.orphans.remove(&volume);
                    if let Some(storage) = world.storages.get_mut(&storage_name) {
                        storage.files.retain(|(id, ..)| *id != volume);
                    }
                    Done::ok(vec![format!("Removed volume '{volume}'")])
                })
            }
            _ => Err(crate::no_method(method, &format!("/nodes/{node}/storage/{name}/{}", rest.join("/")))),
        }
    }

    /// The server that speaks HTTP writes a file down before anybody looks at what it is for.
    pub(crate) fn keep_upload(&self, content: &[u8]) -> Params {
        let sum: String = ring::digest::digest(&ring::digest::SHA256, content)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let temporary = format!("/var/tmp/pveupload-{:032x}", self.world().counter());
        crate::locked(&self.uploads).insert(temporary.clone(), (content.len() as u64, sum));
        Params(vec![("tmpfilename".to_owned(), temporary.into())])
    }

    fn take_upload(&self, node: &str, name: &str, caller: &Caller, params: &Params) -> Answer {
        let text = |key: &str| params.text(key).unwrap_or_default();
        let (content, file, temporary) = (text("content"), text("filename"), text("tmpfilename"));
        let endings: &[&str] = match content.as_str() {
            "iso" => &[".iso", ".img"],
            "vztmpl" => &[".tar.gz", ".tar.xz", ".tar.zst"],
            _ => &[".qcow2", ".raw", ".vmdk", ".ova"],
        };
        if !endings.iter().any(|ending| file.ends_with(ending)) {
            return Err(Refusal::parameter("filename", "wrong file extension"));
        }
        let Some((size, sum)) = crate::locked(&self.uploads).remove(&temporary) else {
            return Err(Refusal::parameter("tmpfilename", "property is missing and it is not optional"));
        };
        let wanted = params.text("checksum");
        let (node_name, storage_name) = (node.to_owned(), name.to_owned());
        self.spawn(node, "imgcopy", "", &caller.user, move |shared, _| async move {
            shared.clock.sleep(shared.times().copy).await;
            let mut log = vec![
                format!("starting file import from: {temporary}"),
                format!("target node: {node_name}"),
                format!("file size is: {size}"),
            ];
            if let Some(wanted) = wanted.filter(|wanted| *wanted != sum) {
                let reason = format!("checksum mismatch: got '{sum}' != expect '{wanted}'");
                return Done::failed(log, reason);
            }
            let id = format!("{storage_name}:{content}/{file}");
            if let Some(storage) = shared.world().storages.get_mut(&storage_name) {
                // One of the same name is written over.
                storage.files.retain(|(there, ..)| *there != id);
                storage.files.push((id, content, size));
            }
            log.push("finished file import successfully".to_owned());
            Done::ok(log)
        })
    }

    async fn make_disk(&self, node: &str, name: &str, storage: &Storage, params: &Params) -> Answer {
        let vmid = params.number("vmid").unwrap_or_default();
        let file = params.text("filename").unwrap_or_default();
        let by_name =
            file.rsplit_once('.').map(|(_, end)| end).filter(|end| ["raw", "qcow2", "vmdk"].contains(end));
        let default = if storage.is_of_files() { "raw" } else { "raw" };
        let format =
            params.text("format").or(by_name.map(str::to_owned)).unwrap_or_else(|| default.to_owned());
        if by_name.is_some_and(|by_name| by_name != format) {
            return Err(Refusal::parameter("format", "different storage formats"));
        }
        let size = params.text("size").unwrap_or_default();
        let size = match size.chars().last() {
            Some('M' | 'G') => crate::world::bytes(&size),
            // Without a unit they are kilobytes.
            _ => size.parse::<u64>().unwrap_or_default() << 10,
        };
        let word = if format == "subvol" { "subvol" } else { "vm" };
        if !file.starts_with(&format!("{word}-{vmid}-")) {
            return fail(format!("illegal name '{file}' - should be '{word}-{vmid}-*'"));
        }
        if storage.is_of_files() && !file.ends_with(&format!(".{format}")) {
            return fail(format!("illegal name '{file}' - wrong extension for format ('{format}')"));
        }
        if storage.is_of_files() && format == "subvol" && size > 0 {
            return fail("storage does not support subvol quotas");
        }
        let id = match storage.is_of_files() {
            true => format!("{name}:{vmid}/{file}"),
            false => format!("{name}:{file}"),
        };
        let hold = self.times().allocation;
        self.under_storage_lock(node, name, hold).await.map_err(|reason| Refusal::new(500, reason))?;
        let mut world = self.world();
        if world.orphans.contains_key(&id) {
            return fail(format!("disk image '/var/lib/vz/images/{vmid}/{file}' already exists"));
        }
        let node = Some(node.to_owned());
        world.orphans.insert(id.clone(), Orphan { size, vmid, node });
        Ok(id.into())
    }

    pub(crate) fn appliances(&self, node: &str, method: &str, caller: &Caller, params: &Params) -> Answer {
        const KNOWN: &str = "debian-12-standard_12.7-1_amd64.tar.zst";
        if method == "GET" {
            return Ok(json!([{"template": KNOWN, "package": "debian-12-standard", "section": "system",
                "os": "debian-12", "type": "lxc", "source": "an index", "version": "12.7-1"}]));
        }
        let template = params.text("template").unwrap_or_default();
        if template != KNOWN {
            return Err(Refusal::parameter("template", "no such template"));
        }
        let storage = params.text("storage").unwrap_or_default();
        let id = format!("{storage}:vztmpl/{template}");
        self.fetch(node, "download", &template, &caller.user, id, "vztmpl".to_owned(), true)
    }

    #[allow(clippy::too_many_arguments)]
    fn fetch(
        &self,
        node: &str,
        kind: &str,
        what: &str,
        user: &str,
        id: String,
        content: String,
        is_there: bool,
    ) -> Answer {
        self.spawn(node, kind, what, user, move |shared, _| async move {
            shared.clock.sleep(shared.times().copy).await;
            if !is_there {
                return Done::failed(
                    vec!["--2026-11-21--  ERROR 404: Not Found.".to_owned()],
                    "download failed: command '/usr/bin/wget' failed: exit code 8",
                );
            }
            let name = id.split(':').next().unwrap_or_default().to_owned();
            if let Some(storage) = shared.world().storages.get_mut(&name) {
                storage.files.push((id, content, 5 << 20));
            }
            Done::ok(vec!["download finished".to_owned()])
        })
    }
}
