//! Virtual machines of KubeVirt: the object of a configuration, and the bounds that one has.

use serde_json::{Map, Value, json};
use substrate_core::{Error, InstanceConfig, ResourceLimits, Result};

use super::create::{CONTAINER, bounds, extend, protocol};
use super::labels::{self, INSTANCE, PORTS, membership};
use super::pod::Domain;
use super::quantity;
use crate::client::Resource;
use crate::config::K8sConfig;
use crate::name;
use crate::options::{K8sMachineOptions, K8sOptions, RUN_STRATEGIES};

/// Which strategy a machine has when it is started; it stands in an annotation, for a stopped machine has the strategy
/// `Halted`.
pub(crate) const RUN_STRATEGY: &str = "substrate/run-strategy";

/// What KubeVirt takes of cloud-init's data in the machine itself, in bytes.
const LONGEST_CLOUD_INIT: usize = 2048;

/// Checks what only a machine has, and what it has not.
///
/// # Errors
/// `Unsupported` for what KubeVirt has nothing for; `InvalidInput` for what nobody can mean.
pub(crate) fn check(config: &InstanceConfig, options: &K8sOptions) -> Result<()> {
    let machine = options.machine.clone().unwrap_or_default();
    match (&config.image, &machine.root_claim) {
        (Some(image), None) => name::check_image(image)?,
        (None, Some(_)) => {}
        (None, None) => {
            return Err(Error::invalid_input("a machine needs an image, or a claim to boot from")
                .with_hint("see the option `machine.root_claim`"));
        }
        (Some(_), Some(_)) => {
            return Err(Error::invalid_input("a machine boots from an image or from a claim, not from both"));
        }
    }
    for claim in machine.root_claim.iter().chain(&machine.disks) {
        name::check_new_claim(claim)?;
    }
    let mut networks = machine.multus.iter().flat_map(|network| network.split('/'));
    if networks.any(|part| !name::is_object_name(part)) {
        return Err(Error::invalid_input(
            "the option `machine.multus` names networks as `name` or `namespace/name`",
        ));
    }
    if machine.run_strategy.as_deref().is_some_and(|strategy| !RUN_STRATEGIES.contains(&strategy)) {
        return Err(Error::invalid_input(format!(
            "the option `machine.run_strategy` must be one of {}",
            RUN_STRATEGIES.join(", ")
        )));
    }
    if config.ports.iter().any(|port| port.host_port.is_some()) {
        return Err(Error::unsupported("a machine has no ports on its node: the cluster picks them")
            .with_hint("leave `host_port` out"));
    }
    check_cloud_init(config, &machine)?;
    let of_pods = [
        ("entrypoint", options.entrypoint.is_some()),
        ("working_dir", options.working_dir.is_some()),
        ("secret_environment", !options.secret_environment.is_empty()),
        ("config_environment", !options.config_environment.is_empty()),
        ("empty_dirs", !options.empty_dirs.is_empty()),
        ("config_maps", !options.config_maps.is_empty()),
        ("secrets", !options.secrets.is_empty()),
        ("startup_probe", options.startup_probe.is_some()),
        ("service_account", options.service_account.is_some()),
    ];
    if let Some((option, _)) = of_pods.iter().find(|(_, is_given)| *is_given) {
        return Err(Error::unsupported(format!(
            "the option `{option}` is for pods: a machine has its own system"
        ))
        .with_hint("see `cloud_init`"));
    }
    if options.image_pull_secrets.len() > 1 {
        return Err(Error::unsupported("KubeVirt fetches the image of a machine with one secret at most"));
    }
    Ok(())
}

fn check_cloud_init(config: &InstanceConfig, machine: &K8sMachineOptions) -> Result<()> {
    let Some(data) = &config.cloud_init else { return Ok(()) };
    if machine.cloud_init_secret.is_some() {
        return Err(Error::invalid_input("cloud-init's data are given twice, as such and as a secret"));
    }
    if data.vendor_data.is_some() || data.meta_data.is_some() {
        return Err(Error::unsupported(
            "KubeVirt writes cloud-init's meta data itself and has no vendor data",
        ));
    }
    match data.parts().find(|(_, text)| text.len() > LONGEST_CLOUD_INIT) {
        Some((part, _)) => Err(Error::unsupported(format!(
            "cloud-init's {part} is longer than the {LONGEST_CLOUD_INIT} bytes that KubeVirt takes in a machine"
        ))
        .with_hint("put it into a secret: see the option `machine.cloud_init_secret`")),
        None => Ok(()),
    }
}

