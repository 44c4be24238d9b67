//! Making a machine.
//!
//! One job from the first look to the define call. Everything that the machine owns is there before it is defined,
//! and is called by its UUID: what a crash in between leaves behind belongs to no machine and can be told by its name.

use std::net::IpAddr;
use std::sync::Arc;

use substrate_core::{Error, Instance, InstanceConfig, InstanceKind, NetworkConfig, Outcome, Result};
use uuid::Uuid;
use virt::connect::Connect;

use super::host::{Driver, Host};
use super::images::{self, Source};
use super::{LibvirtSubstrate, lookup, networks, storage};
use crate::config::LibvirtConfig;
use crate::convert::bandwidth::{Bandwidth, set_bandwidth};
use crate::convert::block;
use crate::convert::domain::{DirectBoot, Disk, DomainSpec, Interface, mac_address, set_cores, set_memory};
use crate::convert::element::Element;
use crate::convert::note::Note;
use crate::convert::seed;
use crate::convert::volume::VolumeDocument;
use crate::error::Attempt;
use crate::name;
use crate::options::{DiskForm, LibvirtOptions};

/// Everything that a creation needs to know.
#[derive(Clone)]
struct Plan {
    config: InstanceConfig,
    options: LibvirtOptions,
    settings: Arc<LibvirtConfig>,
    host: Host,
}

impl LibvirtSubstrate {
    /// What can be refused without asking the server.
    fn check(&self, config: &InstanceConfig) -> Result<LibvirtOptions> {
        config.validate()?;
        config.require_features(&self.descriptor.get().capabilities)?;
        name::check_new("machine", config.name.as_str())?;
        if config.kind.is_some_and(|kind| kind != InstanceKind::VirtualMachine) {
            return Err(Error::unsupported("libvirt's QEMU runs virtual machines, and nothing else"));
        }
        let options = LibvirtOptions::of(config)?;
        match &config.image {
            Some(image) => name::check_image(image)?,
            None if options.kernel.is_none() && options.xml.is_none() => {
                return Err(Error::invalid_input(
                    "a machine needs an `image`, or the option `kernel` or `xml`",
                ));
            }
            None => {}
        }
        if config.limits.disk_gb.is_some() && config.image.is_none() {
            return Err(Error::invalid_input(
                "`disk_gb` bounds the disk that comes from an image, and there is none",
            ));
        }
        if options.block_limits.is_some() && config.image.is_none() {
            return Err(Error::invalid_input(
                "`block_limits` bound the disk that comes from an image, and there is none",
            ));
        }
        config.limits.network_mbps.map(Bandwidth::of).transpose()?;
        for network in &config.networks {
            networks::check_place(network)?;
        }
        Ok(options)
    }

    async fn plan(&self, config: &InstanceConfig) -> Result<Plan> {
        let options = self.check(config)?;
        let host = self.host().await?;
        Ok(Plan { config: config.clone(), options, settings: Arc::clone(&self.config), host })
    }

    pub(super) async fn validate(&self, config: &InstanceConfig) -> Result<()> {
        let plan = self.plan(config).await?;
        self.client
            .look(move |connection| {
                plan.source(connection)?;
                plan.places(connection).map(drop)
            })
            .await
    }

    pub(super) async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let plan = self.plan(config).await?;
        let held = self.names.hold("machine", config.name.as_str()).await;
        self.client
            .change(move |connection| {
                let _held = held;
                plan.make(connection).map(Arc::new)
            })
            .await
    }
}

impl Plan {
    fn source(&self, connect: &Connect) -> Result<Option<Source>> {
        self.config.image.as_deref().map(|image| images::find(connect, &self.settings, image)).transpose()
    }

    /// The networks that it is put on, each looked at.
    fn places(&self, connect: &Connect) -> Result<Vec<NetworkConfig>> {
        let places = self.known_places(connect)?;
        if places.is_empty() && self.options.xml.is_none() && self.config.limits.network_mbps.is_some() {
            return Err(Error::invalid_input("`network_mbps` bounds interfaces, and the machine has none")
                .with_hint("put it on a network")
                .with_outcome(Outcome::Rejected));
        }
        Ok(places)
    }

    fn known_places(&self, connect: &Connect) -> Result<Vec<NetworkConfig>> {
        if self.options.xml.is_some() {
            return Ok(Vec::new());
        }
        let places = if self.config.networks.is_empty() {
            networks::default_place(connect, &self.settings)?.into_iter().collect()
        } else {
            self.config.networks.clone()
        };
        for place in &places {
            let (_, facts) = networks::find(connect, place.network_name.as_str())?;
            networks::check_address(&facts, place)?;
        }
        Ok(places)
    }

