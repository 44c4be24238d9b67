//! One instance: its configuration, its state, its content.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use substrate_core::{
    Instance, InstanceConfig, InstanceKind, InstanceState, LogLine, LogSource, NetworkAttachment,
    NetworkName, Snapshot,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Moment;
use crate::files::Files;
use crate::guest::Main;
use crate::options::InstanceOptions;
use crate::state::Log;
use crate::usage::Usage;

/// How old a description may be and still count as just read: answers are shared instead of made anew for
/// each call, and yet tell their age as truthfully as anybody can see.
pub(crate) const FRESH: Duration = Duration::from_millis(1);
/// The same in a list, where ten thousand are made anew at once: 100 ms keep that to a tenth of its cost.
pub(crate) const FRESH_IN_LIST: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) kind: InstanceKind,
    pub(crate) config: InstanceConfig,
    pub(crate) options: InstanceOptions,
    pub(crate) state: InstanceState,
    pub(crate) provider_state: String,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) created: Moment,
    pub(crate) started: Option<Moment>,
    /// The number of the present or last run, from 1.
    pub(crate) run: u64,
    /// The number of its first log line.
    pub(crate) run_begins_at_line: u64,
    pub(crate) log: Log,
    pub(crate) files: Files,
    pub(crate) snapshots: Vec<SnapshotRecord>,
    #[serde(skip)]
    pub(crate) usage: Option<Usage>,
    #[serde(skip)]
    pub(crate) pulse: Pulse,
    #[serde(skip)]
    view: Option<View>,
}

/// An instance's end of a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attachment {
    pub(crate) network_name: NetworkName,
    pub(crate) address: IpAddr,
    /// Whether the address was asked for.
    pub(crate) fixed: bool,
    pub(crate) mac_address: String,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) dns_servers: Vec<IpAddr>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SnapshotRecord {
    pub(crate) snapshot: Snapshot,
    pub(crate) files: Files,
    /// The power at the time, for a snapshot with memory.
    pub(crate) state: InstanceState,
}

#[derive(Debug, Clone)]
struct View {
    instance: Arc<Instance>,
    made: Instant,
}

/// Tells those who follow an instance that it changed. Clones, as in an earlier state, are the same pulse.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<watch::Sender<()>>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }
}

impl Pulse {
    pub(crate) fn beat(&self) {
        self.0.send_replace(());
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

impl Record {
    /// A stopped instance that has never run.
    pub(crate) fn new(
        id: String,
        kind: InstanceKind,
        config: InstanceConfig,
        options: InstanceOptions,
        created: Moment,
    ) -> Self {
        Self {
            id,
            kind,
            config,
            options,
            state: InstanceState::Stopped,
            provider_state: "created".to_owned(),
            attachments: Vec::new(),
            created,
            started: None,
            run: 0,
            run_begins_at_line: 0,
            log: Log::default(),
            files: Files::default(),
            snapshots: Vec::new(),
            usage: None,
            pulse: Pulse::default(),
            view: None,
        }
    }

    /// Forgets the description and wakes whoever waits for a change.
    pub(crate) fn touch(&mut self) {
        self.view = None;
        self.pulse.beat();
    }

    /// Takes up counting in a new process.
    pub(crate) fn resume(&mut self, now: Instant) {
        if self.is_up() {
            self.usage = Some(Usage::begin(now));
            self.settle_usage(now);
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, InstanceState::Running | InstanceState::Paused)
    }

    /// The same for the usage counters after the state or the limits changed.
    pub(crate) fn settle_usage(&mut self, now: Instant) {
        let cores = self.cores();
        if let Some(usage) = &mut self.usage {
            usage.settle(now, cores);
        }
    }

    /// How many cores the main program keeps busy.
    pub(crate) fn cores(&self) -> f64 {
        if self.state == InstanceState::Running && Main::is_busy(&self.config.command) {
            self.config.limits.cpu_cores.unwrap_or(1.0).min(1.0)
        } else {
            0.0
        }
    }

    pub(crate) fn begin_run(&mut self, time: Moment, now: Instant) {
        self.state = InstanceState::Running;
        "running".clone_into(&mut self.provider_state);
        self.started = Some(time);
        self.run = self.run.saturating_add(1);
        self.run_begins_at_line = self.log.end();
        self.usage = Some(Usage::begin(now));
        self.settle_usage(now);
    }

    pub(crate) fn end_run(&mut self, state: InstanceState, provider_state: String) {
        self.state = state;
        self.provider_state = provider_state;
        self.usage = None;
    }

    pub(crate) fn write_log(&mut self, time: Moment, source: LogSource, line: &str) {
        self.log.push(LogLine { time: Some(time.system_time()), source, message: line.to_owned() });
    }

    pub(crate) fn snapshot(&self, name: &str) -> Option<&SnapshotRecord> {
        self.snapshots.iter().find(|record| record.snapshot.name == *name)
    }

    /// The description that readers share.
    pub(crate) fn view(&mut self, now: Instant, fresh: Duration) -> Arc<Instance> {
        match &self.view {
            Some(view) if now.saturating_duration_since(view.made) <= fresh => Arc::clone(&view.instance),
            _ => {
                let instance = Arc::new(self.describe());
                self.view = Some(View { instance: Arc::clone(&instance), made: now });
                instance
            }
        }
    }

    fn describe(&self) -> Instance {
        let mut instance = Instance::new(self.id.clone(), self.config.name.clone(), self.kind, self.state);
        instance.provider_state.clone_from(&self.provider_state);
        instance.image.clone_from(&self.config.image);
        instance.addresses = self.attachments.iter().map(|attachment| attachment.address).collect();
        instance.networks = self
            .attachments
            .iter()
            .map(|attachment| NetworkAttachment {
                network_name: attachment.network_name.clone(),
                ip_address: Some(attachment.address),
                mac_address: Some(attachment.mac_address.clone()),
            })
            .collect();
        instance.labels.clone_from(&self.config.labels);
        instance.metadata.clone_from(&self.config.metadata);
        instance.limits = self.config.limits;
        instance.created_at = Some(self.created.system_time());
        instance.started_at = self.started.map(Moment::system_time);
        instance.properties.insert("runs".to_owned(), json!(self.run));
        if !self.config.ports.is_empty() {
            instance.properties.insert("ports".to_owned(), json!(self.config.ports));
        }
        let servers: Vec<_> =
            self.attachments.iter().flat_map(|attachment| &attachment.dns_servers).collect();
        if !servers.is_empty() {
            instance.properties.insert("dns_servers".to_owned(), json!(servers));
        }
        if let Some(gateway) = self.attachments.iter().find_map(|attachment| attachment.gateway) {
            instance.properties.insert("gateway".to_owned(), json!(gateway));
        }
        instance
    }
}