/// The object to create, which does not run yet.
pub(crate) fn machine(config: &InstanceConfig, options: &K8sOptions, settings: &K8sConfig) -> Value {
    let name = config.name.as_str();
    let given = options.machine.clone().unwrap_or_default();
    let written = labels::write(&config.labels, &config.metadata);
    let mut inner_labels = written.labels;
    inner_labels.insert(INSTANCE.to_owned(), name.to_owned());
    for network in &config.networks {
        inner_labels.insert(membership(network.network_name.as_str()), String::new());
    }
    let mut all_labels = inner_labels.clone();
    if !config.ports.is_empty() {
        all_labels.insert(PORTS.to_owned(), String::new());
    }
    let mut annotations = options.annotations.clone();
    annotations.extend(written.annotations);
    let strategy = given.run_strategy.as_deref().unwrap_or("Always");
    annotations.insert(RUN_STRATEGY.to_owned(), strategy.to_owned());
    let template = template(config, options, &given, settings);
    json!({
        "apiVersion": Resource::Machines.group(),
        "kind": Resource::Machines.kind(),
        "metadata": {"name": name, "labels": all_labels, "annotations": annotations},
        "spec": {
            "runStrategy": "Halted",
            "template": {"metadata": {"labels": inner_labels, "annotations": options.annotations}, "spec": template},
        },
    })
}

fn template(
    config: &InstanceConfig,
    options: &K8sOptions,
    given: &K8sMachineOptions,
    settings: &K8sConfig,
) -> Value {
    let (disks, volumes) = disks(config, options, given, settings);
    let ports: Vec<Value> = config
        .ports
        .iter()
        .map(|port| json!({"port": port.port, "protocol": protocol(port.protocol)}))
        .collect();
    let mut interfaces = vec![json!({"name": "default", "masquerade": {}, "ports": ports})];
    let mut networks = vec![json!({"name": "default", "pod": {}})];
    for (index, network) in given.multus.iter().enumerate() {
        let name = format!("multus-{index}");
        interfaces.push(json!({"name": name, "bridge": {}}));
        networks.push(json!({"name": name, "multus": {"networkName": network}}));
    }
    let limits = ResourceLimits {
        memory_mb: Some(config.limits.memory_mb.unwrap_or(settings.machine_memory_mb)),
        ..config.limits
    };
    let mut domain = hardware(&limits, options, settings.reserve_limits);
    extend(
        &mut domain,
        json!({"devices": {"disks": disks, "interfaces": interfaces, "logSerialConsole": true}}),
    );
    let mut spec = json!({
        "domain": domain,
        "networks": networks,
        "volumes": volumes,
        "terminationGracePeriodSeconds": options.termination_grace_seconds.unwrap_or(30),
    });
    let mut optional = Map::new();
    if !options.node_selector.is_empty() {
        optional.insert("nodeSelector".to_owned(), json!(options.node_selector));
    }
    for (key, probe) in
        [("readinessProbe", &options.readiness_probe), ("livenessProbe", &options.liveness_probe)]
    {
        if let Some(probe) = probe {
            optional.insert(key.to_owned(), probe.clone());
        }
    }
    extend(&mut spec, Value::Object(optional));
    spec
}

