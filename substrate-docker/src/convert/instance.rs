//! Containers: from the list's summaries and from inspection.
//!
//! Only what is used is read, and nothing is an enumeration: a state that only Podman has must not make a
//! whole list unreadable.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value};
use substrate_core::{
    Error, Instance, InstanceKind, InstanceName, InstanceState, Labels, NetworkAttachment, NetworkName,
    ResourceLimits, Result,
};

use super::{labels, time};

/// One entry of `/containers/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    pub(crate) id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    created: Option<Value>,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    network_settings: Option<NetworkSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkSettings {
    #[serde(default)]
    pub(crate) networks: Option<BTreeMap<String, Endpoint>>,
}

/// A container's end of a network.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Endpoint {
    #[serde(default, rename = "NetworkID")]
    pub(crate) network_id: Option<String>,
    #[serde(default, rename = "IPAddress")]
    pub(crate) ip_address: Option<String>,
    #[serde(default, rename = "GlobalIPv6Address")]
    global_ipv6_address: Option<String>,
    #[serde(default)]
    mac_address: Option<String>,
    #[serde(default, rename = "IPAMConfig")]
    pub(crate) ipam_config: Option<FixedAddress>,
}

/// The address that was asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct FixedAddress {
    #[serde(default, rename = "IPv4Address")]
    pub(crate) ipv4: Option<String>,
    #[serde(default, rename = "IPv6Address")]
    pub(crate) ipv6: Option<String>,
}

impl Endpoint {
    /// The address that was asked for, whether or not it is in use now.
    pub(crate) fn fixed_address(&self) -> Option<IpAddr> {
        let config = self.ipam_config.as_ref()?;
        parse_address(config.ipv4.as_deref()).or_else(|| parse_address(config.ipv6.as_deref()))
    }
}

/// `/containers/{id}/json`, as far as it is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspection {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    /// The id of the image.
    #[serde(default)]
    pub(crate) image: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    pub(crate) state: State,
    #[serde(default)]
    pub(crate) config: Config,
    #[serde(default)]
    pub(crate) host_config: HostConfig,
    #[serde(default)]
    pub(crate) network_settings: NetworkSettings,
    #[serde(default)]
    restart_count: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    pub(crate) running: bool,
    #[serde(default)]
    pub(crate) paused: bool,
    #[serde(default, rename = "OOMKilled")]
    oom_killed: bool,
    #[serde(default)]
    pub(crate) pid: Option<i64>,
    #[serde(default)]
    pub(crate) exit_code: Option<i64>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    pub(crate) started_at: Option<String>,
    #[serde(default)]
    health: Option<Health>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) image: Option<String>,
    #[serde(default)]
    pub(crate) labels: Option<Labels>,
    #[serde(default)]
    pub(crate) tty: bool,
    #[serde(default)]
    pub(crate) stop_signal: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    #[serde(default)]
    memory: Option<i64>,
    #[serde(default)]
    nano_cpus: Option<i64>,
    #[serde(default)]
    cpu_quota: Option<i64>,
    #[serde(default)]
    cpu_period: Option<i64>,
    #[serde(default)]
    storage_opt: Option<BTreeMap<String, String>>,
}

impl HostConfig {
    /// The bounds that it sets; 0 is Docker's word for "none".
    pub(crate) fn limits(&self) -> ResourceLimits {
        let positive = |value: Option<i64>| value.filter(|value| *value > 0);
        #[allow(clippy::cast_precision_loss, reason = "cores need no more than 52 bits")]
        let cpu_cores = positive(self.nano_cpus).map(|nano| nano as f64 / 1e9).or_else(|| {
            let quota = positive(self.cpu_quota)?;
            Some(quota as f64 / positive(self.cpu_period).unwrap_or(100_000) as f64)
        });
        let memory_mb =
            positive(self.memory).and_then(|bytes| u64::try_from(bytes).ok()).map(|bytes| bytes >> 20);
        let disk_gb = self
            .storage_opt
            .as_ref()
            .and_then(|options| options.get("size"))
            .and_then(|size| substrate_core::config::parse_size(size).ok())
            .map(|bytes| bytes >> 30);
        ResourceLimits { cpu_cores, memory_mb, disk_gb, network_mbps: None }
    }
}

