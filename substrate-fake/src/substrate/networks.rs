//! Networks, and instances on them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use substrate_core::{
    Capabilities, Error, EventKind, Feature, InstanceName, Network, NetworkConfig, NetworkName, NetworkSpec,
    Result,
};

use crate::change::Change;
use crate::error::taken;
use crate::options::{self, NoOptions};
use crate::random::digest;
use crate::record::Attachment;
use crate::state::{DEFAULT_NETWORK, NetworkRecord, State};
use crate::subnet::Subnet;

const DRIVERS: [&str; 3] = ["bridge", "overlay", "vlan"];

pub(super) fn create(
    change: &mut Change<'_>,
    capabilities: &Capabilities,
    spec: &NetworkSpec,
) -> Result<Network> {
    if !spec.labels.is_empty() {
        capabilities.require(Feature::ResourceLabels)?;
    }
    options::parse::<NoOptions>(&spec.options)?;
    let driver = spec.driver.as_deref().unwrap_or("bridge");
    if !DRIVERS.contains(&driver) {
        let known = DRIVERS.join(", ");
        return Err(Error::invalid_input(format!("driver: there is no `{driver}`; known: {known}")));
    }
    let wanted: Option<Subnet> = spec.subnet.as_deref().map(str::parse).transpose()?;
    if let (Some(gateway), Some(subnet)) = (spec.gateway, wanted)
        && !subnet.is_host(gateway)
    {
        return Err(Error::invalid_input(format!("gateway: {gateway} is no address in {subnet}")));
    }
    if spec.gateway.is_some() && wanted.is_none() {
        return Err(Error::invalid_input("gateway: it needs a subnet to lie in"));
    }
    if change.state.networks.contains_key(&spec.name) {
        return Err(taken("a network", &spec.name));
    }
    let subnet = match wanted {
        Some(subnet) => match overlapping(change.state, subnet) {
            Some(other) => {
                return Err(Error::conflict(format!(
                    "subnet: {subnet} overlaps {} of network `{}`",
                    other.subnet, other.network.name
                )));
            }
            None => subnet,
        },
        None => free_subnet(change.state)?,
    };
    let id = change.state.random.id();
    let mut network = Network::new(id, spec.name.clone(), driver);
    network.subnets = vec![subnet.to_string()];
    network.gateway = Some(spec.gateway.unwrap_or_else(|| subnet.address(1)));
    network.internal = spec.internal;
    network.labels.clone_from(&spec.labels);
    let record = NetworkRecord { network: network.clone(), subnet, taken: BTreeMap::new(), next_offset: 1 };
    change.state.networks.insert(spec.name.clone(), record);
    change.happened_to(EventKind::NetworkCreated, spec.name.as_str());
    Ok(network)
}

fn overlapping(state: &State, subnet: Subnet) -> Option<&NetworkRecord> {
    state.networks.values().find(|record| record.subnet.overlaps(subnet))
}

/// The next free one of a range that nobody's test chooses by accident.
fn free_subnet(state: &State) -> Result<Subnet> {
    let candidates = (65..=127_u8).flat_map(|second| (0..=u8::MAX).map(move |third| [100, second, third, 0]));
    candidates
        .map(|base| Subnet::v4(base.into(), 24))
        .find(|subnet| overlapping(state, *subnet).is_none())
        .ok_or_else(|| Error::exhausted("no subnet is left; name one"))
}

pub(super) fn delete(change: &mut Change<'_>, network: &NetworkName) -> Result<()> {
    let name = change.state.network_name(network)?;
    if name == DEFAULT_NETWORK {
        return Err(Error::conflict("the default network cannot be deleted"));
    }
    let record = change.state.network(&name)?;
    if !record.taken.is_empty() {
        let users: Vec<&str> = record.taken.values().map(InstanceName::as_str).take(5).collect();
        return Err(Error::conflict(format!("instances are attached to it: {}", users.join(", ")))
            .with_hint("detach them first"));
    }
    change.state.networks.remove(&name);
    change.happened_to(EventKind::NetworkDeleted, name.as_str());
    Ok(())
}

// ---- places -------------------------------------------------------------------------------------------

/// # Errors
/// `InvalidInput` for an address or a gateway that does not lie in the network.
pub(super) fn check_place(network: &NetworkRecord, place: &NetworkConfig) -> Result<()> {
    let name = &network.network.name;
    for (field, address) in [("ip_address", place.ip_address), ("gateway", place.gateway)] {
        if let Some(address) = address.filter(|address| !network.subnet.is_host(*address)) {
            return Err(Error::invalid_input(format!(
                "{field}: {address} is no address in {} of network `{name}`",
                network.subnet
            )));
        }
    }
    Ok(())
}

