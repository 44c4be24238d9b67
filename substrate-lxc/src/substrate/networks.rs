//! Networks, and instances in them.

use std::net::IpAddr;

use reqwest::Method;
use serde_json::json;
use substrate_core::{
    Error, InstanceName, Network, NetworkConfig, NetworkName, NetworkSpec, Outcome, Result,
};

use super::LxcSubstrate;
use super::resources::field;
use crate::client::Target;
use crate::convert::create::nic;
use crate::convert::instance::Document;
use crate::convert::limits;
use crate::convert::network::{NetworkDocument, body};
use crate::name::{bridge_of, check_new, device_of, is_network_name};
use crate::options::{LxcNetworkOptions, parse};

fn missing(name: &str) -> Error {
    Error::not_found(format!("there is no network called `{}`", name.escape_debug()))
}

fn target(bridge: &str) -> Target {
    Target::new("/1.0/networks").segment(bridge)
}

impl LxcSubstrate {
    async fn all_networks(&self) -> Result<Vec<NetworkDocument>> {
        let target = Target::new("/1.0/networks").with("recursion", "1");
        let mut all: Vec<NetworkDocument> = self.client.get("list the networks", &target).await?;
        // The host's own interfaces are in the list too.
        all.retain(|network| network.managed);
        Ok(all)
    }

    pub(super) async fn networks(&self) -> Result<Vec<Network>> {
        let all = self.all_networks().await?;
        let mut networks: Vec<Network> =
            all.into_iter().map(NetworkDocument::into_network).collect::<Result<_>>()?;
        networks.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(networks)
    }

    /// A network by its name, or by the bridge that it is.
    pub(super) async fn find_network(&self, name: &str) -> Result<NetworkDocument> {
        if !is_network_name(name) {
            return Err(missing(name));
        }
        let bridge = bridge_of(name);
        if let Some(found) = self.look_at_network(&bridge).await?
            && (found.given_name() == name || bridge == name)
        {
            return Ok(found);
        }
        if bridge != name
            && name.len() <= 15
            && let Some(found) = self.look_at_network(name).await?
        {
            return Ok(found);
        }
        Err(missing(name))
    }

