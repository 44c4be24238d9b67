//! Everything that a substrate holds, to find what a run left behind.

use std::collections::BTreeSet;
use std::fmt;

use substrate_core::{
    InstanceFilter, InstanceName, NetworkName, Operation, Result, Substrate, VolumeName, mark,
};

/// One thing on a substrate, in the order in which things can be removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Instance(InstanceName),
    Network(NetworkName),
    Volume(VolumeName),
    /// Its id and its names. The contract has no call that removes one.
    Image(String),
}

impl Thing {
    /// Its name, as far as it has one.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Instance(name) => name.as_str(),
            Self::Network(name) => name.as_str(),
            Self::Volume(name) => name.as_str(),
            Self::Image(names) => names,
        }
    }

    /// Removes it, whatever state it is in. Nothing to remove = success.
    pub(crate) async fn remove(&self, substrate: &dyn Substrate) -> Result<()> {
        let result = match self {
            Self::Instance(name) => substrate.delete_instance(name, true).await,
            Self::Network(name) => remove_network(substrate, name).await,
            Self::Volume(name) => substrate.delete_volume(name).await,
            Self::Image(_) => Ok(()),
        };
        match result {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }
}

/// A broken provider may have made several of one name: then each goes by its id.
async fn remove_network(substrate: &dyn Substrate, name: &NetworkName) -> Result<()> {
    match substrate.delete_network(name).await {
        Err(error) if error.is_conflict() => {
            let alike: Vec<_> = substrate
                .list_networks()
                .await?
                .into_iter()
                .filter(|network| network.name == *name)
                .collect();
            if alike.len() < 2 {
                return Err(error);
            }
            for network in alike {
                substrate.delete_network(&NetworkName::new(&network.id)?).await?;
            }
            Ok(())
        }
        result => result,
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(name) => write!(formatter, "instance `{name}`"),
            Self::Network(name) => write!(formatter, "network `{name}`"),
            Self::Volume(name) => write!(formatter, "volume `{name}`"),
            Self::Image(names) => write!(formatter, "image `{names}`"),
        }
    }
}

/// Everything there is now, as far as the substrate can list it.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) things: BTreeSet<Thing>,
    /// Those that carry the mark of the run, whatever they are called.
    marked: BTreeSet<Thing>,
}

impl Inventory {
    /// Lists everything; `mark` is the value of the deployment label by which a run knows its instances.
    pub(crate) async fn take(substrate: &dyn Substrate, mark: &str) -> Result<Self> {
        let descriptor = substrate.descriptor();
        let can = |operation| descriptor.capabilities.can(operation);
        let mut inventory = Self::default();
        for instance in substrate.list_instances(&InstanceFilter::all()).await? {
            let thing = Thing::Instance(instance.name.clone());
            if instance.labels.get(mark::DEPLOYMENT) == Some(mark) {
                inventory.marked.insert(thing.clone());
            }
            inventory.things.insert(thing);
        }
        if can(Operation::ListNetworks) {
            let networks = substrate.list_networks().await?;
            inventory.things.extend(networks.into_iter().map(|network| Thing::Network(network.name)));
        }
        if can(Operation::ListVolumes) {
            let volumes = substrate.list_volumes().await?;
            inventory.things.extend(volumes.into_iter().map(|volume| Thing::Volume(volume.name)));
        }
        if can(Operation::ListImages) {
            let images = substrate.list_images().await?;
            inventory.things.extend(
                images
                    .into_iter()
                    .map(|image| Thing::Image(format!("{} {}", image.id, image.names.join(" ")))),
            );
        }
        Ok(inventory)
    }

    /// Whether the run made it: by its name or by its mark.
    pub(crate) fn is_of_run(&self, thing: &Thing, prefix: &str) -> bool {
        self.marked.contains(thing) || thing.text().contains(prefix)
    }
}
