//! One step: announced in the journal, done, made ready, and put down as done.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use substrate_core::{Error, InstanceName, Outcome, Result};
use tokio::sync::SemaphorePermit;

use super::directives::{Ready, directives_in, is_running};
use super::inputs::Resolved;
use super::progress::Stage;
use super::{Running, Times};
use crate::directive::{Action, DirectiveSite, When};
use crate::engine::world::{Spot, reported};
use crate::handler::Found;
use crate::journal::{Made, Record, random_text};
use crate::model::{Readiness, ResourceId};
use crate::plan::{Cause, Observation, Ownership, RecordedResource, Step, StepAction};
use crate::validation::DesiredResource;

/// Why a step did not come to its end.
pub(crate) enum StepError {
    /// It went wrong.
    Failed(Error),
    /// The journal cannot be written: nothing more must be done at all.
    Lost(Error),
    /// The run was asked to stop while this step waited.
    Cancelled,
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

type StepResult<T> = std::result::Result<T, StepError>;

impl Running<'_> {
    pub(super) async fn take(&self, step: &Step, times: &mut Times) -> StepResult<()> {
        let permit = self.world.permit(step.facility.as_deref()).await;
        if self.is_stopping() {
            return Err(StepError::Cancelled);
        }
        times.begin();
        self.tell(step, Stage::Started);
        let result = match step.action {
            StepAction::Create => self.create(step, permit, times).await,
            StepAction::Update => self.update(step, permit, times).await,
            StepAction::Replace => self.replace(step, permit, times).await,
            StepAction::ReplaceCreateFirst => self.replace_create_first(step, permit, times).await,
            StepAction::Delete => self.delete(&step.resource).await,
            StepAction::Keep => Ok(()),
        };
        if let Err(StepError::Failed(error)) = &result {
            let record = Record::Failed { resource: step.resource.clone(), reason: error.to_string() };
            self.append_after_intent(&step.resource, record).await?;
        }
        result
    }

    async fn create(
        &self,
        step: &Step,
        permit: Option<SemaphorePermit<'_>>,
        times: &mut Times,
    ) -> StepResult<()> {
        let resource = self.desired(&step.resource)?;
        let resolved = self.resolve(resource).await?;
        let name = self.base_name(resource);
        let next = next_record(resource, name, random_text(), &resolved);
        self.intend(step, Some(next.clone())).await?;
        let (spot, found) = self.make(resource, &next, &resolved.properties).await?;
        self.make_ready(step, resource, &spot, &resolved.properties, Directives::All, permit, times).await?;
        self.finish(&spot, found).await
    }

    async fn update(
        &self,
        step: &Step,
        permit: Option<SemaphorePermit<'_>>,
        times: &mut Times,
    ) -> StepResult<()> {
        let resource = self.desired(&step.resource)?;
        let resolved = self.resolve(resource).await?;
        let recorded = self.world.recorded.get(&step.resource);
        let (name, key) = match self.observed.get(&step.resource) {
            Some(Observation::Present(present)) => (present.name.clone(), present.key.clone()),
            _ => (self.base_name(resource), None),
        };
        let key = key.or_else(|| recorded.map(|record| record.key.clone())).unwrap_or_default();
        let next = next_record(resource, name, key, &resolved);
        // What an instance is made with is not needed to change it; what is done on it is.
        let directives = Directives::after_update(&step.causes);
        check_secrets(resource, |path| {
            !resource.interpreted.handler.is_instance()
                || (directives != Directives::None && path.starts_with("resource.directives"))
        })?;
        self.intend(step, Some(next.clone())).await?;
        let spot = self.world.spot_of_desired(&step.resource, next.name.clone(), &next.key)?;
        let found = spot.handler.update(&self.world.site(&spot, false)?, &resolved.properties).await?;
        self.made(&spot, &found);
        self.make_ready(step, resource, &spot, &resolved.properties, directives, permit, times).await?;
        self.finish(&spot, found).await
    }

