//! Where one resource lives, and what is known there.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use substrate_core::{
    Error, Feature, Instance, InstanceFilter, Labels, Network, Operation, Result, StopMode, Substrate, Volume,
};
use tokio::sync::OnceCell;

use crate::model::ResourceId;
use crate::plan::RecordedResource;
use crate::validation::{Desired, DesiredResource};

/// What a handler needs to look at a resource and to change it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Site<'a> {
    /// Which resource.
    pub id: &'a ResourceId,
    /// What it is called on the facility.
    pub name: &'a str,
    /// The marks that say whose it is: they belong into the create call, never after it.
    pub marks: &'a Labels,
    /// As it was deployed last; `None` when it is made for the first time.
    pub recorded: Option<&'a RecordedResource>,
    /// What a run that was interrupted was about to make of it.
    pub begun: Option<&'a RecordedResource>,
    /// What it shall be, with references still in its properties; `None` when it shall be gone.
    pub desired: Option<&'a DesiredResource>,
    /// How instances are stopped before they are changed or removed.
    pub stop: StopMode,
    /// What may know the secrets of what was recorded.
    pub(crate) documents: [Option<&'a Desired>; 2],
    pub(crate) facility: Option<&'a Facility>,
    /// Whether lists that were fetched earlier in this look may answer.
    pub(crate) from_lists: bool,
    pub(crate) names: &'a dyn Names,
}

/// What the resources of a deployment are called on their facilities.
pub(crate) trait Names: Send + Sync {
    /// The names of all instances of the resource `name` in the blueprint of `from`; `None` when there is no such
    /// resource.
    fn names_of(&self, from: &ResourceId, name: &str) -> Option<Vec<String>>;
}

impl<'a> Site<'a> {
    /// The facility that the resource lives on.
    ///
    /// # Errors
    /// [`Internal`](substrate_core::ErrorKind::Internal) for a kind that lives on none.
    pub fn substrate(&self) -> Result<&'a dyn Substrate> {
        self.facility
            .map(|facility| &*facility.substrate)
            .ok_or_else(|| Error::internal(format!("`{}` lives on no facility", self.id)))
    }

    /// The properties of a record of this resource, with references still in them. A journal holds no secrets: they are
    /// taken from the documents at hand, and the dotted paths of those that nobody knows are returned beside.
    #[must_use]
    pub fn properties_of(&self, record: &RecordedResource) -> (Value, Vec<String>) {
        record.canonical.to_value(|path, digest| {
            self.documents.iter().flatten().find_map(|documents| documents.secret(self.id, path, digest))
        })
    }

    /// Whether the facility has a feature; a kind that lives on no facility has none.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.facility.is_some_and(|one| one.substrate.descriptor().capabilities.support(feature).is_yes())
    }

    /// Whether the facility has an operation.
    #[must_use]
    pub fn can(&self, operation: Operation) -> bool {
        self.facility.is_some_and(|one| one.substrate.descriptor().capabilities.support(operation).is_yes())
    }

    /// What something that the specs name is called on the facility: a resource of the blueprint may have another name
    /// there than in the document; what is no resource of it has its own name.
    #[must_use]
    pub fn name_of(&self, name: &str) -> String {
        let names = self.names_of(name);
        names.into_iter().next().unwrap_or_else(|| name.to_owned())
    }

    /// The same for all instances of a resource with a count.
    #[must_use]
    pub fn names_of(&self, name: &str) -> Vec<String> {
        self.names.names_of(self.id, name).unwrap_or_else(|| vec![name.to_owned()])
    }

    /// The facility's instances, networks and volumes, fetched once for all resources; `None` when an answer must be
    /// newer than that.
    #[must_use]
    pub fn lists(&self) -> Option<&'a Lists> {
        self.facility.filter(|_| self.from_lists).map(|facility| &facility.lists)
    }
}

impl fmt::Debug for Site<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("id", self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A substrate during one run of the engine.
pub(crate) struct Facility {
    pub(crate) substrate: Arc<dyn Substrate>,
    pub(crate) lists: Lists,
}

impl Facility {
    pub(crate) fn new(substrate: Arc<dyn Substrate>) -> Self {
        let lists = Lists {
            substrate: substrate.clone(),
            instances: OnceCell::new(),
            networks: OnceCell::new(),
            volumes: OnceCell::new(),
        };
        Self { substrate, lists }
    }
}

type Shared<T> = OnceCell<Result<HashMap<String, T>>>;

/// What is on a facility, each list fetched at most once, when it is first asked for.
pub struct Lists {
    substrate: Arc<dyn Substrate>,
    instances: Shared<Arc<Instance>>,
    networks: Shared<Vec<Network>>,
    volumes: Shared<Volume>,
}

impl Lists {
    /// The instances by name. What a list tells of an instance may be less than a look at it does.
    ///
    /// # Errors
    /// Those of [`Substrate::list_instances`].
    pub async fn instances(&self) -> Result<&HashMap<String, Arc<Instance>>> {
        let all = self.instances.get_or_init(async || {
            let instances = self.substrate.list_instances(&InstanceFilter::all()).await?;
            Ok(instances.into_iter().map(|one| (one.name.to_string(), one)).collect())
        });
        all.await.as_ref().map_err(Clone::clone)
    }

    /// The networks by name. Some technologies let several have one name.
    ///
    /// # Errors
    /// Those of [`Substrate::list_networks`].
    pub async fn networks(&self) -> Result<&HashMap<String, Vec<Network>>> {
        let all = self.networks.get_or_init(async || {
            let networks = self.substrate.list_networks().await?;
            let mut by_name: HashMap<String, Vec<Network>> = HashMap::with_capacity(networks.len());
            for network in networks {
                by_name.entry(network.name.to_string()).or_default().push(network);
            }
            Ok(by_name)
        });
        all.await.as_ref().map_err(Clone::clone)
    }

    /// The volumes by name.
    ///
    /// # Errors
    /// Those of [`Substrate::list_volumes`].
    pub async fn volumes(&self) -> Result<&HashMap<String, Volume>> {
        let all = self.volumes.get_or_init(async || {
            let volumes = self.substrate.list_volumes().await?;
            Ok(volumes.into_iter().map(|one| (one.name.to_string(), one)).collect())
        });
        all.await.as_ref().map_err(Clone::clone)
    }
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lists of {:?}", &*self.substrate)
    }
}

/// A resource as it was found.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// What tells it from another of its name: an id of the technology.
    pub identity: Option<String>,
    /// Its marks; `None` where its technology has no place for any, so that its name or its record must do.
    pub labels: Option<Labels>,
    /// What the facility reports: a map like that of an [`Interpretation`](super::Interpretation), with what can be
    /// told of it.
    pub properties: Value,
    /// Dotted paths below which everything is reported: there, what is missing is missing.
    pub complete_below: Vec<String>,
    /// The values of `${resource.output}`.
    pub outputs: BTreeMap<String, Value>,
}

impl Found {
    /// Something of which these properties are reported.
    #[must_use]
    pub fn new(properties: Value) -> Self {
        Self { properties, ..Self::default() }
    }

    /// Adds an output.
    #[must_use]
    pub fn with_output(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.outputs.insert(name.into(), value.into());
        self
    }
}
