//! What an instance shall be, as people write it: the specs of `compute` and `service`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use substrate_core::config::{ConfigError, Problem, Section, bytes_size};
use substrate_core::{
    Feature, InstanceConfig, InstanceKind, InstanceName, NetworkConfig, PortMapping, ResourceLimits,
    VolumeMount, VolumeSource,
};

use super::interpretation::{ChangeEffect, Interpretation, Mention, Need, Requirement, Subject};
use super::short_form::{Cores, Short};
use crate::model::{Name, Readiness};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// More replicas than this are a slip of the finger.
const MOST_REPLICAS: u32 = 100_000;

/// The specs of a `compute` or `service` resource.
///
/// | key | |
/// |---|---|
/// | `image`, or `os` | image, template or base disk |
/// | `cpu` | cores: `4`, `0.5`, `0.5 cores`, `500m` |
/// | `memory`, `storage` | sizes with a unit: `8GB`, `512MiB`; rounded **up** to whole MiB and GiB |
/// | `bandwidth` | Mbit/s per direction |
/// | `kind` | `virtual_machine`, `container`, `pod` or `process` |
/// | `command` | an argument vector |
/// | `environment`, `labels`, `options` | maps |
/// | `networks`, `volumes`, `ports` | lists, short (`front`, `data:/srv:ro`, `8080:80`) or as maps |
/// | `replicas`, `health_check` | only of a `service` |
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpecs {
    #[serde(default, alias = "os")]
    image: Option<String>,
    #[serde(default)]
    cpu: Option<Cores>,
    #[serde(default, with = "bytes_size::optional")]
    memory: Option<u64>,
    #[serde(default, with = "bytes_size::optional")]
    storage: Option<u64>,
    #[serde(default)]
    bandwidth: Option<f64>,
    #[serde(default)]
    kind: Option<InstanceKind>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    networks: Vec<Short<NetworkConfig>>,
    #[serde(default)]
    volumes: Vec<Short<VolumeMount>>,
    #[serde(default)]
    ports: Vec<Short<PortMapping>>,
    #[serde(default)]
    options: Map<String, Value>,
    #[serde(default)]
    pub(super) replicas: Option<u32>,
    #[serde(default)]
    pub(super) health_check: Option<Readiness>,
}

impl WorkloadSpecs {
    /// The instance that these specs describe. Ownership marks are not in it: the deployment adds them.
    #[must_use]
    pub fn instance_config(&self, name: InstanceName) -> InstanceConfig {
        let mut config = InstanceConfig::new(name);
        config.image.clone_from(&self.image);
        config.kind = self.kind;
        config.command.clone_from(&self.command);
        config.limits = self.limits();
        config.networks = self.networks.iter().map(|Short(network)| network.clone()).collect();
        config.environment = self.environment.iter().collect();
        config.volumes = self.volumes.iter().map(|Short(volume)| volume.clone()).collect();
        config.ports = self.ports.iter().map(|Short(port)| port.clone()).collect();
        config.labels.extend(self.labels.clone());
        config.options.clone_from(&self.options);
        config
    }

    fn limits(&self) -> ResourceLimits {
        ResourceLimits {
            cpu_cores: self.cpu.map(|Cores(cores)| cores),
            // Up, so that nobody gets less than they wrote: 8GB are 7630 MiB.
            memory_mb: self.memory.map(|bytes| bytes.div_ceil(MIB)),
            disk_gb: self.storage.map(|bytes| bytes.div_ceil(GIB)),
            network_mbps: self.bandwidth,
        }
    }

