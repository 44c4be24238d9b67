//! The workload of a configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use substrate_core::{Error, InstanceConfig, PortProtocol, ResourceLimits, Result, VolumeSource};

use super::labels::{self, INSTANCE, PORTS, membership};
use super::machine;
use super::quantity;
use super::workload::Workload as Made;
use crate::client::Resource;
use crate::config::{K8sConfig, Workload};
use crate::name;
use crate::options::{K8sOptions, KeyReference};

/// The one container of an instance.
pub(crate) const CONTAINER: &str = "main";

/// Checks everything that can be told without the cluster.
pub(crate) fn check(config: &InstanceConfig, kind: Workload) -> Result<K8sOptions> {
    name::check_new_workload(config.name.as_str())?;
    if config.kind.is_some_and(|asked| asked != kind.instance_kind()) {
        return Err(Error::unsupported(format!(
            "this substrate runs instances of the kind {}",
            kind.instance_kind()
        )));
    }
    let options = K8sOptions::of(config)?;
    if kind == Workload::VirtualMachine {
        machine::check(config, &options)?;
    } else {
        let Some(image) = &config.image else {
            return Err(Error::invalid_input("an instance needs an image"));
        };
        name::check_image(image)?;
        if options.machine.is_some() {
            return Err(Error::unsupported("the option `machine` is for the workload `virtual-machine`"));
        }
    }
    labels::check(&config.labels)?;
    let variables = config.environment.iter().map(|(key, _)| key);
    let references = options.secret_environment.keys().chain(options.config_environment.keys());
    let mut set = BTreeSet::new();
    for variable in variables.chain(references.map(String::as_str)) {
        name::check_variable(variable)?;
        if !set.insert(variable) {
            return Err(Error::invalid_input(format!("the variable `{variable}` is given twice")));
        }
    }
    let mut open = BTreeSet::new();
    if let Some(port) = config.ports.iter().find(|port| !open.insert((port.port, protocol(port.protocol)))) {
        return Err(Error::unsupported(format!("the port {} can be published once", port.port)));
    }
    if options.restart_policy.is_some() && kind != Workload::Pod {
        return Err(Error::unsupported(
            "the option `restart_policy` is for the workload `pod`: others always restart",
        ));
    }
    for network in &config.networks {
        if network.gateway.is_some() || !network.dns_servers.is_empty() {
            return Err(Error::unsupported("a pod's gateway and name servers are the cluster's to choose"));
        }
    }
    let picked = config.ports.iter().find(|port| port.host_port.is_none());
    if picked.is_some_and(|port| port.host_address.is_some()) {
        return Err(Error::unsupported("the cluster picks a port on every address of its nodes, not on one"));
    }
    for mount in &config.volumes {
        if mount.target.contains(':') {
            return Err(Error::invalid_input(format!("mount target `{}` holds a colon", mount.target)));
        }
        if let VolumeSource::HostPath(path) = &mount.source
            && !path.starts_with('/')
        {
            return Err(Error::invalid_input(format!("host path `{path}` is not absolute")));
        }
    }
    Ok(options)
}

