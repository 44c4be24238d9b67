//! What a create call carries.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use substrate_core::{
    CloudInit, Error, InstanceConfig, InstanceKind, NetworkConfig, Result, VolumeMount, VolumeSource,
};

use super::limits::{self, Device};
use super::{init, labels};
use crate::name::{bridge_of, device_of};
use crate::options::LxcOptions;

const RAW: &str = "raw.lxc";

/// What the server has, and a create call must know.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// The devices that the instance's profiles bring.
    pub(crate) profile_devices: BTreeMap<String, Device>,
    /// The pool of volumes.
    pub(crate) pool: String,
}

/// The body of a create call, but for its source.
pub(crate) fn body(
    config: &InstanceConfig,
    options: &LxcOptions,
    profiles: &[String],
    surroundings: &Surroundings,
) -> Result<Value> {
    let kind = config.kind.unwrap_or(InstanceKind::Container);
    let mut body = json!({
        "name": config.name.as_str(),
        "type": if kind == InstanceKind::VirtualMachine { "virtual-machine" } else { "container" },
        "profiles": profiles,
        "config": configuration(config, options, kind)?,
        "devices": devices(config, options, surroundings)?,
        "ephemeral": options.ephemeral.unwrap_or(false),
    });
    if let (Some(description), Some(fields)) = (&options.description, body.as_object_mut()) {
        fields.insert("description".to_owned(), description.clone().into());
    }
    Ok(body)
}

fn configuration(
    config: &InstanceConfig,
    options: &LxcOptions,
    kind: InstanceKind,
) -> Result<BTreeMap<String, String>> {
    labels::check(&config.labels)?;
    let mut keys = options.config.clone();
    keys.extend(labels::write(&config.labels));
    keys.extend(limits::write(kind, &config.limits)?);
    if !config.metadata.is_empty() {
        let metadata = serde_json::to_string(&config.metadata)
            .map_err(|error| Error::invalid_input(format!("the metadata cannot be kept: {error}")))?;
        keys.insert(labels::METADATA.to_owned(), metadata);
    }
    if let Some(image) = &config.image {
        keys.insert(labels::IMAGE.to_owned(), image.clone());
    }
    for (key, value) in config.environment.iter() {
        // Into the file from which a container is started, line by line.
        if value.contains('\n') || key.contains(['\n', ' ']) {
            return Err(Error::unsupported(format!(
                "environment variable `{}`: the servers keep no line ends in values, and no blanks in names",
                key.escape_debug()
            )));
        }
        keys.insert(format!("environment.{key}"), value.to_owned());
    }
    keys.extend(config.cloud_init.iter().flat_map(CloudInit::parts).map(|(part, text)| {
        // The servers make the meta data themselves; what is here is added to theirs.
        let key =
            if part == "meta-data" { "user.meta-data".to_owned() } else { format!("cloud-init.{part}") };
        (key, text.to_owned())
    }));
    for (key, value) in [
        ("security.privileged", options.privileged),
        ("security.nesting", options.nesting),
        ("boot.autostart", options.autostart),
        ("security.protection.delete", options.protected),
    ] {
        if let Some(value) = value {
            keys.insert(key.to_owned(), value.to_string());
        }
    }
    if !config.command.is_empty() {
        if kind == InstanceKind::VirtualMachine {
            return Err(Error::unsupported("a virtual machine boots its own system: it has no main command")
                .with_hint("run the command with cloud-init or after the start"));
        }
        let lines = init::lines(&config.command);
        let raw = match keys.get(RAW) {
            Some(own) => format!("{own}\n{lines}"),
            None => lines,
        };
        keys.insert(RAW.to_owned(), raw);
    }
    Ok(keys)
}

fn devices(
    config: &InstanceConfig,
    options: &LxcOptions,
    surroundings: &Surroundings,
) -> Result<BTreeMap<String, Device>> {
    let mut devices = options.devices.clone();
    if !config.networks.is_empty() {
        // The networks asked for, instead of those of the profiles.
        for (name, _) in surroundings.profile_devices.iter().filter(|(_, device)| limits::is_nic(device)) {
            devices.insert(name.clone(), Device::from([("type".to_owned(), "none".to_owned())]));
        }
        for place in &config.networks {
            devices.insert(device_of(place.network_name.as_str()), nic(place)?);
        }
    }
    for (position, mount) in config.volumes.iter().enumerate() {
        devices.insert(format!("volume-{position}"), disk(mount, &surroundings.pool));
    }
    if let Some(gigabytes) = config.limits.disk_gb {
        let (name, mut root) = device_where(&devices, surroundings, limits::is_root)
            .ok_or_else(|| Error::invalid_input("no profile has a root disk whose size could be set"))?;
        root.insert("size".to_owned(), format!("{gigabytes}GiB"));
        devices.insert(name, root);
    }
    if let Some(megabits) = config.limits.network_mbps {
        let mut bounded = BTreeMap::new();
        let all = surroundings.profile_devices.iter().chain(&devices);
        for (name, device) in all.filter(|(_, device)| limits::is_nic(device)) {
            let masked = devices.get(name).is_some_and(|own| !limits::is_nic(own));
            if !masked {
                let mut device = device.clone();
                limits::write_bandwidth(&mut device, megabits)?;
                bounded.insert(name.clone(), device);
            }
        }
        if bounded.is_empty() {
            return Err(Error::invalid_input("network_mbps bounds a network device, and it has none"));
        }
        devices.extend(bounded);
    }
    Ok(devices)
}

