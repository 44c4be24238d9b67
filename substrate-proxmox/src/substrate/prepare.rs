//! What a new guest is made from, where, and with which settings.

use std::collections::BTreeMap;

use substrate_core::{Error, InstanceConfig, NetworkConfig, Result};

use super::ProxmoxSubstrate;
use super::create::Making;
use super::sources::Image;
use super::volumes::Attached;
use crate::client::{Form, encode};
use crate::convert::guest::{Guest, GuestKind};
use crate::convert::inventory::Storage;
use crate::convert::limits;
use crate::convert::network::{Bridge, Wanted};
use crate::convert::notes::Unfinished;
use crate::convert::property::Properties;
use crate::options::{CloudInit, ProxmoxOptions};

/// The root disk of a container, and of a machine without an image, when none is asked for: in GiB.
const CONTAINER_DISK: u64 = 4;
const MACHINE_DISK: u64 = 8;

/// Where a guest is made, and what of there it gets.
struct Site {
    node: String,
    bridges: Vec<Bridge>,
    volumes: Attached,
}

type Settings = BTreeMap<String, String>;

impl ProxmoxSubstrate {
    /// Everything that a creation needs to know; nothing is changed.
    pub(super) async fn prepare(
        &self,
        config: &InstanceConfig,
        kind: GuestKind,
        options: &ProxmoxOptions,
    ) -> Result<Making> {
        let wanted_node = options.node.as_ref().or(self.config.node.as_ref());
        let image = match &config.image {
            None => Image::Nothing,
            Some(name) => self.image_called(name, kind, wanted_node).await?,
        };
        let volumes = self.volumes_for(config, kind, options).await?;
        if let (Some(node), Some(wanted)) = (&volumes.node, wanted_node)
            && node != wanted
        {
            return Err(Error::conflict(format!(
                "a volume of the guest is on {node}, on a storage that is not shared"
            ))
            .with_hint("make the guest on that node"));
        }
        let node = match (&image, wanted_node.or(volumes.node.as_ref())) {
            (_, Some(node)) => node.clone(),
            (Image::Template(guest), None) => guest.node.clone(),
            (Image::File { node, .. }, None) => node.clone(),
            (Image::Nothing, None) => self.roomiest_node().await?,
        };
        let bridges = self.bridges(&node).await?;
        let site = Site { node, bridges, volumes };
        self.check_addresses(&site.bridges, &config.networks).await?;
        match image {
            Image::Template(guest) => self.made_from_template(config, options, *guest, site).await,
            Image::File { volume, content, .. } => {
                let file = Some((volume.as_str(), content.as_str()));
                self.made_from_file(config, kind, options, file, site).await
            }
            Image::Nothing => self.made_from_file(config, kind, options, None, site).await,
        }
    }

    // ---- settings ---------------------------------------------------------------------------------