/// The object to create.
pub(crate) fn workload(config: &InstanceConfig, options: &K8sOptions, settings: &K8sConfig) -> Value {
    let name = config.name.as_str();
    let kind = settings.workload;
    if kind == Workload::VirtualMachine {
        return machine::machine(config, options, settings);
    }
    let written = labels::write(&config.labels, &config.metadata);
    let mut member_labels = BTreeMap::from([(INSTANCE.to_owned(), name.to_owned())]);
    for network in &config.networks {
        member_labels.insert(membership(network.network_name.as_str()), String::new());
    }
    let mut all_labels = written.labels.clone();
    all_labels.extend(member_labels.clone());
    if config.ports.iter().any(|port| port.host_port.is_none()) {
        all_labels.insert(PORTS.to_owned(), String::new());
    }
    let mut annotations = options.annotations.clone();
    annotations.extend(written.annotations);
    let pod = pod(config, options, settings);
    let metadata = json!({"name": name, "labels": all_labels, "annotations": annotations});
    if kind == Workload::Pod {
        return json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod});
    }
    let mut pod_labels = written.labels;
    pod_labels.extend(member_labels);
    let resource = resource(kind);
    let mut spec = json!({
        "replicas": 0,
        "selector": {"matchLabels": {INSTANCE: name}},
        "template": {"metadata": {"labels": pod_labels, "annotations": options.annotations}, "spec": pod},
        // Nothing goes back to an older revision.
        "revisionHistoryLimit": 1,
    });
    let more = match kind {
        // The pod is only made anew when it is stopped and started: a change of the template disturbs nobody.
        Workload::Stateful => json!({"serviceName": name, "updateStrategy": {"type": "OnDelete"}}),
        // One at a time: two with one volume would not start.
        _ => json!({"strategy": {"type": "Recreate"}}),
    };
    extend(&mut spec, more);
    json!({"apiVersion": resource.group(), "kind": resource.kind(), "metadata": metadata, "spec": spec})
}

/// What instances of a kind are in the API.
pub(crate) fn resource(kind: Workload) -> Resource {
    match kind {
        Workload::Stateful => Resource::StatefulSets,
        Workload::Deployment => Resource::Deployments,
        Workload::Pod => Resource::Pods,
        Workload::VirtualMachine => Resource::Machines,
    }
}

/// What runs of them in the API.
pub(crate) fn running_resource(kind: Workload) -> Resource {
    match kind {
        Workload::VirtualMachine => Resource::MachineInstances,
        Workload::Stateful | Workload::Deployment | Workload::Pod => Resource::Pods,
    }
}

fn pod(config: &InstanceConfig, options: &K8sOptions, settings: &K8sConfig) -> Value {
    let (volumes, mounts) = volumes(config, options);
    let mut container = json!({
        "name": CONTAINER,
        "image": config.image,
        "env": environment(config, options),
        "resources": resources(&config.limits, options, settings.reserve_limits),
        "volumeMounts": mounts,
        "ports": ports(config),
    });
    let words = |words: &[String]| words.iter().map(|word| escaped(word)).collect::<Vec<_>>();
    let mut optional = Map::new();
    if !config.command.is_empty() {
        optional.insert("args".to_owned(), json!(words(&config.command)));
    }
    if let Some(entrypoint) = &options.entrypoint {
        optional.insert("command".to_owned(), json!(words(entrypoint)));
    }
    if let Some(folder) = &options.working_dir {
        optional.insert("workingDir".to_owned(), json!(folder));
    }
    if let Some(policy) = settings.image_pull_policy {
        optional.insert("imagePullPolicy".to_owned(), json!(policy.as_str()));
    }
    for (key, probe) in [
        ("readinessProbe", &options.readiness_probe),
        ("livenessProbe", &options.liveness_probe),
        ("startupProbe", &options.startup_probe),
    ] {
        if let Some(probe) = probe {
            optional.insert(key.to_owned(), probe.clone());
        }
    }
    extend(&mut container, Value::Object(optional));
    let mut spec = json!({
        "containers": [container],
        "volumes": volumes,
        "terminationGracePeriodSeconds": options.termination_grace_seconds.unwrap_or(30),
        // A variable for each service of the namespace, which nobody asked for.
        "enableServiceLinks": false,
        // Credentials for the cluster's API are for those who ask for an account.
        "automountServiceAccountToken": options.service_account.is_some(),
    });
    let mut optional = Map::new();
    if let Some(account) = &options.service_account {
        optional.insert("serviceAccountName".to_owned(), json!(account));
    }
    if !options.node_selector.is_empty() {
        optional.insert("nodeSelector".to_owned(), json!(options.node_selector));
    }
    if !options.image_pull_secrets.is_empty() {
        let secrets: Vec<Value> =
            options.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
        optional.insert("imagePullSecrets".to_owned(), json!(secrets));
    }
    if let Some(policy) = &options.restart_policy {
        optional.insert("restartPolicy".to_owned(), json!(policy));
    }
    extend(&mut spec, Value::Object(optional));
    spec
}

