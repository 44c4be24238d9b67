//! A fake, a journal in memory, and an engine over both.

use std::sync::Arc;

use substrate_core::{Instance, InstanceFilter, InstanceState, Substrate};
use substrate_engine::model::Name;
use substrate_engine::plan::Plan;
use substrate_engine::{Desired, Engine, EngineError, JournalStore, Reader, Report, RunOptions, Selector};
use substrate_fake::Fake;

pub(crate) struct Lab {
    pub(crate) fake: Arc<Fake>,
    pub(crate) engine: Engine,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::over(Arc::new(Fake::new("fake"))).await
    }

    pub(crate) async fn over(fake: Arc<Fake>) -> Self {
        let journals = JournalStore::memory();
        let engine = engine(fake.clone(), &journals).await;
        Self { fake, engine }
    }

    pub(crate) fn desired(&self, text: &str) -> Desired {
        parse(&self.engine, text)
    }

    pub(crate) async fn deploy(&self, text: &str) -> Report {
        self.try_deploy(text).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn try_deploy(&self, text: &str) -> Result<Report, EngineError> {
        self.engine.deploy(&self.desired(text), &RunOptions::default()).await
    }

    pub(crate) async fn plan(&self, text: &str) -> Plan {
        let plan = self.engine.plan(&self.desired(text), &Selector::all()).await;
        plan.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn instances(&self) -> Vec<Arc<Instance>> {
        self.fake.list_instances(&InstanceFilter::all()).await.unwrap()
    }

    /// Names and states, in order.
    pub(crate) async fn running(&self) -> Vec<String> {
        let instances = self.instances().await;
        let mut names: Vec<String> = instances
            .iter()
            .filter(|one| one.state == InstanceState::Running)
            .map(|one| one.name.to_string())
            .collect();
        names.sort();
        names
    }
}

pub(crate) async fn engine(substrate: Arc<dyn Substrate>, journals: &JournalStore) -> Engine {
    Engine::builder(journals.clone()).facility(substrate).connect().await.unwrap()
}

pub(crate) fn parse(engine: &Engine, text: &str) -> Desired {
    let documents = Reader::new().text("shop.yaml", text).read();
    engine.validate(&documents).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The steps as `action resource`, in their order.
pub(crate) fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {}", step.action, step.resource)).collect()
}
