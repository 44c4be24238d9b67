//! The facilities as one run of the engine sees them: what is called what, whose it is, and what is there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};
use substrate_core::layer::fresh;
use substrate_core::{Error, Feature, Labels, Result, Substrate, mark};
use tokio::sync::Semaphore;

use super::Engine;
use crate::handler::{Facility, Found, Names, ResourceHandler, Site};
use crate::model::{Name, ResourceId};
use crate::plan::digest_of;
use crate::plan::{
    Canonical, CanonicalVersion, Observation, Observed, Ownership, Present, Recorded, RecordedResource,
};
use crate::validation::{Desired, DesiredResource};

/// How many resources are looked at at once where no facility limits it.
const LOOKED_AT_ONCE: usize = 64;

pub(crate) struct World<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) desired: &'a Desired,
    pub(crate) recorded: &'a Recorded,
    /// Documents that are not what is desired now, but may know secrets of what was.
    pub(crate) documents: Option<&'a Desired>,
    /// What resources are marked with, by blueprint; none before the deployment's first run.
    identities: HashMap<Name, String>,
    facilities: HashMap<Arc<str>, (Facility, Semaphore)>,
    /// What resources are called that this run gave a name.
    named: Mutex<HashMap<ResourceId, String>>,
}

/// What is needed to look at a resource or to change it.
pub(crate) struct Spot {
    pub(crate) id: ResourceId,
    pub(crate) handler: Arc<dyn ResourceHandler>,
    pub(crate) facility: Option<Arc<str>>,
    pub(crate) name: String,
    pub(crate) marks: Labels,
    pub(crate) recorded: Option<Arc<RecordedResource>>,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        desired: &'a Desired,
        recorded: &'a Recorded,
        identities: HashMap<Name, String>,
    ) -> Self {
        let facilities = engine.facilities.iter().map(|(name, substrate)| {
            let permits = Semaphore::new(engine.settings.parallelism_on(name));
            (name.clone(), (Facility::new(substrate.clone()), permits))
        });
        Self {
            engine,
            desired,
            recorded,
            documents: None,
            identities,
            facilities: facilities.collect(),
            named: Mutex::default(),
        }
    }

    pub(crate) fn with_documents(mut self, documents: Option<&'a Desired>) -> Self {
        self.documents = documents;
        self
    }

    /// Notes what a resource is called from now on.
    pub(crate) fn set_name(&self, id: ResourceId, name: String) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name);
    }

    /// What a desired resource is called now, or will be.
    pub(crate) fn current_name(&self, resource: &DesiredResource) -> String {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = named.get(&resource.id) {
            return name.clone();
        }
        match self.recorded.get(&resource.id) {
            Some(record) => record.name.clone(),
            None => {
                let facility = resource.facility().map(|facility| &**facility);
                self.name_for(&resource.id, &*resource.interpreted.handler, facility)
            }
        }
    }

    /// Waits for a free place on a facility; what lives on none needs none.
    pub(crate) async fn permit(&self, facility: Option<&str>) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let (_, permits) = self.facilities.get(facility?)?;
        // It is never closed.
        permits.acquire().await.ok()
    }

    pub(crate) fn substrate(&self, facility: Option<&str>) -> Result<&dyn Substrate> {
        let name = facility.ok_or_else(|| Error::internal("it lives on no facility"))?;
        match self.facilities.get(name) {
            Some((facility, _)) => Ok(&*facility.substrate),
            None => Err(unknown_facility(name)),
        }
    }

    /// Where a resource is, under the name that it has or gets.
    pub(crate) fn spot_of_desired(&self, id: &ResourceId, name: String, key: &str) -> Result<Spot> {
        let desired =
            self.desired.get(id).ok_or_else(|| Error::internal(format!("`{id}` is not in the documents")))?;
        Ok(Spot {
            id: id.clone(),
            handler: desired.interpreted.handler.clone(),
            facility: desired.facility().cloned(),
            name,
            marks: self.marks(id, key),
            recorded: self.recorded.get(id).cloned(),
        })
    }

    /// Where a resource is that was recorded.
    pub(crate) fn spot_of_record(&self, id: &ResourceId, record: &Arc<RecordedResource>) -> Result<Spot> {
        let handler = self.engine.rules.handlers.find(&record.kind, record.version);
        Ok(Spot {
            id: id.clone(),
            handler: handler.map_err(Error::invalid_input)?.clone(),
            facility: record.facility.as_deref().map(Arc::from),
            name: record.name.clone(),
            marks: self.marks(id, &record.key),
            recorded: Some(record.clone()),
        })
    }

    pub(crate) fn site<'s>(&'s self, spot: &'s Spot, from_lists: bool) -> Result<Site<'s>> {
        let facility = match spot.facility.as_deref() {
            None => None,
            Some(name) => Some(
                self.facilities
                    .get(name)
                    .map(|(facility, _)| facility)
                    .ok_or_else(|| unknown_facility(name))?,
            ),
        };
        Ok(Site {
            id: &spot.id,
            name: &spot.name,
            marks: &spot.marks,
            recorded: spot.recorded.as_deref(),
            begun: self.recorded.unfinished(&spot.id).map(|record| &**record),
            desired: self.desired.get(&spot.id),
            documents: [Some(self.desired), self.documents],
            stop: self.engine.settings.stop,
            facility,
            from_lists,
            names: self,
        })
    }

    fn marks(&self, id: &ResourceId, key: &str) -> Labels {
        let mut marks = Labels::new();
        if let Some(identity) = self.identities.get(&id.blueprint) {
            marks.insert(mark::DEPLOYMENT, identity);
        }
        marks.insert(mark::RESOURCE, id.to_string());
        if !key.is_empty() {
            marks.insert(mark::KEY, key);
        }
        marks
    }

    /// What a new resource is called. Where there is no place for marks, the name carries what they would say.
    pub(crate) fn name_for(
        &self,
        id: &ResourceId,
        handler: &dyn ResourceHandler,
        facility: Option<&str>,
    ) -> String {
        let name = id.instance_name();
        match self.is_tagged(handler, facility) {
            true => format!("{name}-{}", self.tag(id)),
            false => name,
        }
    }

    fn is_tagged(&self, handler: &dyn ResourceHandler, facility: Option<&str>) -> bool {
        let Some((facility, _)) = facility.and_then(|name| self.facilities.get(name)) else { return false };
        let feature = if handler.is_instance() { Feature::Labels } else { Feature::ResourceLabels };
        !facility.substrate.descriptor().capabilities.support(feature).is_yes()
    }

    fn tag(&self, id: &ResourceId) -> String {
        let identity = self.identities.get(&id.blueprint).map(String::as_str).unwrap_or_default();
        let mut tag = digest_of(&serde_json::json!([identity, id.to_string()]));
        tag.truncate(8);
        tag
    }

    /// Whose something is that was found.
    pub(crate) fn ownership(&self, spot: &Spot, found: &Found) -> Ownership {
        let known = self.recorded.get(&spot.id);
        let is_ours = match &found.labels {
            Some(labels) => {
                let carries_our_marks = [mark::DEPLOYMENT, mark::RESOURCE]
                    .iter()
                    .all(|key| labels.get(key).is_some() && labels.get(key) == spot.marks.get(key));
                // Somebody may have taken the marks off; which one it is, they cannot change.
                carries_our_marks
                    || known.is_some_and(|known| known.identity.is_some() && known.identity == found.identity)
            }
            None => {
                self.is_tagged(&*spot.handler, spot.facility.as_deref())
                    || known.is_some()
                    || self.recorded.unfinished(&spot.id).is_some()
            }
        };
        if is_ours { Ownership::Ours } else { Ownership::Foreign }
    }

    /// Looks at everything that is desired or known, as it is now: what was kept from before decides nothing.
    pub(crate) async fn observe(&self) -> Observed {
        let desired = self.desired.resources().iter().map(|resource| &resource.id);
        let gone = self.recorded.known().map(|(id, _)| id).filter(|id| self.desired.get(id).is_none());
        let looks = desired.chain(gone).map(async |id| (id.clone(), self.observe_one(id).await));
        let looked = stream::iter(looks).buffer_unordered(LOOKED_AT_ONCE).collect::<Vec<_>>();
        // As a whole, so that what several look at is read once.
        fresh(looked).await.into_iter().collect()
    }

    /// Looks at one resource, under every name that it may have.
    async fn observe_one(&self, id: &ResourceId) -> Observation {
        let mut spots = Vec::with_capacity(2);
        // Of a replacement that was interrupted the old one counts as long as it is there.
        for record in [self.recorded.get(id), self.recorded.unfinished(id)].into_iter().flatten() {
            match self.spot_of_record(id, record) {
                Ok(spot) => spots.push(spot),
                Err(error) => return Observation::Unknown(error.to_string()),
            }
        }
        if let Some(desired) = self.desired.get(id) {
            let facility = desired.facility().map(|facility| &**facility);
            let name = self.name_for(id, &*desired.interpreted.handler, facility);
            // What has its own name is no stranger's; what it is to be called is.
            let is_new = spots.is_empty() || spots.iter().any(|spot| spot.facility.as_deref() != facility);
            if is_new {
                spots.extend(self.spot_of_desired(id, name, ""));
            }
        }
        spots.dedup_by(|left, right| left.facility == right.facility && left.name == right.name);
        for spot in &spots {
            match self.look_at(spot, true).await {
                Ok(None) => {}
                Ok(Some((ownership, found))) => return present(spot, ownership, found),
                Err(error) => return Observation::Unknown(error.to_string()),
            }
        }
        Observation::Absent
    }

    /// Looks at one place as it is now: what is there, and whose it is.
    pub(crate) async fn look(&self, spot: &Spot) -> Result<Option<(Ownership, Found)>> {
        fresh(self.look_at(spot, false)).await
    }

    async fn look_at(&self, spot: &Spot, from_lists: bool) -> Result<Option<(Ownership, Found)>> {
        let site = self.site(spot, from_lists)?;
        let found = spot.handler.read(&site).await?;
        Ok(found.map(|found| (self.ownership(spot, &found), found)))
    }
}