impl Inspection {
    /// The name without Docker's leading slash.
    pub(crate) fn plain_name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// Where it is in its life.
    pub(crate) fn instance_state(&self) -> InstanceState {
        match self.state.status.as_deref() {
            Some(word) => state_of(word),
            None if self.state.paused => InstanceState::Paused,
            None if self.state.running => InstanceState::Running,
            None => InstanceState::Unknown,
        }
    }

    /// The container's own labels, ours included.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(key).filter(|value| !value.is_empty())
    }

    /// The id under which its snapshots are kept.
    pub(crate) fn lineage(&self) -> &str {
        self.label(labels::LINEAGE).unwrap_or(&self.id)
    }
}

/// Docker's and Podman's words for a container's state.
pub(crate) fn state_of(word: &str) -> InstanceState {
    match word {
        "running" => InstanceState::Running,
        "paused" => InstanceState::Paused,
        "created" | "configured" | "initialized" | "exited" | "stopped" => InstanceState::Stopped,
        "removing" | "stopping" => InstanceState::Stopping,
        // It should run, and each try ends at once; it waits for the next one.
        "restarting" | "dead" => InstanceState::Failed,
        _ => InstanceState::Unknown,
    }
}

/// The words that Docker's server filters by, for a state of ours.
pub(crate) fn words_of(state: InstanceState) -> &'static [&'static str] {
    match state {
        InstanceState::Running => &["running"],
        InstanceState::Paused => &["paused"],
        InstanceState::Stopped => &["created", "exited"],
        InstanceState::Stopping => &["removing"],
        InstanceState::Failed => &["restarting", "dead"],
        // No word of the server's, or a state that Docker does not have.
        _ => &[],
    }
}

impl Summary {
    /// Whether this is its own name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        own_name(self.names.as_deref().unwrap_or_default()) == Some(name)
    }

    /// The container as an instance.
    pub(crate) fn into_instance(self) -> Result<Instance> {
        let names = self.names.unwrap_or_default();
        let name = instance_name(own_name(&names), &self.id)?;
        let word = self.state.unwrap_or_default();
        let mut instance = Instance::new(self.id, name, InstanceKind::Container, state_of(&word));
        instance.provider_state = with_reason(word, self.status.as_deref().unwrap_or_default());
        let read = labels::read(self.labels.unwrap_or_default());
        instance.image = read.original_image.or(self.image);
        instance.labels = read.labels;
        instance.metadata = read.metadata;
        instance.created_at = self.created.and_then(|created| match created {
            Value::Number(seconds) => time::from_seconds(seconds.as_u64()?),
            Value::String(text) => time::parse(&text),
            _ => None,
        });
        attach(&mut instance, self.network_settings.unwrap_or_default())?;
        Ok(instance)
    }
}

impl Inspection {
    /// The container as an instance.
    pub(crate) fn into_instance(self) -> Result<Instance> {
        let state = self.instance_state();
        let limits = self.host_config.limits();
        let name = instance_name(Some(self.plain_name()), &self.id)?;
        let mut instance = Instance::new(self.id, name, InstanceKind::Container, state);
        instance.provider_state =
            match (self.state.status.as_deref().unwrap_or_default(), self.state.exit_code) {
                ("exited", Some(code)) => format!("exited ({code})"),
                (word, _) => match self.state.health.as_ref().and_then(|health| health.status.as_deref()) {
                    Some(health) if word == "running" && health != "none" => format!("{word} ({health})"),
                    _ => word.to_owned(),
                },
            };
        let read = labels::read(self.config.labels.unwrap_or_default());
        instance.image = read.original_image.or(self.config.image);
        instance.labels = read.labels;
        instance.metadata = read.metadata;
        instance.limits = limits;
        instance.created_at = self.created.as_deref().and_then(time::parse);
        instance.started_at = self.state.started_at.as_deref().and_then(time::parse);
        let properties = &mut instance.properties;
        properties.insert("exit_code".to_owned(), Value::from(self.state.exit_code));
        if let Some(pid) = self.state.pid.filter(|pid| *pid > 0) {
            properties.insert("pid".to_owned(), Value::from(pid));
        }
        if let Some(error) = self.state.error.filter(|error| !error.is_empty()) {
            properties.insert("error".to_owned(), Value::from(error));
        }
        if let Some(health) = self.state.health.and_then(|health| health.status) {
            properties.insert("health".to_owned(), Value::from(health));
        }
        if let Some(image) = self.image {
            properties.insert("image_id".to_owned(), Value::from(image));
        }
        // Not "was it out of memory": with cgroup v2 the kernel does not always tell, and 137 is any SIGKILL.
        properties.insert("oom_reported".to_owned(), Value::from(self.state.oom_killed));
        if let Some(count) = self.restart_count {
            properties.insert("restart_count".to_owned(), Value::from(count));
        }
        attach(&mut instance, self.network_settings)?;
        Ok(instance)
    }
}

