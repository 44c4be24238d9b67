//! Actions on a selection of what is deployed.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;
use substrate_core::{
    Error, HealthReport, InstanceName, InstanceState, Operation, Result, SnapshotConfig, Substrate,
};

use super::deploy::release;
use super::world::{Spot, World};
use super::{Engine, EngineError, Selector, identities, merged};
use crate::directive::{Action, DirectiveSite, When};
use crate::model::{Name, Readiness, ResourceId};
use crate::plan::RecordedResource;
use crate::run::directives::{directives_in, is_running};
use crate::validation::Desired;

/// What came of an action on one resource.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ActionResult {
    /// Which resource.
    pub resource: ResourceId,
    /// Its kind.
    pub kind: String,
    /// Its facility.
    pub facility: Option<String>,
    /// What it is called there.
    pub name: String,
    /// Its state afterwards, in the words of [`InstanceState`]; `present` or `absent` for what is no instance.
    pub state: String,
    /// What it gives to others.
    pub outputs: std::collections::BTreeMap<String, Value>,
    /// Why the action failed, if it did.
    pub failure: Option<String>,
}

/// How a facility is, by its name.
pub type FacilityHealth = (String, Result<HealthReport>);

impl Engine {
    /// Does something to what is deployed and selected: `start`, `restart` and `snapshot` in the order of dependencies,
    /// `stop` in the reverse of it, `health` and `inventory` only look. `deploy` and `destroy` have methods of their own.
    ///
    /// Directives that react to the action run after a start and before everything else. `documents` may be given for
    /// their secrets, and for what they say should be done instead of an action.
    ///
    /// # Errors
    /// [`InvalidInput`](substrate_core::ErrorKind::InvalidInput) for `deploy` and `destroy`,
    /// [`Conflict`](substrate_core::ErrorKind::Conflict) when another engine is at work on the deployment, and what keeps the journal
    /// from being read. What fails on one resource is in its result, and the others go on.
    pub async fn act(
        &self,
        action: Action,
        deployments: &[Name],
        documents: Option<&Desired>,
        selector: &Selector,
    ) -> std::result::Result<Vec<ActionResult>, EngineError> {
        if matches!(action, Action::Deploy | Action::Destroy) {
            let message = format!("`{action}` is no action on what is there: use the method of that name");
            return Err(Error::invalid_input(message).into());
        }
        let looks_only = matches!(action, Action::Health | Action::Inventory);
        // Whoever deploys now must not find half of it stopped.
        let journals = if looks_only { HashMap::new() } else { self.acquire(deployments).await? };
        let results = self.act_on(action, deployments, documents, selector).await;
        release(journals).await;
        results
    }

    async fn act_on(
        &self,
        action: Action,
        deployments: &[Name],
        documents: Option<&Desired>,
        selector: &Selector,
    ) -> std::result::Result<Vec<ActionResult>, EngineError> {
        let states = self.states(deployments).await?;
        let recorded = merged(&states);
        let desired = self.desired_from(recorded.iter(), documents, deployments.to_vec())?;
        let world = World::new(self, &desired, &recorded, identities(&states)).with_documents(documents);
        let acting = Acting { engine: self, world: &world, documents };
        let mut results: HashMap<&ResourceId, ActionResult> = HashMap::new();
        let mut order: Vec<(&ResourceId, &Arc<RecordedResource>)> = desired
            .order
            .iter()
            .filter_map(|node| desired.resources().get(*node))
            .filter_map(|resource| Some((&resource.id, recorded.get(&resource.id)?)))
            .filter(|(id, record)| selector.matches(id, record.facility.as_deref(), &labels_of(record)))
            .collect();
        if action == Action::Stop {
            order.reverse();
        }
        if matches!(action, Action::Health | Action::Inventory) {
            let all =
                join_all(order.iter().map(async |(id, record)| (*id, acting.on(action, id, record).await)));
            results.extend(all.await);
        } else {
            // One after the other: what depends on another finds it as it shall be.
            for (id, record) in &order {
                results.insert(id, acting.on(action, id, record).await);
            }
        }
        Ok(order.into_iter().filter_map(|(id, _)| results.remove(id)).collect())
    }

    /// How all facilities are, each asked at the same time.
    pub async fn health_check(&self) -> Vec<FacilityHealth> {
        let checks = self
            .facilities()
            .map(async |(name, substrate)| (name.to_owned(), substrate.health_check().await));
        join_all(checks).await
    }
}

fn labels_of(record: &RecordedResource) -> Vec<(&str, &str)> {
    let labels = record.canonical.properties().filter_map(|(path, property)| {
        let crate::plan::Property::Value(Value::String(value)) = property else { return None };
        // Keys with dots are escaped in paths and chosen by nobody: compare what is simple.
        Some((path.strip_prefix("labels.")?, value.as_str()))
    });
    labels.collect()
}

