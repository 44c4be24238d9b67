//! `type: network`: a network, and who is in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use substrate_core::config::{ConfigError, Problem, Section};
use substrate_core::mark;
use substrate_core::{
    Error, Feature, InstanceFilter, Network, NetworkConfig, NetworkName, NetworkSpec, Operation, Result,
};

use super::instance::configured;
use super::interpretation::{ChangeEffect, Interpretation, Mention, Need, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};
use crate::model::Name;

/// Types that say what the network carries, not what it is made of. No technology has a driver of such a name.
const TRAFFIC_TYPES: [&str; 4] = ["http", "https", "tcp", "udp"];

/// A network.
#[derive(Debug, Clone, Copy)]
pub struct NetworkHandler;

/// The specs of a `network` resource.
///
/// | key | |
/// |---|---|
/// | `type`, or `driver` | the technology's word (`bridge`, `overlay`), or what it carries: `http`, `https`, `tcp`, `udp` |
/// | `subnet`, `gateway` | addresses, in CIDR form and plain |
/// | `internal` | without a way out |
/// | `backends` | instances of the blueprint that are attached to it |
/// | `algorithm` | how a balancer in front of it shall choose; only with a type of traffic |
/// | `labels`, `options` | maps |
///
/// What a network carries and the `algorithm` are no business of a substrate's network. They are written into its
/// labels (`network.type`, `network.algorithm`), where a balancer finds them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpecs {
    #[serde(default, rename = "type", alias = "driver")]
    network_type: Option<String>,
    #[serde(default)]
    subnet: Option<String>,
    #[serde(default)]
    gateway: Option<IpAddr>,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    backends: Vec<String>,
    #[serde(default)]
    algorithm: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    options: Map<String, Value>,
}

impl NetworkSpecs {
    fn carries(&self) -> Option<&str> {
        self.network_type.as_deref().filter(|kind| TRAFFIC_TYPES.contains(kind))
    }

    /// The network that these specs describe. Ownership marks are not in it: the deployment adds them.
    #[must_use]
    pub fn network_spec(&self, name: NetworkName) -> NetworkSpec {
        let mut network = NetworkSpec::new(name);
        match self.carries() {
            Some(traffic) => {
                network.labels.insert("network.type", traffic);
            }
            None => network.driver.clone_from(&self.network_type),
        }
        if let Some(algorithm) = &self.algorithm {
            network.labels.insert("network.algorithm", algorithm);
        }
        network.subnet.clone_from(&self.subnet);
        network.gateway = self.gateway;
        network.internal = self.internal;
        network.labels.extend(self.labels.clone());
        network.options.clone_from(&self.options);
        network
    }

    /// The instances that are attached to it.
    #[must_use]
    pub fn backends(&self) -> &[String] {
        &self.backends
    }

    fn check(&self, specs: &Section) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &str, message: &str| {
            let place = specs.location_of(path).or(specs.location()).cloned();
            problems.push(Problem::new(format!("{}.{path}", specs.name()), message).at(place));
        };
        match self.subnet.as_deref().map(parse_subnet) {
            Some(None) => wrong("subnet", "`subnet` must be in CIDR form, such as `10.1.0.0/24`"),
            Some(Some((network, _)))
                if self.gateway.is_some_and(|gateway| gateway.is_ipv4() != network.is_ipv4()) =>
            {
                wrong("gateway", "`gateway` must be of the same family as `subnet`");
            }
            _ => {}
        }
        if self.algorithm.is_some() && self.carries().is_none() {
            wrong("algorithm", "`algorithm` needs a `type` of traffic: `http`, `https`, `tcp` or `udp`");
        }
        problems
    }
}

fn parse_subnet(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= longest).then_some((address, prefix))
}

