//! From a name to a guest.
//!
//! The cluster's list is complete, but names and states in it are seconds old. So it tells where to look, and the
//! guest's own configuration decides; that a name is nobody's is said only when every node has been asked.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use substrate_core::{Error, InstanceName, Result};
use tokio::time::timeout;

use super::ProxmoxSubstrate;
use super::waiting::wait_at_most;
use crate::client::{Form, path};
use crate::convert::guest::{Guest, GuestKind, Place, read_id, seconds, time, uptime};
use crate::convert::inventory::{Listed, ListedFields};
use crate::convert::text::{Fields, integer, text};
use crate::error;

/// How long an agent may take to tell its addresses. One that is not there makes the API wait much longer.
const ADDRESSES: Duration = Duration::from_secs(3);
/// How often a guest is looked for again that moved while it was being looked for.
const MOVES: usize = 5;
/// How long a guest may be on no node while it moves.
const MOVING: Duration = Duration::from_secs(3);

pub(super) fn nobody(name: &str) -> Error {
    Error::not_found(format!("there is no guest called `{}`", name.escape_debug()))
}

fn ambiguous(name: &InstanceName, guests: &[Guest]) -> Error {
    let places: Vec<String> =
        guests.iter().map(|guest| format!("{} on {}", guest.id(), guest.node)).collect();
    Error::conflict(format!("`{name}` is the name of {} guests: {}", guests.len(), places.join(", ")))
        .with_hint("use the id in place of the name; Proxmox VE does not keep names unique")
}

/// The path of a guest.
pub(super) fn guest_path(place: &Place, parts: &[&str]) -> String {
    let vmid = place.vmid.to_string();
    let mut all = vec!["nodes", &place.node, place.kind.word(), &vmid];
    all.extend_from_slice(parts);
    path(&all)
}

impl ProxmoxSubstrate {
    /// Every guest of the cluster, in one request. Which ones there are and where is right; names and states may be
    /// seconds old.
    pub(super) async fn cluster_view(&self) -> Result<Arc<Vec<Listed>>> {
        self.in_cluster.get(|| self.ask_the_cluster()).await
    }

    async fn ask_the_cluster(&self) -> Result<Vec<Listed>> {
        let query = Form::new().with("type", "vm");
        let entries: Vec<ListedFields> =
            self.client.get("list the guests", &path(&["cluster", "resources"]), query).await?;
        let kinds = &self.kinds;
        let listed = entries.iter().filter_map(Listed::of_cluster);
        Ok(listed.filter(|listed| kinds.contains(&listed.place.kind)).collect())
    }

    /// Every guest as its own node describes it, and the nodes that did not answer.
    pub(super) async fn nodes_view(&self) -> Result<Arc<(Vec<Listed>, Vec<String>)>> {
        self.on_nodes.get(|| self.ask_the_nodes()).await
    }

