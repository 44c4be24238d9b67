//! Making an instance.
//!
//! By server-side apply with our field manager. An apply by itself is no creation: of two rivals both would win, and one
//! that is repeated after its answer was lost would take over what somebody else has made meanwhile. So it names a version
//! that nothing has (see [`Client::apply_new`](crate::client::Client::apply_new)): every server compares versions where
//! something is, and nowhere else. Services are made by a plain creation with the same field manager, for older servers
//! refuse a version for them even where nothing is.
//!
//! Later changes are patches by the same field manager, and no applies: an apply takes away what it does not repeat, so it
//! would have to repeat all that has been set since, also by a rival a moment ago.

use std::sync::Arc;

use serde_json::Value;
use substrate_core::{Error, Instance, InstanceConfig, Outcome, Result, VolumeSource};

use super::K8sSubstrate;
use super::patience;
use crate::client::{Resource, Target};
use crate::config::Workload as Kind;
use crate::convert::create;
use crate::convert::meta::Versioned;
use crate::convert::pod::Pod;
use crate::convert::workload::Workload;
use crate::name::is_object_name;
use crate::options::K8sOptions;

const ATTEMPT: &str = "create the workload";

impl K8sSubstrate {
    /// Everything that can be told without making it.
    pub(super) async fn validate(&self, config: &InstanceConfig) -> Result<K8sOptions> {
        config.validate()?;
        config.require_features(&self.descriptor.get().capabilities)?;
        let options = create::check(config, self.workload())?;
        for network in &config.networks {
            self.require(Resource::Services, "network", network.network_name.as_str()).await?;
        }
        for mount in &config.volumes {
            if let VolumeSource::Volume(claim) = &mount.source {
                self.require(Resource::Claims, "volume", claim.as_str()).await?;
            }
        }
        if let Some(machine) = &options.machine {
            for claim in machine.root_claim.iter().chain(&machine.disks) {
                self.require(Resource::Claims, "volume", claim).await?;
            }
        }
        self.require_kubevirt().await?;
        Ok(options)
    }

    /// A pod would wait for what is missing, for ever.
    pub(super) async fn require(&self, resource: Resource, what: &str, name: &str) -> Result<()> {
        let absent = || Error::not_found(format!("there is no {what} `{}`", name.escape_debug()));
        if !is_object_name(name) {
            return Err(absent());
        }
        let target = resource.one(self.client.namespace().await?, name);
        let found: Option<Versioned> = self.client.find(&format!("look at the {what}"), &target).await?;
        match found {
            Some(found) if found.metadata.is_going() => {
                Err(Error::not_found(format!("the {what} `{name}` is being deleted")))
            }
            Some(_) => Ok(()),
            None => Err(absent()),
        }
    }

    pub(super) async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let options = self.validate(config).await?;
        let body = create::workload(config, &options, &self.config);
        let target = self.resource().one(self.client.namespace().await?, config.name.as_str());
        if self.workload() == Kind::Pod {
            return self.create_pod(config, &target, &body).await;
        }
        let workload: Workload = match self.client.apply_new(ATTEMPT, &target, &body).await {
            Ok(workload) => workload,
            Err(error) if error.is_not_found() => return Err(no_namespace(&error)),
            Err(error) => return Err(error),
        };
        Ok(Arc::new(workload.instance(self.workload(), &[])?))
    }

    /// A bare pod runs from its creation: it is waited for, and removed when it cannot run.
    async fn create_pod(
        &self,
        config: &InstanceConfig,
        target: &Target,
        body: &Value,
    ) -> Result<Arc<Instance>> {
        let mut wait = patience::at_most(self.config.start_timeout);
        let pod: Pod = loop {
            match self.client.apply_new(ATTEMPT, target, body).await {
                Ok(pod) => break pod,
                // A namespace that was just made has no service account for some moments.
                Err(error) if error.message().contains("serviceaccount") && wait.pause().await => {}
                Err(error) if error.is_not_found() => return Err(no_namespace(&error)),
                Err(error) => return Err(error),
            }
        };
        let workload = Workload::of_pod(&pod);
        let up = match self.publish(&workload).await {
            Ok(()) => self.wait_until_up(&workload).await,
            refusal => refusal,
        };
        match up {
            Ok(()) => self.get(&config.name).await,
            Err(error) => {
                // A failed creation leaves nothing behind.
                let gone = self.remove_pod(&workload).await;
                Err(match gone {
                    Ok(()) => error,
                    Err(left) => error
                        .with_outcome(Outcome::Unknown)
                        .with_hint(format!("it could not be removed: {}", left.message())),
                })
            }
        }
    }
}

fn no_namespace(error: &Error) -> Error {
    Error::not_found(error.message().to_owned()).with_hint("is there such a namespace? see `namespace`")
}