#[async_trait]
impl ResourceHandler for NetworkHandler {
    fn kind(&self) -> &str {
        "network"
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        let specs = subject.specs;
        let typed: NetworkSpecs = specs.parse()?;
        let mut problems = typed.check(specs);
        let name = subject.name.parse::<NetworkName>();
        problems.extend(name.as_ref().err().map(|error| specs.problem(error.message().to_owned())));
        let Ok(name) = name else { return Err(problems.into_iter().collect()) };
        if !problems.is_empty() {
            return Err(problems.into_iter().collect());
        }
        let mut needs = vec![
            Need::at(specs, "", Operation::CreateNetwork),
            Need::at(specs, "", Operation::DeleteNetwork),
        ];
        let labelled = [
            ("labels", !typed.labels.is_empty()),
            ("type", typed.carries().is_some()),
            ("algorithm", typed.algorithm.is_some()),
        ];
        if let Some((path, _)) = labelled.into_iter().find(|(_, asked)| *asked) {
            needs.push(Need::at(specs, path, Feature::ResourceLabels));
        }
        if !typed.backends.is_empty() {
            needs.push(Need::at(specs, "backends", Operation::AttachNetwork));
        }
        let mentions = typed.backends.iter().enumerate().map(|(index, name)| Mention {
            name: name.clone(),
            location: specs.location_of(&format!("backends.{index}")).cloned(),
            must_exist: true,
        });
        let mut properties = serde_json::to_value(typed.network_spec(name)).unwrap_or_default();
        if let Value::Object(fields) = &mut properties {
            fields.remove("name");
            fields.insert("backends".to_owned(), typed.backends.clone().into());
        }
        let backends = typed.backends.iter().filter_map(|name| Name::new(name).ok());
        let interpretation =
            Interpretation { mentions: mentions.collect(), needs, ..Interpretation::new(properties) };
        Ok(interpretation.using("backends", backends))
    }

    fn effect_of(&self, property: &str) -> ChangeEffect {
        // Another one of its name beside it can be removed without harm to it.
        if matches!(property, "backends" | "only") { ChangeEffect::Update } else { ChangeEffect::Replace }
    }

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        if let Some(lists) = site.lists() {
            let of_name = lists.networks().await?.get(site.name).map(Vec::as_slice).unwrap_or_default();
            return Ok(found(site, &of_name.iter().collect::<Vec<_>>()));
        }
        let networks = site.substrate()?.list_networks().await?;
        Ok(found(site, &of_name(site, &networks)))
    }

    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        site.substrate()?.create_network(&network_spec(site, properties)?).await?;
        self.update(site, properties).await
    }

    async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        remove_twins(site).await?;
        match attach_backends(site, properties).await {
            // A creation of a run that was killed may come true this late.
            Err(error) if error.is_conflict() => {
                remove_twins(site).await?;
                attach_backends(site, properties).await?;
            }
            other => other?,
        }
        self.read(site).await?.ok_or_else(|| Error::not_found(format!("the network `{}` is gone", site.name)))
    }

    async fn delete(&self, site: &Site<'_>) -> Result<()> {
        let networks = site.substrate()?.list_networks().await?;
        let of_name = of_name(site, &networks);
        for network in &of_name {
            // Without marks the name itself says that it is ours.
            if is_ours(site, network) || !site.has(Feature::ResourceLabels) {
                remove(site, network, of_name.len()).await?;
            }
        }
        Ok(())
    }
}

fn of_name<'n>(site: &Site<'_>, networks: &'n [Network]) -> Vec<&'n Network> {
    networks.iter().filter(|one| one.name.as_str() == site.name).collect()
}

fn is_ours(site: &Site<'_>, network: &Network) -> bool {
    let carries_our_marks = [mark::DEPLOYMENT, mark::RESOURCE]
        .iter()
        .all(|key| network.labels.get(key).is_some() && network.labels.get(key) == site.marks.get(key));
    // Somebody may have taken the marks off; which one it is, they cannot change.
    carries_our_marks || is_recorded(site, network)
}

fn is_recorded(site: &Site<'_>, network: &Network) -> bool {
    site.recorded.is_some_and(|recorded| recorded.identity.as_deref() == Some(network.id.as_str()))
}

