//! Everything that exists on the fake: what the state file holds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use substrate_core::{
    Image, Instance, InstanceFilter, InstanceName, Network, NetworkName, Result, Volume, VolumeName,
};
use tokio::time::Instant;

use crate::clock::{EPOCH, Moment};
use crate::error::{no_instance, no_network, no_volume};
use crate::files::Files;
use crate::random::{Random, digest};
use crate::record::{FRESH, FRESH_IN_LIST, Record};
use crate::subnet::Subnet;

/// The network of an instance that asks for none.
pub(crate) const DEFAULT_NETWORK: &str = "default";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) random: Random,
    pub(crate) last_time: Moment,
    pub(crate) last_event: u64,
    pub(crate) instances: BTreeMap<InstanceName, Record>,
    pub(crate) networks: BTreeMap<NetworkName, NetworkRecord>,
    pub(crate) volumes: BTreeMap<VolumeName, VolumeRecord>,
    pub(crate) images: BTreeMap<String, Image>,
    pub(crate) host_folders: BTreeMap<String, Files>,
    #[serde(skip)]
    ids: HashMap<String, InstanceName>,
    /// What tokio's clock stood at zero for: later than the epoch when the state came from a file.
    #[serde(skip, default = "epoch")]
    clock_base: Moment,
}