/// Kubernetes puts variables in place of `$(NAME)` in arguments and values; `$$` is a plain `$`. What a caller writes is
/// meant as it stands.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn environment(config: &InstanceConfig, options: &K8sOptions) -> Vec<Value> {
    let plain = config.environment.iter().map(|(key, value)| json!({"name": key, "value": escaped(value)}));
    let reference = |kind: &'static str| {
        move |(name, KeyReference { secret, key }): (&String, &KeyReference)| json!({"name": name, "valueFrom": {kind: {"name": secret, "key": key}}})
    };
    plain
        .chain(options.secret_environment.iter().map(reference("secretKeyRef")))
        .chain(options.config_environment.iter().map(reference("configMapKeyRef")))
        .collect()
}

pub(super) fn protocol(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "TCP",
        PortProtocol::Udp => "UDP",
        PortProtocol::Sctp => "SCTP",
    }
}

fn ports(config: &InstanceConfig) -> Vec<Value> {
    let port = |port: &substrate_core::PortMapping| {
        let mut entry = json!({"containerPort": port.port, "protocol": protocol(port.protocol)});
        if let Some(host_port) = port.host_port {
            extend(&mut entry, json!({"hostPort": host_port}));
        }
        if let Some(address) = port.host_address {
            extend(&mut entry, json!({"hostIP": address}));
        }
        entry
    };
    config.ports.iter().map(port).collect()
}

/// The service by which the cluster picks ports for an instance, named after it; nothing when it has none to pick. It goes
/// with the workload.
pub(crate) fn port_service(workload: &Made, kind: Workload) -> Option<(String, Value)> {
    workload.metadata.labels.get(PORTS)?;
    let template = &workload.spec.template.spec;
    let of_pod = template.containers.first().into_iter().flat_map(|main| &main.ports);
    let of_pod = of_pod.filter(|port| port.host_port.is_none());
    let of_pod = of_pod.map(|port| (port.container_port, port.protocol.as_deref()));
    let interfaces = template.domain.iter().flat_map(|domain| &domain.devices.interfaces);
    let of_machine = interfaces.flat_map(|one| &one.ports).map(|port| (port.port, port.protocol.as_deref()));
    let ports: Vec<Value> = of_pod
        .chain(of_machine)
        .map(|(port, protocol)| {
            let protocol = protocol.unwrap_or("TCP");
            json!({"name": format!("{}-{port}", protocol.to_lowercase()), "port": port, "protocol": protocol})
        })
        .collect();
    let name = format!("{}-ports", workload.metadata.name);
    // A service has to begin with a letter, a workload need not.
    let name =
        if name.starts_with(|first: char| first.is_ascii_digit()) { format!("p-{name}") } else { name };
    let resource = resource(kind);
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {PORTS: ""}, "ownerReferences": [{
            "apiVersion": resource.group(),
            "kind": resource.kind(),
            "name": workload.metadata.name,
            "uid": workload.metadata.uid,
            "blockOwnerDeletion": true,
        }]},
        "spec": {"type": "NodePort", "selector": {INSTANCE: workload.metadata.name}, "ports": ports},
    });
    (!ports.is_empty()).then_some((name, service))
}