    async fn made_from_file(
        &self,
        config: &InstanceConfig,
        kind: GuestKind,
        options: &ProxmoxOptions,
        file: Option<(&str, &str)>,
        site: Site,
    ) -> Result<Making> {
        let Site { node, bridges, volumes } = site;
        let (node, bridges) = (&*node, &*bridges);
        let holds = if kind == GuestKind::Qemu { "images" } else { "rootdir" };
        let wanted = options.storage.as_ref().or(self.config.storage.as_ref());
        let storage = self.storage_for(node, holds, wanted).await?;
        let mut settings = self.shared_settings(config, kind, options, bridges)?;
        let mut unfinished = Unfinished::default();
        let disk = config.limits.disk_gb;
        let mut form = Form::new();
        match kind {
            GuestKind::Qemu => {
                machine_settings(&mut settings, options);
                let format = if storage.holds_files() { ",format=qcow2" } else { "" };
                let name = &storage.storage;
                let (mut boot, mut drives) = (vec!["scsi0"], Vec::new());
                match file {
                    Some((volume, "import")) => {
                        settings.insert("scsi0".to_owned(), format!("{name}:0,import-from={volume}{format}"));
                        unfinished.disk = disk.map(|gibibytes| ("scsi0".to_owned(), gibibytes));
                    }
                    other => {
                        let size = disk.unwrap_or(MACHINE_DISK);
                        settings.insert("scsi0".to_owned(), format!("{name}:{size}{format}"));
                        drives.extend(other.map(|(volume, _)| volume.to_owned()));
                    }
                }
                drives.extend(options.iso.clone());
                if let Some(iso) = drives.first() {
                    settings.insert("ide2".to_owned(), format!("{iso},media=cdrom"));
                    boot.push("ide2");
                }
                settings.insert("boot".to_owned(), format!("order={}", boot.join(";")));
                // An image that is imported is made for cloud-init: without a drive it waits for one.
                let is_imported = matches!(file, Some((_, "import")));
                let has_settings = uses_cloud_init(config, options);
                if has_settings && options.cloud_init_drive == Some(false) {
                    return Err(Error::invalid_input(
                        "addresses and `cloud_init` need the drive that `cloud_init_drive` forbids",
                    ));
                }
                if options.cloud_init_drive.unwrap_or(is_imported || has_settings) {
                    settings.insert("ide0".to_owned(), format!("{name}:cloudinit"));
                    if options.cloud_init.is_none() {
                        // Nobody asked for an upgrade of everything inside, which it does unless told otherwise.
                        settings.insert("ciupgrade".to_owned(), "0".to_owned());
                    }
                    // A device that it is told nothing of, cloud-init leaves down.
                    let devices = settings.keys().filter_map(|key| key.strip_prefix("net")?.parse().ok());
                    let devices: Vec<u32> = devices.collect();
                    for device in devices {
                        let place = settings.entry(format!("ipconfig{device}"));
                        place.or_insert_with(|| "ip=dhcp".to_owned());
                    }
                }
                let secrets = cloud_init(&mut settings, options.cloud_init.as_ref());
                form = form.extended(secrets);
            }
            GuestKind::Lxc => {
                let Some((volume, _)) = file else {
                    return Err(Error::invalid_input("a container is made from an image")
                        .with_hint("name a template: `local:vztmpl/debian-12-standard.tar.zst`"));
                };
                settings.insert("ostemplate".to_owned(), volume.to_owned());
                let size = disk.unwrap_or(CONTAINER_DISK);
                settings.insert("rootfs".to_owned(), format!("{}:{size}", storage.storage));
                let unprivileged = options.unprivileged.unwrap_or(true);
                settings.insert("unprivileged".to_owned(), u8::from(unprivileged).to_string());
                form = form.extended(container_settings(&mut settings, options));
            }
        }
        settings.extend(volumes.settings(kind, |_| false));
        let pool = options.pool.as_ref().or(self.config.pool.as_ref());
        Ok(Making {
            kind,
            node: node.to_owned(),
            storage: gate(node, &storage),
            attempt: "create the guest".to_owned(),
            source: None,
            form: form.extended(settings).maybe("pool", pool),
            image: config.image.clone(),
            description: options.description.clone().unwrap_or_default(),
            unfinished,
            secrets: Vec::new(),
        })
    }

    async fn made_from_template(
        &self,
        config: &InstanceConfig,
        options: &ProxmoxOptions,
        template: Guest,
        site: Site,
    ) -> Result<Making> {
        let Site { node, bridges, volumes } = site;
        let (node, bridges) = (&*node, &*bridges);
        let kind = template.kind;
        let disk = template.root_disk();
        if let (Some(wanted), Some((_, bytes))) = (config.limits.disk_gb, &disk)
            && wanted << 30 < *bytes
        {
            return Err(Error::invalid_input(format!(
                "the template's disk is larger than {wanted} GiB, and disks only grow"
            )));
        }
        let holds = if kind == GuestKind::Qemu { "images" } else { "rootdir" };
        let wanted = options.storage.as_ref().or(self.config.storage.as_ref()).filter(|_| !options.linked);
        if options.linked && options.storage.is_some() {
            return Err(Error::invalid_input("a linked clone stays on its template's storage"));
        }
        let chosen = match wanted {
            Some(_) => Some(self.storage_for(node, holds, wanted).await?),
            None => None,
        };
        // A copy has its source's devices; what is asked for is set afterwards, in one step.
        let mut settings = self.shared_settings(config, kind, options, bridges)?;
        if config.networks.is_empty() {
            settings.retain(|key, _| !key.starts_with("net"));
            let rates = substrate_core::ResourceLimits {
                network_mbps: config.limits.network_mbps,
                ..substrate_core::ResourceLimits::default()
            };
            settings.extend(limits::settings(&template, &rates)?.into_iter().map(|(key, net)| {
                // The copy gets hardware addresses of its own.
                let mut net = Properties::parse(&net);
                net.remove("hwaddr");
                (key, without_mac(&net))
            }));
        }
        let mut secrets = Vec::new();
        if kind == GuestKind::Qemu {
            for (key, value) in [("cpu", &options.cpu), ("ostype", &options.ostype), ("bios", &options.bios)]
            {
                settings.extend(value.clone().map(|value| (key.to_owned(), value)));
            }
            settings.extend(options.agent.map(|agent| ("agent".to_owned(), u8::from(agent).to_string())));
            secrets = cloud_init(&mut settings, options.cloud_init.as_ref());
        } else {
            if options.password.is_some() || !options.ssh_keys.is_empty() {
                return Err(Error::unsupported(
                    "Proxmox VE sets a container's password and keys from an archive only, not in a clone",
                ));
            }
            container_settings(&mut settings, options);
        }
        settings.extend(volumes.settings(kind, |key| template.config.contains_key(key)));
        let unfinished = Unfinished {
            disk: config.limits.disk_gb.zip(disk).map(|(gibibytes, (key, _))| (key, gibibytes)),
            settings,
            secret: !secrets.is_empty(),
        };
        let pool = options.pool.as_ref().or(self.config.pool.as_ref());
        let form = Form::new()
            .flag("full", !options.linked)
            .maybe("storage", chosen.as_ref().map(|storage| &storage.storage))
            .maybe("target", Some(node).filter(|node| *node != template.node))
            .maybe("pool", pool);
        let storage = match &chosen {
            Some(storage) => gate(node, storage),
            None => format!("{node} {}", storage_of(&template)),
        };
        Ok(Making {
            kind,
            node: node.to_owned(),
            storage,
            attempt: format!("clone the template `{}`", template.name()),
            // Containers lock their source; a machine that is a template is only shared.
            source: Some((template.place(), kind == GuestKind::Lxc)),
            form,
            image: config.image.clone(),
            description: options.description.clone().unwrap_or_default(),
            unfinished,
            secrets,
        })
    }

