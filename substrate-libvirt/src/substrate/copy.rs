//! Copies of a machine: a new UUID, new hardware addresses, disks of its own.

use std::sync::Arc;

use substrate_core::{CloneConfig, Error, Instance, InstanceName, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_vol::StorageVol;

use super::create::random_mac;
use super::lookup::{describe, find, is_active, state_of, whole_facts};
use super::snapshots::{self, find_snapshot};
use super::{LibvirtSubstrate, lifecycle, storage};
use crate::config::LibvirtConfig;
use crate::convert::domain::{Disk, Domain as Facts};
use crate::convert::element::Element;
use crate::convert::note::Note;
use crate::convert::snapshot::{self, SnapshotFacts};
use crate::convert::volume::VolumeDocument;
use crate::error::Attempt;
use crate::name;

impl LibvirtSubstrate {
    pub(super) async fn copy(&self, source: &InstanceName, config: &CloneConfig) -> Result<Arc<Instance>> {
        self.require(Operation::CloneInstance)?;
        name::check_new("machine", config.name.as_str())?;
        let (wanted, config, settings) = (source.clone(), config.clone(), Arc::clone(&self.config));
        // The copy's name too: after a copy that nobody waits for any more, what is done under that name has to find it.
        let held = self.names.hold_both("machine", source.as_str(), config.name.as_str()).await;
        self.client
            .change(move |connection| {
                let _held = held;
                let domain = find(connection, wanted.as_str())?;
                copy_job(connection, &settings, &domain, &config).map(Arc::new)
            })
            .await
    }
}

fn copy_job(
    connect: &Connect,
    settings: &LibvirtConfig,
    source: &Domain,
    config: &CloneConfig,
) -> Result<Instance> {
    let wanted = config.name.as_str();
    let taken = connect.lookup_domain_by_name(wanted).attempt_to_find("look for the machine")?;
    if taken.is_some() {
        return Err(Error::already_exists(format!("there is a machine called `{wanted}` already")));
    }
    let snapshot =
        config.snapshot.as_ref().map(|wanted| find_snapshot(source, wanted.as_str())).transpose()?;
    let snapshot = snapshot.map(|found| snapshots::facts(&found)).transpose()?;
    if is_active(state_of(source)?) {
        return Err(Error::conflict(
            "it runs, and the disk of a running machine cannot be copied at one moment",
        )
        .with_hint("stop it first"));
    }
    let facts = whole_facts(source)?;
    let uuid = Uuid::new_v4().to_string();
    let made = Copy { connect, settings, facts: &facts, uuid: &uuid, config, snapshot }.make(source);
    match made {
        Ok(domain) => describe(&domain),
        Err(error) => {
            if let Ok(half) = connect.lookup_domain_by_uuid_string(&uuid) {
                let _ = lifecycle::undefine(&half);
            }
            let _ = storage::delete_all_of(connect, &settings.pool, &uuid);
            Err(error)
        }
    }
}

struct Copy<'a> {
    connect: &'a Connect,
    settings: &'a LibvirtConfig,
    facts: &'a Facts,
    uuid: &'a str,
    config: &'a CloneConfig,
    /// The one that the copy begins as.
    snapshot: Option<SnapshotFacts>,
}

