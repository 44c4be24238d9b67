//! What is done on a facility for a `compute` or `service` resource: an instance that runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use substrate_core::config::Section;
use substrate_core::mark;
use substrate_core::{
    Error, Feature, Instance, InstanceConfig, InstanceName, InstanceState, NetworkConfig, Operation,
    ResourceLimits, Result, StopMode, Substrate,
};

use super::site::{Found, Site};

/// Keys of the properties that are the engine's and no part of an instance's configuration.
const OWN_KEYS: [&str; 3] = ["running", "health_check", "resource"];

pub(super) async fn read(site: &Site<'_>) -> Result<Option<Found>> {
    // A list says for many at once what is not there; of what is, it may say less than a look does.
    if let Some(lists) = site.lists()
        && !lists.instances().await?.contains_key(site.name)
    {
        return Ok(None);
    }
    look(site).await
}

async fn look(site: &Site<'_>) -> Result<Option<Found>> {
    match site.substrate()?.get_instance(&name_of(site)?).await {
        Ok(instance) => Ok(Some(found(site, &instance))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn create(site: &Site<'_>, properties: &Value) -> Result<Found> {
    let (substrate, name) = (site.substrate()?, name_of(site)?);
    let config = config(site, properties)?;
    match (substrate.create_instance(&config).await, &config.image) {
        (Ok(_), _) => {}
        // It may only be that the image is not at hand.
        (Err(error), Some(image)) if error.is_not_found() && site.can(Operation::EnsureImage) => {
            // Of the two errors the first one says more: the image may not be what was missing.
            if substrate.ensure_image(image).await.is_err() {
                return Err(error);
            }
            substrate.create_instance(&config).await?;
        }
        (Err(error), _) => return Err(error),
    }
    if is_to_run(properties) {
        substrate.start_instance(&name).await?;
    }
    Ok(found(site, &*substrate.get_instance(&name).await?))
}

pub(super) async fn update(site: &Site<'_>, properties: &Value) -> Result<Found> {
    let (substrate, name) = (site.substrate()?, name_of(site)?);
    let config = config(site, properties)?;
    let mut instance = substrate.get_instance(&name).await?;
    // A stop that an interrupted run has begun comes to its end first: nothing can be changed in its middle.
    if instance.state == InstanceState::Stopping {
        stop(substrate, &name, stop_mode(site)).await?;
        instance = substrate.get_instance(&name).await?;
    }
    if !covers(&instance.limits, &config.limits) {
        // Where limits hold from the next start on, the instance is started anew; also one that fails to run, or has
        // only been told to.
        if instance.state != InstanceState::Stopped && !site.has(Feature::LiveLimits) {
            stop(substrate, &name, stop_mode(site)).await?;
            instance = substrate.get_instance(&name).await?;
        }
        substrate.set_resource_limits(&name, &config.limits).await?;
    }
    update_networks(site, &instance, &config.networks).await?;
    match (is_to_run(properties), instance.state) {
        (true, InstanceState::Paused) => substrate.resume_instance(&name).await?,
        // Also one that shows as running: a start that an interrupted run has begun may not have come to its end.
        (true, _) => substrate.start_instance(&name).await?,
        (false, _) => stop(substrate, &name, stop_mode(site)).await?,
    }
    Ok(found(site, &*substrate.get_instance(&name).await?))
}

pub(super) async fn delete(site: &Site<'_>) -> Result<()> {
    let (substrate, name) = (site.substrate()?, name_of(site)?);
    match stop(substrate, &name, stop_mode(site)).await {
        Err(error) if error.is_not_found() => return Ok(()),
        // It goes in any case; stopping it first was a courtesy.
        _ => {}
    }
    match substrate.delete_instance(&name, true).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

async fn stop(substrate: &dyn Substrate, name: &InstanceName, mode: StopMode) -> Result<()> {
    substrate.stop_instance(name, mode).await
}

fn stop_mode(site: &Site<'_>) -> StopMode {
    if site.has(Feature::GracefulStop) { site.stop } else { StopMode::Force }
}

/// Attaches what is asked for and missing, and detaches what was asked for once and is not any more. Networks that
/// nobody asked for (a technology's default one, one that somebody else attached) are left alone.
async fn update_networks(site: &Site<'_>, instance: &Instance, wanted: &[NetworkConfig]) -> Result<()> {
    let (substrate, name) = (site.substrate()?, name_of(site)?);
    let wanted_names: BTreeSet<&str> = wanted.iter().map(|network| network.network_name.as_str()).collect();
    for network in &instance.networks {
        let attached = network.network_name.as_str();
        if !wanted_names.contains(attached) && was_asked_for(site, attached) {
            substrate.detach_network(&name, &network.network_name).await?;
        }
    }
    for network in wanted {
        let is_attached = instance.networks.iter().any(|one| one.network_name == network.network_name);
        if !is_attached {
            substrate.attach_network(&name, network).await?;
        }
    }
    Ok(())
}

fn was_asked_for(site: &Site<'_>, network: &str) -> bool {
    let Some(recorded) = site.recorded else { return false };
    let Some(crate::plan::Property::Value(Value::Array(networks))) = recorded.canonical.get("networks")
    else {
        return false;
    };
    networks
        .iter()
        .filter_map(|one| one.get("network_name")?.as_str())
        .any(|name| site.name_of(name) == network)
}

fn is_to_run(properties: &Value) -> bool {
    properties.get("running").and_then(Value::as_bool).unwrap_or(true)
}

/// Whether every limit that is asked for is set.
fn covers(set: &ResourceLimits, wanted: &ResourceLimits) -> bool {
    let same = |set: Option<f64>, wanted: Option<f64>| {
        wanted.is_none_or(|wanted| set.is_some_and(|set| (set - wanted).abs() < 1e-6))
    };
    same(set.cpu_cores, wanted.cpu_cores)
        && same(set.network_mbps, wanted.network_mbps)
        && wanted.memory_mb.is_none_or(|memory| set.memory_mb == Some(memory))
        && wanted.disk_gb.is_none_or(|disk| set.disk_gb == Some(disk))
}

fn name_of(site: &Site<'_>) -> Result<InstanceName> {
    site.name.parse()
}

/// The configuration that the properties describe, with names as the facility has them and with the marks.
fn config(site: &Site<'_>, properties: &Value) -> Result<InstanceConfig> {
    let mut fields: Map<String, Value> = properties.as_object().cloned().unwrap_or_default();
    OWN_KEYS.iter().for_each(|key| drop(fields.remove(*key)));
    fields.insert("name".to_owned(), site.name.into());
    let mut config: InstanceConfig = configured(site, Value::Object(fields))?;
    for network in &mut config.networks {
        network.network_name = site.name_of(network.network_name.as_str()).parse()?;
    }
    for mount in &mut config.volumes {
        if let substrate_core::VolumeSource::Volume(volume) = &mut mount.source {
            *volume = site.name_of(volume.as_str()).parse()?;
        }
    }
    if site.has(Feature::Labels) {
        config.labels.extend(site.marks.clone());
    }
    Ok(config)
}

/// Reads a configuration as documents are read: an output that is a number may stand where a text is asked for.
pub(super) fn configured<T: serde::de::DeserializeOwned>(site: &Site<'_>, fields: Value) -> Result<T> {
    Section::from_value(fields)
        .parse()
        .map_err(|error| Error::invalid_input(format!("`{}` cannot be made so: {error}", site.id)))
}

fn found(site: &Site<'_>, instance: &Instance) -> Found {
    let mut limits = Map::new();
    let mut limit =
        |key: &str, value: Option<Value>| limits.extend(value.map(|value| (key.to_owned(), value)));
    limit("cpu_cores", instance.limits.cpu_cores.map(Value::from));
    limit("memory_mb", instance.limits.memory_mb.map(Value::from));
    limit("disk_gb", instance.limits.disk_gb.map(Value::from));
    limit("network_mbps", instance.limits.network_mbps.map(Value::from));
    let has_labels = site.has(Feature::Labels);
    // Each creation has a key of its own; that one differs is no drift.
    let labels: BTreeMap<&str, &str> = instance.labels.iter().filter(|(key, _)| *key != mark::KEY).collect();
    // One by one and not as a list: that somebody attached another network is none of our business.
    let attached: Map<String, Value> =
        instance.networks.iter().map(|one| (one.network_name.to_string(), true.into())).collect();
    let mut found = Found::new(json!({
        "running": instance.state == InstanceState::Running,
        "image": instance.image,
        "limits": limits,
        "labels": labels,
        "attached": attached,
    }));
    found.identity = Some(instance.id.clone());
    found.labels = has_labels.then(|| instance.labels.clone());
    found.complete_below = vec!["attached".to_owned()];
    found.complete_below.extend(has_labels.then(|| "labels".to_owned()));
    let networks: Map<String, Value> = instance
        .networks
        .iter()
        .map(|one| {
            (one.network_name.to_string(), json!({ "address": one.ip_address, "mac": one.mac_address }))
        })
        .collect();
    found.outputs = BTreeMap::from([
        ("id".to_owned(), json!(instance.id)),
        ("name".to_owned(), json!(instance.name)),
        ("networks".to_owned(), Value::Object(networks)),
    ]);
    if let Some(address) = instance.addresses.first() {
        found.outputs.insert("address".to_owned(), json!(address));
        found.outputs.insert("addresses".to_owned(), json!(instance.addresses));
    }
    found
}