struct Acting<'a> {
    engine: &'a Engine,
    world: &'a World<'a>,
    documents: Option<&'a Desired>,
}

impl Acting<'_> {
    async fn on(&self, action: Action, id: &ResourceId, record: &Arc<RecordedResource>) -> ActionResult {
        let mut result = ActionResult {
            resource: id.clone(),
            kind: record.kind.clone(),
            facility: record.facility.clone(),
            name: record.name.clone(),
            state: InstanceState::Unknown.to_string(),
            outputs: record.outputs.clone(),
            failure: None,
        };
        let documented = self.documents.and_then(|documents| documents.get(id));
        let action = documented.map_or(action, |one| one.declaration.rules.instead_of(action));
        let acted = async {
            let spot = self.world.spot_of_record(id, record)?;
            if spot.handler.is_instance() {
                self.change(action, &spot).await?;
            }
            Ok::<_, Error>(spot)
        };
        match acted.await {
            Ok(spot) => match self.look(&spot, &mut result).await {
                Ok(()) => {}
                Err(error) => result.failure = Some(error.to_string()),
            },
            Err(error) => result.failure = Some(error.to_string()),
        }
        result
    }

    async fn look(&self, spot: &Spot, result: &mut ActionResult) -> Result<()> {
        let found = self.world.look(spot).await?;
        result.state = match &found {
            None => "absent".to_owned(),
            Some(_) if spot.handler.is_instance() => {
                let substrate = self.world.substrate(spot.facility.as_deref())?;
                substrate.get_instance(&spot.name.parse()?).await?.state.to_string()
            }
            Some(_) => "present".to_owned(),
        };
        if let Some((_, found)) = found {
            result.outputs = found.outputs;
        }
        Ok(())
    }

    async fn change(&self, action: Action, spot: &Spot) -> Result<()> {
        let substrate = self.world.substrate(spot.facility.as_deref())?;
        let instance: InstanceName = spot.name.parse()?;
        let site = DirectiveSite { id: &spot.id, substrate, instance: &instance, probe: self.engine.probe() };
        let stop = self.engine.settings.stop;
        match action {
            Action::Start => {
                substrate.start_instance(&instance).await?;
                self.directives(action, spot, &site).await?;
                self.ready(spot, &site).await
            }
            Action::Restart => {
                self.directives(Action::Stop, spot, &site).await?;
                substrate.restart_instance(&instance, stop).await?;
                self.directives(action, spot, &site).await?;
                self.ready(spot, &site).await
            }
            Action::Stop => {
                self.directives(action, spot, &site).await?;
                substrate.stop_instance(&instance, stop).await
            }
            Action::Snapshot => {
                self.directives(action, spot, &site).await?;
                snapshot(substrate, &instance).await
            }
            Action::Health => match self.ready(spot, &site).await {
                // Where nothing says what ready means, running is.
                Ok(()) if !is_running(substrate, &instance).await? => Err(Error::conflict("it does not run")),
                other => other,
            },
            Action::Deploy | Action::Destroy | Action::Inventory => Ok(()),
        }
    }

    async fn directives(&self, action: Action, spot: &Spot, site: &DirectiveSite<'_>) -> Result<()> {
        let properties = self.properties(spot);
        let directives = directives_in(self.engine.rules(), &spot.id, &properties, When::Acting)?;
        let reacting: Vec<_> = directives.iter().filter(|one| one.reacts_to(action)).collect();
        if reacting.is_empty() || !is_running(site.substrate, site.instance).await? {
            return Ok(());
        }
        for one in reacting {
            one.directive.run(&one.settings, site).await?;
        }
        Ok(())
    }

    async fn ready(&self, spot: &Spot, site: &DirectiveSite<'_>) -> Result<()> {
        let properties = self.properties(spot);
        let health_check = properties.get("health_check").and_then(Readiness::from_description);
        let documented = self.documents.and_then(|documents| documents.get(&spot.id));
        let declared = documented.and_then(|one| one.declaration.readiness.as_ref());
        for condition in declared.into_iter().chain(&health_check) {
            site.wait_until(condition).await?;
        }
        Ok(())
    }

    /// As it was deployed; secrets are those of the documents.
    fn properties(&self, spot: &Spot) -> Value {
        let canonical = spot.recorded.as_ref().map(|record| &record.canonical);
        canonical.map_or(Value::Null, |canonical| {
            canonical.to_value(|path, digest| self.documents?.secret(&spot.id, path, digest)).0
        })
    }
}

/// Named after the second in which it is taken.
async fn snapshot(substrate: &dyn Substrate, instance: &InstanceName) -> Result<()> {
    substrate.descriptor().capabilities.require(Operation::CreateSnapshot)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let name = format!("substrate-{}", now.as_secs()).parse()?;
    substrate.create_snapshot(instance, &SnapshotConfig::new(name)).await.map(drop)
}