impl NetworkRecord {
    fn is_taken(&self, address: IpAddr) -> bool {
        self.taken.contains_key(&address) || self.network.gateway == Some(address)
    }

    /// # Errors
    /// `Conflict` when the address that was asked for is taken; `Exhausted` when none is left.
    fn pick(&mut self, wanted: Option<IpAddr>) -> Result<IpAddr> {
        if let Some(address) = wanted {
            if self.is_taken(address) {
                let name = &self.network.name;
                return Err(Error::conflict(format!("ip_address: {address} in network `{name}` is taken")));
            }
            return Ok(address);
        }
        let last = self.subnet.last_host();
        // Each step looks at another address, so this many find a free one if there is one.
        let steps = last.min(self.taken.len() as u64 + 2);
        for _ in 0..steps {
            let address = self.subnet.address(self.next_offset);
            self.next_offset = if self.next_offset >= last { 1 } else { self.next_offset + 1 };
            if !self.is_taken(address) {
                return Ok(address);
            }
        }
        Err(Error::exhausted(format!("no address is left in network `{}`", self.network.name)))
    }

    fn attachment(&mut self, owner: &InstanceName, place: &NetworkConfig) -> Result<Attachment> {
        let address = self.pick(place.ip_address)?;
        self.taken.insert(address, owner.clone());
        let [.., third, second, first] = digest(&format!("{} {owner}", self.network.id)).to_be_bytes();
        let [.., fifth, fourth] = digest(owner.as_str()).to_be_bytes();
        Ok(Attachment {
            network_name: self.network.name.clone(),
            address,
            fixed: place.ip_address.is_some(),
            mac_address: format!("02:{first:02x}:{second:02x}:{third:02x}:{fourth:02x}:{fifth:02x}"),
            gateway: place.gateway,
            dns_servers: place.dns_servers.clone(),
        })
    }
}

/// Takes a place in each network, in the default one when none is named; in none of them when one fails.
pub(super) fn reserve(
    state: &mut State,
    owner: &InstanceName,
    places: &[NetworkConfig],
) -> Result<Vec<Attachment>> {
    let default = NetworkName::new(DEFAULT_NETWORK).map(NetworkConfig::new)?;
    let places = if places.is_empty() { std::slice::from_ref(&default) } else { places };
    let mut attachments: Vec<Attachment> = Vec::with_capacity(places.len());
    for place in places {
        let attached = state
            .network_name(&place.network_name)
            .and_then(|name| state.network_mut(&name)?.attachment(owner, place));
        match attached {
            Ok(attachment) => attachments.push(attachment),
            Err(error) => {
                for attachment in attachments {
                    state.network_mut(&attachment.network_name)?.taken.remove(&attachment.address);
                }
                return Err(error);
            }
        }
    }
    Ok(attachments)
}

pub(super) fn attach(
    change: &mut Change<'_>,
    capabilities: &Capabilities,
    name: &InstanceName,
    place: &NetworkConfig,
) -> Result<()> {
    if place.ip_address.is_some() {
        capabilities.require(Feature::FixedAddress)?;
    }
    let record = change.state.instance(name)?;
    let owner = record.config.name.clone();
    let network = change.state.network_name(&place.network_name)?;
    check_place(change.state.network(&network)?, place)?;
    if let Some(present) = record.attachments.iter().find(|attachment| attachment.network_name == network) {
        return match place.ip_address {
            Some(address) if address != present.address => Err(Error::conflict(format!(
                "ip_address: it is attached to `{network}` with {} already",
                present.address
            ))
            .with_hint("detach it first")),
            _ => Ok(()),
        };
    }
    let attachment = change.state.network_mut(&network)?.attachment(&owner, place)?;
    change.state.instance_mut(&owner)?.attachments.push(attachment);
    change.happened(EventKind::NetworkAttached, &owner, Some(network.to_string()));
    Ok(())
}

pub(super) fn detach(change: &mut Change<'_>, name: &InstanceName, network: &NetworkName) -> Result<()> {
    let record = change.state.instance(name)?;
    let owner = record.config.name.clone();
    let network = change.state.network_name(network)?;
    let Some(position) = record.attachments.iter().position(|attachment| attachment.network_name == network)
    else {
        return Ok(());
    };
    let attachment = change.state.instance_mut(&owner)?.attachments.remove(position);
    change.state.network_mut(&network)?.taken.remove(&attachment.address);
    change.happened(EventKind::NetworkDetached, &owner, Some(network.to_string()));
    Ok(())
}