fn epoch() -> Moment {
    EPOCH
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkRecord {
    pub(crate) network: Network,
    pub(crate) subnet: Subnet,
    /// Which instance has which address.
    pub(crate) taken: BTreeMap<IpAddr, InstanceName>,
    /// Where the search for a free address goes on: addresses are not handed out again at once.
    pub(crate) next_offset: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VolumeRecord {
    pub(crate) volume: Volume,
    pub(crate) files: Files,
}

impl State {
    pub(crate) fn new(seed: u64, images: impl IntoIterator<Item = String>) -> Self {
        let mut state = Self {
            random: Random::new(seed),
            last_time: EPOCH,
            last_event: 0,
            instances: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            host_folders: BTreeMap::new(),
            ids: HashMap::new(),
            clock_base: EPOCH,
        };
        for reference in images {
            state.images.insert(reference.clone(), image(&reference, EPOCH));
        }
        // A range that is for the inside of carriers' networks: nobody's test chooses it by accident.
        let subnet = Subnet::v4([100, 64, 0, 0].into(), 16);
        if let Ok(name) = NetworkName::new(DEFAULT_NETWORK) {
            let mut network = Network::new(DEFAULT_NETWORK, name.clone(), "bridge");
            network.subnets = vec![subnet.to_string()];
            network.gateway = Some(subnet.address(1));
            let record = NetworkRecord { network, subnet, taken: BTreeMap::new(), next_offset: 2 };
            state.networks.insert(name, record);
        }
        state
    }

    /// Makes a state that came from a file usable at `elapsed` on this process's clock: it goes on at the
    /// time at which it was left.
    pub(crate) fn resume(&mut self, elapsed: Duration, now: Instant) {
        let elapsed = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.clock_base = Moment(self.last_time.0.saturating_sub(elapsed).max(EPOCH.0));
        self.ids = self.instances.iter().map(|(name, record)| (record.id.clone(), name.clone())).collect();
        for record in self.instances.values_mut() {
            record.resume(now);
        }
    }

    /// The time on the fake's own clock.
    pub(crate) fn time(&self, elapsed: Duration) -> Moment {
        self.clock_base.after(elapsed).max(self.last_time)
    }

    /// A time that no two changes share, also while a paused clock stands still: what happens later has a
    /// later time, as on a real substrate.
    pub(crate) fn tick(&mut self, elapsed: Duration) -> Moment {
        self.last_time = self.clock_base.after(elapsed).max(Moment(self.last_time.0.saturating_add(1)));
        self.last_time
    }

    // ---- instances --------------------------------------------------------------------------------

    /// The name of the instance that is meant by a name or an id; the name wins.
    pub(crate) fn resolve(&self, name: &str) -> Option<&InstanceName> {
        match self.instances.get_key_value(name) {
            Some((name, _)) => Some(name),
            None => self.ids.get(name),
        }
    }

    pub(crate) fn instance(&self, name: &InstanceName) -> Result<&Record> {
        self.resolve(name.as_str())
            .and_then(|found| self.instances.get(found))
            .ok_or_else(|| no_instance(name))
    }

    /// An instance to be changed: its description is made anew and whoever waits for it looks again.
    pub(crate) fn instance_mut(&mut self, name: &InstanceName) -> Result<&mut Record> {
        let found = self.resolve(name.as_str()).cloned().ok_or_else(|| no_instance(name))?;
        let record = self.instances.get_mut(&found).ok_or_else(|| no_instance(name))?;
        record.touch();
        Ok(record)
    }

    pub(crate) fn insert(&mut self, record: Record) {
        self.ids.insert(record.id.clone(), record.config.name.clone());
        self.instances.insert(record.config.name.clone(), record);
    }

    /// Removes an instance and gives its addresses back.
    pub(crate) fn remove(&mut self, name: &InstanceName) -> Result<Record> {
        let found = self.resolve(name.as_str()).cloned().ok_or_else(|| no_instance(name))?;
        let mut record = self.instances.remove(&found).ok_or_else(|| no_instance(name))?;
        self.ids.remove(&record.id);
        for attachment in &record.attachments {
            if let Some(network) = self.networks.get_mut(&attachment.network_name) {
                network.taken.remove(&attachment.address);
            }
        }
        record.touch();
        Ok(record)
    }

    pub(crate) fn view(&mut self, name: &InstanceName, now: Instant) -> Result<Arc<Instance>> {
        // The usual case first: a name, one look, no copy of it.
        if let Some(record) = self.instances.get_mut(name) {
            return Ok(record.view(now, FRESH));
        }
        let found = self.ids.get(name.as_str()).cloned().ok_or_else(|| no_instance(name))?;
        self.instances.get_mut(&found).map(|record| record.view(now, FRESH)).ok_or_else(|| no_instance(name))
    }

    pub(crate) fn views(&mut self, filter: &InstanceFilter, now: Instant) -> Vec<Arc<Instance>> {
        let prefix = filter.name_prefix.as_deref().unwrap_or_default();
        let from: (Bound<&str>, Bound<&str>) = (Bound::Included(prefix), Bound::Unbounded);
        let mut views = Vec::with_capacity(if prefix.is_empty() { self.instances.len() } else { 0 });
        for (name, record) in self.instances.range_mut::<str, _>(from) {
            if !name.as_str().starts_with(prefix) {
                break;
            }
            let view = record.view(now, FRESH_IN_LIST);
            if filter.matches(&view) {
                views.push(view);
            }
        }
        views
    }

    // ---- networks and volumes ---------------------------------------------------------------------

    /// The name of the network that is meant by a name or an id; the name wins.
    pub(crate) fn network_name(&self, name: &NetworkName) -> Result<NetworkName> {
        if self.networks.contains_key(name) {
            return Ok(name.clone());
        }
        self.networks
            .values()
            .find(|record| record.network.id == name.as_str())
            .map(|record| record.network.name.clone())
            .ok_or_else(|| no_network(name))
    }

    pub(crate) fn network(&self, name: &NetworkName) -> Result<&NetworkRecord> {
        self.networks.get(name).ok_or_else(|| no_network(name))
    }

    pub(crate) fn network_mut(&mut self, name: &NetworkName) -> Result<&mut NetworkRecord> {
        self.networks.get_mut(name).ok_or_else(|| no_network(name))
    }

    pub(crate) fn volume(&self, name: &VolumeName) -> Result<&VolumeRecord> {
        self.volumes.get(name).ok_or_else(|| no_volume(name))
    }
}

/// The log of an instance: the last lines, counted from its first one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    dropped: u64,
    lines: VecDeque<substrate_core::LogLine>,
}

impl Log {
    /// How many lines are kept.
    const CAPACITY: usize = 10_000;

    pub(crate) fn push(&mut self, line: substrate_core::LogLine) {
        if self.lines.len() >= Self::CAPACITY {
            self.lines.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.lines.push_back(line);
    }

    /// The number of the next line.
    pub(crate) fn end(&self) -> u64 {
        self.dropped.saturating_add(self.lines.len() as u64)
    }

    /// The lines with these numbers, as far as they are still there.
    pub(crate) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &substrate_core::LogLine> {
        let position =
            |number: u64| usize::try_from(number.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        let (from, to) = (position(from), position(to));
        self.lines.iter().skip(from).take(to.saturating_sub(from))
    }
}

/// An image whose id depends on nothing but its name.
pub(crate) fn image(reference: &str, created: Moment) -> Image {
    let mut image = Image::new(format!("fake:{:016x}", digest(reference)), vec![reference.to_owned()]);
    image.size_bytes = Some(4 << 20);
    image.created_at = Some(created.system_time());
    image
}