fn disks(
    config: &InstanceConfig,
    options: &K8sOptions,
    given: &K8sMachineOptions,
    settings: &K8sConfig,
) -> (Vec<Value>, Vec<Value>) {
    let claim = |name: &str| json!({"persistentVolumeClaim": {"claimName": name}});
    let root = match &given.root_claim {
        Some(name) => claim(name),
        None => {
            let mut disk = json!({"image": config.image});
            if let Some(policy) = settings.image_pull_policy {
                extend(&mut disk, json!({"imagePullPolicy": policy.as_str()}));
            }
            if let Some(secret) = options.image_pull_secrets.first() {
                extend(&mut disk, json!({"imagePullSecret": secret}));
            }
            json!({"containerDisk": disk})
        }
    };
    let mut sources = vec![(CONTAINER.to_owned(), root)];
    let further = given.disks.iter().enumerate();
    sources.extend(further.map(|(index, name)| (format!("disk-{index}"), claim(name))));
    let cloud_init = match (&config.cloud_init, &given.cloud_init_secret) {
        (Some(data), _) => {
            let part = |key: &str, text: &Option<String>| Some((key.to_owned(), json!(text.as_ref()?)));
            let parts = [part("userData", &data.user_data), part("networkData", &data.network_config)];
            Some(Value::Object(parts.into_iter().flatten().collect()))
        }
        (None, Some(secret)) => Some(json!({"secretRef": {"name": secret}})),
        (None, None) => None,
    };
    sources.extend(cloud_init.map(|data| ("cloud-init".to_owned(), json!({"cloudInitNoCloud": data}))));
    let (mut disks, mut volumes) = (Vec::new(), Vec::new());
    for (index, (name, mut volume)) in sources.into_iter().enumerate() {
        let mut disk = json!({"name": name, "disk": {"bus": "virtio"}});
        if index == 0 {
            extend(&mut disk, json!({"bootOrder": 1}));
        }
        extend(&mut volume, json!({"name": name}));
        disks.push(disk);
        volumes.push(volume);
    }
    (disks, volumes)
}

/// Bounds as hardware: what the guest sees are whole cores, and what they may use of the node is bounded beside.
pub(crate) fn hardware(limits: &ResourceLimits, options: &K8sOptions, reserve: bool) -> Value {
    let mut domain = Map::new();
    let mut requests = Map::new();
    let mut resources = Map::new();
    if let Some(cores) = limits.cpu_cores {
        // Sockets and threads multiply.
        domain.insert("cpu".to_owned(), json!({"cores": whole(cores), "sockets": 1, "threads": 1}));
        let limit = bounds(&ResourceLimits { cpu_cores: Some(cores), ..ResourceLimits::default() });
        resources.insert("limits".to_owned(), json!(limit));
        // Without a word about it KubeVirt reserves a tenth.
        if reserve {
            requests.insert("cpu".to_owned(), json!(quantity::cores(cores)));
        }
    }
    if let Some(memory) = limits.memory_mb {
        domain.insert("memory".to_owned(), json!({"guest": quantity::mebibytes(memory)}));
    }
    if let Some(cores) = options.cpu_request {
        requests.insert("cpu".to_owned(), json!(quantity::cores(cores)));
    }
    if let Some(memory) = options.memory_request_mb {
        requests.insert("memory".to_owned(), json!(quantity::mebibytes(memory)));
    }
    if !requests.is_empty() {
        resources.insert("requests".to_owned(), Value::Object(requests));
    }
    if !resources.is_empty() {
        domain.insert("resources".to_owned(), Value::Object(resources));
    }
    Value::Object(domain)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of cores is small and not negative"
)]
fn whole(cores: f64) -> u32 {
    (cores.ceil() as u32).max(1)
}

/// The bounds that hardware is.
pub(crate) fn limits(domain: &Domain) -> ResourceLimits {
    let cpu = &domain.cpu;
    let seen = [cpu.cores, cpu.sockets, cpu.threads];
    let product = seen.iter().flatten().fold(1.0, |all, count| all * f64::from(*count));
    let told = seen.iter().any(Option::is_some).then_some(product);
    let limit = |key: &str| domain.resources.limits.get(key).map(String::as_str);
    let memory = domain.memory.guest.as_deref().or_else(|| limit("memory"));
    ResourceLimits {
        cpu_cores: limit("cpu").and_then(quantity::parse).or(told),
        memory_mb: memory.and_then(quantity::to_mebibytes),
        ..ResourceLimits::default()
    }
}

#[cfg(test)]
mod tests {
    use substrate_core::{CloudInit, ErrorKind, InstanceState, PortMapping, PortProtocol};

    use super::*;
    use crate::config::Workload as Kind;
    use crate::convert::create;
    use crate::convert::workload::Workload;