    async fn replace(
        &self,
        step: &Step,
        permit: Option<SemaphorePermit<'_>>,
        times: &mut Times,
    ) -> StepResult<()> {
        let resource = self.desired(&step.resource)?;
        let resolved = self.resolve(resource).await?;
        let next = next_record(resource, self.base_name(resource), random_text(), &resolved);
        // Before anything goes: what cannot be made again must not be removed.
        check_secrets(resource, |_| true)?;
        self.intend(step, Some(next.clone())).await?;
        self.remove_known(&step.resource, |_| true).await?;
        let (spot, found) = self.make(resource, &next, &resolved.properties).await?;
        self.make_ready(step, resource, &spot, &resolved.properties, Directives::All, permit, times).await?;
        self.finish(&spot, found).await
    }

    /// The new one gets another name while the old one has its own: two names take turns.
    async fn replace_create_first(
        &self,
        step: &Step,
        permit: Option<SemaphorePermit<'_>>,
        times: &mut Times,
    ) -> StepResult<()> {
        let id = &step.resource;
        let resource = self.desired(id)?;
        let resolved = self.resolve(resource).await?;
        let base = self.base_name(resource);
        let facility = resource.facility().map(|facility| &**facility);
        let is_taken = self
            .world
            .recorded
            .get(id)
            .is_some_and(|record| record.name == base && record.facility.as_deref() == facility);
        let name = if is_taken { format!("{base}-next") } else { base };
        let next = next_record(resource, name, random_text(), &resolved);
        self.intend(step, Some(next.clone())).await?;
        // What an interrupted run left under the new name: nobody uses it yet.
        let spot = self.world.spot_of_desired(id, next.name.clone(), &next.key)?;
        match self.world.look(&spot).await? {
            Some((Ownership::Ours, _)) => self.remove(&spot).await?,
            Some((Ownership::Foreign, _)) => return Err(taken(&spot).into()),
            None => {}
        }
        let (spot, found) = self.make(resource, &next, &resolved.properties).await?;
        self.make_ready(step, resource, &spot, &resolved.properties, Directives::All, permit, times).await?;
        self.remove_known(id, |old| (&old.facility, &old.name) != (&spot.facility, &spot.name)).await?;
        self.finish(&spot, found).await
    }

    async fn delete(&self, id: &ResourceId) -> StepResult<()> {
        let record = Record::Intended { resource: id.clone(), action: StepAction::Delete, next: None };
        self.append(id, record).await?;
        self.remove_known(id, |_| true).await?;
        self.append(id, Record::Finished { resource: id.clone(), made: None }).await
    }

    /// Removes what is known of a resource: as it was deployed, and as it was about to become.
    async fn remove_known(&self, id: &ResourceId, which: impl Fn(&Spot) -> bool) -> StepResult<()> {
        let mut spots = Vec::with_capacity(2);
        for record in [self.world.recorded.get(id), self.world.recorded.unfinished(id)].into_iter().flatten()
        {
            spots.push(self.world.spot_of_record(id, record)?);
        }
        // An update of one that has its old name still is one and the same.
        spots.dedup_by(|left, right| left.facility == right.facility && left.name == right.name);
        for spot in spots.iter().filter(|spot| which(spot)) {
            self.run_last_directives(spot).await?;
            self.remove(spot).await?;
        }
        Ok(())
    }

    async fn remove(&self, spot: &Spot) -> StepResult<()> {
        Ok(spot.handler.delete(&self.world.site(spot, false)?).await?)
    }

    /// Directives that react to a removal, on an instance that runs.
    async fn run_last_directives(&self, spot: &Spot) -> StepResult<()> {
        let Some(recorded) = spot.recorded.as_ref().filter(|_| spot.handler.is_instance()) else {
            return Ok(());
        };
        let world = self.world;
        let (properties, unknown) = recorded.canonical.to_value(|path, digest| {
            let documents = world.documents.into_iter().chain([world.desired]);
            documents.into_iter().find_map(|documents| documents.secret(&spot.id, path, digest))
        });
        let directives = directives_in(self.world.engine.rules(), &spot.id, &properties, When::Acting)?;
        let last: Vec<&Ready<'_>> = directives.iter().filter(|one| one.reacts_to(Action::Destroy)).collect();
        if last.is_empty() {
            return Ok(());
        }
        let is_theirs = |path: &&String| {
            last.iter().any(|one| path.starts_with(&format!("resource.directives.{}.", one.number)))
        };
        if let Some(path) = unknown.iter().find(is_theirs) {
            return Err(Error::invalid_input(format!(
                "`{}` has a directive to run before it is removed, and its secret `{path}` is not in the journal",
                spot.id
            ))
            .with_hint("keep the resource in the documents, then remove it with `destroy`")
            .into());
        }
        let substrate = self.world.substrate(spot.facility.as_deref())?;
        let instance: InstanceName = spot.name.parse()?;
        if !is_running(substrate, &instance).await? {
            return Ok(());
        }
        let site = self.directive_site(spot, &instance)?;
        for one in last {
            let settings = self.resolve_recorded(&spot.id, &one.settings)?;
            one.directive.run(&settings, &site).await?;
        }
        Ok(())
    }

