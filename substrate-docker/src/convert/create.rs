//! The body of a create call, from a configuration.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig, Mount,
    MountType, NetworkingConfig, PortBinding,
};
use substrate_core::{
    Error, InstanceConfig, NetworkConfig, PortMapping, PortProtocol, ResourceLimits, Result, VolumeSource,
};

use super::labels;
use crate::options::{DockerOptions, restart_policy};

/// One MiB.
const MEBIBYTE: u64 = 1 << 20;
/// The least memory that Docker accepts.
const LEAST_MEMORY_MB: u64 = 6;

/// The body for `config`, attached to those of its `networks` that go into the create call itself.
///
/// # Errors
/// `InvalidInput` for values that Docker cannot mean.
pub(crate) fn body(
    config: &InstanceConfig,
    options: DockerOptions,
    networks: &[&NetworkConfig],
) -> Result<ContainerCreateBody> {
    let image = config.image.clone().ok_or_else(|| {
        Error::invalid_input("a container needs an image").with_hint("set `image` in the configuration")
    })?;
    let (exposed_ports, port_bindings) = ports(&config.ports);
    let mut host = HostConfig {
        binds: None,
        mounts: Some(mounts(config)),
        network_mode: network_mode(config, &options),
        port_bindings: Some(port_bindings),
        dns: dns(config),
        restart_policy: options.restart_policy.as_deref().map(restart_policy).transpose()?,
        privileged: options.privileged,
        cap_add: options.cap_add,
        cap_drop: options.cap_drop,
        extra_hosts: options.extra_hosts,
        readonly_rootfs: options.read_only,
        init: options.init,
        security_opt: options.security_opt,
        pids_limit: options.pids_limit,
        shm_size: options.shm_size.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        tmpfs: options.tmpfs.map(|mounts| mounts.into_iter().collect()),
        sysctls: options.sysctls.map(|settings| settings.into_iter().collect()),
        log_config: (options.log_driver.is_some() || options.log_options.is_some()).then(|| {
            HostConfigLogConfig {
                typ: options.log_driver,
                config: options.log_options.map(|settings| settings.into_iter().collect()),
            }
        }),
        ..HostConfig::default()
    };
    apply_limits(&mut host, &config.limits)?;
    let endpoints = networks
        .iter()
        .map(|network| (network.network_name.to_string(), endpoint(network)))
        .collect::<HashMap<_, _>>();
    Ok(ContainerCreateBody {
        image: Some(image),
        cmd: (!config.command.is_empty()).then(|| config.command.clone()),
        entrypoint: options.entrypoint,
        env: Some(config.environment.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        hostname: options.hostname,
        user: options.user,
        working_dir: options.working_dir,
        stop_signal: options.stop_signal,
        tty: options.tty,
        exposed_ports: Some(exposed_ports),
        labels: Some(container_labels(config)?),
        host_config: Some(host),
        networking_config: Some(NetworkingConfig { endpoints_config: Some(endpoints) }),
        ..ContainerCreateBody::default()
    })
}

fn container_labels(config: &InstanceConfig) -> Result<HashMap<String, String>> {
    labels::check(&config.labels)?;
    let mut all: HashMap<String, String> =
        config.labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if !config.metadata.is_empty() {
        let json = serde_json::to_string(&config.metadata).map_err(|error| {
            Error::invalid_input(format!("the metadata cannot be written as JSON: {error}"))
        })?;
        all.insert(labels::METADATA.to_owned(), json);
    }
    Ok(all)
}

/// The network that the container starts in: the first of its own, so that none that nobody asked for is
/// attached beside them.
fn network_mode(config: &InstanceConfig, options: &DockerOptions) -> Option<String> {
    match config.networks.first() {
        Some(network) => Some(network.network_name.to_string()),
        None => options.network_mode.clone(),
    }
}

/// Docker has name servers per container, not per network: all of them together.
fn dns(config: &InstanceConfig) -> Option<Vec<String>> {
    let mut servers: Vec<String> =
        config.networks.iter().flat_map(|network| &network.dns_servers).map(ToString::to_string).collect();
    servers.dedup();
    (!servers.is_empty()).then_some(servers)
}

fn mounts(config: &InstanceConfig) -> Vec<Mount> {
    let mount = |(source, typ): (String, MountType), target: &str, read_only: bool| Mount {
        target: Some(target.to_owned()),
        source: Some(source),
        typ: Some(typ),
        read_only: Some(read_only),
        ..Mount::default()
    };
    config
        .volumes
        .iter()
        .map(|volume| {
            let source = match &volume.source {
                VolumeSource::Volume(name) => (name.to_string(), MountType::VOLUME),
                // As a mount and not as a "bind" text: a colon in the path stays a colon, and a path that does
                // not exist is an error instead of a new folder.
                VolumeSource::HostPath(path) => (path.clone(), MountType::BIND),
            };
            mount(source, &volume.target, volume.read_only)
        })
        .collect()
}

type Ports = (Vec<String>, HashMap<String, Option<Vec<PortBinding>>>);

fn ports(mappings: &[PortMapping]) -> Ports {
    let mut exposed: Vec<String> = Vec::new();
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for mapping in mappings {
        let protocol = match mapping.protocol {
            PortProtocol::Tcp => "tcp",
            PortProtocol::Udp => "udp",
            PortProtocol::Sctp => "sctp",
        };
        let port = format!("{}/{protocol}", mapping.port);
        let binding = PortBinding {
            host_ip: mapping.host_address.map(|address| address.to_string()),
            // Left out, the daemon picks a free one. Never a range: two starts at once can be given the
            // same port from it.
            host_port: mapping.host_port.map(|port| port.to_string()),
        };
        bindings.entry(port.clone()).or_default().get_or_insert_default().push(binding);
        if !exposed.contains(&port) {
            exposed.push(port);
        }
    }
    (exposed, bindings)
}

fn apply_limits(host: &mut HostConfig, limits: &ResourceLimits) -> Result<()> {
    host.nano_cpus = limits.cpu_cores.map(nano_cpus).transpose()?;
    if let Some(megabytes) = limits.memory_mb {
        let bytes = memory_bytes(megabytes)?;
        host.memory = Some(bytes);
        // The same number for memory and swap together: no swap. Otherwise Docker grants as much swap again.
        host.memory_swap = Some(bytes);
    }
    host.storage_opt =
        limits.disk_gb.map(|gigabytes| HashMap::from([("size".to_owned(), format!("{gigabytes}G"))]));
    Ok(())
}

/// Cores as billionths, as Docker counts them.
pub(crate) fn nano_cpus(cores: f64) -> Result<i64> {
    // What a quota per 100 ms can express.
    if !(0.01..=10_000.0).contains(&cores) {
        return Err(Error::invalid_input(format!(
            "limit cpu_cores must be between 0.01 and 10000, not {cores}"
        )));
    }
    #[allow(clippy::cast_possible_truncation, reason = "checked above")]
    Ok((cores * 1e9).round() as i64)
}

/// MiB as bytes, within what Docker accepts.
pub(crate) fn memory_bytes(megabytes: u64) -> Result<i64> {
    if megabytes < LEAST_MEMORY_MB {
        return Err(Error::invalid_input(format!(
            "limit memory_mb must be at least {LEAST_MEMORY_MB} on Docker, not {megabytes}"
        )));
    }
    megabytes.checked_mul(MEBIBYTE).and_then(|bytes| i64::try_from(bytes).ok()).ok_or_else(|| {
        Error::invalid_input(format!("limit memory_mb of {megabytes} is beyond what can be counted"))
    })
}

/// A container's end of a network, with the address that was asked for.
pub(crate) fn endpoint(network: &NetworkConfig) -> EndpointSettings {
    let Some(address) = network.ip_address else { return EndpointSettings::default() };
    let text = Some(address.to_string());
    let addresses = match address {
        IpAddr::V4(_) => EndpointIpamConfig { ipv4_address: text, ..EndpointIpamConfig::default() },
        IpAddr::V6(_) => EndpointIpamConfig { ipv6_address: text, ..EndpointIpamConfig::default() },
    };
    EndpointSettings { ipam_config: Some(addresses), ..EndpointSettings::default() }
}

#[cfg(test)]
mod tests {
    use substrate_core::VolumeMount;

    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("web".parse().unwrap()).with_image("busybox")
    }

    fn json(config: &InstanceConfig) -> serde_json::Value {
        let networks: Vec<&NetworkConfig> = config.networks.iter().collect();
        serde_json::to_value(body(config, DockerOptions::of(config).unwrap(), &networks).unwrap()).unwrap()
    }

    #[test]
    fn memory_is_limited_together_with_swap() {
        let body = json(&config().with_memory_mb(64).with_cpu_cores(0.5));
        assert_eq!(body["HostConfig"]["Memory"], 67_108_864);
        assert_eq!(body["HostConfig"]["MemorySwap"], 67_108_864);
        assert_eq!(body["HostConfig"]["NanoCpus"], 500_000_000);
    }

    #[test]
    fn impossible_limits_are_refused_here() {
        assert!(memory_bytes(5).unwrap_err().is_invalid_input());
        assert!(memory_bytes(u64::MAX).unwrap_err().is_invalid_input());
        assert!(nano_cpus(0.001).unwrap_err().is_invalid_input());
        assert!(nano_cpus(1e9).unwrap_err().is_invalid_input());
    }

    #[test]
    fn labels_and_metadata_travel_inside_the_call() {
        let body = json(&config().with_label("substrate.key", "k").with_metadata("a", 1));
        assert_eq!(body["Labels"]["substrate.key"], "k");
        assert_eq!(body["Labels"]["substrate.metadata"], r#"{"a":1}"#);
    }

    #[test]
    fn a_fixed_address_goes_with_its_network() {
        let network =
            NetworkConfig::new("front".parse().unwrap()).with_ip_address("10.1.0.7".parse().unwrap());
        let body = json(&config().with_network(network));
        assert_eq!(body["HostConfig"]["NetworkMode"], "front");
        let endpoint = &body["NetworkingConfig"]["EndpointsConfig"]["front"];
        assert_eq!(endpoint["IPAMConfig"]["IPv4Address"], "10.1.0.7");
    }

    #[test]
    fn ports_and_mounts_are_typed_and_not_spelled_into_texts() {
        let config = config()
            .with_port(PortMapping {
                port: 80,
                host_port: Some(8080),
                host_address: None,
                protocol: PortProtocol::Tcp,
            })
            .with_port(PortMapping {
                port: 80,
                host_port: None,
                host_address: None,
                protocol: PortProtocol::Tcp,
            })
            .with_volume(VolumeMount {
                source: VolumeSource::HostPath("/srv/a:b".into()),
                target: "/data".into(),
                read_only: true,
            });
        let body = json(&config);
        assert_eq!(body["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"], "8080");
        assert!(body["ExposedPorts"]["80/tcp"].is_object());
        assert_eq!(body["HostConfig"]["Mounts"][0]["Source"], "/srv/a:b");
        assert_eq!(body["HostConfig"]["Mounts"][0]["Type"], "bind");
    }

    #[test]
    fn a_container_needs_an_image() {
        let config = InstanceConfig::new("web".parse().unwrap());
        assert!(body(&config, DockerOptions::default(), &[]).unwrap_err().is_invalid_input());
    }
}