    fn make(&self, connect: &Connect) -> Result<Instance> {
        let wanted = self.config.name.as_str();
        // By the name alone: one whose UUID it is stays reachable by its own name.
        let taken = connect.lookup_domain_by_name(wanted).attempt_to_find("look for the machine")?;
        if taken.is_some() {
            return Err(Error::already_exists(format!("there is a machine called `{wanted}` already")));
        }
        let source = self.source(connect)?;
        let places = self.places(connect)?;
        let uuid = Uuid::new_v4().to_string();
        let mut note = self.note(source.as_ref());
        let mut undo = Undo { connect, settings: &self.settings, uuid: &uuid, reservations: Vec::new() };
        let result = self.build(connect, &uuid, source.as_ref(), &places, &mut note, &mut undo);
        match result {
            Ok(document) => match connect.define_domain_xml(&document.to_xml()).attempt("define the machine")
            {
                Ok(domain) => lookup::describe(&domain),
                Err(error) => Err(undo.after(error)),
            },
            Err(error) => Err(undo.after(error)),
        }
    }

    fn note(&self, source: Option<&Source>) -> Note {
        let mut note = Note {
            labels: self.config.labels.clone(),
            metadata: self.config.metadata.clone(),
            image: self.config.image.clone(),
            pool: Some(self.settings.pool.clone()),
            disk_gb: source.and(self.config.limits.disk_gb),
            ..Note::default()
        };
        note.created_now();
        note
    }

    fn build(
        &self,
        connect: &Connect,
        uuid: &str,
        source: Option<&Source>,
        places: &[NetworkConfig],
        note: &mut Note,
        undo: &mut Undo<'_>,
    ) -> Result<Element> {
        if let Some(xml) = &self.options.xml {
            return self.given(xml, uuid, note);
        }
        let limits = self.config.limits;
        let bandwidth = limits.network_mbps.map(Bandwidth::of).transpose()?;
        let mut interfaces = Vec::with_capacity(places.len());
        for place in places {
            let mac = random_mac();
            if let Some(address) = place.ip_address {
                let network = place.network_name.as_str();
                networks::reserve(connect, network, &mac, address)?;
                undo.reservations.push((network.to_owned(), mac.clone(), address));
                note.addresses.insert(mac.clone(), address.to_string());
            }
            interfaces.push(Interface::new(mac, place.network_name.as_str()).with_bandwidth(bandwidth));
        }
        let mut disks = Vec::new();
        if let Some(source) = source {
            disks.push(self.disk(connect, uuid, source)?);
        }
        disks.extend(self.seed(connect, uuid)?);
        let console_log = self.console_log(connect, uuid)?;
        let spec = DomainSpec {
            name: self.config.name.to_string(),
            uuid: uuid.to_owned(),
            domain_type: self.host.domain_type(self.options.domain_type, &self.settings).to_owned(),
            machine: self.options.machine.clone().or_else(|| self.settings.machine.clone()),
            memory_mb: limits.memory_mb.unwrap_or(self.settings.default_resources.memory_mb),
            live_memory_mb: self.settings.live_memory_mb,
            cpu_cores: limits.cpu_cores.unwrap_or(self.settings.default_resources.cpu_cores),
            boot: self.boot(source),
            disks,
            interfaces,
            console_log,
            note: note.clone(),
        };
        let mut document = spec.to_element();
        if let Some(limits) = &self.options.block_limits {
            block::write(&mut document, limits);
        }
        Ok(document)
    }

    /// What is booted directly: the option's kernel, else the image's.
    fn boot(&self, source: Option<&Source>) -> Option<DirectBoot> {
        let options = &self.options;
        let of_image = source.and_then(|source| source.boot.clone());
        let boot = match &options.kernel {
            Some(kernel) => DirectBoot {
                kernel: kernel.clone(),
                initrd: options.initrd.clone(),
                arguments: options.kernel_arguments.clone(),
            },
            None => {
                let image = of_image?;
                DirectBoot {
                    initrd: options.initrd.clone().or(image.initrd),
                    arguments: options.kernel_arguments.clone().or(image.arguments),
                    kernel: image.kernel,
                }
            }
        };
        Some(boot)
    }

