//! One run of the suite over one substrate.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use substrate_core::{Descriptor, Error};

use crate::inventory::{Inventory, Thing};
use crate::setup::Setup;
use crate::verdict::{Failure, Verdict};

/// How long removing one thing may take: as patient as a force delete deserves, so that a hanging substrate
/// cannot hold the run.
const REMOVAL: Duration = Duration::from_secs(60);

/// What all trials of a run share.
pub(crate) struct Run {
    pub(crate) setup: Setup,
    /// Every name that the run makes begins with or contains this: `sc-1a2b3c-`.
    pub(crate) prefix: String,
    /// As it is after connecting.
    pub(crate) descriptor: Arc<Descriptor>,
    pub(crate) version: String,
    /// What was there before.
    before: BTreeSet<Thing>,
    /// The images that were made of the setup's file, by their ids. Nothing in the contract removes them.
    kept_images: Mutex<BTreeSet<String>>,
    /// What trials could not remove after themselves.
    complaints: Mutex<Vec<String>>,
    next_subnet: AtomicU8,
}

impl Run {
    /// Connects and looks at what is there.
    pub(crate) async fn begin(setup: Setup) -> Result<Self, String> {
        let random = RandomState::new().build_hasher().finish();
        let prefix = format!("sc-{:06x}-", random & 0xff_ffff);
        let substrate = &*setup.substrate;
        let begin = async {
            substrate.connect().await?;
            let health = substrate.health_check().await?;
            let before = Inventory::take(substrate, &prefix).await?;
            Ok::<_, Error>((health, before.things))
        };
        let (health, before) = tokio::time::timeout(setup.trial_deadline, begin)
            .await
            .map_err(|_| format!("the substrate did not answer within {:?}", setup.trial_deadline))?
            .map_err(|error| format!("the substrate is not usable: {error}"))?;
        Ok(Self {
            descriptor: substrate.descriptor(),
            version: health.version.unwrap_or_else(|| "unknown".to_owned()),
            prefix,
            before,
            kept_images: Mutex::default(),
            complaints: Mutex::default(),
            // Two runs on one server at once should not begin with the same subnet.
            next_subnet: AtomicU8::new(u8::try_from(random >> 56).unwrap_or_default()),
            setup,
        })
    }

    /// Takes note of an image that was made of the setup's file, and stays.
    pub(crate) fn keep_image(&self, id: &str) {
        self.kept_images.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    fn is_kept(&self, thing: &Thing) -> bool {
        let kept = self.kept_images.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(thing, Thing::Image(names) if names.split(' ').next().is_some_and(|id| kept.contains(id)))
    }

    /// What the instances of this run carry as their deployment.
    pub(crate) fn mark(&self) -> &str {
        self.prefix.trim_end_matches('-')
    }

    /// A subnet in CIDR form that no other trial of this run has, by its first three numbers.
    pub(crate) fn subnet(&self) -> [u8; 3] {
        let (first, second) = self.setup.subnets;
        [first, second, self.next_subnet.fetch_add(1, Ordering::Relaxed)]
    }

    /// Removes things, those first on which others depend, and remembers what could not be removed.
    pub(crate) async fn remove(&self, trial: &str, things: impl IntoIterator<Item = Thing>) {
        for thing in things {
            let problem = match tokio::time::timeout(REMOVAL, thing.remove(&*self.setup.substrate)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("not gone within {REMOVAL:?}"),
            };
            self.complaints
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("{thing} of {trial} could not be removed: {problem}"));
        }
    }

    /// Finds what is new since the run began, removes what of it is the run's own, and tells both. The second
    /// call finds nothing.
    pub(crate) async fn reap(&self) -> Verdict {
        let after = tokio::time::timeout(REMOVAL, Inventory::take(&*self.setup.substrate, self.mark()))
            .await
            .map_err(|_| Failure::broken("the final listing did not come"))??;
        let new = after.things.iter().filter(|thing| !self.before.contains(thing) && !self.is_kept(thing));
        let (own, others): (Vec<&Thing>, Vec<&Thing>) =
            new.partition(|thing| after.is_of_run(thing, &self.prefix));
        let mut problems: Vec<String> = own.iter().map(|thing| self.attribute(thing)).collect();
        if self.setup.exclusive {
            // Told and not touched: a wrong word about being alone here must cost nobody his work.
            problems.extend(others.into_iter().map(|thing| format!("somebody left {thing}")));
        }
        self.remove("the run", own.into_iter().cloned()).await;
        problems.append(&mut self.complaints.lock().unwrap_or_else(PoisonError::into_inner));
        if problems.is_empty() { Ok(()) } else { Err(Failure::broken(problems.join("; "))) }
    }

    /// Names the trial that a thing is from, by the number in its name.
    fn attribute(&self, thing: &Thing) -> String {
        let text = thing.to_string();
        let number = text
            .split_once(&self.prefix)
            .and_then(|(_, rest)| rest.get(..3))
            .and_then(|digits| digits.parse::<usize>().ok());
        match number.and_then(|number| crate::trials::all().nth(number)) {
            Some(trial) => format!("{} left {text}", trial.name),
            None => format!("the run left {text}"),
        }
    }
}
