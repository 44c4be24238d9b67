//! Networks, and addresses reserved on them.

use std::net::IpAddr;
use std::sync::Arc;

use substrate_core::{Error, Network, NetworkConfig, NetworkName, NetworkSpec, Operation, Result};
use virt::connect::Connect;
use virt::network::Network as NetworkHandle;
use virt::sys;

use super::LibvirtSubstrate;
use super::lookup;
use crate::config::LibvirtConfig;
use crate::convert::network::{self, NetworkFacts, Subnet};
use crate::error::Attempt;
use crate::name;
use crate::options::{LibvirtNetworkOptions, parse};

/// The network that machines are put on that ask for none, where it is there.
const DEFAULT_NETWORK: &str = "default";

pub(super) fn find_maybe(connect: &Connect, name: &str) -> Result<Option<NetworkHandle>> {
    if let Some(network) = connect.lookup_network_by_name(name).attempt_to_find("look for the network")? {
        return Ok(Some(network));
    }
    if !name::is_uuid(name) {
        return Ok(None);
    }
    connect.lookup_network_by_uuid_string(name).attempt_to_find("look for the network")
}

/// A network by its name or UUID, with what it says.
pub(super) fn find(connect: &Connect, name: &str) -> Result<(NetworkHandle, NetworkFacts)> {
    let Some(network) = find_maybe(connect, name)? else {
        return Err(Error::not_found(format!("there is no network called `{}`", name.escape_debug())));
    };
    let facts = facts(&network)?;
    Ok((network, facts))
}

pub(super) fn facts(network: &NetworkHandle) -> Result<NetworkFacts> {
    NetworkFacts::read(&network.xml_desc(0).attempt("describe the network")?)
}

/// Where a machine goes that asks for no network: the one of the settings, or libvirt's own default if it runs.
pub(super) fn default_place(connect: &Connect, settings: &LibvirtConfig) -> Result<Option<NetworkConfig>> {
    let place = |name: &str| Ok(Some(NetworkConfig::new(NetworkName::new(name)?)));
    if let Some(name) = &settings.default_network {
        find(connect, name)?;
        return place(name);
    }
    match find_maybe(connect, DEFAULT_NETWORK)? {
        Some(network) if network.is_active().attempt("look at the default network")? => {
            place(DEFAULT_NETWORK)
        }
        _ => Ok(None),
    }
}

/// Refuses what a network of libvirt decides itself.
pub(super) fn check_place(place: &NetworkConfig) -> Result<()> {
    if place.gateway.is_some() || !place.dns_servers.is_empty() {
        return Err(Error::unsupported(
            "gateway and name servers are the network's own affair: its DHCP server tells them to each machine",
        ));
    }
    Ok(())
}

/// Refuses an address that the network cannot give, or has given.
pub(super) fn check_address(facts: &NetworkFacts, place: &NetworkConfig) -> Result<()> {
    let Some(address) = place.ip_address else { return Ok(()) };
    let wrong = |why: String| Err(Error::invalid_input(why).with_outcome(substrate_core::Outcome::Rejected));
    if !facts.has_dhcp() {
        return wrong(format!(
            "the network `{}` hands out no addresses, so none can be reserved",
            facts.name
        ));
    }
    if !facts.subnets().iter().any(|subnet| subnet.contains(address)) {
        return wrong(format!("{address} is in no subnet of the network `{}`", facts.name));
    }
    if facts.gateway() == Some(address) || facts.holder_of(address).is_some() {
        return Err(Error::conflict(format!("{address} is taken on the network `{}`", facts.name)));
    }
    Ok(())
}

/// What is changed of a network: its definition, and what runs of it.
fn scope(network: &NetworkHandle) -> Result<u32> {
    let mut flags = sys::VIR_NETWORK_UPDATE_AFFECT_CURRENT;
    if network.is_active().attempt("look at the network")? {
        flags |= sys::VIR_NETWORK_UPDATE_AFFECT_LIVE;
    }
    if network.is_persistent().attempt("look at the network")? {
        flags |= sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG;
    }
    Ok(flags)
}

/// Reserves an address for a hardware address.
pub(super) fn reserve(connect: &Connect, network: &str, mac: &str, address: IpAddr) -> Result<()> {
    let (handle, facts) = find(connect, network)?;
    check_address(&facts, &NetworkConfig::new(NetworkName::new(network)?).with_ip_address(address))?;
    let host = network::reservation(mac, address).to_xml();
    handle
        .update(
            sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
            sys::VIR_NETWORK_SECTION_IP_DHCP_HOST,
            -1,
            &host,
            scope(&handle)?,
        )
        .attempt("reserve the address")
        .map_err(|error| {
            if error.message().contains("existing dhcp host entry") {
                return Error::conflict(format!("{address} is taken on the network `{network}`"));
            }
            error
        })
}

/// Gives the address of a hardware address back; none reserved = success, and so is a network that is gone.
pub(super) fn release(connect: &Connect, network: &str, mac: &str) -> Result<()> {
    let Some(handle) = find_maybe(connect, network)? else { return Ok(()) };
    let Some(host) = facts(&handle)?.reservation_of(mac) else { return Ok(()) };
    handle
        .update(
            sys::VIR_NETWORK_UPDATE_COMMAND_DELETE,
            sys::VIR_NETWORK_SECTION_IP_DHCP_HOST,
            -1,
            &host.to_xml(),
            scope(&handle)?,
        )
        .attempt_to_find("give the address back")
        .map(drop)
}