    /// The machine's own disk: a new one on the image, or a copy of it.
    fn disk(&self, connect: &Connect, uuid: &str, source: &Source) -> Result<Disk> {
        let pool = storage::pool(connect, &self.settings.pool)?;
        let capacity = match self.config.limits.disk_gb {
            None => source.facts.capacity,
            Some(gibibytes) => {
                let asked = gibibytes.saturating_mul(1 << 30);
                if asked < source.facts.capacity {
                    return Err(Error::invalid_input(format!(
                        "disk_gb is {gibibytes}, and the image needs {} bytes",
                        source.facts.capacity
                    ))
                    .with_outcome(Outcome::Rejected));
                }
                asked
            }
        };
        let copies = self.options.disk == DiskForm::Copy;
        let document = VolumeDocument {
            name: name::disk_of(uuid),
            capacity,
            format: "qcow2".to_owned(),
            backing: (!copies).then(|| (source.facts.path.clone(), source.facts.format.clone())),
        };
        let made = if copies {
            virt::storage_vol::StorageVol::create_xml_from(&pool, &document.to_xml(), &source.volume, 0)
                .attempt("copy the image")?
        } else {
            storage::make(&pool, &document)?
        };
        let path = made.path().attempt("ask for the disk's path")?;
        Ok(Disk { path, format: "qcow2".to_owned(), target: "vda".to_owned(), read_only: false })
    }

    /// The disk with cloud-init's data.
    fn seed(&self, connect: &Connect, uuid: &str) -> Result<Option<Disk>> {
        let Some(data) = &self.config.cloud_init else { return Ok(None) };
        // Our names need no quotes in YAML's double ones.
        let own_meta = format!("instance-id: \"{uuid}\"\nlocal-hostname: \"{}\"\n", self.config.name);
        // Without these two the disk is none of cloud-init's.
        let mut files =
            std::collections::BTreeMap::from([("user-data", ""), ("meta-data", own_meta.as_str())]);
        files.extend(data.parts());
        let files: Vec<(&str, &[u8])> =
            files.into_iter().map(|(name, text)| (name, text.as_bytes())).collect();
        let pool = storage::pool(connect, &self.settings.pool)?;
        let made = storage::make_with(connect, &pool, &name::seed_of(uuid), &seed::image(&files)?)?;
        let path = made.path().attempt("ask for the seed's path")?;
        Ok(Some(Disk { path, format: "raw".to_owned(), target: "vdz".to_owned(), read_only: true }))
    }

    /// The file that the console's output is added to: a volume, so that it can be read from afar too.
    fn console_log(&self, connect: &Connect, uuid: &str) -> Result<Option<String>> {
        if self.host.driver == Driver::Test {
            return Ok(None);
        }
        let pool = storage::pool(connect, &self.settings.pool)?;
        let document =
            VolumeDocument { name: name::log_of(uuid), capacity: 0, format: "raw".to_owned(), backing: None };
        let made = storage::make(&pool, &document)?;
        made.path().attempt("ask for the log's path").map(Some)
    }

    /// The document that was given, with our name, UUID, note and the bounds that were asked for.
    fn given(&self, xml: &str, uuid: &str, note: &Note) -> Result<Element> {
        let mut document = Element::parse(xml).map_err(|error| {
            Error::invalid_input(format!("the option `xml` cannot be read: {}", error.message()))
        })?;
        if document.name() != "domain" {
            return Err(Error::invalid_input(format!(
                "the option `xml` is no domain but a `{}`",
                document.name().escape_debug()
            )));
        }
        document.replace(Element::of_text("name", self.config.name.as_str()));
        document.replace(Element::of_text("uuid", uuid));
        note.put(&mut document);
        if let Some(megabytes) = self.config.limits.memory_mb {
            set_memory(&mut document, megabytes, self.settings.live_memory_mb);
        }
        if let Some(cores) = self.config.limits.cpu_cores {
            set_cores(&mut document, cores);
        }
        if let Some(megabits) = self.config.limits.network_mbps {
            set_bandwidth(&mut document, Bandwidth::of(megabits)?)?;
        }
        Ok(document)
    }
}

/// A hardware address for a new interface.
pub(super) fn random_mac() -> String {
    let [first, second, third, ..] = *Uuid::new_v4().as_bytes();
    mac_address([first, second, third])
}

/// What was made before a creation failed.
struct Undo<'a> {
    connect: &'a Connect,
    settings: &'a LibvirtConfig,
    uuid: &'a str,
    reservations: Vec<(String, String, IpAddr)>,
}

impl Undo<'_> {
    /// Takes everything back. What cannot be is told with the error that led here.
    fn after(self, error: Error) -> Error {
        let mut left = Vec::new();
        if let Err(failure) = storage::delete_all_of(self.connect, &self.settings.pool, self.uuid) {
            left.push(format!("volumes of {}: {}", self.uuid, failure.message()));
        }
        for (network, mac, _) in &self.reservations {
            if let Err(failure) = networks::release(self.connect, network, mac) {
                left.push(format!("an address on {network}: {}", failure.message()));
            }
        }
        if left.is_empty() {
            error
        } else {
            error.with_hint(format!("this was left behind: {}", left.join("; ")))
        }
    }
}
