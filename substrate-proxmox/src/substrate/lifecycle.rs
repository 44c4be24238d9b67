//! From created to deleted: state changes, each confirmed by the guest's own state.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use substrate_core::{
    Error, Instance, InstanceFilter, InstanceName, InstanceState, Outcome, Result, StopMode,
};

use super::ProxmoxSubstrate;
use super::locate::nobody;
use super::orders::Order;
use super::waiting::wait_at_most;
use crate::client::Form;
use crate::convert::guest::{Guest, GuestKind, id_of, labels};
use crate::convert::inventory::Listed;
use crate::error;

/// How many guests are read at once for a list.
const READS: usize = 16;
/// How long the high-availability manager may take to do what it was asked for.
const HA_LIMIT: Duration = Duration::from_secs(120);

/// How long a shutdown that another stop overruled may take to show as stopped.
const OVERRULED: Duration = Duration::from_secs(5);

pub(super) fn not_running(state: InstanceState) -> Error {
    Error::conflict(format!("the guest is {state}, not running"))
}

impl ProxmoxSubstrate {
    // ---- reading ----------------------------------------------------------------------------------

    pub(super) async fn get(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        let mut guest = self.guest(name).await?;
        self.learn_addresses(&mut guest).await;
        guest.instance().map(Arc::new)
    }

    pub(super) async fn list(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let view = self.cluster_view().await?;
        let wanted = view.iter().filter(|listed| !listed.template);
        let of_kind =
            wanted.filter(|one| filter.kind.is_none_or(|kind| one.place.kind.instance_kind() == kind));
        let (mut instances, mut touched, mut unsure) = (Vec::new(), Vec::new(), Vec::new());
        for listed in of_kind {
            match self.seen_in_view(listed)? {
                _ if self.memory.was_touched(listed.place.vmid) => touched.push(listed),
                Some(instance) => instances.push(instance),
                None => unsure.push(listed.clone()),
            }
        }
        if !touched.is_empty() {
            // Their own nodes' lists are fresh, and one question for all of them.
            let view = self.nodes_view().await?;
            for listed in touched {
                let fresh = view.0.iter().find(|fresh| fresh.place == listed.place);
                match fresh.map(|fresh| self.seen_in_view(fresh)).transpose()?.flatten() {
                    Some(instance) if !fresh.is_some_and(|fresh| fresh.template) => instances.push(instance),
                    _ => unsure.push(listed.clone()),
                }
            }
        }
        let asked: Vec<Result<Option<Instance>>> =
            stream::iter(unsure).map(|listed| self.asked(listed)).buffer_unordered(READS).collect().await;
        for instance in asked {
            instances.extend(instance?);
        }
        let mut selected: Vec<Arc<Instance>> =
            instances.into_iter().filter(|instance| filter.matches(instance)).map(Arc::new).collect();
        selected.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
        Ok(selected)
    }

    /// An instance from a list alone, where that is enough.
    fn seen_in_view(&self, listed: &Listed) -> Result<Option<Instance>> {
        let Listed { place, name: Some(name), status, .. } = listed else { return Ok(None) };
        let state = match status.as_str() {
            "running" => InstanceState::Running,
            "stopped" => InstanceState::Stopped,
            _ => return Ok(None),
        };
        if listed.is_being_made() || self.memory.is_paused(place.vmid) {
            return Ok(None);
        }
        // Guests with an id that nobody picks by hand are likely ours: their labels are read once.
        let (first, last) = self.config.vmid_range;
        let known = self.memory.known(place.vmid, name);
        if (first..=last).contains(&place.vmid) && known.is_none() {
            return Ok(None);
        }
        let marks = known.and_then(|known| known.marks);
        let Ok(name) = InstanceName::new(name) else { return Ok(None) };
        let id = id_of(place.vmid, marks.as_ref());
        let mut instance = Instance::new(id, name, place.kind.instance_kind(), state);
        instance.provider_state.clone_from(status);
        instance.labels = labels(marks.as_ref());
        if let Some(marks) = marks {
            instance.metadata = marks.metadata;
            instance.image = marks.image;
        }
        instance.properties.insert("node".to_owned(), place.node.clone().into());
        instance.properties.insert("vmid".to_owned(), place.vmid.into());
        Ok(Some(instance))
    }