impl Copy<'_> {
    fn make(&self, source: &Domain) -> Result<Domain> {
        let disk = self.disk()?;
        let log = self.log()?;
        let seed = self.seed()?;
        let document = self.document(disk.as_ref(), seed.as_deref(), log.as_deref());
        let domain = self.connect.define_domain_xml(&document.to_xml()).attempt("define the copy")?;
        if let (Some(wanted), Some(disk)) = (&self.snapshot, &disk)
            && !wanted.is_external
        {
            self.go_back(source, &domain, &wanted.name, disk)?;
        }
        Ok(domain)
    }

    /// The source's own disk, which is copied. Others are not the machine's: both would write to them.
    fn own_disk(&self) -> Result<Option<Disk>> {
        let mut own_disk = None;
        for disk in self.facts.disks() {
            if name::is_disk_of(&self.facts.uuid, &disk.path) {
                own_disk = Some(disk);
            } else if !disk.read_only {
                return Err(Error::unsupported(format!(
                    "the machine has the disk {} that this provider did not make, and a copy must not share it",
                    disk.path
                ))
                .with_outcome(substrate_core::Outcome::Rejected));
            }
        }
        Ok(own_disk)
    }

    fn disk(&self) -> Result<Option<Disk>> {
        let Some(disk) = self.own_disk()? else { return Ok(None) };
        // What an external snapshot holds is a file of its own, which nobody writes to.
        let outside = self.snapshot.as_ref().filter(|snapshot| snapshot.is_external);
        let path = match outside {
            None => &disk.path,
            Some(snapshot) => snapshot
                .disk(&disk.target)
                .ok_or_else(|| Error::protocol("libvirt described a snapshot without the machine's disk"))?,
        };
        let source = storage::volume_at(self.connect, self.facts.pool(self.settings), path)?
            .ok_or_else(|| Error::not_found(format!("the machine's disk {path} is gone")))?;
        let pool = storage::pool(self.connect, &self.settings.pool)?;
        let name = name::disk_of(self.uuid);
        let copy = if self.snapshot.is_some() && outside.is_none() {
            // With the snapshots inside.
            storage::copy_bytes(self.connect, &pool, &source, &name)?
        } else {
            let document = VolumeDocument {
                name,
                capacity: storage::facts(&source)?.capacity,
                format: "qcow2".to_owned(),
                backing: None,
            };
            StorageVol::create_xml_from(&pool, &document.to_xml(), &source, 0).attempt("copy the disk")?
        };
        let path = copy.path().attempt("ask for the copied disk's path")?;
        Ok(Some(Disk { path, ..disk }))
    }

    /// The copy's own disk with cloud-init's data, which are the source's: to cloud-init it is the same instance.
    fn seed(&self) -> Result<Option<String>> {
        let own = format!("/{}", name::seed_of(&self.facts.uuid));
        let Some(disk) = self.facts.disks().into_iter().find(|disk| disk.path.ends_with(&own)) else {
            return Ok(None);
        };
        let source =
            self.connect.lookup_storage_vol_by_path(&disk.path).attempt("look for the machine's seed")?;
        let pool = storage::pool(self.connect, &self.settings.pool)?;
        let copy = storage::copy_bytes(self.connect, &pool, &source, &name::seed_of(self.uuid))?;
        copy.path().attempt("ask for the copied seed's path").map(Some)
    }

    fn log(&self) -> Result<Option<String>> {
        if self.facts.console_log().is_none() {
            return Ok(None);
        }
        let pool = storage::pool(self.connect, &self.settings.pool)?;
        let document = VolumeDocument {
            name: name::log_of(self.uuid),
            capacity: 0,
            format: "raw".to_owned(),
            backing: None,
        };
        storage::make(&pool, &document)?.path().attempt("ask for the log's path").map(Some)
    }

    fn document(&self, disk: Option<&Disk>, seed: Option<&str>, log: Option<&str>) -> Element {
        let mut document = self.facts.document.clone();
        document.replace(Element::of_text("name", self.config.name.as_str()));
        document.replace(Element::of_text("uuid", self.uuid));
        let mut note = Note {
            labels: self.config.labels.clone(),
            pool: Some(self.settings.pool.clone()),
            addresses: std::collections::BTreeMap::new(),
            ..self.facts.note.clone()
        };
        note.created_now();
        note.put(&mut document);
        // Firmware keeps its variables in a file per machine: the copy gets one of its own from the template.
        if let Some(system) = document.find_mut("os") {
            let template = system.attribute_at("nvram", "template").map(str::to_owned);
            system.retain(|element| element.name() != "nvram");
            // Where the firmware is none that libvirt knows, only this says what the variables begin as.
            if let Some(template) = template {
                system.push(Element::new("nvram").with("template", template));
            }
        }
        if let Some(devices) = document.find_mut("devices") {
            for device in devices.children_mut() {
                match device.name() {
                    "interface" => {
                        device.replace(Element::new("mac").with("address", random_mac()));
                        device.retain(|element| element.name() != "target");
                    }
                    "disk" => {
                        let path = device.attribute_at("source", "file").unwrap_or_default();
                        let copied = if name::is_disk_of(&self.facts.uuid, path) {
                            disk.map(|disk| disk.path.as_str())
                        } else if path.ends_with(&format!("/{}", name::seed_of(&self.facts.uuid))) {
                            seed
                        } else {
                            None
                        };
                        if let Some(copied) = copied {
                            device.replace(Element::new("source").with("file", copied));
                            device.retain(|element| element.name() != "backingStore");
                        }
                    }
                    "serial" | "console" => {
                        device.retain(|element| element.name() != "log");
                        if let Some(path) = log {
                            device.push(Element::new("log").with("file", path).with("append", "on"));
                        }
                    }
                    // The channel's socket is named after the machine.
                    "channel" => device.retain(|element| element.name() != "source"),
                    _ => {}
                }
            }
        }
        document
    }

    /// The copied disk holds the source's snapshots. They are made known for the copy, one is gone back to, and all
    /// are taken out.
    fn go_back(&self, source: &Domain, copy: &Domain, wanted: &str, disk: &Disk) -> Result<()> {
        let document = whole_facts(copy)?.document;
        for (_, facts) in snapshots::all(source)?.into_iter().filter(|(_, facts)| !facts.is_external) {
            let described = snapshot::for_copy(&facts, document.clone(), &disk.target);
            copy.create_snapshot_xml(&described.to_xml(), virt::sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)
                .attempt("make the source's snapshot known for the copy")?;
        }
        find_snapshot(copy, wanted)?.revert(0).attempt("bring the copy back to the snapshot")?;
        for (known, _) in snapshots::all(copy)? {
            known.delete(0).attempt("take the source's snapshot out of the copy")?;
        }
        Ok(())
    }
}