fn device_where(
    devices: &BTreeMap<String, Device>,
    surroundings: &Surroundings,
    is_meant: impl Fn(&Device) -> bool,
) -> Option<(String, Device)> {
    let mut all = devices.iter().chain(&surroundings.profile_devices);
    all.find(|(_, device)| is_meant(device)).map(|(name, device)| (name.clone(), device.clone()))
}

/// The device of a place in a network.
pub(crate) fn nic(place: &NetworkConfig) -> Result<Device> {
    if place.gateway.is_some() || !place.dns_servers.is_empty() {
        return Err(Error::unsupported("the gateway and the name servers are the network's affair here")
            .with_hint("set them on the network, or with cloud-init"));
    }
    let mut device = Device::from([
        ("type".to_owned(), "nic".to_owned()),
        ("network".to_owned(), bridge_of(place.network_name.as_str())),
    ]);
    if let Some(address) = place.ip_address {
        let key = if address.is_ipv4() { "ipv4.address" } else { "ipv6.address" };
        device.insert(key.to_owned(), address.to_string());
    }
    Ok(device)
}

fn disk(mount: &VolumeMount, pool: &str) -> Device {
    let mut device =
        Device::from([("type".to_owned(), "disk".to_owned()), ("path".to_owned(), mount.target.clone())]);
    match &mount.source {
        VolumeSource::Volume(name) => {
            device.insert("pool".to_owned(), pool.to_owned());
            device.insert("source".to_owned(), name.to_string());
        }
        VolumeSource::HostPath(path) => {
            device.insert("source".to_owned(), path.clone());
        }
    }
    if mount.read_only {
        device.insert("readonly".to_owned(), "true".to_owned());
    }
    device
}

#[cfg(test)]
mod tests {
    use substrate_core::NetworkName;

    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("web".parse().unwrap()).with_image("bb")
    }

    fn surroundings() -> Surroundings {
        let device = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Device>()
        };
        Surroundings {
            profile_devices: BTreeMap::from([
                ("eth0".to_owned(), device(&[("type", "nic"), ("network", "lxdbr0")])),
                ("root".to_owned(), device(&[("type", "disk"), ("path", "/"), ("pool", "default")])),
            ]),
            pool: "default".to_owned(),
        }
    }

    fn made(config: &InstanceConfig) -> Result<Value> {
        body(config, &LxcOptions::of(config)?, &["default".to_owned()], &surroundings())
    }

    #[test]
    fn marks_travel_in_the_create_call() {
        let body = made(&config().with_label("substrate.key", "k").with_environment("A", "b")).unwrap();
        assert_eq!(body["config"]["user.substrate.key"], "k");
        assert_eq!(body["config"]["environment.A"], "b");
        assert_eq!(body["devices"], json!({}));
    }

    #[test]
    fn networks_asked_for_take_the_place_of_the_profiles() {
        let place = NetworkConfig::new(NetworkName::new("production-backend").unwrap())
            .with_ip_address([10, 0, 0, 7].into());
        let body = made(&config().with_network(place)).unwrap();
        assert_eq!(body["devices"]["eth0"]["type"], "none");
        let nic = &body["devices"]["nic-production-backend"];
        assert_eq!(nic["network"], bridge_of("production-backend"));
        assert_eq!(nic["ipv4.address"], "10.0.0.7");
    }

    #[test]
    fn bounds_of_disk_and_network_go_onto_the_profiles_devices() {
        let mut asked = config();
        asked.limits.disk_gb = Some(5);
        asked.limits.network_mbps = Some(100.0);
        let body = made(&asked).unwrap();
        assert_eq!(body["devices"]["root"]["size"], "5GiB");
        assert_eq!(body["devices"]["root"]["pool"], "default");
        assert_eq!(body["devices"]["eth0"]["limits.egress"], "100000kbit");
        assert_eq!(body["devices"]["eth0"]["network"], "lxdbr0");
    }

    #[test]
    fn a_main_command_keeps_the_callers_own_low_level_lines() {
        let asked = config()
            .with_command(["sleep", "5"])
            .with_option("config", json!({"raw.lxc": "lxc.apparmor.profile = unconfined"}));
        let raw = made(&asked).unwrap()["config"]["raw.lxc"].as_str().unwrap().to_owned();
        assert!(raw.starts_with("lxc.apparmor.profile = unconfined\nlxc.init.cmd = sleep 5\n"), "{raw}");
        let machine = asked.with_kind(InstanceKind::VirtualMachine);
        assert!(made(&machine).unwrap_err().is_unsupported());
    }

    #[test]
    fn cloud_init_data_goes_where_cloud_init_looks() {
        let mut data = CloudInit::new("#cloud-config\n");
        data.meta_data = Some("local-hostname: web".to_owned());
        data.network_config = Some("version: 2".to_owned());
        let body = made(&config().with_cloud_init(data)).unwrap();
        assert_eq!(body["config"]["cloud-init.user-data"], "#cloud-config\n");
        assert_eq!(body["config"]["cloud-init.network-config"], "version: 2");
        assert_eq!(body["config"]["user.meta-data"], "local-hostname: web");
    }
}
