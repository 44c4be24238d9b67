//! Networks, and guests on them.

use std::collections::BTreeMap;

use substrate_core::{Error, InstanceName, Network, NetworkConfig, NetworkName, Result};

use super::ProxmoxSubstrate;
use super::orders::Order;
use crate::client::Form;
use crate::convert::guest::{Guest, GuestKind};
use crate::convert::network::Wanted;
use crate::convert::property::Properties;

/// How many network devices a guest can have.
const MOST: usize = 32;
/// How often a change is tried again that met somebody else's.
const TRIES: usize = 5;

impl ProxmoxSubstrate {
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
        let wanted = Wanted::read(&network.network_name)?;
        let bridges = self.bridges(&guest.node).await?;
        if let Some((key, net)) = guest.nets().find(|(_, net)| wanted.is_of(net)) {
            return same_address(guest, &key, &net, network).map(|()| None);
        }
        let keys: Vec<String> = guest.nets().map(|(key, _)| key).collect();
        let index = (0..MOST)
            .find(|index| !keys.contains(&format!("net{index}")))
            .ok_or_else(|| Error::exhausted("the guest has as many network devices as it can have"))?;
        let device = self.device(guest.kind, index, network, None, &bridges)?;
        if guest.kind == GuestKind::Qemu && network.ip_address.is_some() {
            return Err(Error::unsupported(
                "a machine's address is set by cloud-init when it first boots, not when it is attached",
            )
            .with_hint("give the address when the machine is created"));
        }
        Ok(Some(Form::new().with(format!("net{index}"), device)))
    }

    /// What takes a guest off a network; nothing when it is not there.
    async fn detachment(&self, guest: &Guest, network: &NetworkName) -> Result<Option<Form>> {
        let wanted = Wanted::read(network)?;
        let keys: Vec<String> =
            guest.nets().filter(|(_, net)| wanted.is_of(net)).map(|(key, _)| key).collect();
        if !keys.is_empty() {
            return Ok(Some(Form::new().with("delete", keys.join(","))));
        }
        let known = self.bridges(&guest.node).await?;
        if known.iter().any(|bridge| bridge.iface == wanted.bridge) {
            return Ok(None);
        }
        Err(Error::not_found(format!("there is no network called `{network}`")))
    }
}

/// What to do to a guest's devices.
enum Change<'a> {
    Attach(&'a NetworkConfig),
    Detach(&'a NetworkName),
}

/// Attached already: with the address that is asked for, or with none asked for.
fn same_address(guest: &Guest, key: &str, net: &Properties, network: &NetworkConfig) -> Result<()> {
    let Some(wanted) = network.ip_address else { return Ok(()) };
    let place = match guest.kind {
        GuestKind::Lxc => net.clone(),
        GuestKind::Qemu => {
            let key = key.replace("net", "ipconfig");
            Properties::parse(&crate::convert::text::text(&guest.config, &key).unwrap_or_default())
        }
    };
    let has = place.get("ip").or(place.get("ip6")).and_then(|address| address.split('/').next());
    if has == Some(&wanted.to_string()) {
        return Ok(());
    }
    Err(Error::conflict(format!("the guest is on `{}` with another address", network.network_name))
        .with_hint("detach it first"))
}
