//! Guests on networks, and what networks there are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use substrate_core::{Error, InstanceName, Network, NetworkConfig, NetworkName, Result};

use super::ProxmoxSubstrate;
use super::in_use::address_key;
use super::orders::Order;
use crate::client::{Form, path};
use crate::convert::guest::{Guest, GuestKind, numbered};
use crate::convert::network::{Bridge, Wanted, may_be_derived};
use crate::convert::property::Properties;
use crate::convert::text::text;

/// How many network devices a guest can have.
const MOST: usize = 32;
/// How often a change is tried again that met somebody else's.
const TRIES: usize = 5;

/// The bridges of a node, and the changes of them that are planned and not applied.
pub(super) struct NodeNetworks {
    pub(super) bridges: Vec<Bridge>,
    pub(super) planned: Option<String>,
}

impl ProxmoxSubstrate {
    /// What a node has: bridges, and virtual networks as far as they are applied.
    pub(super) async fn networks_of(&self, node: &str) -> Result<NodeNetworks> {
        let attempt = "list the networks";
        let query = Form::new().with("type", "any_bridge");
        let answer =
            self.client.read::<Vec<Bridge>>(attempt, &path(&["nodes", node, "network"]), query).await;
        let answer = answer.map_err(|error: Error| {
            if error.is_not_found() {
                Error::not_found(format!("there is no node `{node}`: {}", error.message()))
            } else {
                error
            }
        })?;
        let (mut bridges, planned) = (answer.data, answer.changes);
        // Ours and not up: a call was interrupted before it was applied. It is not there yet.
        bridges.retain(|bridge| planned.is_none() || bridge.is_active() || bridge.marks().is_none());
        for bridge in &bridges {
            if let Some(marks) = bridge.marks() {
                self.memory.learn_network(&bridge.iface, &marks.name);
            }
        }
        Ok(NodeNetworks { bridges, planned })
    }

    pub(super) async fn bridges(&self, node: &str) -> Result<Vec<Bridge>> {
        let mut bridges = self.networks_of(node).await?.bridges;
        // What a virtual network is called is told by the cluster, not by the node.
        let unnamed = |bridge: &Bridge| bridge.is_vnet() && bridge.marks().is_none();
        if bridges.iter().any(|bridge| unnamed(bridge) && may_be_derived(&bridge.iface)) {
            let vnets = self.vnets().await?;
            for bridge in bridges.iter_mut().filter(|bridge| unnamed(bridge)) {
                let vnet = vnets.iter().find(|vnet| vnet.vnet == bridge.iface);
                bridge.comments = vnet.and_then(|vnet| vnet.alias.clone()).or(bridge.comments.take());
                if let Some(marks) = bridge.marks() {
                    self.memory.learn_network(&bridge.iface, &marks.name);
                }
            }
        }
        Ok(bridges)
    }