    /// Mistakes that no single type can see.
    fn check(&self, specs: &Section) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &str, message: String| {
            let place = specs.location_of(path).or(specs.location()).cloned();
            problems.push(Problem::new(format!("{}.{path}", specs.name()), message).at(place));
        };
        if let Some(Cores(cores)) = self.cpu
            && !(cores.is_finite() && cores > 0.0)
        {
            wrong("cpu", format!("`cpu` must be more than 0 cores, not {cores}"));
        }
        if let Some(bandwidth) = self.bandwidth
            && !(bandwidth.is_finite() && bandwidth > 0.0)
        {
            wrong("bandwidth", format!("`bandwidth` must be more than 0 Mbit/s, not {bandwidth}"));
        }
        // Nobody means so few bytes: `memory: 512` is 512 with its unit forgotten.
        for (path, bytes) in [("memory", self.memory), ("storage", self.storage)] {
            if let Some(bytes) = bytes.filter(|bytes| *bytes < MIB) {
                let unit = if path == "memory" { "MiB" } else { "GiB" };
                wrong(
                    path,
                    format!(
                        "`{path}` is {bytes} bytes, less than 1 MiB: write the unit, such as `{bytes}{unit}`"
                    ),
                );
            }
        }
        if self.replicas.is_some_and(|replicas| replicas > MOST_REPLICAS) {
            wrong("replicas", format!("`replicas` must be at most {MOST_REPLICAS}"));
        }
        for (index, Short(mount)) in self.volumes.iter().enumerate() {
            if !mount.target.starts_with('/') {
                wrong(
                    &format!("volumes.{index}"),
                    "the target of a mount must be an absolute path".to_owned(),
                );
            }
        }
        problems
    }

    fn needs(&self, specs: &Section) -> Vec<Need> {
        let fixed_address = self
            .networks
            .iter()
            .position(|Short(network)| network.ip_address.is_some())
            .map(|index| format!("networks.{index}"));
        let asked = [
            (!self.labels.is_empty(), "labels", Feature::Labels),
            (!self.command.is_empty(), "command", Feature::CreateCommand),
            (!self.environment.is_empty(), "environment", Feature::CreateEnvironment),
            (!self.networks.is_empty(), "networks", Feature::CreateNetworks),
            (fixed_address.is_some(), fixed_address.as_deref().unwrap_or_default(), Feature::FixedAddress),
            (!self.volumes.is_empty(), "volumes", Feature::CreateVolumes),
            (!self.ports.is_empty(), "ports", Feature::CreatePorts),
            (self.cpu.is_some(), "cpu", Feature::CpuLimit),
            (self.memory.is_some(), "memory", Feature::MemoryLimit),
            (self.storage.is_some(), "storage", Feature::DiskLimit),
            (self.bandwidth.is_some(), "bandwidth", Feature::NetworkLimit),
        ];
        let features = asked.into_iter().filter(|(asked, ..)| *asked);
        let mut needs: Vec<Need> =
            features.map(|(_, path, feature)| Need::at(specs, path, feature)).collect();
        if let Some(kind) = self.kind {
            let location = specs.location_of("kind").cloned();
            needs.push(Need { requirement: Requirement::Kind(kind), location });
        }
        if let Some(readiness) = &self.health_check {
            needs.extend(
                readiness.needs().into_iter().map(|operation| Need::at(specs, "health_check", operation)),
            );
        }
        needs
    }

    /// Networks and volumes may be resources of the blueprint.
    fn mentions(&self, specs: &Section) -> Vec<Mention> {
        let mention = |name: &str, path: String| Mention {
            name: name.to_owned(),
            location: specs.location_of(&path).cloned(),
            must_exist: false,
        };
        let networks = self.networks.iter().enumerate().map(|(index, Short(network))| {
            mention(network.network_name.as_str(), format!("networks.{index}"))
        });
        let volumes =
            self.volumes.iter().enumerate().filter_map(|(index, Short(mount))| match &mount.source {
                VolumeSource::Volume(name) => Some(mention(name.as_str(), format!("volumes.{index}"))),
                VolumeSource::HostPath(_) => None,
            });
        networks.chain(volumes).collect()
    }
}

/// Reads specs of either kind; `service` says which keys are allowed.
pub(super) fn interpret(subject: Subject<'_>, service: bool) -> Result<Interpretation, ConfigError> {
    let specs = subject.specs;
    let typed: WorkloadSpecs = specs.parse()?;
    let mut problems = typed.check(specs);
    if !service {
        for key in ["replicas", "health_check"] {
            if let Some(place) = specs.child(key) {
                let instead =
                    if key == "replicas" { "`count` of the resource" } else { "`readiness` of the resource" };
                problems
                    .push(place.problem(format!(
                        "`{key}` is a key of `type: service`; for `compute` use {instead}"
                    )));
            }
        }
    }
    let stand_in = |error: &substrate_core::Error| specs.problem(error.message().to_owned());
    let name = subject.name.parse::<InstanceName>().map_err(|error| stand_in(&error))?;
    let config = typed.instance_config(name);
    // What `check` found has a better place; the core's check catches the rest.
    if problems.is_empty()
        && let Err(error) = config.validate()
    {
        problems.push(stand_in(&error));
    }
    if !problems.is_empty() {
        return Err(problems.into_iter().collect());
    }
    let interpretation = Interpretation {
        mentions: typed.mentions(specs),
        needs: typed.needs(specs),
        replicas: typed.replicas,
        ..Interpretation::new(properties(&config, &typed))
    };
    // A network that was made anew has nobody in it, and a mount of a volume that was made anew is of the old one.
    let networks = typed.networks.iter().map(|Short(network)| network.network_name.as_str());
    let volumes = typed.volumes.iter().filter_map(|Short(mount)| match &mount.source {
        VolumeSource::Volume(name) => Some(name.as_str()),
        VolumeSource::HostPath(_) => None,
    });
    Ok(interpretation
        .using("networks", networks.filter_map(|name| Name::new(name).ok()))
        .using("volumes", volumes.filter_map(|name| Name::new(name).ok())))
}

/// The instance's configuration as data, without the name: that one belongs to the resource's id.
fn properties(config: &InstanceConfig, specs: &WorkloadSpecs) -> Value {
    let mut properties = serde_json::to_value(config).unwrap_or_default();
    if let Value::Object(fields) = &mut properties {
        fields.remove("name");
        fields.insert("running".to_owned(), true.into());
        if let Some(readiness) = &specs.health_check {
            fields.insert("health_check".to_owned(), json!(readiness.describe()));
        }
    }
    properties
}

/// Limits, networks and the power state change on what is there; everything else is fixed by the create call.
pub(super) fn effect_of(property: &str) -> ChangeEffect {
    match property.split('.').next() {
        Some("limits" | "networks" | "attached" | "running" | "health_check") => ChangeEffect::Update,
        _ => ChangeEffect::Replace,
    }
}
