//! What a test does to the world behind the provider's back, and what it sees of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::console::Happening;
use crate::faults::{Fault, Planned};
use crate::world::{Guest, Kind, Orphan};
use crate::{Double, Times, locked};

impl Double {
    // ---- what goes wrong --------------------------------------------------------------------------

    /// An API host goes away, with its connections.
    pub fn kill_host(&self, host: usize) {
        if let Some(server) = locked(&self.servers[host]).take() {
            server.abort();
        }
    }

    /// It comes back on its old address.
    pub async fn revive_host(&self, host: usize) {
        let listener = loop {
            match TcpListener::bind(self.addresses[host]).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        *locked(&self.servers[host]) = Some(self.serve(host, listener));
    }

    /// The next `times` requests with this method and this part in their path go wrong.
    pub fn plan(&self, method: &str, part: &str, fault: Fault, times: usize) {
        let planned = Planned { method: method.to_owned(), part: part.to_owned(), fault, times };
        locked(&self.shared.faults).push(planned);
    }

    /// What was planned to go wrong does not.
    pub fn clear_plans(&self) {
        locked(&self.shared.faults).clear();
    }

    pub fn set_node(&self, node: &str, up: bool) {
        self.shared.world().nodes.insert(node.to_owned(), up);
    }

    pub fn set_times(&self, change: impl FnOnce(&mut Times)) {
        change(&mut locked(&self.shared.times));
    }

    /// Adds lines to the logs of the tasks about a guest.
    pub fn lengthen_logs(&self, vmid: u64, lines: usize) {
        for task in self.shared.world().tasks.values_mut().filter(|task| task.id == vmid.to_string()) {
            task.log.extend((0..lines).map(|line| format!("line {line}")));
        }
    }

    /// Tasks of this kind that succeed have warnings from now on.
    pub fn warn(&self, kind: &str) {
        self.shared.world().warned.insert(kind.to_owned());
    }

    /// Somebody stops what runs about a guest; how many tasks those were.
    pub fn kill_tasks(&self, vmid: u64) -> usize {
        let now = self.shared.clock.now();
        let mut world = self.shared.world();
        let running = world.tasks.values().filter(|task| task.end.is_none() && task.id == vmid.to_string());
        let upids: Vec<String> = running.map(|task| task.upid.clone()).collect();
        upids.iter().for_each(|upid| world.kill_task(upid, now));
        upids.len()
    }

    /// Whether enough nodes of the cluster see each other.
    pub fn set_quorum(&self, quorate: bool) {
        self.shared.world().quorate = quorate;
    }

    /// What was recorded of a guest; without it there is no record.
    pub fn record(&self, vmid: u64, points: Value) {
        self.shared.world().records.insert(vmid, points);
    }

    /// Every ticket ends now.
    pub fn expire_tickets(&self) {
        self.shared.world().tickets.clear();
    }

    // ---- what is there ----------------------------------------------------------------------------

    /// Puts a guest there, as somebody else would have.
    pub fn add_guest(&self, vmid: u64, kind: Kind, node: &str, settings: &[(&str, Value)]) {
        let mut guest = Guest::new(vmid, kind, node);
        for (key, value) in settings {
            guest.config.insert((*key).to_owned(), value.clone());
        }
        let disk = match kind {
            Kind::Qemu => ("scsi0", format!("local:{vmid}/vm-{vmid}-disk-0.qcow2,size=1G")),
            Kind::Lxc => ("rootfs", format!("tank:subvol-{vmid}-disk-0,size=1G")),
        };
        guest.config.entry(disk.0.to_owned()).or_insert_with(|| disk.1.into());
        self.shared.world().guests.insert(vmid, guest);
    }

    pub fn remove_guest(&self, vmid: u64) -> bool {
        self.shared.world().guests.remove(&vmid).is_some()
    }

    /// Makes the cluster's view fresh.
    pub fn gossip(&self) {
        let now = self.shared.clock.now();
        self.shared.world().refresh_gossip(now, 0.0);
    }

    pub fn move_guest(&self, vmid: u64, node: &str) {
        if let Some(guest) = self.shared.world().guests.get_mut(&vmid) {
            guest.node = node.to_owned();
        }
    }

    pub fn change(&self, vmid: u64, key: &str, value: Option<Value>) {
        if let Some(guest) = self.shared.world().guests.get_mut(&vmid) {
            match value {
                Some(value) => drop(guest.config.insert(key.to_owned(), value)),
                None => drop(guest.config.remove(key)),
            }
        }
    }

    /// A guest writes to its console.
    pub fn write_console(&self, vmid: u64, text: &str) {
        self.shared.write_console(vmid, text);
    }

    /// The connections of those who look at a console are lost.
    pub fn break_consoles(&self, vmid: u64) {
        let _ = locked(&self.shared.consoles).of(vmid).send(Happening::Broken);
    }

    /// How many look at a console.
    pub fn lookers(&self, vmid: u64) -> usize {
        locked(&self.shared.consoles).of(vmid).receiver_count()
    }

    /// What was typed into a console.
    pub fn typed(&self, vmid: u64) -> Vec<u8> {
        locked(&self.shared.consoles).typed.get(&vmid).cloned().unwrap_or_default()
    }

    /// The tickets of consoles that are opened from now on have ended when they arrive.
    pub fn end_console_tickets(&self) {
        locked(&self.shared.consoles).ends_at_once = true;
    }

    /// A guest that heeds no request to stop.
    pub fn deafen(&self, vmid: u64) {
        self.set_deaf(vmid, true);
    }

    pub fn set_deaf(&self, vmid: u64, deaf: bool) {
        if let Some(guest) = self.shared.world().guests.get_mut(&vmid) {
            guest.deaf = deaf;
        }
    }

    /// Holds the lock of a configuration, as a long change does.
    pub async fn hold_config(&self, vmid: u64) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        let lock = self.shared.world().flock(format!("config {vmid}"));
        lock.write_owned().await
    }

