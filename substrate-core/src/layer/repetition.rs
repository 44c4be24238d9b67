//! How a call is repeated when nobody knows whether the first one happened.
//!
//! The retry layer decides *whether* to run a call again; what "again" means for a creation or a deletion is
//! decided here, once, for every layer that repeats.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Error, Outcome, Result};
use crate::instance::{Instance, InstanceState};
use crate::instance_config::InstanceConfig;
use crate::label::{Labels, mark};
use crate::name::InstanceName;
use crate::network::{Network, NetworkSpec};
use crate::snapshot::{CloneConfig, Snapshot, SnapshotConfig};
use crate::substrate::Substrate;
use crate::volume::{Volume, VolumeSpec};

/// A key that no other creation has. It has to be unique, not secret: the hasher's random seeds are enough,
/// and spare the crate a random number generator.
pub(crate) fn new_key() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// The tries of one call.
pub(crate) struct Repetition<'a> {
    substrate: &'a dyn Substrate,
    /// Whether an earlier try may have had its effect: it failed without saying, or was dropped on the way.
    uncertain: AtomicBool,
}

/// What is made by a creation, and how to recognise it.
trait Made {
    fn labels(&self) -> &Labels;
}

impl Made for Arc<Instance> {
    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Made for Snapshot {
    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Made for Network {
    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl Made for Volume {
    fn labels(&self) -> &Labels {
        &self.labels
    }
}

impl<'a> Repetition<'a> {
    pub(crate) fn new(substrate: &'a dyn Substrate) -> Self {
        Self { substrate, uncertain: AtomicBool::new(false) }
    }

    /// Runs one try and remembers whether its effect is certain. "Uncertain" is set *before* the call: a
    /// timeout around it drops the future, and then no line after the `await` runs.
    async fn attempt<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let before = self.uncertain.swap(true, Ordering::Relaxed);
        let result = call.await;
        if !matches!(&result, Err(error) if error.outcome() == Outcome::Unknown) {
            self.uncertain.store(before, Ordering::Relaxed);
        }
        result
    }

    /// A deletion: what is gone after an uncertain try was deleted by it.
    pub(crate) async fn delete<Fut: Future<Output = Result<()>>>(
        &self,
        delete: impl Fn() -> Fut,
    ) -> Result<()> {
        let uncertain = self.uncertain.load(Ordering::Relaxed);
        match self.attempt(delete()).await {
            Err(error) if uncertain && error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// A creation: after an uncertain try, look before making it again, and do not believe "already exists"
    /// before its key was compared.
    async fn create<T, Look, Make>(&self, labels: &Labels, look: impl Fn() -> Look, make: Make) -> Result<T>
    where
        T: Made,
        Look: Future<Output = Result<Option<T>>>,
        Make: Future<Output = Result<T>>,
    {
        let uncertain = self.uncertain.load(Ordering::Relaxed);
        let key = labels.get(mark::KEY);
        if uncertain && let Some(found) = look().await? {
            return recognise(found, key);
        }
        match self.attempt(make).await {
            Err(error) if uncertain && error.is_already_exists() => match look().await? {
                Some(found) => recognise(found, key),
                None => Err(error),
            },
            result => result,
        }
    }

    /// The instance as soon as it is complete: the lost call may still be at work on it. The deadline around
    /// the whole call bounds the wait.
    async fn look_for_instance(&self, name: &InstanceName) -> Result<Option<Arc<Instance>>> {
        let mut pause = Duration::from_millis(20);
        loop {
            match self.substrate.get_instance(name).await {
                Ok(instance) if instance.state == InstanceState::Creating => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Ok(instance) => return Ok(Some(instance)),
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn create_instance(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let look = || self.look_for_instance(&config.name);
        self.create(&config.labels, look, self.substrate.create_instance(config)).await
    }

    pub(crate) async fn clone_instance(
        &self,
        source: &InstanceName,
        config: &CloneConfig,
    ) -> Result<Arc<Instance>> {
        let look = || self.look_for_instance(&config.name);
        self.create(&config.labels, look, self.substrate.clone_instance(source, config)).await
    }

    pub(crate) async fn create_snapshot(
        &self,
        name: &InstanceName,
        config: &SnapshotConfig,
    ) -> Result<Snapshot> {
        let look = || async {
            let all = self.substrate.list_snapshots(name).await?;
            Ok(all.into_iter().find(|snapshot| snapshot.name == config.name))
        };
        self.create(&config.labels, look, self.substrate.create_snapshot(name, config)).await
    }

    pub(crate) async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let look = || async {
            let all = self.substrate.list_networks().await?;
            Ok(all.into_iter().find(|network| network.name == spec.name))
        };
        self.create(&spec.labels, look, self.substrate.create_network(spec)).await
    }

    pub(crate) async fn create_volume(&self, spec: &VolumeSpec) -> Result<Volume> {
        let look = || async {
            let all = self.substrate.list_volumes().await?;
            Ok(all.into_iter().find(|volume| volume.name == spec.name))
        };
        self.create(&spec.labels, look, self.substrate.create_volume(spec)).await
    }
}

/// Ours, somebody else's, or impossible to tell.
fn recognise<T: Made>(found: T, key: Option<&str>) -> Result<T> {
    match (key, found.labels().get(mark::KEY)) {
        (Some(ours), Some(theirs)) if ours == theirs => Ok(found),
        (Some(_), _) => Err(Error::already_exists("it exists, and carries another creation's key")),
        (None, _) => Err(Error::already_exists(
            "an earlier try got no answer and now it exists; without labels nothing tells who made it",
        )
        .with_outcome(Outcome::Unknown)
        .with_hint("look at it, and adopt or delete it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_fit_into_any_label() {
        let (one, other) = (new_key(), new_key());
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
    }

    #[tokio::test]
    async fn a_dropped_try_is_uncertain() {
        struct Never;
        let repetition_of = |substrate| Repetition { substrate, uncertain: AtomicBool::new(false) };
        let nothing = crate::layer::repetition::tests::nothing();
        let repetition = repetition_of(&*nothing);
        let hanging = repetition.attempt(std::future::pending::<Result<Never>>());
        assert!(tokio::time::timeout(Duration::ZERO, hanging).await.is_err());
        assert!(repetition.uncertain.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_rejection_leaves_it_certain() {
        let nothing = nothing();
        let repetition = Repetition::new(&*nothing);
        let rejected = repetition.attempt(async { Err::<(), _>(Error::busy("locked")) }).await;
        assert!(rejected.is_err());
        assert!(!repetition.uncertain.load(Ordering::Relaxed));
    }

    /// A substrate that is never asked.
    fn nothing() -> Arc<dyn Substrate> {
        struct Nothing;
        #[async_trait::async_trait]
        impl Substrate for Nothing {
            fn descriptor(&self) -> Arc<crate::Descriptor> {
                unreachable!()
            }
            async fn connect(&self) -> Result<()> {
                unreachable!()
            }
            fn is_connected(&self) -> bool {
                unreachable!()
            }
            async fn health_check(&self) -> Result<crate::HealthReport> {
                unreachable!()
            }
            async fn list_instances(&self, _: &crate::InstanceFilter) -> Result<Vec<Arc<Instance>>> {
                unreachable!()
            }
            async fn get_instance(&self, _: &InstanceName) -> Result<Arc<Instance>> {
                unreachable!()
            }
            async fn create_instance(&self, _: &InstanceConfig) -> Result<Arc<Instance>> {
                unreachable!()
            }
            async fn start_instance(&self, _: &InstanceName) -> Result<()> {
                unreachable!()
            }
            async fn stop_instance(&self, _: &InstanceName, _: crate::StopMode) -> Result<()> {
                unreachable!()
            }
            async fn delete_instance(&self, _: &InstanceName, _: bool) -> Result<()> {
                unreachable!()
            }
            async fn get_metrics(&self, _: &InstanceName) -> Result<crate::ResourceUsage> {
                unreachable!()
            }
        }
        Arc::new(Nothing)
    }
}
