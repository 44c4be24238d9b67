//! Creating: everything is checked before anything is made, the marks are in the call that makes it, and a failure
//! leaves nothing behind.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use substrate_core::{Error, ImageFile, Instance, InstanceConfig, InstanceName, Outcome, Result};

use super::ProxmoxSubstrate;
use super::gates::Pass;
use super::orders::Order;
use super::waiting::wait_at_most;
use crate::client::{Form, Upid, path};
use crate::convert::guest::{Guest, GuestKind, Place};
use crate::convert::limits;
use crate::convert::notes::{self, Marks, Unfinished};
use crate::error;
use crate::name::check_new_guest;
use crate::options::ProxmoxOptions;

/// How many ids are tried: each is one in ninety million.
const ID_TRIES: usize = 8;
/// How often a creation is sent again whose answer was lost: the id in it makes that harmless.
const LOST_TRIES: usize = 4;
/// How long a creation whose answer was lost may take to show.
const LOST_LIMIT: Duration = Duration::from_secs(3);

/// A call that makes a guest, but for the id and the marks.
pub(super) struct Making {
    pub(super) kind: GuestKind,
    pub(super) node: String,
    /// The storage whose lock it takes.
    pub(super) storage: String,
    pub(super) attempt: String,
    /// Of which guest it is a copy.
    pub(super) source: Option<(Place, bool)>,
    pub(super) form: Form,
    pub(super) image: Option<String>,
    pub(super) description: String,
    pub(super) unfinished: Unfinished,
    /// Settings for the last step that must not stand in a description.
    pub(super) secrets: Vec<(String, String)>,
}

/// What is called how.
pub(super) struct Naming<'a> {
    pub(super) name: &'a InstanceName,
    pub(super) labels: &'a substrate_core::Labels,
    pub(super) metadata: &'a std::collections::BTreeMap<String, serde_json::Value>,
}

fn image_file(config: &InstanceConfig) -> Result<Option<ImageFile>> {
    config.image.as_deref().map_or(Ok(None), ImageFile::in_reference)
}

impl ProxmoxSubstrate {
    pub(super) async fn validate(&self, config: &InstanceConfig) -> Result<()> {
        let (kind, options) = self.checked(config)?;
        let mut config = Cow::Borrowed(config);
        if let Some(file) = image_file(&config)? {
            file.open().await?;
            // What it becomes is not there yet; everything else is looked at.
            config.to_mut().image = None;
            if kind == GuestKind::Lxc {
                return Ok(());
            }
        }
        self.prepare(&config, kind, &options).await.map(drop)
    }

