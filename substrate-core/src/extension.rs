//! Conveniences over the contract: written once, in terms of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use crate::error::{Error, Result};
use crate::instance::{Instance, InstanceState, StopMode};
use crate::instance_config::{InstanceConfig, InstanceTemplate};
use crate::layer::fresh;
use crate::log::{LogLine, LogOptions};
use crate::name::InstanceName;
use crate::operation::Operation;
use crate::substrate::Substrate;

/// How many calls the batch forms have under way at once. The stack's concurrency limit, where one is set
/// lower, still holds.
const BATCH_CONCURRENCY: usize = 16;

/// What can be said in terms of [`Substrate`]: available on every substrate, stacks and `dyn` included.
///
/// ```
/// # async fn example(substrate: &dyn substrate_core::Substrate) -> substrate_core::Result<()> {
/// use std::time::Duration;
/// use substrate_core::{InstanceState, SubstrateExt};
/// substrate.ensure_connected().await?;
/// let web = "web".parse()?;
/// substrate.wait_for_state(&web, InstanceState::Running, Duration::from_secs(30)).await?;
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SubstrateExt: Substrate {
    /// Connects unless the last exchange worked.
    ///
    /// # Errors
    /// Those of [`Substrate::connect`].
    async fn ensure_connected(&self) -> Result<()> {
        if self.is_connected() { Ok(()) } else { self.connect().await }
    }

    /// Makes an instance called `name` from a template, with `overrides` applied last.
    ///
    /// # Errors
    /// Those of [`Substrate::create_instance`].
    async fn create_from_template<F>(
        &self,
        template: &InstanceTemplate,
        name: InstanceName,
        overrides: F,
    ) -> Result<Arc<Instance>>
    where
        F: FnOnce(&mut InstanceConfig) + Send,
    {
        // Called before the first await, so that `overrides` need not outlive it.
        let config = template.instantiate(name, overrides);
        self.create_instance(&config).await
    }

    /// Makes an instance and starts it; deletes it again when it does not start.
    ///
    /// # Errors
    /// Those of create and start. When the start's outcome is unknown the instance stays, to be looked at.
    async fn create_and_start(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let created = self.create_instance(config).await?;
        if let Err(error) = self.start_instance(&created.name).await {
            if error.outcome() == crate::Outcome::Unknown {
                return Err(error);
            }
            return match self.delete_instance(&created.name, true).await {
                Ok(()) => Err(error),
                Err(_) => {
                    Err(error.with_hint("it was created and could not be deleted again: delete it by hand"))
                }
            };
        }
        self.get_instance(&created.name).await
    }

    /// Deletes an instance if it is there; tells whether it was.
    ///
    /// # Errors
    /// Those of [`Substrate::delete_instance`] but `NotFound`.
    async fn delete_if_exists(&self, name: &InstanceName, force: bool) -> Result<bool> {
        match self.delete_instance(name, force).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there is an instance of that name.
    ///
    /// # Errors
    /// Those of [`Substrate::get_instance`] but `NotFound`.
    async fn instance_exists(&self, name: &InstanceName) -> Result<bool> {
        match self.get_instance(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until an instance satisfies `condition`, by looking at it at growing intervals (20 ms to 1 s), past any
    /// cache.
    ///
    /// # Errors
    /// `Timeout`, telling the state it was last in; those of [`Substrate::get_instance`].
    async fn wait_for<C>(&self, name: &InstanceName, timeout: Duration, condition: C) -> Result<Arc<Instance>>
    where
        C: Fn(&Instance) -> bool + Send + Sync,
    {
        let deadline = tokio::time::Instant::now() + timeout;
        let mut pause = Duration::from_millis(20);
        loop {
            let instance = fresh(self.get_instance(name)).await?;
            if condition(&instance) {
                return Ok(instance);
            }
            let now = tokio::time::Instant::now();
            if now >= deadline {
                return Err(Error::timeout(format!(
                    "what was waited for did not come within {timeout:?}; it is {} ({})",
                    instance.state, instance.provider_state
                ))
                .with_operation(Operation::GetInstance)
                .with_substrate(self.descriptor().name.clone())
                .with_instance(name));
            }
            tokio::time::sleep(pause.min(deadline - now)).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Waits until an instance is in `state`.
    ///
    /// # Errors
    /// Those of [`wait_for`](Self::wait_for).
    async fn wait_for_state(
        &self,
        name: &InstanceName,
        state: InstanceState,
        timeout: Duration,
    ) -> Result<Arc<Instance>> {
        self.wait_for(name, timeout, |instance| instance.state == state).await
    }

    /// The last `lines` log lines, in memory.
    ///
    /// # Errors
    /// Those of [`Substrate::get_logs`].
    async fn tail_logs(&self, name: &InstanceName, lines: usize) -> Result<Vec<LogLine>> {
        let mut stream = self.get_logs(name, &LogOptions::tail(lines)).await?;
        let mut collected = Vec::new();
        while let Some(line) = stream.next().await {
            collected.push(line?);
        }
        Ok(collected)
    }

    /// Makes many instances, some at a time; one answer per configuration, in order.
    async fn create_instances(&self, configs: &[InstanceConfig]) -> Vec<Result<Arc<Instance>>> {
        batch(configs.iter().map(|config| self.create_instance(config))).await
    }

    /// Starts many instances, some at a time; one answer per name, in order.
    async fn start_instances(&self, names: &[InstanceName]) -> Vec<Result<()>> {
        batch(names.iter().map(|name| self.start_instance(name))).await
    }

    /// Stops many instances, some at a time; one answer per name, in order.
    async fn stop_instances(&self, names: &[InstanceName], mode: StopMode) -> Vec<Result<()>> {
        batch(names.iter().map(|name| self.stop_instance(name, mode))).await
    }

    /// Deletes many instances, some at a time; one answer per name, in order.
    async fn delete_instances(&self, names: &[InstanceName], force: bool) -> Vec<Result<()>> {
        batch(names.iter().map(|name| self.delete_instance(name, force))).await
    }
}

impl<S: Substrate + ?Sized> SubstrateExt for S {}

/// Not an `async fn`: the lazy iterator would live across the `await`, and its closure is not general enough
/// for a `Send` future. The collected futures are one pointer each.
fn batch<F: Future>(calls: impl Iterator<Item = F>) -> impl Future<Output = Vec<F::Output>> {
    let calls: Vec<F> = calls.collect();
    stream::iter(calls).buffered(BATCH_CONCURRENCY).collect()
}