    /// Makes a resource; one that is there already is looked at before anything is believed.
    async fn make(
        &self,
        resource: &DesiredResource,
        next: &RecordedResource,
        properties: &Value,
    ) -> StepResult<(Spot, Found)> {
        check_secrets(resource, |_| true)?;
        let spot = self.world.spot_of_desired(&resource.id, next.name.clone(), &next.key)?;
        let mut prepared = properties.clone();
        for one in directives_in(self.world.engine.rules(), &resource.id, properties, When::Creating)? {
            one.directive.prepare(&one.settings, &mut prepared)?;
        }
        let site = self.world.site(&spot, false)?;
        let found = match spot.handler.create(&site, &prepared).await {
            Ok(found) => found,
            Err(error) if error.is_already_exists() || error.outcome() == Outcome::Unknown => {
                match self.world.look(&spot).await {
                    Ok(Some((Ownership::Ours, found))) if is_from(&found, &next.key) => {
                        // It was made all the same; what comes after making it may be missing.
                        spot.handler.update(&site, &prepared).await?
                    }
                    // An earlier try that was interrupted has come true since it was looked at.
                    Ok(Some((Ownership::Ours, _))) => {
                        spot.handler.delete(&site).await?;
                        spot.handler.create(&site, &prepared).await?
                    }
                    _ => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        self.made(&spot, &found);
        Ok((spot, found))
    }

    fn made(&self, spot: &Spot, found: &Found) {
        self.world.set_name(spot.id.clone(), spot.name.clone());
        self.set_outputs(spot.id.clone(), found.outputs.clone());
    }

    /// Directives and readiness. The place on the facility is given back for the time of waiting.
    #[allow(clippy::too_many_arguments, reason = "the parts of one step, passed on once")]
    async fn make_ready(
        &self,
        step: &Step,
        resource: &DesiredResource,
        spot: &Spot,
        properties: &Value,
        which: Directives,
        permit: Option<SemaphorePermit<'_>>,
        times: &mut Times,
    ) -> StepResult<()> {
        let runs = properties.get("running").and_then(Value::as_bool).unwrap_or(false);
        if !spot.handler.is_instance() || !runs {
            return Ok(());
        }
        let instance: InstanceName = spot.name.parse()?;
        let site = self.directive_site(spot, &instance)?;
        let directives: Vec<Ready<'_>> =
            directives_in(self.world.engine.rules(), &spot.id, properties, When::Acting)?;
        if let Some(action) = which.action() {
            let done = self.directives_done(&spot.id);
            self.run_directives(&directives, action, &site, |number| done.contains(&number)).await?;
        }
        let health_check = properties.get("health_check").and_then(Readiness::from_description);
        let conditions = resource.declaration.readiness.iter().chain(&health_check);
        let mut permit = permit;
        for condition in conditions {
            drop(permit.take());
            times.make();
            self.tell(step, Stage::WaitsForReadiness);
            tokio::select! {
                biased;
                ready = site.wait_until(condition) => ready?,
                () = self.stopping() => return Err(StepError::Cancelled),
            }
        }
        Ok(())
    }

    fn directive_site<'s>(&'s self, spot: &'s Spot, instance: &'s InstanceName) -> Result<DirectiveSite<'s>> {
        Ok(DirectiveSite {
            id: &spot.id,
            substrate: self.world.substrate(spot.facility.as_deref())?,
            instance,
            probe: self.world.engine.probe(),
        })
    }

    async fn finish(&self, spot: &Spot, found: Found) -> StepResult<()> {
        let made = Made {
            identity: found.identity.clone(),
            reported: reported(&found).map(Box::new),
            outputs: match spot.handler.keeps_outputs() {
                true => found.outputs,
                false => Default::default(),
            },
        };
        self.append(&spot.id, Record::Finished { resource: spot.id.clone(), made: Some(made) }).await
    }

    async fn intend(&self, step: &Step, next: Option<Arc<RecordedResource>>) -> StepResult<()> {
        let record = Record::Intended { resource: step.resource.clone(), action: step.action, next };
        self.append(&step.resource, record).await
    }

    pub(super) async fn append(&self, id: &ResourceId, record: Record) -> StepResult<()> {
        let journal = self
            .journals
            .get(&id.blueprint)
            .ok_or_else(|| StepError::Lost(Error::internal(format!("`{id}` has no journal"))))?;
        journal.append(record).await.map_err(StepError::Lost)
    }

    /// A step may fail before it was announced: then there is nothing to add.
    async fn append_after_intent(&self, id: &ResourceId, record: Record) -> StepResult<()> {
        let was_announced = self
            .journals
            .get(&id.blueprint)
            .is_some_and(|journal| journal.with_state(|state| state.pending(id).is_some()));
        if was_announced { self.append(id, record).await } else { Ok(()) }
    }

    fn directives_done(&self, id: &ResourceId) -> BTreeSet<usize> {
        let journal = self.journals.get(&id.blueprint);
        let done = journal.and_then(|journal| {
            journal.with_state(|state| state.pending(id).map(|pending| pending.directives.clone()))
        });
        done.unwrap_or_default()
    }

    fn desired(&self, id: &ResourceId) -> Result<&DesiredResource> {
        self.world.desired.get(id).ok_or_else(|| Error::internal(format!("`{id}` is not desired")))
    }

    fn base_name(&self, resource: &DesiredResource) -> String {
        let facility = resource.facility().map(|facility| &**facility);
        self.world.name_for(&resource.id, &*resource.interpreted.handler, facility)
    }
}

/// Which directives a step carries out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directives {
    /// Those for a deployment.
    All,
    /// Those for a start: it ran before, and somebody stopped it.
    Started,
    None,
}