    /// Settings that do not depend on what a guest is made from.
    fn shared_settings(
        &self,
        config: &InstanceConfig,
        kind: GuestKind,
        options: &ProxmoxOptions,
        bridges: &[Bridge],
    ) -> Result<Settings> {
        let mut settings = Settings::new();
        let mut set = |key: &str, value: String| drop(settings.insert(key.to_owned(), value));
        if let Some(cores) = config.limits.cpu_cores {
            let (whole, share) = limits::cores(cores);
            set("cores", whole.to_string());
            set("cpulimit", share.to_string());
        }
        if let Some(memory) = config.limits.memory_mb {
            set("memory", memory.to_string());
        }
        for (key, value) in [("onboot", options.onboot), ("protection", options.protection)] {
            if let Some(value) = value {
                set(key, u8::from(value).to_string());
            }
        }
        if !options.tags.is_empty() {
            set("tags", options.tags.join(";"));
        }
        let by_default;
        let networks = if config.networks.is_empty() {
            by_default = [NetworkConfig::new(substrate_core::NetworkName::new(&self.config.bridge)?)];
            &by_default[..]
        } else {
            &config.networks
        };
        let rate = config.limits.network_mbps;
        for (index, network) in networks.iter().enumerate() {
            let device = self.device(kind, index, network, rate, bridges)?;
            set(&format!("net{index}"), device.to_string());
            if kind == GuestKind::Qemu
                && let Some(place) = cloud_address(network, bridges)?
            {
                set(&format!("ipconfig{index}"), place.to_string());
            }
        }
        let servers: Vec<String> =
            networks.iter().flat_map(|network| &network.dns_servers).map(ToString::to_string).collect();
        if !servers.is_empty() {
            set("nameserver", servers.join(" "));
        }
        Ok(settings)
    }

    /// A network device on a network.
    pub(super) fn device(
        &self,
        kind: GuestKind,
        index: usize,
        network: &NetworkConfig,
        rate: Option<f64>,
        bridges: &[Bridge],
    ) -> Result<Properties> {
        let wanted = Wanted::read(&network.network_name);
        let bridge = wanted.bridge_in(bridges)?;
        let mut device = match kind {
            GuestKind::Qemu => Properties::parse("virtio"),
            GuestKind::Lxc => Properties::default().with("name", format!("eth{index}")),
        };
        device.set("bridge", bridge.iface.as_str());
        if let Some(tag) = wanted.tag {
            device.set("tag", tag.to_string());
        }
        if let Some(rate) = rate {
            device.set("rate", limits::rate(rate));
        }
        if kind == GuestKind::Lxc {
            match cloud_address(network, bridges)? {
                Some(place) => {
                    for key in ["ip", "gw", "ip6", "gw6"] {
                        if let Some(value) = place.get(key) {
                            device.set(key, value);
                        }
                    }
                }
                None => device.set("ip", "dhcp"),
            }
        }
        Ok(device)
    }
}