    pub(super) async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let (kind, options) = self.checked(config)?;
        let _name = self.names.hold("name", config.name.as_str()).await;
        self.check_name_is_free(&config.name).await?;
        let mut config = Cow::Borrowed(config);
        if let Some(file) = image_file(&config)? {
            // Whatever comes of it, no guest was asked for yet.
            let image = self
                .imported(&file, options.node.as_ref())
                .await
                .map_err(|error| error.with_outcome(Outcome::NotSent))?;
            config.to_mut().image = Some(image.id);
        }
        let config = &*config;
        let making = self.prepare(config, kind, &options).await?;
        let naming = Naming { name: &config.name, labels: &config.labels, metadata: &config.metadata };
        self.make(&naming, making).await
    }

    /// Everything that can be said without asking the cluster.
    fn checked(&self, config: &InstanceConfig) -> Result<(GuestKind, ProxmoxOptions)> {
        config.validate()?;
        check_new_guest(&config.name)?;
        limits::check(&config.limits)?;
        let options = ProxmoxOptions::of(config)?;
        let first = self.kinds.first().copied().unwrap_or(GuestKind::Qemu);
        let kind = match config.kind {
            None => first,
            Some(kind) => GuestKind::of(kind)
                .filter(|kind| self.kinds.contains(kind))
                .ok_or_else(|| Error::unsupported(format!("this substrate runs no {kind}")))?,
        };
        // Of its own kind: where there are both, a container may do what a machine cannot.
        config.require_features(&super::connection::at_best(&[kind]))?;
        let of_machines = options.cloud_init.is_some()
            || options.cloud_init_drive.is_some()
            || options.agent.is_some()
            || options.iso.is_some();
        let of_containers = options.unprivileged.is_some()
            || options.features.is_some()
            || options.swap_mb.is_some()
            || options.password.is_some()
            || !options.ssh_keys.is_empty();
        match kind {
            GuestKind::Lxc if of_machines => Err(Error::invalid_input(
                "`cloud_init`, `agent` and `iso` are options of machines, not of containers",
            )),
            GuestKind::Qemu if of_containers => Err(Error::invalid_input(
                "`unprivileged`, `features`, `swap_mb`, `password` and `ssh_keys` are options of containers",
            )
            .with_hint("a machine's users are set with `cloud_init`")),
            _ => Ok((kind, options)),
        }
    }

    /// Names are not unique to the API: looking and creating have to be one step, at least on one handle.
    pub(super) async fn check_name_is_free(&self, name: &InstanceName) -> Result<()> {
        let taken = || Error::already_exists(format!("there is a guest called `{name}` already"));
        let mut wait = wait_at_most(self.config.lock_timeout);
        while let Some(pending) = self.memory.pending(name) {
            match self.read(&pending.place).await {
                Ok(_) => return Err(taken()),
                // A call that was given up may still take effect: only after that can the name be given again.
                Err(error) if error::is_not_here(&error) => {
                    if !pending.is_in_doubt() {
                        self.memory.settled(name);
                    } else if !wait.pause().await {
                        return Err(Error::busy(format!("a creation of `{name}` is still in doubt")));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        match self.guest(name).await {
            // An id is accepted in place of a name, and takes none.
            Ok(guest) if guest.name() != name.as_str() => Ok(()),
            Ok(_) => Err(taken()),
            Err(error) if error.is_conflict() => Err(taken()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    // ---- making -----------------------------------------------------------------------------------

    pub(super) async fn make(&self, naming: &Naming<'_>, making: Making) -> Result<Arc<Instance>> {
        for _ in 0..ID_TRIES {
            let vmid = self.free_id().await?;
            let place = Place { vmid, kind: making.kind, node: making.node.clone() };
            let marks = Marks {
                vmid,
                nonce: format!("{:08x}", random() & 0xffff_ffff),
                created: self.server_time(),
                image: making.image.clone(),
                labels: naming.labels.clone(),
                metadata: naming.metadata.clone(),
                unfinished: Some(making.unfinished.clone()).filter(|rest| !rest.is_empty()),
            };
            let description = notes::write(&making.description, &marks)?;
            let creation = self.memory.begin(naming.name, place.clone(), marks.clone());
            match self.send(&making, &place, &marks, naming.name, &description).await {
                Ok(()) => {}
                // Somebody was given that id in the meantime.
                Err(error) if error.is_already_exists() => {
                    creation.finish();
                    continue;
                }
                Err(error) => {
                    // Whether it may still come is said by the outcome; then the name stays in doubt.
                    if error.outcome() != Outcome::Unknown {
                        creation.finish();
                    }
                    return Err(error);
                }
            }
            let made = self.complete(&place, &making.secrets).await;
            creation.finish();
            return match made {
                Ok(instance) => Ok(Arc::new(instance)),
                Err(error) => Err(self.undo(&place, &marks, error).await),
            };
        }
        Err(Error::exhausted("no free id was found").with_hint("widen `vmid_range`"))
    }

    /// Sends the call and follows it. Locks are waited for, lost answers are looked after.
    async fn send(
        &self,
        making: &Making,
        place: &Place,
        marks: &Marks,
        name: &InstanceName,
        description: &str,
    ) -> Result<()> {
        // Clones of a running machine, and all of one container, exclude each other: at once they would fail.
        let exclusive = making.source.as_ref().filter(|(_, exclusive)| *exclusive);
        let _source = match exclusive {
            Some((source, _)) => Some(self.names.hold("source", &source.vmid.to_string()).await),
            None => None,
        };
        let form = making.form.clone().with(making.kind.name_key(), name).with("description", description);
        let (target, form) = match &making.source {
            Some((source, _)) => {
                (super::locate::guest_path(source, &["clone"]), form.with("newid", place.vmid))
            }
            None => (path(&["nodes", &place.node, place.kind.word()]), form.with("vmid", place.vmid)),
        };
        let mut wait = wait_at_most(self.config.lock_timeout);
        let (mut lost, mut began) = (0, false);
        loop {
            let pass = self.gates.enter(&making.storage).await;
            self.memory.touch(place.vmid);
            let result = self.submit(making, &target, form.clone()).await;
            self.memory.touch(place.vmid);
            match result {
                Ok(()) => {
                    Pass::succeeded(pass);
                    return Ok(());
                }
                Err(error) if error::is_locked(&error) => {
                    pass.was_locked_out();
                    if error::is_locked_for_long(&error) || !wait.pause().await {
                        return Err(super::orders::busy(error));
                    }
                }
                // The id was free, and one of ours may have come through: then it carries our mark.
                Err(error) if error.is_already_exists() && began => {
                    return self.look_after(place, marks, error).await;
                }
                Err(error) if error.outcome() == Outcome::Unknown && lost < LOST_TRIES => {
                    began = true;
                    lost += 1;
                    match self.look_after(place, marks, error).await {
                        // It is not there: the same call again can make no second one, for it names the id.
                        Err(error) if error.outcome() == Outcome::Unknown && lost < LOST_TRIES => {}
                        result => return result,
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn submit(&self, making: &Making, target: &str, form: Form) -> Result<()> {
        let data = self.client.post(&making.attempt, target, form).await?;
        let upid = Upid::parse(&making.attempt, &data)?;
        self.client.follow(&making.attempt, &upid).await
    }

    /// After a lost answer: whether a guest with our mark is there or on its way. `error` is what is said when not.
    async fn look_after(&self, place: &Place, marks: &Marks, error: Error) -> Result<()> {
        let mut absent = wait_at_most(LOST_LIMIT);
        let mut begun = wait_at_most(self.config.lock_timeout.max(Duration::from_secs(600)));
        loop {
            match self.read(place).await {
                Ok(guest) if guest.is_being_made() => {
                    // Nobody tells whose placeholder it is; its end does.
                    if !begun.pause().await {
                        return Err(error);
                    }
                }
                Ok(guest) => {
                    let ours = guest.marks().is_some_and(|found| found.nonce == marks.nonce);
                    return if ours {
                        Ok(())
                    } else {
                        Err(Error::already_exists(format!("the id {} was taken meanwhile", place.vmid)))
                    };
                }
                Err(missing) if error::is_not_here(&missing) => {
                    if !absent.pause().await {
                        return Err(error);
                    }
                }
                Err(unreachable) if unreachable.is_unavailable() || unreachable.is_timeout() => {
                    if !absent.pause().await {
                        return Err(error);
                    }
                }
                Err(other) => return Err(other.with_outcome(Outcome::Unknown)),
            }
        }
    }

    async fn complete(&self, place: &Place, secrets: &[(String, String)]) -> Result<Instance> {
        let mut guest = self.read(place).await?;
        if guest.marks().is_some_and(|marks| marks.unfinished.is_some()) {
            guest = self.finish_with(guest, secrets).await?;
        }
        guest.instance()
    }

    /// Does what the call that made a guest could not.
    pub(super) async fn finish(&self, guest: Guest) -> Result<Guest> {
        let secret = guest.marks().and_then(|marks| marks.unfinished).is_some_and(|rest| rest.secret);
        if secret {
            return Err(Error::conflict(
                "the guest's creation was interrupted before its secrets were set, and nobody else knows them",
            )
            .with_hint("delete it and create it again"));
        }
        self.finish_with(guest, &[]).await
    }

    async fn finish_with(&self, guest: Guest, secrets: &[(String, String)]) -> Result<Guest> {
        let Some(mut marks) = guest.marks() else { return Ok(guest) };
        let Some(rest) = marks.unfinished.take() else { return Ok(guest) };
        let mut place = guest.place();
        if let Some((disk, gibibytes)) = &rest.disk {
            self.grow(&guest, disk, *gibibytes).await?;
        }
        // The mark that something is left goes in the same step as what is left.
        let description = guest.description();
        let form = Form::new()
            .with("description", notes::write(notes::read(&description).0, &marks)?)
            .extended(rest.settings)
            .extended(secrets.to_vec());
        self.order(&mut place, &Order::put("configure the guest", &["config"], form)).await?;
        self.read(&place).await
    }

    /// Takes back what a failed creation made; the failure stays the answer.
    async fn undo(&self, place: &Place, marks: &Marks, error: Error) -> Error {
        let undone = async {
            let guest = match self.read(place).await {
                Ok(guest) => guest,
                Err(missing) if error::is_not_here(&missing) => return Ok(()),
                Err(error) => return Err(error),
            };
            // Never one that is not ours.
            match guest.marks() {
                Some(found) if found.nonce == marks.nonce => self.destroy(guest).await,
                _ => Ok(()),
            }
        };
        match undone.await {
            Ok(()) => error.with_outcome(Outcome::Rejected),
            Err(left) if left.is_not_found() => error,
            Err(left) => error.with_outcome(Outcome::Unknown).with_hint(format!(
                "guest {} on {} could not be taken back: {}; delete it by hand",
                place.vmid,
                place.node,
                left.message()
            )),
        }
    }

    /// An id that no guest has. The API's own "next id" reserves nothing, and gives the same one to everybody.
    async fn free_id(&self) -> Result<u64> {
        let taken: std::collections::HashSet<u64> = self.cluster_view_of_all().await?.into_iter().collect();
        let (first, last) = self.config.vmid_range;
        let count = last - first + 1;
        for _ in 0..64 {
            let vmid = first + random() % count;
            if !taken.contains(&vmid) {
                return Ok(vmid);
            }
        }
        // A narrow range: look at each.
        (first..=last)
            .find(|vmid| !taken.contains(vmid))
            .ok_or_else(|| Error::exhausted(format!("every id from {first} to {last} is taken")))
    }
}

/// Good enough to pick an id: seeded by the system for each hasher.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
