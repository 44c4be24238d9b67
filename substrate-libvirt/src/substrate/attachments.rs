//! Putting machines on networks and taking them off, whether they run or not.

use std::time::Duration;

use substrate_core::provider::Wait;
use substrate_core::{Error, Feature, InstanceName, NetworkConfig, NetworkName, Operation, Result};
use tokio::time::Instant;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::sys;

use super::LibvirtSubstrate;
use super::create::random_mac;
use super::lookup::{is_active, live_facts, state_of, whole_facts};
use super::networks;
use crate::convert::domain::{Domain as Facts, Interface};
use crate::error::Attempt;

/// A guest lets go of a device when it gets to it, or never: a request that it has not heard is forgotten.
const DETACH_LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked again. The hypervisor refuses a second request within a second.
const ASK_AGAIN: Duration = Duration::from_secs(2);

fn on(facts: &Facts, network: &str) -> Vec<Interface> {
    facts.interfaces().into_iter().filter(|interface| interface.network.as_deref() == Some(network)).collect()
}

/// Defines the machine anew with another set of interfaces on its networks.
fn define(connect: &Connect, facts: &Facts, change: impl FnOnce(&mut Facts)) -> Result<()> {
    let mut changed = facts.clone();
    change(&mut changed);
    changed.note.put(&mut changed.document);
    connect.define_domain_xml(&changed.document.to_xml()).attempt("define the machine's networks").map(drop)
}

fn attach_job(connect: &Connect, domain: &Domain, place: &NetworkConfig) -> Result<()> {
    let (_, network) = networks::find(connect, place.network_name.as_str())?;
    let facts = whole_facts(domain)?;
    if let Some(present) = on(&facts, &network.name).first() {
        let has = facts.fixed_address(&present.mac);
        return match place.ip_address {
            Some(asked) if has != Some(asked) => Err(Error::conflict(match has {
                Some(has) => format!("it is on that network already, with the address {has}"),
                None => "it is on that network already, without a fixed address".to_owned(),
            })),
            _ => Ok(()),
        };
    }
    networks::check_address(&network, place)?;
    // Bounded as the others are.
    let interface = Interface::new(random_mac(), &network.name).with_bandwidth(facts.bandwidth());
    if let Some(address) = place.ip_address {
        networks::reserve(connect, &network.name, &interface.mac, address)?;
    }
    let undo = |error: Error| {
        let _ = networks::release(connect, &network.name, &interface.mac);
        error
    };
    let active = is_active(state_of(domain)?);
    if active {
        domain
            .attach_device_flags(&interface.to_element().to_xml(), sys::VIR_DOMAIN_AFFECT_LIVE)
            .attempt("attach the network to the running machine")
            .map_err(undo)?;
    }
    let defined = define(connect, &facts, |facts| {
        if let Some(devices) = facts.document.find_mut("devices") {
            devices.push(interface.to_element());
        }
        if let Some(address) = place.ip_address {
            facts.note.addresses.insert(interface.mac.clone(), address.to_string());
        }
    });
    defined.map_err(|error| {
        if active {
            let xml = interface.to_element().to_xml();
            let _ = domain.detach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE);
        }
        undo(error)
    })
}

/// Takes the network out of the definition and gives its addresses back. Whether something is left to be taken out
/// of the running machine.
fn detach_job(connect: &Connect, domain: &Domain, network: &str) -> Result<bool> {
    let (_, network) = networks::find(connect, network)?;
    let facts = whole_facts(domain)?;
    let leaving = on(&facts, &network.name);
    if !leaving.is_empty() {
        define(connect, &facts, |facts| {
            if let Some(devices) = facts.document.find_mut("devices") {
                devices.retain(|device| {
                    device.name() != "interface"
                        || device.attribute_at("source", "network") != Some(&network.name)
                });
            }
            for interface in &leaving {
                facts.note.addresses.remove(&interface.mac);
            }
        })?;
        for interface in &leaving {
            networks::release(connect, &network.name, &interface.mac)?;
        }
    }
    if !is_active(state_of(domain)?) {
        return Ok(false);
    }
    Ok(!on(&live_facts(domain)?, &network.name).is_empty())
}

/// Asks the guest to let go of what it still has on a network. True when it has.
fn detach_live(connect: &Connect, domain: &Domain, network: &str, ask: bool) -> Result<bool> {
    let (_, network) = networks::find(connect, network)?;
    if !is_active(state_of(domain)?) {
        return Ok(true);
    }
    let left = on(&live_facts(domain)?, &network.name);
    if ask {
        for interface in &left {
            let xml = interface.to_element().to_xml();
            match domain
                .detach_device_flags(&xml, sys::VIR_DOMAIN_AFFECT_LIVE)
                .attempt("detach the network from the running machine")
            {
                // Asked already, or gone: the next look tells.
                Err(error) if error.is_unavailable() => return Err(error),
                _ => {}
            }
        }
    }
    Ok(left.is_empty())
}

impl LibvirtSubstrate {
    pub(super) async fn attach(&self, name: &InstanceName, place: &NetworkConfig) -> Result<()> {
        self.require(Operation::AttachNetwork)?;
        networks::check_place(place)?;
        if place.ip_address.is_some() {
            self.descriptor.get().capabilities.require(Feature::FixedAddress)?;
        }
        let place = place.clone();
        self.change_one(name, move |connect, domain| attach_job(connect, domain, &place)).await
    }

    pub(super) async fn detach(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        self.require(Operation::DetachNetwork)?;
        let wanted = network.clone();
        let left = self
            .change_one(name, move |connect, domain| detach_job(connect, domain, wanted.as_str()))
            .await?;
        if !left {
            return Ok(());
        }
        let mut wait = Wait::at_most(DETACH_LIMIT);
        let mut asked: Option<Instant> = None;
        loop {
            let ask = asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN);
            if ask {
                asked = Some(Instant::now());
            }
            let wanted = network.clone();
            let gone = self
                .change_one(name, move |connect, domain| detach_live(connect, domain, wanted.as_str(), ask))
                .await?;
            if gone {
                return Ok(());
            }
            if !wait.pause().await {
                return Err(Error::timeout(format!(
                    "the guest did not let go of the network within {DETACH_LIMIT:?}; it is off it from its next start on"
                ))
                .with_hint("is the guest up, and does its kernel know hot-unplugging?"));
            }
        }
    }
}