/// Among several names, the container's own: links add names with another slash.
fn own_name(names: &[String]) -> Option<&str> {
    let plain = |name: &String| !name.trim_start_matches('/').contains('/');
    names.iter().find(|name| plain(name)).or_else(|| names.first()).map(|name| name.trim_start_matches('/'))
}

fn instance_name(name: Option<&str>, id: &str) -> Result<InstanceName> {
    // A container that is being removed can have lost its name already.
    let name = name.filter(|name| !name.is_empty()).unwrap_or(id);
    InstanceName::new(name).map_err(|error| {
        Error::protocol(format!("the daemon names a container impossibly: {}", error.message()))
    })
}

/// `exited` + `Exited (137) 5 minutes ago` → `exited (137)`: with its reason, without what changes by itself.
fn with_reason(word: String, status: &str) -> String {
    let reason = status.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(reason, _)| reason);
    match (word.as_str(), reason) {
        ("exited", Some(code)) => format!("exited ({code})"),
        ("running", Some("health: starting")) => "running (starting)".to_owned(),
        ("running", Some(health @ ("healthy" | "unhealthy"))) => format!("running ({health})"),
        _ => word,
    }
}

fn attach(instance: &mut Instance, settings: NetworkSettings) -> Result<()> {
    let networks = settings.networks.unwrap_or_default();
    instance.networks.reserve_exact(networks.len());
    for (name, endpoint) in networks {
        let ipv4 = parse_address(endpoint.ip_address.as_deref());
        let ipv6 = parse_address(endpoint.global_ipv6_address.as_deref());
        instance.addresses.extend(ipv4);
        instance.addresses.extend(ipv6);
        instance.networks.push(NetworkAttachment {
            network_name: NetworkName::new(name).map_err(|error| Error::protocol(error.message()))?,
            // A stopped container has none; the one that it was promised is still true.
            ip_address: ipv4.or(ipv6).or_else(|| endpoint.fixed_address()),
            mac_address: endpoint.mac_address.filter(|address| !address.is_empty()),
        });
    }
    Ok(())
}

fn parse_address(text: Option<&str>) -> Option<IpAddr> {
    text.and_then(|text| text.parse().ok())
}