/// Every network, with what it says.
fn all(connect: &Connect) -> Result<Vec<NetworkFacts>> {
    let mut found = Vec::new();
    for network in connect.list_all_networks(0).attempt("list the networks")? {
        match facts(&network) {
            Ok(facts) => found.push(facts),
            // It went in the meantime.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// How many subnets are tried when none was asked for.
const SUBNETS_TRIED: usize = 16;

/// The subnet asked for, or those that no network has, in their order.
fn candidates(asked: Option<Subnet>, taken: &[NetworkFacts]) -> Result<Vec<Subnet>> {
    let holder = |subnet: Subnet| {
        taken.iter().find(|facts| facts.subnets().into_iter().any(|other| other.overlaps(subnet)))
    };
    if let Some(subnet) = asked {
        return match holder(subnet) {
            Some(other) => Err(Error::conflict(format!(
                "the subnet {subnet} overlaps that of the network `{}`",
                other.name
            ))),
            None => Ok(vec![subnet]),
        };
    }
    let free = (0..=u8::MAX).map(Subnet::of_pool).filter(|subnet| holder(*subnet).is_none());
    Ok(free.take(SUBNETS_TRIED).collect())
}

fn make_job(
    connect: &Connect,
    spec: &NetworkSpec,
    asked: Option<Subnet>,
    options: &LibvirtNetworkOptions,
) -> Result<Network> {
    if find_maybe(connect, spec.name.as_str())?.is_some() {
        return Err(Error::already_exists(format!("there is a network called `{}` already", spec.name)));
    }
    let mut result = Err(Error::exhausted("no subnet is free; name one as `subnet`"));
    for subnet in candidates(asked, &all(connect)?)? {
        result = make_in(connect, spec, subnet, options);
        // Another process, or something on the host that is no network of libvirt's, may have it: that shows only
        // when the network starts.
        if !result.as_ref().is_err_and(|error| error.message().contains("in use")) {
            break;
        }
    }
    result
}

fn make_in(
    connect: &Connect,
    spec: &NetworkSpec,
    subnet: Subnet,
    options: &LibvirtNetworkOptions,
) -> Result<Network> {
    let document = network::document(spec, subnet, options)?;
    let made = connect.define_network_xml(&document.to_xml()).attempt("define the network")?;
    let started = made.create().attempt("start the network").and_then(|()| {
        // After a restart of the host it is to be there again, as everything else is.
        match made.set_autostart(true).attempt("let the network start by itself") {
            Err(error) if !error.is_unsupported() => Err(error),
            _ => facts(&made)?.network(),
        }
    });
    started.inspect_err(|_| {
        if made.is_active().unwrap_or(false) {
            let _ = made.destroy();
        }
        let _ = made.undefine();
    })
}

fn drop_job(connect: &Connect, name: &str) -> Result<()> {
    let (network, facts) = find(connect, name)?;
    for domain in connect.list_all_domains(0).attempt("list the machines")? {
        let described =
            lookup::facts(&domain).and_then(|defined| Ok((defined, lookup::live_facts(&domain)?)));
        let (defined, live) = match described {
            Ok(both) => both,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let is_on =
            |interface: &crate::convert::domain::Interface| interface.network.as_deref() == Some(&facts.name);
        if defined.interfaces().iter().chain(&live.interfaces()).any(is_on) {
            return Err(Error::conflict(format!("the machine `{}` is attached to it", defined.name))
                .with_hint("detach or delete the machine first"));
        }
    }
    if network.is_active().attempt("look at the network")? {
        network.destroy().attempt_to_find("stop the network")?;
    }
    if network.is_persistent().unwrap_or(false) {
        network.undefine().attempt_to_find("undefine the network")?;
    }
    Ok(())
}

impl LibvirtSubstrate {
    pub(super) async fn networks(&self) -> Result<Vec<Network>> {
        self.require(Operation::ListNetworks)?;
        self.client
            .look(|connection| {
                let mut networks: Vec<Network> =
                    all(connection)?.iter().map(NetworkFacts::network).collect::<Result<_>>()?;
                networks.sort_by(|left, right| left.name.cmp(&right.name));
                Ok(networks)
            })
            .await
    }

    pub(super) async fn make_network(&self, spec: &NetworkSpec) -> Result<Network> {
        self.require(Operation::CreateNetwork)?;
        if !spec.labels.is_empty() {
            self.descriptor.get().capabilities.require(substrate_core::Feature::ResourceLabels)?;
        }
        name::check_new("network", spec.name.as_str())?;
        let options: LibvirtNetworkOptions = parse("network", &spec.options)?;
        if let Some(driver) = spec.driver.as_deref().filter(|driver| !matches!(*driver, "nat" | "isolated")) {
            return Err(Error::unsupported(format!(
                "`{}` is no kind of network that this provider makes: it makes `nat` and `isolated` ones",
                driver.escape_debug()
            )));
        }
        let asked = spec.subnet.as_deref().map(Subnet::parse).transpose()?;
        let mut spec = spec.clone();
        spec.internal |= spec.driver.as_deref() == Some("isolated");
        // Looking for a free subnet and taking it are one step, at least on this handle.
        let held = self.names.hold("network", "").await;
        let spec = Arc::new(spec);
        self.client
            .change(move |connection| {
                let _held = held;
                make_job(connection, &spec, asked, &options)
            })
            .await
    }

    pub(super) async fn drop_network(&self, network: &NetworkName) -> Result<()> {
        self.require(Operation::DeleteNetwork)?;
        let (wanted, held) = (network.clone(), self.names.hold("network", "").await);
        self.client
            .change(move |connection| {
                let _held = held;
                drop_job(connection, wanted.as_str())
            })
            .await
    }
}