    async fn ask_the_nodes(&self) -> Result<(Vec<Listed>, Vec<String>)> {
        let nodes = self.nodes().await?;
        let asked = nodes.iter().flat_map(|node| {
            [GuestKind::Qemu, GuestKind::Lxc].map(|kind| async move {
                let target = path(&["nodes", &node.node, kind.word()]);
                let entries: Result<Vec<ListedFields>> = if node.is_online() {
                    self.client.get("list a node's guests", &target, Form::new()).await
                } else {
                    Err(Error::unavailable(format!("the node {} is offline", node.node)))
                };
                (kind, &node.node, entries)
            })
        });
        let (mut listed, mut silent) = (Vec::new(), Vec::new());
        for (kind, node, entries) in join_all(asked).await {
            match entries {
                Ok(entries) => {
                    listed.extend(entries.iter().filter_map(|entry| Listed::of_node(entry, kind, node)));
                }
                Err(error) if error.is_unavailable() || error.is_timeout() => {
                    if !silent.contains(node) {
                        silent.push(node.clone());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok((listed, silent))
    }

    pub(super) async fn nodes(&self) -> Result<Vec<Node>> {
        self.client.get("list the nodes", &path(&["nodes"]), Form::new()).await
    }

    /// The guest that a name or an id means.
    pub(super) async fn guest(&self, name: &InstanceName) -> Result<Guest> {
        let mut wait = wait_at_most(MOVING);
        loop {
            match self.look_for(name).await {
                // It moved between the look at the list and the look at itself.
                Err(error) if error::is_not_here(&error) => {
                    if !wait.pause().await {
                        return Err(nobody(name.as_str()));
                    }
                }
                result => return result,
            }
        }
    }

    async fn look_for(&self, name: &InstanceName) -> Result<Guest> {
        if let Some(guest) = self.pending_guest(name).await? {
            return Ok(guest);
        }
        let view = self.cluster_view().await?;
        let mut asked = HashSet::new();
        let mut found = Vec::new();
        for listed in view.iter().filter(|listed| self.may_be_called(listed, name.as_str())) {
            asked.insert(listed.place.vmid);
            if let Some(guest) = self.called(&listed.place, name).await? {
                found.push(guest);
            }
        }
        if found.is_empty() {
            let by_id = read_id(name.as_str())
                .and_then(|(vmid, nonce)| Some((view.iter().find(|one| one.place.vmid == vmid)?, nonce)));
            if let Some((listed, nonce)) = by_id {
                // A name wins over an id, so every name must have been seen.
                if let Some(guest) = self.called_freshly(name, &asked).await? {
                    return Ok(guest);
                }
                let guest = self.read(&listed.place).await?;
                let same = nonce.is_none_or(|nonce| guest.marks().is_some_and(|marks| marks.nonce == nonce));
                return if same && !guest.is_template() { Ok(guest) } else { Err(nobody(name.as_str())) };
            }
            return match self.called_freshly(name, &asked).await? {
                Some(guest) => Ok(guest),
                None => Err(nobody(name.as_str())),
            };
        }
        if found.len() > 1 {
            return Err(ambiguous(name, &found));
        }
        found.pop().ok_or_else(|| nobody(name.as_str()))
    }

    /// Whether a guest in the cluster's list may have this name: by what it says, by what we know better, or because
    /// it says nothing.
    fn may_be_called(&self, listed: &Listed, name: &str) -> bool {
        if listed.template {
            return false;
        }
        match (&listed.name, self.memory.name_of(listed.place.vmid)) {
            (Some(seen), _) if seen == name => true,
            (_, Some(known)) => known == name,
            (None, None) => listed.is_being_made(),
            (Some(_), None) => false,
        }
    }

    /// The guest at a place, if it has this name.
    async fn called(&self, place: &Place, name: &InstanceName) -> Result<Option<Guest>> {
        match self.read(place).await {
            Ok(guest) => {
                Ok(Some(guest).filter(|guest| guest.name() == name.as_str() && !guest.is_template()))
            }
            Err(error) if error::is_not_here(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks every node: only they know names of guests that came or changed a moment ago.
    async fn called_freshly(&self, name: &InstanceName, asked: &HashSet<u64>) -> Result<Option<Guest>> {
        let view = self.nodes_view().await?;
        let (fresh, silent) = &*view;
        let mut found = Vec::new();
        for listed in fresh {
            let wanted = listed.name.as_deref() == Some(name.as_str()) && !listed.template;
            if wanted && self.kinds.contains(&listed.place.kind) {
                // It was renamed between the two looks if it was asked before: ask again.
                if let Some(guest) = self.called(&listed.place, name).await? {
                    found.push(guest);
                }
            }
        }
        if found.len() > 1 {
            return Err(ambiguous(name, &found));
        }
        if found.is_empty() && !silent.is_empty() {
            let unseen = self.cluster_view().await?.iter().any(|listed| {
                silent.contains(&listed.place.node)
                    && listed.name.is_none()
                    && !asked.contains(&listed.place.vmid)
            });
            if unseen {
                return Err(Error::unavailable(format!(
                    "whether there is a guest called `{name}` cannot be told: {} does not answer, and guests are on it",
                    silent.join(", ")
                ))
                .with_outcome(substrate_core::Outcome::Rejected));
            }
        }
        Ok(found.pop())
    }

    /// A guest that this handle began to make and whose configuration may not say so yet.
    async fn pending_guest(&self, name: &InstanceName) -> Result<Option<Guest>> {
        let Some(pending) = self.memory.pending(name) else { return Ok(None) };
        match self.read(&pending.place).await {
            Ok(mut guest) if guest.is_placeholder() => {
                // Truthful: that is what it will be called and carry.
                let description = crate::convert::notes::write("", &pending.marks)?;
                guest.config.insert("description".to_owned(), description.into());
                guest.config.insert(guest.kind.name_key().to_owned(), name.as_str().into());
                Ok(Some(guest))
            }
            Ok(guest) => {
                if pending.is_dropped() {
                    self.memory.settled(name);
                }
                let same = guest.marks().is_some_and(|marks| marks.nonce == pending.marks.nonce);
                Ok(Some(guest).filter(|_| same))
            }
            Err(error) if error::is_not_here(&error) => {
                if !pending.is_in_doubt() {
                    self.memory.settled(name);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a guest where it is.
    ///
    /// # Errors
    /// One that `error::is_not_here` knows when it is not on that node.
    pub(super) async fn read(&self, place: &Place) -> Result<Guest> {
        let current = Form::new().flag("current", true);
        let (target, status) = (guest_path(place, &["config"]), guest_path(place, &["status", "current"]));
        let attempt = "look at the guest";
        let (config, answer) = tokio::try_join!(
            self.client.get::<Fields>(attempt, &target, current),
            self.client.read::<Fields>(attempt, &status, Form::new()),
        )?;
        let status = answer.data;
        if let Some(now) = answer.date {
            self.note_time(now);
        }
        // A container's process is not told: then its start is not either.
        let process = integer(&status, "pid");
        let started = match (uptime(&status), answer.date, process) {
            (Some(uptime), Some(now), Some(process)) => {
                let start = time(seconds(now).saturating_sub(uptime));
                Some(self.memory.started(place.vmid, process, start))
            }
            _ => None,
        };
        let mut guest = Guest {
            vmid: place.vmid,
            kind: place.kind,
            node: place.node.clone(),
            config,
            status,
            started,
            addresses: Vec::new(),
            network_names: BTreeMap::new(),
        };
        self.name_networks(&mut guest).await;
        self.memory.learn(&guest);
        Ok(guest)
    }

    /// Reads a guest's configuration alone, for its name and its marks: half of what [`read`](Self::read) asks.
    pub(super) async fn read_marks(&self, listed: &Listed) -> Result<()> {
        let place = &listed.place;
        let (target, current) = (guest_path(place, &["config"]), Form::new().flag("current", true));
        let config: Fields = self.client.get("look at the guest", &target, current).await?;
        let status = Fields::from_iter([("status".to_owned(), listed.status.clone().into())]);
        self.memory.learn(&Guest {
            vmid: place.vmid,
            kind: place.kind,
            node: place.node.clone(),
            config,
            status,
            started: None,
            addresses: Vec::new(),
            network_names: BTreeMap::new(),
        });
        Ok(())
    }

    /// Where a guest is now.
    pub(super) async fn whereabouts(&self, vmid: u64) -> Result<Option<Place>> {
        let view = self.cluster_view().await?;
        Ok(view.iter().map(|listed| &listed.place).find(|place| place.vmid == vmid).cloned())
    }

    /// Runs a call about a guest, following the guest when it is on another node than it was.
    pub(super) async fn wherever<T, F>(&self, place: &mut Place, call: impl Fn(Place) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut moves = 0;
        let mut wait = wait_at_most(MOVING);
        loop {
            match call(place.clone()).await {
                Err(error) if error::is_not_here(&error) => {
                    let now = self.whereabouts(place.vmid).await?;
                    match now {
                        None => return Err(error),
                        Some(now) if now.node != place.node && moves < MOVES => {
                            moves += 1;
                            *place = now;
                        }
                        // The list and the node do not agree yet.
                        Some(_) if wait.pause().await => {}
                        Some(_) => return Err(error),
                    }
                }
                result => return result,
            }
        }
    }

    /// The addresses that the guest itself tells, where it runs and can.
    pub(super) async fn learn_addresses(&self, guest: &mut Guest) {
        let runs = guest.state() == substrate_core::InstanceState::Running;
        if !runs || self.memory.is_silent(guest.vmid) {
            return;
        }
        let place = guest.place();
        let attempt = "ask for the guest's addresses";
        let found = match guest.kind {
            GuestKind::Qemu => {
                if !text(&guest.config, "agent").is_some_and(|agent| has_agent(&agent)) {
                    return;
                }
                let target = guest_path(&place, &["agent", "network-get-interfaces"]);
                timeout(ADDRESSES, self.client.get::<Interfaces>(attempt, &target, Form::new())).await
            }
            // Their answer differs by version; what the configuration says is enough.
            GuestKind::Lxc => return,
        };
        let Ok(Ok(interfaces)) = found else {
            self.memory.note_silence(guest.vmid);
            return;
        };
        let own: Vec<String> =
            guest.nets().filter_map(|(_, net)| net.first().map(|(_, mac)| mac.to_lowercase())).collect();
        guest.addresses = interfaces.addresses(&own);
    }
}

/// Whether the setting `agent` says that there is one.
pub(super) fn has_agent(setting: &str) -> bool {
    let setting = crate::convert::property::Properties::parse(setting);
    matches!(setting.get("enabled").or(setting.bare()), Some("1"))
}

/// A node of the cluster.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Node {
    pub(super) node: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) maxmem: Option<u64>,
    #[serde(default)]
    pub(super) mem: Option<u64>,
}

impl Node {
    pub(super) fn is_online(&self) -> bool {
        self.status == "online"
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Interfaces {
    #[serde(default)]
    result: Vec<Interface>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Interface {
    #[serde(default)]
    hardware_address: String,
    #[serde(default)]
    ip_addresses: Vec<Address>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Address {
    #[serde(default)]
    ip_address: String,
}

impl Interfaces {
    /// Those of the guest's own devices: bridges of containers inside have others.
    pub(super) fn addresses(&self, own: &[String]) -> Vec<IpAddr> {
        let of_guest = self.result.iter().filter(|one| own.contains(&one.hardware_address.to_lowercase()));
        of_guest
            .flat_map(|interface| &interface.ip_addresses)
            .filter_map(|address| address.ip_address.parse().ok())
            .filter(|address: &IpAddr| match address {
                IpAddr::V4(address) => !address.is_loopback(),
                IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_guests_own_devices_count() {
        let interfaces: Interfaces = serde_json::from_str(
            r#"{"result":[{"hardware-address":"00:00:00:00:00:00","name":"lo","ip-addresses":[{"ip-address":"127.0.0.1"}]},
            {"hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"10.0.0.5"},{"ip-address":"fe80::1"}]},
            {"hardware-address":"02:42:00:00:00:01","name":"docker0","ip-addresses":[{"ip-address":"172.17.0.1"}]},
            {"name":"tun0"}]}"#,
        )
        .unwrap();
        let own = ["bc:24:11:00:00:01".to_owned()];
        assert_eq!(interfaces.addresses(&own), ["10.0.0.5".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn an_agent_is_there_when_the_setting_says_so() {
        assert!(has_agent("1") && has_agent("enabled=1,type=virtio"));
        assert!(!has_agent("0") && !has_agent("") && !has_agent("enabled=0"));
    }
}