/// The configuration of a container as it stands, for making another one like it.
pub(crate) fn object<'a>(inspection: &'a Value, key: &str) -> Result<&'a Map<String, Value>> {
    inspection
        .get(key)
        .and_then(Value::as_object)
        .ok_or_else(|| Error::protocol(format!("the daemon's inspection has no `{key}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = r#"{"Id":"f08f2dbffaa5739bd1a5a95fab6250a37f8b55e0ac34e8b682d1ac4b5e46d02b",
        "Names":["/other/db","/probe"],"Image":"busybox:local","ImageID":"sha256:2f","Command":"sh","Created":1795234383,
        "Ports":[],"Labels":{"a":"b","substrate.metadata":"{\"owner\":\"me\"}"},"State":"running","Status":"Up 3 seconds (healthy)",
        "HostConfig":{"NetworkMode":"pn1"},"NetworkSettings":{"Networks":{"pn1":{"IPAMConfig":{"IPv4Address":"10.210.99.7"},
        "Links":null,"NetworkID":"6b","Gateway":"10.210.99.1","IPAddress":"10.210.99.7","IPPrefixLen":24,"IPv6Gateway":"",
        "GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"MacAddress":"02:42:0a:d2:63:07","DriverOpts":null}}},"Mounts":[]}"#;

    fn listed(json: &str) -> Instance {
        serde_json::from_str::<Summary>(json).unwrap().into_instance().unwrap()
    }

    #[test]
    fn a_summary_of_api_1_41_becomes_an_instance() {
        let instance = listed(RUNNING);
        assert_eq!(instance.name, "probe", "a linked container's name is the one without another slash");
        assert_eq!(instance.state, InstanceState::Running);
        assert_eq!(instance.provider_state, "running (healthy)");
        assert_eq!(instance.image.as_deref(), Some("busybox:local"));
        assert_eq!(instance.addresses, ["10.210.99.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(instance.networks[0].network_name, "pn1");
        assert_eq!(instance.labels, [("a", "b")].into_iter().collect());
        assert_eq!(instance.metadata["owner"], "me");
    }

    #[test]
    fn a_summary_of_podman_becomes_an_instance() {
        let instance = listed(
            r#"{"Id":"ab","Names":["/p"],"Image":"localhost/x:latest","Created":1700000000,"Labels":null,
            "State":"stopped","Status":"Exited (0) 2 minutes ago","NetworkSettings":null,"Mounts":null}"#,
        );
        assert_eq!(instance.state, InstanceState::Stopped);
        assert!(instance.networks.is_empty());
        assert_eq!(listed(r#"{"Id":"ab","State":"configured"}"#).state, InstanceState::Stopped);
        assert_eq!(listed(r#"{"Id":"ab","State":"on holiday"}"#).state, InstanceState::Unknown);
    }

    #[test]
    fn the_reason_of_a_state_does_not_change_with_time() {
        assert_eq!(with_reason("exited".into(), "Exited (137) 5 minutes ago"), "exited (137)");
        assert_eq!(with_reason("running".into(), "Up 5 minutes"), "running");
        assert_eq!(with_reason("running".into(), "Up 1 second (health: starting)"), "running (starting)");
        assert_eq!(with_reason("paused".into(), "Up 5 minutes (Paused)"), "paused");
    }

    #[test]
    fn an_inspection_becomes_the_same_instance_with_more() {
        let inspection: Inspection = serde_json::from_str(
            r#"{"Id":"f08f2dbffaa5","Created":"2026-11-21T04:13:03.1Z","Name":"/probe","Image":"sha256:2f","RestartCount":0,
            "State":{"Status":"exited","Running":false,"Paused":false,"OOMKilled":false,"Pid":0,"ExitCode":137,"Error":"",
            "StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"},
            "Config":{"Image":"busybox:local","Labels":{"a":"b"},"Tty":false},
            "HostConfig":{"Memory":67108864,"NanoCpus":500000000,"MemorySwap":134217728},
            "NetworkSettings":{"Networks":{"pn1":{"IPAMConfig":{"IPv4Address":"10.0.0.7"},"IPAddress":""}}}}"#,
        )
        .unwrap();
        let instance = inspection.into_instance().unwrap();
        assert_eq!(instance.provider_state, "exited (137)");
        assert_eq!(instance.started_at, None);
        assert_eq!(instance.limits.memory_mb, Some(64));
        assert_eq!(instance.limits.cpu_cores, Some(0.5));
        assert_eq!(instance.networks[0].ip_address, Some("10.0.0.7".parse().unwrap()));
        assert!(instance.addresses.is_empty(), "a stopped container has no address");
    }

    #[test]
    fn zero_is_docker_s_word_for_no_limit() {
        let host: HostConfig =
            serde_json::from_str(r#"{"Memory":0,"NanoCpus":0,"CpuQuota":50000,"CpuPeriod":0}"#).unwrap();
        assert_eq!(host.limits(), ResourceLimits { cpu_cores: Some(0.5), ..ResourceLimits::default() });
    }
}