fn volumes(config: &InstanceConfig, options: &K8sOptions) -> (Vec<Value>, Vec<Value>) {
    let mut sources: Vec<(Value, &str, bool)> = Vec::new();
    for mount in &config.volumes {
        let source = match &mount.source {
            VolumeSource::Volume(claim) => json!({"persistentVolumeClaim": {"claimName": claim}}),
            VolumeSource::HostPath(path) => json!({"hostPath": {"path": path}}),
        };
        sources.push((source, &mount.target, mount.read_only));
    }
    sources.extend(options.empty_dirs.iter().map(|path| (json!({"emptyDir": {}}), path.as_str(), false)));
    let maps = options.config_maps.iter();
    sources.extend(maps.map(|(path, name)| (json!({"configMap": {"name": name}}), path.as_str(), true)));
    let secrets = options.secrets.iter();
    sources
        .extend(secrets.map(|(path, name)| (json!({"secret": {"secretName": name}}), path.as_str(), true)));
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for (index, (mut volume, path, read_only)) in sources.into_iter().enumerate() {
        let name = format!("volume-{index}");
        extend(&mut volume, json!({"name": name}));
        volumes.push(volume);
        mounts.push(json!({"name": name, "mountPath": path, "readOnly": read_only}));
    }
    (volumes, mounts)
}

/// Bounds, and what is reserved of them.
pub(crate) fn resources(limits: &ResourceLimits, options: &K8sOptions, reserve: bool) -> Value {
    let bounds = bounds(limits);
    let mut requests = BTreeMap::new();
    // Without a word about it, Kubernetes reserves what the bound is.
    if !reserve {
        requests.extend(bounds.keys().map(|key| (*key, "0".to_owned())));
    }
    if let Some(cores) = options.cpu_request {
        requests.insert("cpu", quantity::cores(cores));
    }
    if let Some(memory) = options.memory_request_mb {
        requests.insert("memory", quantity::mebibytes(memory));
    }
    json!({"limits": bounds, "requests": requests})
}

/// Bounds in Kubernetes' words.
pub(crate) fn bounds(limits: &ResourceLimits) -> BTreeMap<&'static str, String> {
    let mut bounds = BTreeMap::new();
    if let Some(cores) = limits.cpu_cores {
        bounds.insert("cpu", quantity::cores(cores));
    }
    if let Some(memory) = limits.memory_mb {
        bounds.insert("memory", quantity::mebibytes(memory));
    }
    bounds
}