    fn config() -> InstanceConfig {
        InstanceConfig::new("vm".parse().unwrap()).with_image("disk:1")
    }

    fn made(config: &InstanceConfig) -> Value {
        let settings = K8sConfig::default().with_workload(Kind::VirtualMachine);
        create::workload(config, &create::check(config, Kind::VirtualMachine).unwrap(), &settings)
    }

    fn refused(config: &InstanceConfig) -> ErrorKind {
        create::check(config, Kind::VirtualMachine).unwrap_err().kind()
    }

    #[test]
    fn a_machine_is_made_halted_with_its_marks_and_read_as_it_was_made() {
        let made = made(&config().with_cpu_cores(1.5).with_memory_mb(2048).with_label("substrate.key", "k1"));
        assert_eq!(made["spec"]["runStrategy"], "Halted");
        assert_eq!(made["spec"]["template"]["metadata"]["labels"]["substrate.key"], "k1");
        let domain = &made["spec"]["template"]["spec"]["domain"];
        assert_eq!(domain["cpu"]["cores"], 2);
        assert_eq!(domain["resources"]["limits"]["cpu"], "1500m");
        let read: Workload = serde_json::from_value(made).unwrap();
        let instance = read.instance(Kind::VirtualMachine, &[]).unwrap();
        assert_eq!((instance.state, instance.image.as_deref()), (InstanceState::Stopped, Some("disk:1")));
        assert_eq!(read.limits().cpu_cores, Some(1.5));
        assert_eq!(read.limits().memory_mb, Some(2048));
    }

    #[test]
    fn disks_are_an_image_or_a_claim_then_claims_then_cloud_init() {
        let config = InstanceConfig::new("vm".parse().unwrap())
            .with_option("machine", json!({"root_claim": "root", "disks": ["data"], "multus": ["net-a"]}))
            .with_cloud_init(CloudInit::new("#cloud-config\n"));
        let made = made(&config);
        let spec = &made["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"][0]["persistentVolumeClaim"]["claimName"], "root");
        assert_eq!(spec["volumes"][2]["cloudInitNoCloud"]["userData"], "#cloud-config\n");
        assert_eq!(
            spec["domain"]["devices"]["disks"][1],
            json!({"name": "disk-0", "disk": {"bus": "virtio"}})
        );
        assert_eq!(spec["networks"][1]["multus"]["networkName"], "net-a");
        let read: Workload = serde_json::from_value(made).unwrap();
        assert_eq!(read.claims().collect::<Vec<_>>(), ["root", "data"]);
    }

    #[test]
    fn what_kubevirt_cannot_do_is_refused() {
        let port =
            |host_port| PortMapping { port: 80, host_port, host_address: None, protocol: PortProtocol::Tcp };
        let long = CloudInit::new(format!("#cloud-config\n{}", "x".repeat(LONGEST_CLOUD_INIT)));
        let mut vendor = CloudInit::new("#cloud-config\n");
        vendor.vendor_data = Some("#cloud-config\n".to_owned());
        for unsupported in [
            config().with_port(port(Some(8080))),
            config().with_cloud_init(long),
            config().with_cloud_init(vendor),
            config().with_option("empty_dirs", json!(["/cache"])),
            config().with_option("restart_policy", "Never"),
            config().with_option("image_pull_secrets", json!(["a", "b"])),
        ] {
            assert_eq!(refused(&unsupported), ErrorKind::Unsupported, "{unsupported:?}");
        }
        for invalid in [
            InstanceConfig::new("vm".parse().unwrap()),
            config().with_option("machine", json!({"root_claim": "root"})),
            config().with_option("machine", json!({"run_strategy": "Sometimes"})),
            config().with_option("machine", json!({"disks": ["../x"]})),
            config().with_option("machine", json!({"multus": ["a b"]})),
        ] {
            assert_eq!(refused(&invalid), ErrorKind::InvalidInput, "{invalid:?}");
        }
        assert!(create::check(&config().with_port(port(None)), Kind::VirtualMachine).is_ok());
        let machine_of_pods = config().with_option("machine", json!({}));
        assert!(create::check(&machine_of_pods, Kind::Stateful).unwrap_err().is_unsupported());
    }
}