    pub fn manage(&self, vmid: u64) {
        if let Some(guest) = self.shared.world().guests.get_mut(&vmid) {
            guest.managed = true;
        }
    }

    /// Powers a guest on or off, without a task.
    pub fn switch(&self, vmid: u64, on: bool) {
        if on { self.shared.switch_on(vmid) } else { self.shared.switch_off(vmid) }
    }

    pub fn add_pool(&self, pool: &str) {
        self.shared.world().pools.insert(pool.to_owned(), String::new());
    }

    pub fn add_orphan(&self, volume: &str, size: u64, vmid: u64) {
        self.shared.world().orphans.insert(volume.to_owned(), Orphan { size, vmid, node: None });
    }

    /// The next reload of a node's network fails, after it took effect.
    pub fn break_network(&self, node: &str) {
        self.shared.world().network(node).broken = true;
    }

    /// Plans a change of a node's network, as somebody else would.
    pub fn plan_network(&self, node: &str, iface: &str, entry: Option<Value>) {
        let mut world = self.shared.world();
        let network = world.network(node);
        let mut plan = network.planned.clone().unwrap_or_else(|| network.applied.clone());
        match entry {
            Some(entry) => drop(plan.insert(iface.to_owned(), entry)),
            None => drop(plan.remove(iface)),
        }
        network.planned = Some(plan);
    }

    /// The interfaces of a node, and whether a change of them is planned.
    pub fn interfaces(&self, node: &str) -> (Vec<String>, bool) {
        let mut world = self.shared.world();
        let network = world.network(node);
        (network.applied.keys().cloned().collect(), network.planned.is_some())
    }

    /// The configurations that are there, by number.
    pub fn guests(&self) -> BTreeMap<u64, BTreeMap<String, Value>> {
        let world = self.shared.world();
        world.guests.iter().map(|(vmid, guest)| (*vmid, guest.config.clone())).collect()
    }

    pub fn node_of(&self, vmid: u64) -> Option<String> {
        self.shared.world().guests.get(&vmid).map(|guest| guest.node.clone())
    }

    pub fn is_running(&self, vmid: u64) -> bool {
        self.shared.world().guests.get(&vmid).is_some_and(|guest| guest.running)
    }

    pub fn pool_of(&self, vmid: u64) -> Option<String> {
        self.shared.world().guests.get(&vmid).and_then(|guest| guest.pool.clone())
    }

    /// What was asked since the last time: `VERB /path?query`.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.shared.requests))
    }

    /// Requests that do not fit a schema.
    pub fn violations(&self) -> Vec<String> {
        locked(&self.shared.violations).clone()
    }

    /// How many schemas requests are checked against.
    pub fn schemas(&self) -> usize {
        self.shared.schemas.len()
    }

    /// How long the locks of storages were held in all, by our clock: what takes a lock in turn takes no less.
    pub fn storage_lock_held(&self) -> Duration {
        *locked(&self.shared.held)
    }

    /// The results of ended tasks: kind, id, exit status.
    pub fn tasks(&self) -> Vec<(String, String, String)> {
        let world = self.shared.world();
        let mut tasks: Vec<_> = world.tasks.values().collect();
        tasks.sort_by_key(|task| task.order);
        tasks
            .into_iter()
            .filter_map(|task| Some((task.kind.clone(), task.id.clone(), task.exit.clone()?)))
            .collect()
    }
}
