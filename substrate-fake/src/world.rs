//! What happens behind the caller's back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use substrate_core::{EventKind, Instance, InstanceConfig, InstanceName, LogSource, Result};

use crate::change::Change;
use crate::error::no_instance;
use crate::fake::Fake;
use crate::inner::{Down, Inner};
use crate::substrate::{crash, create, cut, delete, main_of, run};

/// The world around the caller: operators, other programs, power cuts.
///
/// Its changes are no calls: they stand in no call log, no fault that counts calls strikes them, and no
/// capability forbids them. They cause the same events as those of a caller.
///
/// ```
/// use substrate_core::{InstanceConfig, InstanceState, Substrate};
/// use substrate_fake::Fake;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> substrate_core::Result<()> {
/// let fake = Fake::new("fake");
/// let web = fake.create_instance(&InstanceConfig::new("web".parse()?)).await?;
/// fake.start_instance(&web.name).await?;
/// fake.world().crash("web", 139).await?;
/// assert_eq!(fake.get_instance(&web.name).await?.state, InstanceState::Failed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

impl World {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    async fn change<T: Send>(&self, change: impl FnOnce(&mut Change<'_>) -> Result<T> + Send) -> Result<T> {
        let changed = self.inner.change(None, change).await;
        changed.map_err(|error| error.with_substrate(Arc::clone(&self.inner.descriptor.name)))
    }

    /// Makes a stopped instance.
    ///
    /// # Errors
    /// Those of `create_instance`.
    pub async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let mut able = (*self.inner.descriptor).clone();
        able.capabilities = Fake::default_capabilities();
        self.change(|change| {
            let name = create(change, &able, config)?;
            let now = change.now;
            change.state.view(&name, now)
        })
        .await
    }

    /// Starts an instance.
    ///
    /// # Errors
    /// Those of `start_instance`.
    pub async fn start(&self, name: impl AsRef<str>) -> Result<()> {
        let name = InstanceName::new(name)?;
        let main = main_of(&self.inner, &name).await?;
        self.change(|change| run(change, &name, main)).await
    }

    /// Cuts the power of an instance.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn stop(&self, name: impl AsRef<str>) -> Result<()> {
        let name = InstanceName::new(name)?;
        self.change(|change| cut(change, &name)).await
    }

    /// Lets the main program of an instance die with this code: the instance has then failed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it does not run.
    pub async fn crash(&self, name: impl AsRef<str>, code: i32) -> Result<()> {
        let name = InstanceName::new(name)?;
        self.change(|change| crash(change, &name, code)).await
    }

    /// Removes an instance, whatever state it is in.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove(&self, name: impl AsRef<str>) -> Result<()> {
        let name = InstanceName::new(name)?;
        self.change(|change| {
            change.state.instance_mut(&name)?.options.protected = false;
            delete(change, &name, true)
        })
        .await
    }

    /// Sets a label of an instance.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_label(
        &self,
        name: impl AsRef<str>,
        key: impl Into<String> + Send,
        value: impl Into<String> + Send,
    ) -> Result<()> {
        let name = InstanceName::new(name)?;
        let (key, value) = (key.into(), value.into());
        self.change(|change| {
            let record = change.state.instance_mut(&name)?;
            record.config.labels.insert(key.clone(), value);
            let name = record.config.name.clone();
            change.happened(EventKind::Changed, &name, Some(format!("label {key}")));
            Ok(())
        })
        .await
    }

    /// Takes a label off an instance; one that it does not have is no error.
    ///
    /// # Errors
    /// `NotFound`: there is no such instance.
    pub async fn remove_label(&self, name: impl AsRef<str>, key: impl Into<String> + Send) -> Result<()> {
        let name = InstanceName::new(name)?;
        let key = key.into();
        self.change(|change| {
            let record = change.state.instance_mut(&name)?;
            record.config.labels.remove(&key);
            let name = record.config.name.clone();
            change.happened(EventKind::Changed, &name, Some(format!("label {key}")));
            Ok(())
        })
        .await
    }

    /// Writes lines to the log of an instance.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn write_log(&self, name: impl AsRef<str>, source: LogSource, text: &str) -> Result<()> {
        let name = InstanceName::new(name)?;
        self.change(|change| change.write_log(&name, source, text)).await
    }

    /// Puts a file on the own disk of an instance, running or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn write_file(
        &self,
        name: impl AsRef<str>,
        path: &str,
        data: impl Into<Bytes> + Send,
    ) -> Result<()> {
        let (name, data) = (InstanceName::new(name)?, data.into());
        self.change(|change| {
            change.state.instance_mut(&name)?.files.write(&crate::files::absolute("/", path), data);
            Ok(())
        })
        .await
    }

    /// A file on the own disk of an instance, or nothing when there is none.
    ///
    /// # Errors
    /// `NotFound` for the instance.
    pub async fn read_file(&self, name: impl AsRef<str>, path: &str) -> Result<Option<Bytes>> {
        let name = InstanceName::new(name)?;
        let path = crate::files::absolute("/", path);
        self.inner.read(None, |state, _| Ok(state.instance(&name)?.files.read(&path))).await
    }

    /// An instance as it is, whatever faults and capabilities say.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn instance(&self, name: impl AsRef<str>) -> Result<Arc<Instance>> {
        let name = InstanceName::new(name)?;
        self.inner.read(None, |state, now| state.view(&name, now).map_err(|_| no_instance(&name))).await
    }

    /// Every instance as it is, in order of names.
    ///
    /// # Errors
    /// Only those of the state file.
    pub async fn instances(&self) -> Result<Vec<Arc<Instance>>> {
        let all = substrate_core::InstanceFilter::all();
        self.inner.read(None, |state, now| Ok(state.views(&all, now))).await
    }

    /// Ends every open watch with `Unavailable`.
    pub fn disconnect_watchers(&self) {
        self.inner.disconnect_watchers();
    }

    /// Restarts the daemon, so fast that no call finds it down: every open stream ends with `Unavailable`,
    /// and so does every call that waits inside.
    pub fn restart_daemon(&self) {
        self.inner.restart_daemon(Duration::ZERO);
    }

    /// The same, and calls in the next `down` fail with `Unavailable`, outcome `NotSent`.
    pub fn restart_daemon_for(&self, down: Duration) {
        self.inner.restart_daemon(down);
    }

    /// Stops the daemon until [`start_daemon`](Self::start_daemon).
    pub fn stop_daemon(&self) {
        self.inner.take_down(Down::UntilStarted);
    }

    /// Starts a stopped daemon. Instances went on all the time.
    pub fn start_daemon(&self) {
        self.inner.lock().daemon.down = Down::No;
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("World")
            .field("substrate", &self.inner.descriptor.name)
            .finish_non_exhaustive()
    }
}
