//! Domains: from a configuration to a document, and from a document to what it says.

use std::net::IpAddr;

use substrate_core::{
    Error, Instance, InstanceKind, InstanceName, NetworkAttachment, NetworkName, ResourceLimits, Result,
};

use super::bandwidth::Bandwidth;
use super::element::Element;
use super::note::Note;
use super::state;
use crate::config::LibvirtConfig;

/// The period over which a share of processor time is granted, in microseconds.
const PERIOD: u64 = 100_000;
/// The channel on which QEMU's guest agent listens.
const AGENT: &str = "org.qemu.guest_agent.0";

/// What a machine boots instead of its disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DirectBoot {
    pub(crate) kernel: String,
    pub(crate) initrd: Option<String>,
    pub(crate) arguments: Option<String>,
}

/// A disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    /// The file behind it, on the hypervisor's host.
    pub(crate) path: String,
    /// `qcow2` or `raw`.
    pub(crate) format: String,
    /// Its name in the machine: `vda`.
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

impl Disk {
    fn to_element(&self) -> Element {
        Element::new("disk")
            .with("type", "file")
            .with("device", "disk")
            .and(Element::new("driver").with("name", "qemu").with("type", &self.format))
            .and(Element::new("source").with("file", &self.path))
            .and(Element::new("target").with("dev", &self.target).with("bus", "virtio"))
            .and_maybe(self.read_only.then(|| Element::new("readonly")))
    }
}

/// A machine's end of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) mac: String,
    pub(crate) network: Option<String>,
    /// The host's end, while it runs.
    pub(crate) device: Option<String>,
    pub(crate) bandwidth: Option<Bandwidth>,
}

impl Interface {
    pub(crate) fn new(mac: impl Into<String>, network: impl Into<String>) -> Self {
        Self { mac: mac.into(), network: Some(network.into()), device: None, bandwidth: None }
    }

    pub(crate) fn with_bandwidth(mut self, bandwidth: Option<Bandwidth>) -> Self {
        self.bandwidth = bandwidth;
        self
    }

    pub(crate) fn to_element(&self) -> Element {
        Element::new("interface")
            .with("type", "network")
            .and(Element::new("mac").with("address", &self.mac))
            .and(Element::new("source").with("network", self.network.as_deref().unwrap_or_default()))
            .and(Element::new("model").with("type", "virtio"))
            .and_maybe(self.bandwidth.map(Bandwidth::to_element))
    }

    fn read(element: &Element) -> Self {
        let of = |path: &str, key: &str| element.attribute_at(path, key).map(str::to_owned);
        Self {
            mac: of("mac", "address").unwrap_or_default().to_ascii_lowercase(),
            network: of("source", "network").filter(|_| element.attribute("type") == Some("network")),
            device: of("target", "dev"),
            bandwidth: Bandwidth::read(element),
        }
    }
}

/// What a new domain is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DomainSpec {
    pub(crate) name: String,
    pub(crate) uuid: String,
    /// `kvm`, `qemu` or `test`.
    pub(crate) domain_type: String,
    pub(crate) machine: Option<String>,
    pub(crate) memory_mb: u64,
    /// Up to how much a running machine can be given.
    pub(crate) live_memory_mb: Option<u64>,
    pub(crate) cpu_cores: f64,
    pub(crate) boot: Option<DirectBoot>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) interfaces: Vec<Interface>,
    /// Where the console's output goes, beside a terminal.
    pub(crate) console_log: Option<String>,
    pub(crate) note: Note,
}

impl DomainSpec {
    /// The document to define.
    pub(crate) fn to_element(&self) -> Element {
        let mut domain = Element::new("domain")
            .with("type", &self.domain_type)
            .and(Element::of_text("name", &self.name))
            .and(Element::of_text("uuid", &self.uuid))
            .and(Element::new("metadata").and(self.note.to_element()));
        set_memory(&mut domain, self.memory_mb, self.live_memory_mb);
        set_cores(&mut domain, self.cpu_cores);
        domain.push(self.system());
        if self.domain_type == "test" {
            return domain.and(self.devices_of_test());
        }
        domain
            .and(Element::new("features").and(Element::new("acpi")).and(Element::new("apic")))
            .and(Element::new("clock").with("offset", "utc"))
            .and(Element::of_text("on_poweroff", "destroy"))
            .and(Element::of_text("on_reboot", "restart"))
            .and(Element::of_text("on_crash", "destroy"))
            .and(self.devices())
    }