pub(super) fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use substrate_core::{NetworkConfig, PortMapping, VolumeMount};

    use super::*;

    fn config() -> InstanceConfig {
        InstanceConfig::new("web".parse().unwrap()).with_image("busybox:local")
    }

    fn made(config: &InstanceConfig, kind: Workload) -> Value {
        let settings = K8sConfig::default().with_workload(kind);
        workload(config, &check(config, kind).unwrap(), &settings)
    }

    #[test]
    fn a_new_instance_has_no_pod_yet_and_its_marks_from_the_first_moment() {
        let config = config()
            .with_label("substrate.key", "k1")
            .with_network(NetworkConfig::new("blue".parse().unwrap()));
        for kind in [Workload::Stateful, Workload::Deployment] {
            let made = made(&config, kind);
            assert_eq!(made["spec"]["replicas"], 0);
            assert_eq!(made["metadata"]["labels"]["substrate.key"], "k1");
            assert_eq!(made["spec"]["template"]["metadata"]["labels"]["network.substrate/blue"], "");
            assert_eq!(made["spec"]["selector"]["matchLabels"]["substrate/instance"], "web");
        }
        assert_eq!(made(&config, Workload::Pod)["spec"]["containers"][0]["image"], "busybox:local");
    }

    #[test]
    fn nothing_that_a_caller_writes_is_a_reference_to_a_variable() {
        let config = config().with_command(["echo", "$(id)", "$$x"]).with_environment("A", "$(HOME)");
        let pod = &made(&config, Workload::Stateful)["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(pod["args"], json!(["echo", "$$(id)", "$$$$x"]));
        assert_eq!(pod["env"][0]["value"], "$$(HOME)");
    }

    #[test]
    fn a_secret_is_a_reference_and_no_value() {
        let config = config().with_option("secret_environment", json!({"P": {"secret": "s", "key": "k"}}));
        let pod = &made(&config, Workload::Stateful)["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(pod["env"][0]["valueFrom"]["secretKeyRef"], json!({"name": "s", "key": "k"}));
    }

    #[test]
    fn volumes_of_every_sort_are_mounted() {
        let mount = VolumeMount {
            source: VolumeSource::Volume("data".parse().unwrap()),
            target: "/data".to_owned(),
            read_only: true,
        };
        let config = config()
            .with_volume(mount)
            .with_option("empty_dirs", json!(["/cache"]))
            .with_option("config_maps", json!({"/etc/app": "app"}));
        let spec = &made(&config, Workload::Stateful)["spec"]["template"]["spec"];
        assert_eq!(spec["volumes"][0]["persistentVolumeClaim"]["claimName"], "data");
        assert_eq!(
            spec["containers"][0]["volumeMounts"][0],
            json!({"name": "volume-0", "mountPath": "/data", "readOnly": true})
        );
        assert_eq!(spec["volumes"][2]["configMap"]["name"], "app");
    }

    #[test]
    fn a_bound_is_reserved_unless_it_shall_not_be() {
        let limits =
            ResourceLimits { cpu_cores: Some(0.5), memory_mb: Some(96), ..ResourceLimits::default() };
        let options = K8sOptions::default();
        assert_eq!(
            resources(&limits, &options, true),
            json!({"limits": {"cpu": "500m", "memory": "96Mi"}, "requests": {}})
        );
        assert_eq!(resources(&limits, &options, false)["requests"], json!({"cpu": "0", "memory": "0"}));
        let asked = K8sOptions { cpu_request: Some(0.1), ..options };
        assert_eq!(resources(&limits, &asked, false)["requests"], json!({"cpu": "100m", "memory": "0"}));
    }

    #[test]
    fn what_kubernetes_cannot_do_is_refused() {
        let port = PortMapping { port: 80, host_port: None, host_address: None, protocol: PortProtocol::Tcp };
        let twice = config().with_port(port.clone()).with_port(port);
        assert!(check(&twice, Workload::Stateful).unwrap_err().is_unsupported());
        let named_twice = config()
            .with_environment("P", "plain")
            .with_option("secret_environment", json!({"P": {"secret": "s", "key": "k"}}));
        assert!(check(&named_twice, Workload::Stateful).unwrap_err().is_invalid_input());
        assert!(
            check(&InstanceConfig::new("web".parse().unwrap()), Workload::Stateful)
                .unwrap_err()
                .is_invalid_input()
        );
        let restarting = config().with_option("restart_policy", "Never");
        assert!(check(&restarting, Workload::Stateful).unwrap_err().is_unsupported());
        assert!(check(&restarting, Workload::Pod).is_ok());
    }

    #[test]
    fn ports_that_the_cluster_picks_are_a_service_of_the_instances_own() {
        let picked =
            PortMapping { port: 80, host_port: None, host_address: None, protocol: PortProtocol::Udp };
        let fixed =
            PortMapping { port: 81, host_port: Some(8081), host_address: None, protocol: PortProtocol::Tcp };
        let made = made(&config().with_port(picked).with_port(fixed), Workload::Stateful);
        let workload: Made = serde_json::from_value(made).unwrap();
        let (name, service) = port_service(&workload, Workload::Stateful).unwrap();
        assert_eq!(name, "web-ports");
        assert_eq!(service["spec"]["ports"], json!([{"name": "udp-80", "port": 80, "protocol": "UDP"}]));
        let plain: Made = serde_json::from_value(super::tests::made(&config(), Workload::Stateful)).unwrap();
        assert_eq!(port_service(&plain, Workload::Stateful), None);
    }

    #[test]
    fn an_error_about_a_variable_does_not_show_its_value() {
        let error = check(&config().with_environment("1A", "hunter2"), Workload::Stateful).unwrap_err();
        assert!(error.is_invalid_input() && !error.to_string().contains("hunter2"));
    }
}