fn present(spot: &Spot, ownership: Ownership, found: Found) -> Observation {
    let Some(properties) = reported(&found) else {
        return Observation::Unknown("what it reports cannot be compared".to_owned());
    };
    Observation::Present(Box::new(Present {
        ownership,
        name: spot.name.clone(),
        key: found.labels.as_ref().and_then(|labels| labels.get(mark::KEY)).map(str::to_owned),
        properties,
        complete_below: found.complete_below,
        outputs: found.outputs,
    }))
}

/// What a facility reports, in canonical form.
pub(crate) fn reported(found: &Found) -> Option<Canonical> {
    Canonical::new(CanonicalVersion::CURRENT, &found.properties, "", &|_| false)
}

fn unknown_facility(name: &str) -> Error {
    Error::invalid_input(format!("there is no facility `{name}` any more"))
        .with_hint("put it back into the configuration: resources of the deployment live on it")
}

impl Names for World<'_> {
    fn names_of(&self, from: &ResourceId, name: &str) -> Option<Vec<String>> {
        let name = Name::new(name).ok()?;
        let desired = self.desired.instances_of(&from.blueprint, &name);
        if !desired.is_empty() {
            return Some(desired.iter().map(|resource| self.current_name(resource)).collect());
        }
        let record = self.recorded.get(&ResourceId::new(from.blueprint.clone(), name))?;
        Some(vec![record.name.clone()])
    }
}
