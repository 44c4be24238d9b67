//! The engine: documents on one side, substrates on the other, a journal between them.

mod action;
mod deploy;
mod destroy;
mod drift;
mod error;
mod opening;
mod preview;
mod reconcile;
mod rollback;
mod selector;
mod settings;
mod sweep;
pub(crate) mod world;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use futures_util::future::try_join_all;
use substrate_core::{Error, Result, Substrate, SubstrateExt};

pub use action::{ActionResult, FacilityHealth};
pub use drift::Drift;
pub use error::EngineError;
pub use reconcile::ReconcileOptions;
pub use rollback::RollbackOptions;
pub use selector::{Pattern, Selector};
pub use settings::EngineSettings;
pub use sweep::{Orphan, OrphanKind, SweepMode, Verdict};

use crate::document::Documents;
use crate::handler::HandlerRegistry;
use crate::journal::{JournalState, JournalStore};
use crate::model::Name;
use crate::plan::{Plan, Recorded};
use crate::readiness::{PortProbe, TcpProbe};
use crate::validation::{Configured, Desired, Facilities, Rules, validate};

/// Brings about what documents say, on the substrates that it was given, and remembers it in a journal.
///
/// It holds no state of its own: everything is in the journal and on the substrates, so that any other engine over the
/// same journal can go on where this one was killed. Dropping a future of it is the same as killing it: nothing is lost,
/// and the next run makes up for what was begun.
#[derive(Clone)]
pub struct Engine {
    rules: Rules,
    facilities: BTreeMap<Arc<str>, Arc<dyn Substrate>>,
    described: Facilities,
    journals: JournalStore,
    settings: EngineSettings,
    probe: Arc<dyn PortProbe>,
}

/// Gathers what an [`Engine`] works with.
#[must_use = "an engine is there after `connect`"]
pub struct EngineBuilder {
    rules: Rules,
    facilities: Vec<Arc<dyn Substrate>>,
    /// What `open` saw of a configuration.
    configured: Option<Configured>,
    journals: JournalStore,
    settings: EngineSettings,
    probe: Arc<dyn PortProbe>,
}

impl EngineBuilder {
    /// Adds a substrate that resources may live on. Its name is the facility's.
    pub fn facility(mut self, substrate: Arc<dyn Substrate>) -> Self {
        self.facilities.push(substrate);
        self
    }

    /// Sets the handlers and directives, in the place of those that are built in.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets how it works.
    pub fn settings(mut self, settings: EngineSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets how it finds out whether a port is open; by connecting unless this is called.
    pub fn port_probe(mut self, probe: impl PortProbe + 'static) -> Self {
        self.probe = Arc::new(probe);
        self
    }

    /// Connects to all facilities, so that what they can do is known.
    ///
    /// # Errors
    /// Those of [`Substrate::connect`], and [`InvalidInput`](substrate_core::ErrorKind::InvalidInput) for two of one
    /// name.
    pub async fn connect(self) -> Result<Engine> {
        try_join_all(self.facilities.iter().map(|substrate| substrate.ensure_connected())).await?;
        let mut facilities = BTreeMap::new();
        let mut descriptors = Vec::new();
        for substrate in self.facilities {
            let descriptor = substrate.descriptor();
            descriptors.push(descriptor.as_ref().clone());
            if facilities.insert(descriptor.name.clone(), substrate).is_some() {
                return Err(Error::invalid_input(format!("two facilities are called `{}`", descriptor.name)));
            }
        }
        Ok(Engine {
            rules: self.rules,
            facilities,
            described: descriptors.into_iter().collect::<Facilities>().within(self.configured),
            journals: self.journals,
            settings: self.settings,
            probe: self.probe,
        })
    }
}

impl Engine {
    /// An engine over a journal, with the built-in handlers and without facilities.
    pub fn builder(journals: JournalStore) -> EngineBuilder {
        EngineBuilder {
            rules: Rules::standard(),
            facilities: Vec::new(),
            configured: None,
            journals,
            settings: EngineSettings::default(),
            probe: Arc::new(TcpProbe),
        }
    }

    /// Checks documents against what is registered and what the facilities can do. Touches nothing.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn validate(&self, documents: &Documents) -> std::result::Result<Desired, EngineError> {
        Ok(validate(documents, &self.rules, &self.described)?)
    }

    /// What would be done to bring about what is desired. Reads the journal and looks at the facilities; changes
    /// nothing and locks nothing.
    ///
    /// # Errors
    /// [`EngineError::Refused`] with everything that stands in the way; [`EngineError::Failed`] when the journal cannot
    /// be read.
    pub async fn plan(
        &self,
        desired: &Desired,
        selector: &Selector,
    ) -> std::result::Result<Plan, EngineError> {
        let states = self.states(desired.blueprints()).await?;
        Ok(self.look_and_plan(desired, &merged(&states), identities(&states), selector).await?.plan)
    }

    /// What the journals of some deployments add up to.
    pub(crate) async fn states(&self, blueprints: &[Name]) -> Result<HashMap<Name, JournalState>> {
        let states = try_join_all(
            blueprints
                .iter()
                .map(async |name| Ok::<_, Error>((name.clone(), self.journals.state(name.as_str()).await?))),
        );
        Ok(states.await?.into_iter().collect())
    }

    /// The types of resources that documents may use.
    #[must_use]
    pub fn resource_types(&self) -> &HandlerRegistry {
        &self.rules.handlers
    }

    /// What it works with: substrates by name.
    pub fn facilities(&self) -> impl Iterator<Item = (&str, &Arc<dyn Substrate>)> {
        self.facilities.iter().map(|(name, substrate)| (&**name, substrate))
    }

    /// Where it keeps what it did.
    #[must_use]
    pub fn journals(&self) -> &JournalStore {
        &self.journals
    }

    /// How it works.
    #[must_use]
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    pub(crate) fn probe(&self) -> &dyn PortProbe {
        &*self.probe
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("facilities", &self.facilities)
            .field("journals", &self.journals)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What several journals know, as one.
pub(crate) fn merged(states: &HashMap<Name, JournalState>) -> Recorded {
    let mut recorded = Recorded::default();
    states.values().for_each(|state| recorded.merge(state.recorded.clone()));
    recorded
}

/// What the resources of each deployment are marked with.
pub(crate) fn identities(states: &HashMap<Name, JournalState>) -> HashMap<Name, String> {
    let founded = states.iter().filter(|(_, state)| !state.identity.is_empty());
    founded.map(|(name, state)| (name.clone(), state.identity.clone())).collect()
}
