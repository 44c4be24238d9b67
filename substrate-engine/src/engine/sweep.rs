//! Finding and removing what carries our marks and belongs to nobody.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Serialize;
use substrate_core::layer::fresh;
use substrate_core::{InstanceFilter, Labels, Operation, Result, Substrate, mark};

use super::{Engine, EngineError};
use crate::journal::{Journal, JournalState};
use crate::model::ResourceId;

/// Something that carries the marks of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Orphan {
    /// Where it is.
    pub facility: String,
    /// What it is.
    pub kind: OrphanKind,
    /// What it is called there.
    pub name: String,
    /// The deployment of its marks.
    pub deployment: String,
    /// The resource of its marks.
    pub resource: String,
    /// What is to be thought of it.
    pub verdict: Verdict,
}

/// What an orphan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum OrphanKind {
    Instance,
    Network,
    Volume,
}

/// What is to be thought of something that carries our marks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// The journal of its deployment does not know it: nobody will ever use or remove it.
    Abandoned,
    /// It was removed.
    Removed,
    /// It could not be removed.
    Failed {
        /// Why.
        reason: String,
    },
    /// Somebody is at work on its deployment: it may be about to become known.
    InUse {
        /// Who.
        by: String,
    },
    /// No journal here knows its deployment. Another one may: it is left alone.
    UnknownDeployment,
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            OrphanKind::Instance => "instance",
            OrphanKind::Network => "network",
            OrphanKind::Volume => "volume",
        };
        write!(f, "{kind} {} on {} ({} of {}): ", self.name, self.facility, self.resource, self.deployment)?;
        match &self.verdict {
            Verdict::Abandoned => f.write_str("abandoned"),
            Verdict::Removed => f.write_str("removed"),
            Verdict::Failed { reason } => write!(f, "could not be removed: {reason}"),
            Verdict::InUse { by } => write!(f, "left alone, {by} is at work on its deployment"),
            Verdict::UnknownDeployment => f.write_str("left alone, no journal here knows its deployment"),
        }
    }
}

/// Whether a sweep removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepMode {
    /// Only tell.
    DryRun,
    /// Remove what is abandoned.
    Remove,
}

impl Engine {
    /// Finds what carries the marks of a deployment that does not know it, on all facilities: what was left behind when
    /// a journal was restored from an older copy, or by a call that came true long after its engine was killed. What
    /// has a living owner is never touched.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when a facility or the journals cannot be listed. What cannot be removed is in the
    /// answer.
    pub async fn sweep(&self, mode: SweepMode) -> std::result::Result<Vec<Orphan>, EngineError> {
        let mut by_deployment: BTreeMap<String, Vec<Orphan>> = BTreeMap::new();
        for (name, substrate) in self.facilities() {
            for orphan in fresh(marked(name, &**substrate)).await? {
                by_deployment.entry(orphan.deployment.clone()).or_default().push(orphan);
            }
        }
        let mut journals: HashMap<String, String> = HashMap::new();
        for name in self.journals().deployments().await? {
            journals.insert(self.journals().state(&name).await?.identity, name);
        }
        let mut all = Vec::new();
        for (identity, mut found) in by_deployment {
            match journals.get(&identity) {
                Some(journal) => self.judge(journal, &mut found, mode).await?,
                None => found.iter_mut().for_each(|one| one.verdict = Verdict::UnknownDeployment),
            }
            all.append(&mut found);
        }
        Ok(all)
    }

    /// Keeps those that the journal does not know, and removes them if that is wanted. The journal is owned meanwhile:
    /// whoever makes something now could not have told yet.
    async fn judge(&self, deployment: &str, found: &mut Vec<Orphan>, mode: SweepMode) -> Result<()> {
        let state = self.journals().state(deployment).await?;
        found.retain(|one| !knows(&state, one));
        if found.is_empty() {
            return Ok(());
        }
        let journal = match Journal::acquire(self.journals(), deployment, self.settings.lease).await {
            Ok(journal) => journal,
            Err(error) if error.is_conflict() => {
                let by = state.owner.map_or_else(|| "another engine".to_owned(), |owner| owner.to_string());
                found.iter_mut().for_each(|one| one.verdict = Verdict::InUse { by: by.clone() });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        found.retain(|one| !journal.with_state(|state| knows(state, one)));
        // Networks and volumes last: an instance may be in them.
        found.sort_by_key(|one| one.kind != OrphanKind::Instance);
        if mode == SweepMode::Remove {
            for orphan in found.iter_mut() {
                orphan.verdict = match self.remove_orphan(orphan).await {
                    Ok(()) => Verdict::Removed,
                    Err(error) => Verdict::Failed { reason: error.to_string() },
                };
            }
        }
        journal.release().await
    }

    async fn remove_orphan(&self, orphan: &Orphan) -> Result<()> {
        let Some(substrate) = self.facilities.get(orphan.facility.as_str()) else { return Ok(()) };
        let removed = match orphan.kind {
            OrphanKind::Instance => substrate.delete_instance(&orphan.name.parse()?, true).await,
            OrphanKind::Network => substrate.delete_network(&orphan.name.parse()?).await,
            OrphanKind::Volume => substrate.delete_volume(&orphan.name.parse()?).await,
        };
        match removed {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

/// Whether the journal knows something under the name and on the facility where it was found.
fn knows(state: &JournalState, orphan: &Orphan) -> bool {
    let Ok(id) = orphan.resource.parse::<ResourceId>() else { return false };
    let records = [state.recorded.get(&id), state.recorded.unfinished(&id)];
    records.into_iter().flatten().any(|record| {
        record.name == orphan.name && record.facility.as_deref() == Some(orphan.facility.as_str())
    })
}

/// Everything on a facility that carries the marks of a deployment.
async fn marked(facility: &str, substrate: &dyn Substrate) -> Result<Vec<Orphan>> {
    let mut found = Vec::new();
    let mut add = |kind: OrphanKind, name: String, labels: &Labels| {
        if let (Some(deployment), Some(resource)) = (labels.get(mark::DEPLOYMENT), labels.get(mark::RESOURCE))
        {
            found.push(Orphan {
                facility: facility.to_owned(),
                kind,
                name,
                deployment: deployment.to_owned(),
                resource: resource.to_owned(),
                verdict: Verdict::Abandoned,
            });
        }
    };
    let can = |operation: Operation| substrate.descriptor().capabilities.support(operation).is_yes();
    for instance in substrate.list_instances(&InstanceFilter::all()).await? {
        add(OrphanKind::Instance, instance.name.to_string(), &instance.labels);
    }
    if can(Operation::ListNetworks) {
        for network in substrate.list_networks().await? {
            add(OrphanKind::Network, network.name.to_string(), &network.labels);
        }
    }
    if can(Operation::ListVolumes) {
        for volume in substrate.list_volumes().await? {
            add(OrphanKind::Volume, volume.name.to_string(), &volume.labels);
        }
    }
    Ok(found)
}