    fn system(&self) -> Element {
        let mut kind = Element::of_text("type", "hvm");
        if let Some(machine) = &self.machine {
            kind.set("machine", machine);
        }
        let mut system = Element::new("os").and(kind);
        if let Some(boot) = &self.boot {
            system.push(Element::of_text("kernel", &boot.kernel));
            system = system
                .and_maybe(boot.initrd.as_ref().map(|path| Element::of_text("initrd", path)))
                .and_maybe(boot.arguments.as_ref().map(|text| Element::of_text("cmdline", text)));
        } else if self.domain_type != "test" {
            system.push(Element::new("boot").with("dev", "hd"));
        }
        system
    }

    fn devices(&self) -> Element {
        let mut serial = Element::new("serial").with("type", "pty");
        if let Some(path) = &self.console_log {
            // Appended to: what one run wrote is still there in the next.
            serial.push(Element::new("log").with("file", path).with("append", "on"));
        }
        Element::new("devices")
            .and_all(self.disks.iter().map(Disk::to_element))
            .and_all(self.interfaces.iter().map(Interface::to_element))
            .and(serial.and(Element::new("target").with("port", "0")))
            .and(
                Element::new("channel")
                    .with("type", "unix")
                    .and(Element::new("target").with("type", "virtio").with("name", AGENT)),
            )
            .and(Element::new("memballoon").with("model", "virtio"))
    }

    /// The mock has no agent and no console.
    fn devices_of_test(&self) -> Element {
        Element::new("devices")
            .and_all(self.disks.iter().map(Disk::to_element))
            .and_all(self.interfaces.iter().map(Interface::to_element))
    }
}

/// Sets the memory of a domain: the bound, and above it, what it could be given while it runs.
pub(crate) fn set_memory(domain: &mut Element, megabytes: u64, live: Option<u64>) {
    let most = live.unwrap_or(0).max(megabytes);
    let element = |name: &str, megabytes: u64| {
        Element::of_text(name, megabytes.saturating_mul(1024).to_string()).with("unit", "KiB")
    };
    domain.replace(element("memory", most));
    domain.replace(element("currentMemory", megabytes));
}

/// Sets the processors of a domain: as many as the cores need, and a quota where they are no whole number.
pub(crate) fn set_cores(domain: &mut Element, cores: f64) {
    domain.replace(Element::of_text("vcpu", processors(cores).to_string()));
    let mut tuning = domain.find("cputune").cloned().unwrap_or_else(|| Element::new("cputune"));
    tuning.retain(|element| !matches!(element.name(), "global_period" | "global_quota"));
    if let Some(quota) = quota(cores) {
        tuning.push(Element::of_text("global_period", PERIOD.to_string()));
        tuning.push(Element::of_text("global_quota", quota.to_string()));
    }
    if tuning.children().is_empty() {
        domain.retain(|element| element.name() != "cputune");
    } else {
        domain.replace(tuning);
    }
}

/// How many processors so many cores need.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on both sides")]
pub(crate) fn processors(cores: f64) -> u32 {
    cores.ceil().clamp(1.0, 4096.0) as u32
}

/// The share of each period for a number of cores that is not whole, in microseconds.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "bounded on both sides"
)]
pub(crate) fn quota(cores: f64) -> Option<u64> {
    // The kernel grants no less than a millisecond.
    (cores.fract() != 0.0).then(|| ((cores * PERIOD as f64).round() as u64).max(1_000))
}

/// The period of [`quota`].
pub(crate) const fn period() -> u64 {
    PERIOD
}

/// What a domain's document says.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) document: Element,
    pub(crate) name: String,
    pub(crate) uuid: String,
    pub(crate) note: Note,
}