    /// An instance as the guest itself says; nothing when it went meanwhile.
    async fn asked(&self, listed: Listed) -> Result<Option<Instance>> {
        let mut place = listed.place.clone();
        if self.is_certain_of_power(&listed) {
            match self.read_marks(&listed).await {
                Ok(()) => {
                    // With its labels known it is like all others; under another name by now it is not.
                    if let Some(instance) = self.seen_in_view(&listed)? {
                        return Ok(Some(instance));
                    }
                }
                Err(error) if error::is_not_here(&error) || error.is_unavailable() || error.is_timeout() => {}
                Err(error) => return Err(error),
            }
        }
        match self.wherever(&mut place, |place| async move { self.read(&place).await }).await {
            Ok(guest) if guest.is_template() => Ok(None),
            Ok(guest) => self.named(guest)?.instance().map(Some),
            Err(error) if error::is_not_here(&error) => Ok(None),
            // Its node is away: what is known of it is shown, and that nothing more is known.
            Err(error) if error.is_unavailable() || error.is_timeout() => {
                let known = listed.name.or_else(|| self.memory.name_of(place.vmid));
                let name = known.unwrap_or_else(|| place.kind.nameless(place.vmid));
                let marks = self.memory.known(place.vmid, &name).and_then(|known| known.marks);
                let id = id_of(place.vmid, marks.as_ref());
                let kind = place.kind.instance_kind();
                let mut instance = Instance::new(id, InstanceName::new(name)?, kind, InstanceState::Unknown);
                instance.provider_state = format!("unknown (the node {} does not answer)", place.node);
                instance.labels = labels(marks.as_ref());
                Ok(Some(instance))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a list tells a guest's power. Of what was changed a moment ago it tells the past; and of a machine that runs
    /// it does not tell whether it is paused, so its own state is asked for when it is met for the first time.
    ///
    /// That request cannot be saved. In all three schemas `/cluster/resources` has `status`, `lock`, `hastate`, `tags`
    /// and `uptime` of a guest, and neither `qmpstatus` nor `description`. A pause leaves no trace in those: `status` stays
    /// `running`, and `lock` is set by a suspension to disk only, whose machine is `stopped`. Tags cannot hold what the notes
    /// do: they are lower-cased, have no values, and a clone cannot be given any. `/nodes/{node}/qemu?full=1` does have
    /// `qmpstatus`, for one request, but makes the node ask the monitor of every machine that runs on it, whosever it is,
    /// for its state, its memory and its disks: on a node with many that costs more than one small question about each of
    /// ours, once, and one monitor that hangs holds up all of them.
    fn is_certain_of_power(&self, listed: &Listed) -> bool {
        let vmid = listed.place.vmid;
        let certain =
            listed.status == "stopped" || (listed.status == "running" && listed.place.kind == GuestKind::Lxc);
        certain && listed.lock.is_none() && !self.memory.was_touched(vmid) && !self.memory.is_paused(vmid)
    }

    /// A placeholder with the name and the marks that this handle asked for.
    fn named(&self, mut guest: Guest) -> Result<Guest> {
        if guest.is_placeholder() {
            let pending = self.memory.all_pending();
            if let Some((name, pending)) = pending.iter().find(|(_, one)| one.place.vmid == guest.vmid) {
                let description = crate::convert::notes::write("", &pending.marks)?;
                guest.config.insert("description".to_owned(), description.into());
                guest.config.insert(guest.kind.name_key().to_owned(), name.as_str().into());
            }
        }
        Ok(guest)
    }

    /// A guest that is not being made any more.
    pub(super) async fn settled(&self, name: &InstanceName) -> Result<Guest> {
        let mut wait = wait_at_most(self.config.lock_timeout);
        loop {
            let guest = self.guest(name).await?;
            if !guest.is_being_made() {
                return Ok(guest);
            }
            if !wait.pause().await {
                let lock = guest.lock().unwrap_or_default();
                return Err(super::orders::busy(Error::busy(format!("the guest is locked ({lock})"))));
            }
        }
    }

    async fn state_of(&self, guest: &Guest) -> Result<InstanceState> {
        let mut place = guest.place();
        Ok(self.wherever(&mut place, |place| async move { self.read(&place).await }).await?.state())
    }

    // ---- changing ---------------------------------------------------------------------------------

    pub(super) async fn start(&self, name: &InstanceName) -> Result<()> {
        let mut guest = self.settled(name).await?;
        match guest.state() {
            InstanceState::Running => return Ok(()),
            InstanceState::Paused => {
                return Err(Error::conflict("the guest is paused").with_hint("resume it"));
            }
            _ => {}
        }
        if guest.marks().is_some_and(|marks| marks.unfinished.is_some()) {
            guest = self.finish(guest).await?;
        }
        let order = Order::post("start the guest", &["status", "start"], Form::new());
        match self.order(&mut guest.place(), &order).await {
            Ok(()) => {}
            // Somebody was faster.
            Err(error) if error.message().contains("already running") => {}
            Err(error) => return Err(error),
        }
        self.reaches(&guest, InstanceState::Running).await
    }

    /// The task of a guest under high availability ends when the manager was told, not when it has acted.
    async fn reaches(&self, guest: &Guest, wanted: InstanceState) -> Result<()> {
        if !guest.is_managed_by_ha() {
            return Ok(());
        }
        let mut wait = wait_at_most(HA_LIMIT);
        loop {
            let state = self.state_of(guest).await?;
            if state == wanted {
                return Ok(());
            }
            if !wait.pause().await {
                return Err(Error::timeout(format!(
                    "the high-availability manager was told, and the guest is still {state} after {HA_LIMIT:?}"
                ))
                .with_hint("see `ha-manager status`"));
            }
        }
    }

    pub(super) async fn stop(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let guest = self.settled(name).await?;
        self.stop_guest(&guest, mode).await
    }

    pub(super) async fn stop_guest(&self, guest: &Guest, mode: StopMode) -> Result<()> {
        if guest.state() == InstanceState::Stopped {
            return Ok(());
        }
        // Whole seconds: never less than was promised.
        let seconds = |grace: Duration| grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let order = match mode {
            StopMode::Force => {
                let overrule = Form::new().flag("overrule-shutdown", true);
                let form = if guest.is_managed_by_ha() { Form::new() } else { overrule };
                Order::post("stop the guest", &["status", "stop"], form)
            }
            StopMode::Graceful(grace) => {
                let form = Form::new().with("timeout", seconds(grace));
                Order::post("shut the guest down", &["status", "shutdown"], form)
            }
            StopMode::GracefulThenForce(grace) => {
                let form = Form::new().with("timeout", seconds(grace)).flag("forceStop", true);
                Order::post("shut the guest down", &["status", "shutdown"], form)
            }
        };
        match self.order(&mut guest.place(), &order).await {
            Ok(()) => self.reaches(guest, InstanceState::Stopped).await,
            Err(error) if error::is_not_here(&error) => Err(error),
            Err(error) => {
                // What it says counts less than what is: somebody else may have stopped it, or is about to.
                let mut state = self.state_of(guest).await?;
                let mut wait = wait_at_most(OVERRULED);
                while error.outcome() == Outcome::Unknown && state != InstanceState::Stopped {
                    if !wait.pause().await {
                        break;
                    }
                    state = self.state_of(guest).await?;
                }
                match (mode, state) {
                    (_, InstanceState::Stopped) => Ok(()),
                    (StopMode::Graceful(grace), InstanceState::Running)
                        if !error.is_busy() && !error.is_permission_denied() && !error.is_unavailable() =>
                    {
                        Err(Error::timeout(format!(
                            "the guest did not shut down within {grace:?}: {}",
                            error.message()
                        ))
                        .with_outcome(Outcome::Rejected)
                        .with_hint(
                            "it needs ACPI or the guest agent to hear the request; force cuts its power",
                        ))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    pub(super) async fn pause(&self, name: &InstanceName) -> Result<()> {
        let guest = self.settled(name).await?;
        only_machines(&guest, "paused")?;
        match guest.state() {
            InstanceState::Paused => return Ok(()),
            InstanceState::Running => {}
            state => return Err(not_running(state)),
        }
        let order = Order::post("pause the guest", &["status", "suspend"], Form::new());
        self.order(&mut guest.place(), &order).await?;
        self.read(&guest.place()).await.map(drop)
    }

    pub(super) async fn resume(&self, name: &InstanceName) -> Result<()> {
        let guest = self.settled(name).await?;
        only_machines(&guest, "resumed")?;
        match guest.state() {
            InstanceState::Running => return Ok(()),
            InstanceState::Paused => {}
            state => return Err(not_running(state)),
        }
        let order = Order::post("resume the guest", &["status", "resume"], Form::new());
        self.order(&mut guest.place(), &order).await?;
        self.read(&guest.place()).await.map(drop)
    }

    pub(super) async fn delete(&self, name: &InstanceName, force: bool) -> Result<()> {
        let guest = self.settled(name).await?;
        if guest.state() != InstanceState::Stopped && !force {
            return Err(Error::conflict(format!("the guest is {}", guest.state()))
                .with_hint("stop it first, or delete with force"));
        }
        self.destroy(guest).await
    }

    /// Stops a guest by force and destroys it, and never another one that got its number.
    pub(super) async fn destroy(&self, guest: Guest) -> Result<()> {
        let query = Form::new().flag("purge", true).flag("destroy-unreferenced-disks", true);
        let order = Order::delete("destroy the guest", &[], query);
        let mut tries = 3;
        loop {
            // Read right before it is destroyed: a number is given to another guest as soon as it is free.
            let mut place = guest.place();
            let now = self.wherever(&mut place, |place| async move { self.read(&place).await }).await;
            let now = match now {
                Ok(now) if now.identity() == guest.identity() => now,
                Ok(_) => return Err(gone(&guest)),
                Err(error) if error::is_not_here(&error) => return Err(gone(&guest)),
                Err(error) => return Err(error),
            };
            if now.state() != InstanceState::Stopped {
                self.stop_guest(&now, StopMode::Force).await?;
            }
            match self.order(&mut place, &order).await {
                Ok(()) => break,
                Err(error) if error::is_not_here(&error) => return Err(gone(&guest)),
                // Started again meanwhile: by somebody, or by the high-availability manager.
                Err(error) if error.is_conflict() && error.message().contains("running") && tries > 0 => {
                    tries -= 1;
                }
                Err(error) => return Err(error),
            }
        }
        self.meter.forget(&guest.id());
        self.memory.forget(guest.vmid);
        Ok(())
    }
}

fn gone(guest: &Guest) -> Error {
    nobody(&guest.name()).with_hint("it was there a moment ago, and somebody else deleted it")
}

/// Refuses for containers what only machines can.
pub(super) fn only_machines(guest: &Guest, what: &str) -> Result<()> {
    if guest.kind == GuestKind::Lxc {
        return Err(Error::unsupported(format!("a container of Proxmox VE cannot be {what}")));
    }
    Ok(())
}