impl Directives {
    fn after_update(causes: &[Cause]) -> Self {
        let is_about = |cause: &Cause, wanted: &str| {
            let (Cause::Changed { property, .. }
            | Cause::Drifted { property, .. }
            | Cause::InputChanged { property, .. }
            | Cause::InputMayChange { property, .. }) = cause
            else {
                return false;
            };
            property.starts_with(wanted)
        };
        let anew = causes.iter().any(|cause| {
            matches!(cause, Cause::Unrecorded | Cause::Unfinished) || is_about(cause, "resource.directives")
        });
        if anew {
            Self::All
        } else if causes.iter().any(|cause| is_about(cause, "running")) {
            Self::Started
        } else {
            Self::None
        }
    }

    fn action(self) -> Option<Action> {
        match self {
            Self::All => Some(Action::Deploy),
            Self::Started => Some(Action::Start),
            Self::None => None,
        }
    }
}

fn next_record(
    resource: &DesiredResource,
    name: String,
    key: String,
    resolved: &Resolved,
) -> Arc<RecordedResource> {
    Arc::new(RecordedResource {
        name,
        key,
        inputs: resolved.inputs.clone(),
        ..RecordedResource::of(resource)
    })
}

/// Whether something was made by the creation that carries this key.
fn is_from(found: &Found, key: &str) -> bool {
    match &found.labels {
        Some(labels) => labels.get(substrate_core::mark::KEY) == Some(key),
        // Without marks its name says that it is ours; which try made it does not matter then.
        None => true,
    }
}

fn check_secrets(resource: &DesiredResource, is_needed: impl Fn(&str) -> bool) -> Result<()> {
    let unknown = resource.interpreted.unknown_secrets.iter().map(String::as_str);
    let unknown: Vec<&str> = unknown.filter(|path| is_needed(path)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::invalid_input(format!(
        "it cannot be made as it was: the journal holds no secrets, and these are needed: {}",
        unknown.join(", ")
    ))
    .with_hint("give the documents that it was made from, with the same values"))
}

fn taken(spot: &Spot) -> Error {
    Error::already_exists(format!("`{}` is there and was not made by this deployment", spot.name))
        .with_hint("rename the resource, or remove what is there")
}