/// `ip=…,gw=…`, for cloud-init and for containers alike.
pub(super) fn cloud_address(network: &NetworkConfig, bridges: &[Bridge]) -> Result<Option<Properties>> {
    let Some(address) = network.ip_address else {
        return match network.gateway {
            Some(_) => Err(Error::invalid_input("a gateway needs an address beside it")),
            None => Ok(None),
        };
    };
    let known = bridges.iter().find_map(|bridge| bridge.prefix_length(address));
    let length = known.unwrap_or(if address.is_ipv4() { 24 } else { 64 });
    let (key, gateway) = if address.is_ipv4() { ("ip", "gw") } else { ("ip6", "gw6") };
    let mut place = Properties::default().with(key, format!("{address}/{length}"));
    if let Some(by) = network.gateway {
        if by.is_ipv4() != address.is_ipv4() {
            return Err(Error::invalid_input("the address and its gateway are of different families"));
        }
        place.set(gateway, by.to_string());
    }
    Ok(Some(place))
}

fn uses_cloud_init(config: &InstanceConfig, options: &ProxmoxOptions) -> bool {
    options.cloud_init.is_some() || config.networks.iter().any(|network| network.ip_address.is_some())
}

fn machine_settings(settings: &mut Settings, options: &ProxmoxOptions) {
    let mut set = |key: &str, value: String| drop(settings.insert(key.to_owned(), value));
    set("scsihw", "virtio-scsi-single".to_owned());
    set("ostype", options.ostype.clone().unwrap_or_else(|| "l26".to_owned()));
    set("agent", u8::from(options.agent.unwrap_or(true)).to_string());
    // Cloud images talk to a serial console, and some do not boot without.
    set("serial0", "socket".to_owned());
    for (key, value) in [("cpu", &options.cpu), ("bios", &options.bios)] {
        if let Some(value) = value {
            set(key, value.clone());
        }
    }
}

/// Puts what may be seen into the settings, and gives back what may not.
fn cloud_init(settings: &mut Settings, wanted: Option<&CloudInit>) -> Vec<(String, String)> {
    use secrecy::ExposeSecret;
    let Some(wanted) = wanted else { return Vec::new() };
    let mut set = |key: &str, value: String| drop(settings.insert(key.to_owned(), value));
    for (key, value) in
        [("ciuser", &wanted.user), ("searchdomain", &wanted.search_domain), ("cicustom", &wanted.custom)]
    {
        if let Some(value) = value {
            set(key, value.clone());
        }
    }
    if !wanted.ssh_keys.is_empty() {
        // The one parameter that is encoded twice.
        set("sshkeys", encode(&wanted.ssh_keys.join("\n")));
    }
    let password = wanted.password.as_ref();
    password.map(|one| ("cipassword".to_owned(), one.expose_secret().to_owned())).into_iter().collect()
}

fn container_settings(settings: &mut Settings, options: &ProxmoxOptions) -> Vec<(String, String)> {
    use secrecy::ExposeSecret;
    settings.extend(options.features.clone().map(|features| ("features".to_owned(), features)));
    settings.extend(options.swap_mb.map(|swap| ("swap".to_owned(), swap.to_string())));
    let mut secrets = Vec::new();
    if let Some(password) = &options.password {
        secrets.push(("password".to_owned(), password.expose_secret().to_owned()));
    }
    if !options.ssh_keys.is_empty() {
        secrets.push(("ssh-public-keys".to_owned(), options.ssh_keys.join("\n")));
    }
    secrets
}

/// A machine's device without its hardware address: `virtio=AA:…` becomes `virtio`.
fn without_mac(net: &Properties) -> String {
    match net.first() {
        Some((model, mac)) if mac.matches(':').count() == 5 && !model.is_empty() && model != "name" => {
            let text = net.to_string();
            text.replacen(&format!("{model}={mac}"), model, 1)
        }
        _ => net.to_string(),
    }
}

/// Which lock it is: a shared storage has one for the cluster.
pub(super) fn gate(node: &str, storage: &Storage) -> String {
    if storage.is_shared() { storage.storage.clone() } else { format!("{node} {}", storage.storage) }
}

/// The storage of a guest's first disk.
pub(super) fn storage_of(guest: &Guest) -> String {
    guest
        .root_disk()
        .and_then(|(key, _)| crate::convert::text::text(&guest.config, &key))
        .and_then(|disk| disk.split(':').next().map(str::to_owned))
        .unwrap_or_default()
}