/// The one that counts of several of a name: the one that was recorded, then one that this creation made, then any of
/// ours.
fn chosen<'n>(site: &Site<'_>, networks: &[&'n Network]) -> Option<&'n Network> {
    let rank = |network: &&&Network| {
        let is_of_this_creation = network.labels.get(mark::KEY).is_some()
            && network.labels.get(mark::KEY) == site.marks.get(mark::KEY);
        (is_of_this_creation, is_recorded(site, network), is_ours(site, network))
    };
    networks.iter().max_by_key(rank).copied()
}

/// Removes what has the name and the marks too. A technology that lets several networks have one name makes another one
/// when a creation of a run that was killed comes true after the next run has looked.
async fn remove_twins(site: &Site<'_>) -> Result<()> {
    let networks = site.substrate()?.list_networks().await?;
    let of_name = of_name(site, &networks);
    let Some(chosen) = chosen(site, &of_name) else { return Ok(()) };
    for twin in of_name.iter().filter(|one| one.id != chosen.id && is_ours(site, one)) {
        remove(site, twin, of_name.len()).await?;
    }
    Ok(())
}

/// Removes one network, by its id where several have its name.
async fn remove(site: &Site<'_>, network: &Network, of_this_name: usize) -> Result<()> {
    let substrate = site.substrate()?;
    let name: NetworkName = if of_this_name > 1 { network.id.parse()? } else { network.name.clone() };
    let refused = match substrate.delete_network(&name).await {
        Ok(()) => return Ok(()),
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) if error.is_conflict() || error.is_busy() => error,
        Err(error) => return Err(error),
    };
    // Somebody is in it. Instances of this deployment let go of it; those of others are none of our business.
    let Some(deployment) = site.marks.get(mark::DEPLOYMENT) else { return Err(refused) };
    let ours = InstanceFilter::all().with_label(mark::DEPLOYMENT, deployment);
    for instance in substrate.list_instances(&ours).await? {
        let instance = match substrate.get_instance(&instance.name).await {
            Ok(instance) => instance,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        if instance.networks.iter().any(|one| one.network_name == network.name) {
            substrate.detach_network(&instance.name, &name).await?;
        }
    }
    match substrate.delete_network(&name).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// The network that the properties describe, with the marks.
fn network_spec(site: &Site<'_>, properties: &Value) -> Result<NetworkSpec> {
    let mut fields: Map<String, Value> = properties.as_object().cloned().unwrap_or_default();
    fields.remove("backends");
    fields.remove("resource");
    fields.insert("name".to_owned(), site.name.into());
    let mut network: NetworkSpec = configured(site, Value::Object(fields))?;
    if site.has(Feature::ResourceLabels) {
        network.labels.extend(site.marks.clone());
    }
    Ok(network)
}

async fn attach_backends(site: &Site<'_>, properties: &Value) -> Result<()> {
    let (substrate, network) = (site.substrate()?, NetworkConfig::new(site.name.parse()?));
    let backends =
        properties.get("backends").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for backend in backends.iter().filter_map(Value::as_str) {
        for name in site.names_of(backend) {
            let instance = substrate.get_instance(&name.parse()?).await?;
            if !instance.networks.iter().any(|one| one.network_name == network.network_name) {
                substrate.attach_network(&instance.name, &network).await?;
            }
        }
    }
    Ok(())
}

fn found(site: &Site<'_>, of_name: &[&Network]) -> Option<Found> {
    let network = chosen(site, of_name)?;
    let is_only = !of_name.iter().any(|one| one.id != network.id && is_ours(site, one));
    let has_labels = site.has(Feature::ResourceLabels);
    let labels: BTreeMap<&str, &str> = network.labels.iter().filter(|(key, _)| *key != mark::KEY).collect();
    let mut found = Found::new(json!({
        "driver": network.driver,
        "subnet": network.subnets.first(),
        "gateway": network.gateway,
        "internal": network.internal,
        "labels": labels,
        "only": is_only,
    }));
    found.identity = Some(network.id.clone());
    found.labels = has_labels.then(|| network.labels.clone());
    found.complete_below = if has_labels { vec!["labels".to_owned()] } else { Vec::new() };
    let outputs = [
        ("id", json!(network.id)),
        ("name", json!(network.name)),
        ("subnet", json!(network.subnets.first())),
        ("gateway", json!(network.gateway)),
    ];
    let known = outputs.into_iter().filter(|(_, value)| !value.is_null());
    found.outputs = known.map(|(name, value)| (name.to_owned(), value)).collect();
    Some(found)
}