impl Domain {
    pub(crate) fn read(xml: &str) -> Result<Self> {
        let document = Element::parse(xml)?;
        let text = |path: &str| document.text_at(path).unwrap_or_default().to_owned();
        let (name, uuid) = (text("name"), text("uuid"));
        if name.is_empty() || uuid.is_empty() {
            return Err(Error::protocol("libvirt described a domain without name or UUID"));
        }
        let note = Note::of(&document);
        Ok(Self { name, uuid, note, document })
    }

    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        self.devices("interface").map(Interface::read).collect()
    }

    pub(crate) fn disks(&self) -> Vec<Disk> {
        self.devices("disk")
            .filter(|disk| disk.attribute("device").is_none_or(|device| device == "disk"))
            .filter_map(|disk| {
                Some(Disk {
                    path: disk.attribute_at("source", "file")?.to_owned(),
                    format: disk.attribute_at("driver", "type").unwrap_or("raw").to_owned(),
                    target: disk.attribute_at("target", "dev")?.to_owned(),
                    read_only: disk.find("readonly").is_some(),
                })
            })
            .collect()
    }

    /// The bound of the first interface that has one: we give the same to all.
    pub(crate) fn bandwidth(&self) -> Option<Bandwidth> {
        self.devices("interface").find_map(Bandwidth::read)
    }

    /// Every file that the domain refers to as a disk or an image of one.
    pub(crate) fn uses(&self, path: &str) -> bool {
        self.devices("disk").any(|disk| mentions(disk, path))
    }

    pub(crate) fn has_agent(&self) -> bool {
        self.devices("channel").any(|channel| channel.attribute_at("target", "name") == Some(AGENT))
    }

    pub(crate) fn console_log(&self) -> Option<&str> {
        let devices = self.document.find("devices")?;
        ["serial", "console"].into_iter().find_map(|name| {
            let mut logged = devices.children().iter().filter(|device| device.name() == name);
            logged.find_map(|device| device.attribute_at("log", "file"))
        })
    }

    fn devices<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.document.find("devices").into_iter().flat_map(move |devices| devices.all(name))
    }

    /// The bounds: memory and processors, which every machine has.
    pub(crate) fn limits(&self) -> ResourceLimits {
        let memory = self.document.find("currentMemory").or_else(|| self.document.find("memory"));
        ResourceLimits {
            cpu_cores: self.cores(),
            memory_mb: memory.and_then(kibibytes).map(|size| size / 1024),
            disk_gb: self.note.disk_gb,
            network_mbps: self.bandwidth().map(Bandwidth::megabits),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "microseconds of a period are small")]
    fn cores(&self) -> Option<f64> {
        let number = |path: &str| self.document.text_at(path)?.parse::<i64>().ok();
        let vcpu = self.document.find("vcpu")?;
        let count = match vcpu.attribute("current") {
            Some(current) => current.parse::<u32>().ok()?,
            None => vcpu.text().trim().parse::<u32>().ok()?,
        };
        let count = f64::from(count);
        let period = number("cputune/global_period").filter(|period| *period > 0).unwrap_or(100_000);
        let granted = number("cputune/global_quota").filter(|quota| *quota > 0);
        Some(granted.map_or(count, |quota| (quota as f64 / period as f64).min(count)))
    }

    /// Up to how much memory it could be given while it runs, in MiB.
    pub(crate) fn most_memory_mb(&self) -> Option<u64> {
        self.document.find("memory").and_then(kibibytes).map(|size| size / 1024)
    }

    /// The instance that this describes.
    pub(crate) fn instance(&self, state_and_reason: (i32, i32)) -> Result<Instance> {
        let name = InstanceName::new(&self.name).map_err(|error| {
            Error::protocol(format!("a domain has a name that nobody can use: {}", error.message()))
        })?;
        let mut instance = Instance::new(
            &self.uuid,
            name,
            InstanceKind::VirtualMachine,
            state::state_for_reason(state_and_reason),
        );
        instance.provider_state = state::words(state_and_reason);
        instance.image.clone_from(&self.note.image);
        instance.labels = self.note.labels.clone();
        instance.metadata.clone_from(&self.note.metadata);
        instance.limits = self.limits();
        instance.created_at = self.note.created_at();
        for interface in self.interfaces() {
            let Some(network) = interface.network.as_deref().and_then(|name| NetworkName::new(name).ok())
            else {
                continue;
            };
            let address = self.fixed_address(&interface.mac);
            instance.addresses.extend(address);
            instance.networks.push(NetworkAttachment {
                network_name: network,
                ip_address: address,
                mac_address: Some(interface.mac),
            });
        }
        let mut property = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                instance.properties.insert(key.to_owned(), value.into());
            }
        };
        property("type", self.document.attribute("type"));
        property("machine", self.document.attribute_at("os/type", "machine"));
        property("console_log", self.console_log());
        instance.properties.insert("guest_agent_channel".to_owned(), self.has_agent().into());
        Ok(instance)
    }

    /// The pool that holds what the machine owns.
    pub(crate) fn pool<'a>(&'a self, settings: &'a LibvirtConfig) -> &'a str {
        self.note.pool.as_deref().unwrap_or(&settings.pool)
    }

    /// The address that we reserved for an interface.
    pub(crate) fn fixed_address(&self, mac: &str) -> Option<IpAddr> {
        self.note.addresses.get(mac)?.parse().ok()
    }
}

fn mentions(element: &Element, path: &str) -> bool {
    element.attribute("file") == Some(path) || element.children().iter().any(|child| mentions(child, path))
}