    /// Every bridge and virtual network of the nodes that are online, each name once.
    pub(super) async fn networks(&self) -> Result<Vec<Network>> {
        let mut found = BTreeMap::new();
        for node in self.online_nodes().await? {
            for bridge in self.bridges(&node.node).await? {
                if let Some(network) = bridge.network() {
                    found.entry(network.name.clone()).or_insert(network);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// Learns what the networks of a guest are called. When that cannot be told they have their bridges' names.
    pub(super) async fn name_networks(&self, guest: &mut Guest) {
        let bridges: Vec<String> = guest
            .nets()
            .filter_map(|(_, net)| net.get("bridge").map(str::to_owned))
            .filter(|bridge| may_be_derived(bridge))
            .collect();
        if bridges.iter().any(|bridge| self.memory.network_on(bridge).is_none()) {
            let _ = self.bridges(&guest.node).await;
        }
        let named = bridges.into_iter().filter_map(|bridge| Some((self.memory.network_on(&bridge)?, bridge)));
        guest.network_names = named.map(|(name, bridge)| (bridge, name)).collect();
    }

    // ---- attaching --------------------------------------------------------------------------------

    pub(super) async fn attach(&self, name: &InstanceName, network: &NetworkConfig) -> Result<()> {
        self.change_devices(name, &Change::Attach(network)).await
    }

    pub(super) async fn detach(&self, name: &InstanceName, network: &NetworkName) -> Result<()> {
        self.change_devices(name, &Change::Detach(network)).await
    }

    /// Reads, decides and writes in one step: the digest of what was read is sent along, and when the configuration
    /// changed meanwhile it begins anew.
    async fn change_devices(&self, name: &InstanceName, change: &Change<'_>) -> Result<()> {
        let mut tries = 0;
        loop {
            let guest = self.settled(name).await?;
            let form = match change {
                Change::Attach(network) => self.attachment(&guest, network).await?,
                Change::Detach(network) => self.detachment(&guest, network).await?,
            };
            let Some(form) = form else { return Ok(()) };
            let form = form.maybe("digest", guest.digest());
            let order = Order::put("change the guest's networks", &["config"], form);
            match self.order(&mut guest.place(), &order).await {
                Err(error) if error.message().contains("checksum mismatch") && tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// What puts a guest on a network; nothing when it is there.
    async fn attachment(&self, guest: &Guest, network: &NetworkConfig) -> Result<Option<Form>> {
        let wanted = Wanted::read(&network.network_name);
        let bridges = self.bridges(&guest.node).await?;
        if let Some((key, net)) = guest.nets().find(|(_, net)| wanted.is_of(net)) {
            return same_address(guest, &key, &net, network).map(|()| None);
        }
        let keys: Vec<String> = guest.nets().map(|(key, _)| key).collect();
        let index = (0..MOST)
            .find(|index| !keys.contains(&format!("net{index}")))
            .ok_or_else(|| Error::exhausted("the guest has as many network devices as it can have"))?;
        let device = self.device(guest.kind, index, network, None, &bridges)?;
        self.check_addresses(&bridges, [network]).await?;
        let mut form = Form::new().with(format!("net{index}"), device);
        if guest.kind == GuestKind::Qemu
            && let Some(place) = super::prepare::cloud_address(network, &bridges)?
        {
            if !has_cloud_init(guest) {
                return Err(Error::unsupported(
                    "a machine's address is set by cloud-init, and this one has no drive for it",
                )
                .with_hint(
                    "make it with an address or with the option `cloud_init`, or set the address inside",
                ));
            }
            form = form.with(format!("ipconfig{index}"), place);
        } else if guest.kind == GuestKind::Qemu && has_cloud_init(guest) {
            // A device that it is told nothing of, cloud-init leaves down.
            form = form.with(format!("ipconfig{index}"), "ip=dhcp");
        }
        Ok(Some(form))
    }

    /// What takes a guest off a network; nothing when it is not there.
    async fn detachment(&self, guest: &Guest, network: &NetworkName) -> Result<Option<Form>> {
        let wanted = Wanted::read(network);
        let mut keys: Vec<String> =
            guest.nets().filter(|(_, net)| wanted.is_of(net)).map(|(key, _)| key).collect();
        if keys.is_empty() {
            let known = self.bridges(&guest.node).await?;
            return wanted.bridge_in(&known).map(|_| None);
        }
        if guest.kind == GuestKind::Qemu {
            let places: Vec<String> = keys.iter().map(|key| address_key(guest.kind, key)).collect();
            keys.extend(places.into_iter().filter(|key| guest.config.contains_key(key)));
        }
        Ok(Some(Form::new().with("delete", keys.join(","))))
    }

    /// Refuses an address that another guest has on the same network. Only on networks that were made here: on others
    /// there is more than guests, and nobody can tell.
    pub(super) async fn check_addresses(
        &self,
        bridges: &[Bridge],
        wanted: impl IntoIterator<Item = &NetworkConfig>,
    ) -> Result<()> {
        for network in wanted {
            let Some(address) = network.ip_address else { continue };
            let place = Wanted::read(&network.network_name);
            let bridge = place.bridge_in(bridges)?;
            if bridge.marks().is_none() {
                continue;
            }
            if bridge.marks().and_then(|marks| marks.gateway) == Some(address) {
                return Err(Error::conflict(format!("{address} is the network's gateway")));
            }
            // A bridge of a name may be joined to that of another node.
            let nodes: Vec<String> = self.online_nodes().await?.into_iter().map(|node| node.node).collect();
            let user = self.user_of(&nodes, |settings| {
                let kind = settings.place.kind;
                settings.both().into_iter().any(|fields| {
                    numbered(fields, "net").filter(|(_, net)| place.is_of(net)).any(|(key, _)| {
                        let has = text(fields, &address_key(kind, &key)).unwrap_or_default();
                        address_in(&Properties::parse(&has)) == Some(address)
                    })
                })
            });
            if let Some(user) = user.await? {
                return Err(Error::conflict(format!("{address} is the address of {user}")));
            }
        }
        Ok(())
    }
}

/// What to do to a guest's devices.
enum Change<'a> {
    Attach(&'a NetworkConfig),
    Detach(&'a NetworkName),
}

fn has_cloud_init(guest: &Guest) -> bool {
    ["ide", "sata", "scsi", "virtio"].iter().any(|bus| {
        numbered(&guest.config, bus)
            .any(|(_, drive)| drive.first().is_some_and(|(_, volume)| volume.contains("cloudinit")))
    })
}

fn address_in(place: &Properties) -> Option<IpAddr> {
    place.get("ip").or(place.get("ip6"))?.split('/').next()?.parse().ok()
}

/// Attached already: with the address that is asked for, or with none asked for.
fn same_address(guest: &Guest, key: &str, net: &Properties, network: &NetworkConfig) -> Result<()> {
    let Some(wanted) = network.ip_address else { return Ok(()) };
    let place = match guest.kind {
        GuestKind::Lxc => net.clone(),
        GuestKind::Qemu => {
            Properties::parse(&text(&guest.config, &address_key(guest.kind, key)).unwrap_or_default())
        }
    };
    if address_in(&place) == Some(wanted) {
        return Ok(());
    }
    Err(Error::conflict(format!("the guest is on `{}` with another address", network.network_name))
        .with_hint("detach it first"))
}