    async fn look_at_network(&self, bridge: &str) -> Result<Option<NetworkDocument>> {
        match self.client.get::<NetworkDocument>("look at the network", &target(bridge)).await {
            Ok(network) if network.managed => Ok(Some(network)),
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn make_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let name = spec.name.as_str();
        check_new("network", name, is_network_name(name))?;
        let options: LxcNetworkOptions = parse("network", &spec.options)?;
        let (body, subnet) = body(spec, &options)?;
        // One at a time: what overlaps is found by looking at all the others first.
        let _held = self.names.hold("networks", "").await;
        for other in self.all_networks().await? {
            if other.given_name() == name || other.name == bridge_of(name) {
                return Err(Error::already_exists(format!("there is a network called `{name}` already")));
            }
            if let (Some(wanted), Some(taken)) = (subnet, other.subnet())
                && wanted.overlaps(taken)
            {
                return Err(Error::conflict(format!(
                    "the subnet {} overlaps with {} of the network `{}`",
                    wanted.cidr(),
                    taken.cidr(),
                    other.given_name()
                ))
                .with_outcome(Outcome::Rejected));
            }
        }
        let attempt = "create the network";
        let (target, body) = (&Target::new("/1.0/networks"), &body);
        self.when_free(|| self.client.send(attempt, Method::POST, target, Some(body), None)).await?;
        let made = self.look_at_network(&bridge_of(name)).await;
        match made.map_err(|error| error.with_outcome(Outcome::Unknown))? {
            Some(network) => network.into_network(),
            None => {
                Err(Error::conflict("it was deleted right after it was made").with_outcome(Outcome::Unknown))
            }
        }
    }

    pub(super) async fn drop_network(&self, name: &NetworkName) -> Result<()> {
        let network = self.find_network(name.as_str()).await?;
        if let Some(users) = network.used_by.as_ref().filter(|users| !users.is_empty()) {
            let users: Vec<&str> = users.iter().filter_map(|user| user.rsplit('/').next()).collect();
            return Err(Error::conflict(format!("it is in use by {}", users.join(", ")))
                .with_hint("detach or delete them first"));
        }
        let attempt = "delete the network";
        let target = &target(&network.name);
        let result = self.when_free(|| self.client.send(attempt, Method::DELETE, target, None, None)).await;
        match result {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Err(missing(name.as_str())),
            Err(error) => Err(error),
        }
    }

    // ---- instances in them ------------------------------------------------------------------------

    /// Whether a network can give an address, and nobody else has it. The servers let an address be given twice.
    pub(super) async fn check_address(
        &self,
        network: &NetworkDocument,
        address: IpAddr,
        instance: &str,
    ) -> Result<()> {
        let IpAddr::V4(four) = address else { return Ok(()) };
        let Some(subnet) = network.subnet() else {
            return Err(Error::invalid_input(format!(
                "the network `{}` has no subnet, so it gives no fixed address",
                network.given_name()
            )));
        };
        if !subnet.contains(four) {
            return Err(Error::invalid_input(format!(
                "{four} is no address of the network `{}`, whose subnet is {}",
                network.given_name(),
                subnet.cidr()
            )));
        }
        let taken = |by: &str| {
            Error::conflict(format!("the address {four} is taken by {by}")).with_outcome(Outcome::Rejected)
        };
        if subnet.address == four {
            return Err(taken("the network's gateway"));
        }
        let target = Target::new("/1.0/instances").with("recursion", "1");
        let all: Vec<Document> = self.client.get("look for the address", &target).await?;
        let written = four.to_string();
        let holder = all.iter().filter(|other| other.name != instance).find(|other| {
            other
                .nics()
                .any(|(_, nic, bridge)| bridge == network.name && nic.get("ipv4.address") == Some(&written))
        });
        match holder {
            Some(holder) => Err(taken(&format!("the instance `{}`", holder.name))),
            None => Ok(()),
        }
    }

    pub(super) async fn attach(&self, name: &InstanceName, place: &NetworkConfig) -> Result<()> {
        let mut device = nic(place)?;
        self.require_address(place)?;
        let (_held, document) = self.held(name).await?;
        let network = self.find_network(place.network_name.as_str()).await?;
        if let Some((_, nic)) = document.nic_on(&network.name) {
            let given = nic.get("ipv4.address").or_else(|| nic.get("ipv6.address"));
            return match place.ip_address {
                Some(address) if given != Some(&address.to_string()) => Err(Error::conflict(format!(
                    "it is attached already, with {}",
                    given.map_or("an address that is not fixed", String::as_str)
                ))
                .with_outcome(Outcome::Rejected)
                .with_hint("detach it first")),
                _ => Ok(()),
            };
        }
        // Looking whether an address is free and taking it is one step, at least on one handle.
        let _addresses = self.names.hold("addresses", &network.name).await;
        if let Some(address) = place.ip_address {
            self.check_address(&network, address, &document.name).await?;
        }
        device.insert("network".to_owned(), network.name.clone());
        if let Some((_, other, _)) = document.nics().next() {
            limits::copy_bandwidth(other, &mut device);
        }
        let key = device_of(network.given_name());
        self.update("attach the instance to the network", &document.name, |document| {
            field(document, "devices")?.insert(key.clone(), json!(device));
            Ok(())
        })
        .await
    }

    pub(super) async fn detach(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        let network = self.find_network(network.as_str()).await?;
        let Some((device, _)) = document.nic_on(&network.name) else { return Ok(()) };
        let profiles = document.profiles.clone().unwrap_or_default();
        let from_profile = self.devices_of(&profiles).await?.contains_key(device);
        self.update("take the instance off the network", &document.name, |document| {
            let devices = field(document, "devices")?;
            if from_profile {
                // What a profile brings can only be covered.
                devices.insert(device.to_owned(), json!({"type": "none"}));
            } else {
                devices.remove(device);
            }
            Ok::<(), Error>(())
        })
        .await
    }
}
