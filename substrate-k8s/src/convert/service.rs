//! Networks: services.

use serde::Deserialize;
use serde_json::{Value, json};
use substrate_core::{Error, Network, NetworkName, NetworkSpec, Result};

use super::labels::{self, membership};
use super::meta::Meta;
use crate::client::Resource;
use crate::name;
use crate::options::{self, K8sNetworkOptions, ServicePort};

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    pub(crate) metadata: Meta,
    pub(crate) spec: ServiceSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: Option<String>,
}

const TYPES: [&str; 4] = ["Headless", "ClusterIP", "NodePort", "LoadBalancer"];

/// Checks a network that shall be made, and gives the service.
///
/// # Errors
/// `InvalidInput` for what nobody can mean; `Unsupported` for what a service does not have.
pub(crate) fn of_spec(spec: &NetworkSpec) -> Result<Value> {
    let name = spec.name.as_str();
    name::check_new_service(name)?;
    labels::check(&spec.labels)?;
    let asked: K8sNetworkOptions = options::parse("network", &spec.options)?;
    for subnet in spec.subnet.iter() {
        check_subnet(subnet)?;
    }
    if spec.subnet.is_some() || spec.gateway.is_some() {
        return Err(Error::unsupported(
            "a service has no subnet of its own: pods have addresses of the cluster's network",
        ));
    }
    if spec.internal {
        return Err(Error::unsupported(
            "a service does not keep its members from anything: see the option `network_policy`",
        ));
    }
    if asked.network_policy.as_ref().is_some_and(|policy| policy.contains_key("podSelector")) {
        return Err(Error::invalid_input("the `podSelector` of a network's policy is its members"));
    }
    let kind = match spec.driver.as_deref() {
        Some(kind) if TYPES.contains(&kind) => kind,
        Some(kind) => {
            return Err(Error::invalid_input(format!("`{}` is no type of a service", kind.escape_debug()))
                .with_hint(format!("known: {}", TYPES.join(", "))));
        }
        None if asked.ports.is_empty() => "Headless",
        None => "ClusterIP",
    };
    if kind != "Headless" && asked.ports.is_empty() {
        return Err(Error::invalid_input(format!("a service of the type {kind} needs `ports`")));
    }
    let written = labels::write(&spec.labels, &std::collections::BTreeMap::new());
    let mut service = json!({
        "selector": {membership(name): ""},
        // Members find each other before they are ready.
        "publishNotReadyAddresses": true,
        "ports": asked.ports.iter().map(port).collect::<Vec<_>>(),
    });
    let more = if kind == "Headless" { json!({"clusterIP": "None"}) } else { json!({"type": kind}) };
    if let (Value::Object(service), Value::Object(more)) = (&mut service, more) {
        service.extend(more);
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": written.labels, "annotations": written.annotations},
        "spec": service,
    }))
}

/// The policy of a network, if it shall have one: it belongs to the service that was made, and goes with it.
///
/// # Errors
/// Those of [`of_spec`].
pub(crate) fn policy_of_spec(spec: &NetworkSpec, made: &Meta) -> Result<Option<Value>> {
    let asked: K8sNetworkOptions = options::parse("network", &spec.options)?;
    let Some(mut policy) = asked.network_policy else { return Ok(None) };
    let name = spec.name.as_str();
    policy.insert("podSelector".to_owned(), json!({"matchLabels": {membership(name): ""}}));
    Ok(Some(json!({
        "apiVersion": Resource::Policies.group(),
        "kind": Resource::Policies.kind(),
        "metadata": {"name": name, "ownerReferences": [{
            "apiVersion": Resource::Services.group(),
            "kind": Resource::Services.kind(),
            "name": made.name,
            "uid": made.uid,
            "blockOwnerDeletion": true,
        }]},
        "spec": policy,
    })))
}

fn port(port: &ServicePort) -> Value {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let mut entry = json!({
        "name": format!("{}-{}", protocol.to_lowercase(), port.port),
        "port": port.port,
        "targetPort": port.target_port.unwrap_or(port.port),
        "protocol": protocol,
    });
    if let (Value::Object(entry), Some(node_port)) = (&mut entry, port.node_port) {
        entry.insert("nodePort".to_owned(), json!(node_port));
    }
    entry
}

fn check_subnet(subnet: &str) -> Result<()> {
    let fits = subnet.split_once('/').is_some_and(|(address, bits)| {
        let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
        let most = if address.is_ipv4() { 32 } else { 128 };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    });
    if fits { Ok(()) } else { Err(Error::invalid_input(format!("`{}` is no subnet", subnet.escape_debug()))) }
}

impl Service {
    pub(crate) fn network(&self) -> Result<Network> {
        let name = NetworkName::new(&self.metadata.name).map_err(|error| Error::protocol(error.message()))?;
        let headless = self.spec.cluster_ip.as_deref() == Some("None");
        let driver = if headless { "Headless" } else { self.spec.kind.as_str() };
        let mut network = Network::new(&self.metadata.uid, name, driver);
        network.labels = labels::read(&self.metadata);
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NetworkSpec {
        NetworkSpec::new("blue".parse().unwrap())
    }

    #[test]
    fn a_network_selects_its_members_by_a_label_of_its_own() {
        let service = of_spec(&spec().with_label("role", "a b")).unwrap();
        assert_eq!(service["spec"]["selector"], json!({"network.substrate/blue": ""}));
        assert_eq!(service["spec"]["clusterIP"], "None");
        let read: Service = serde_json::from_value(service).unwrap();
        let network = read.network().unwrap();
        assert_eq!((network.driver.as_str(), network.labels.get("role")), ("Headless", Some("a b")));
    }

    #[test]
    fn ports_make_it_a_service_with_an_address() {
        let mut spec = spec();
        spec.options.insert("ports".to_owned(), json!([{"port": 80, "target_port": 8080}]));
        let service = of_spec(&spec).unwrap();
        assert_eq!(
            (&service["spec"]["type"], &service["spec"]["ports"][0]["targetPort"]),
            (&json!("ClusterIP"), &json!(8080))
        );
        spec.driver = Some("NodePort".to_owned());
        assert_eq!(of_spec(&spec).unwrap()["spec"]["type"], "NodePort");
        spec.driver = Some("Magic".to_owned());
        assert!(of_spec(&spec).unwrap_err().is_invalid_input());
    }

    #[test]
    fn a_policy_is_of_the_members_and_belongs_to_the_service() {
        let mut spec = spec();
        let made = Meta { name: "blue".to_owned(), uid: "u1".to_owned(), ..Meta::default() };
        assert_eq!(policy_of_spec(&spec, &made).unwrap(), None);
        spec.options.insert("network_policy".to_owned(), json!({"policyTypes": ["Ingress"]}));
        let policy = policy_of_spec(&spec, &made).unwrap().unwrap();
        assert_eq!(policy["spec"]["podSelector"], json!({"matchLabels": {"network.substrate/blue": ""}}));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
        assert_eq!(policy["metadata"]["ownerReferences"][0]["uid"], "u1");
        spec.options.insert("network_policy".to_owned(), json!({"podSelector": {}}));
        assert!(of_spec(&spec).unwrap_err().is_invalid_input());
    }

    #[test]
    fn what_a_service_does_not_have_is_refused() {
        assert!(of_spec(&spec().with_subnet("10.0.0.0/24")).unwrap_err().is_unsupported());
        assert!(of_spec(&spec().with_subnet("10.0.0.0/33")).unwrap_err().is_invalid_input());
        assert!(of_spec(&spec().internal()).unwrap_err().is_unsupported());
    }
}