/// A size with a unit, as libvirt writes it.
fn kibibytes(element: &Element) -> Option<u64> {
    let number: u64 = element.text().trim().parse().ok()?;
    Some(match element.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => number / 1024,
        "MiB" | "M" => number.checked_mul(1024)?,
        "GiB" | "G" => number.checked_mul(1024 * 1024)?,
        _ => number,
    })
}

/// A hardware address that QEMU's guests may have, from random bytes.
pub(crate) fn mac_address(random: [u8; 3]) -> String {
    let [first, second, third] = random;
    format!("52:54:00:{first:02x}:{second:02x}:{third:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> DomainSpec {
        DomainSpec {
            name: "web<1>".into(),
            uuid: "c6ee8b73-e39c-433f-8ed5-5e73352c4bc0".into(),
            domain_type: "qemu".into(),
            memory_mb: 96,
            cpu_cores: 0.5,
            disks: vec![Disk {
                path: "/images/a&b.qcow2".into(),
                format: "qcow2".into(),
                target: "vda".into(),
                read_only: false,
            }],
            interfaces: vec![Interface::new("52:54:00:00:00:01", "blue")],
            console_log: Some("/images/a.log".into()),
            ..DomainSpec::default()
        }
    }

    fn read(spec: &DomainSpec) -> Domain {
        Domain::read(&spec.to_element().to_xml()).unwrap()
    }

    #[test]
    fn what_is_defined_is_what_is_read() {
        let domain = read(&spec());
        assert_eq!((domain.name.as_str(), domain.disks()), ("web<1>", spec().disks));
        assert_eq!(domain.interfaces(), spec().interfaces);
        assert_eq!(domain.console_log(), Some("/images/a.log"));
        assert!(domain.has_agent() && domain.uses("/images/a&b.qcow2") && !domain.uses("/images/a"));
        let limits = domain.limits();
        assert_eq!((limits.cpu_cores, limits.memory_mb), (Some(0.5), Some(96)));
    }

    #[test]
    fn whole_cores_need_no_quota_and_a_changed_number_replaces_the_old_one() {
        let mut document = spec().to_element();
        for (cores, vcpu) in [(2.0, "2"), (1.5, "2"), (0.25, "1"), (3.0, "3")] {
            set_cores(&mut document, cores);
            assert_eq!(document.text_at("vcpu"), Some(vcpu));
            let domain = Domain::read(&document.to_xml()).unwrap();
            assert_eq!(domain.limits().cpu_cores, Some(cores));
            assert_eq!(document.find("cputune").is_some(), cores.fract() != 0.0);
        }
    }

    #[test]
    fn memory_above_the_bound_is_what_it_can_be_given_while_it_runs() {
        let mut document = spec().to_element();
        set_memory(&mut document, 128, Some(256));
        let domain = Domain::read(&document.to_xml()).unwrap();
        assert_eq!((domain.limits().memory_mb, domain.most_memory_mb()), (Some(128), Some(256)));
        set_memory(&mut document, 512, Some(256));
        assert_eq!(Domain::read(&document.to_xml()).unwrap().most_memory_mb(), Some(512));
    }

    #[test]
    fn an_interface_of_another_kind_is_on_no_network() {
        let xml = "<domain><name>a</name><uuid>b</uuid><devices><interface type='bridge'><source bridge='br0'/>\
                   <mac address='52:54:00:AA:00:01'/></interface></devices></domain>";
        let interfaces = Domain::read(xml).unwrap().interfaces();
        assert_eq!(interfaces[0].network, None);
        assert_eq!(interfaces[0].mac, "52:54:00:aa:00:01");
    }

    #[test]
    fn a_disk_s_images_count_as_used() {
        let xml = "<domain><name>a</name><uuid>b</uuid><devices><disk type='file'><source file='/x'/>\
                   <backingStore type='file'><source file='/base'/></backingStore></disk></devices></domain>";
        assert!(Domain::read(xml).unwrap().uses("/base"));
    }

    #[test]
    fn a_number_of_processors_that_is_none_is_left_out() {
        for (told, cores) in
            [("2", Some(2.0)), ("inf", None), ("NaN", None), ("-1", None), ("99999999999", None)]
        {
            let xml = format!("<domain><name>a</name><uuid>b</uuid><vcpu>{told}</vcpu></domain>");
            assert_eq!(Domain::read(&xml).unwrap().limits().cpu_cores, cores, "{told}");
        }
    }

    #[test]
    fn a_domain_without_a_name_is_an_error() {
        assert!(Domain::read("<domain/>").unwrap_err().is_protocol());
    }
}
