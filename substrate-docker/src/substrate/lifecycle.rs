//! Looking, starting, stopping, deleting.

use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::{
    KillContainerOptions, RemoveContainerOptions, RestartContainerOptions, StartContainerOptions,
    StopContainerOptions,
};
use serde_json::{Value, json};
use substrate_core::provider::Wait;
use substrate_core::{
    Error, ErrorKind, Instance, InstanceFilter, InstanceName, InstanceState, Outcome, Result, StopMode,
};

use super::DockerSubstrate;
use crate::client::Target;
use crate::convert::instance::{Inspection, Summary, words_of};
use crate::name::{is_container_name, is_id_of};

/// How long the daemon may take beyond a grace period: after SIGKILL it can be ten seconds and more until it
/// reports the end.
const STOP_MARGIN: Duration = Duration::from_secs(60);
/// How long a removal may take until the name is free.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

impl DockerSubstrate {
    // ---- looking ----------------------------------------------------------------------------------

    pub(super) async fn list(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let target = list_target(filter);
        let summaries: Vec<Summary> = self.client.get("list the containers", &target).await?;
        let mut instances = Vec::with_capacity(summaries.len());
        for summary in summaries {
            let instance = summary.into_instance()?;
            if filter.matches(&instance) {
                instances.push(Arc::new(instance));
            }
        }
        instances.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(instances)
    }

    pub(super) async fn get(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        Ok(Arc::new(self.inspect(name).await?.into_instance()?))
    }

    /// The container that `name` means: by its name, its id, or a prefix of the id that is long enough.
    ///
    /// The daemon would take any prefix, even of one digit. Every call resolves first and then acts on the
    /// full id, so that a mistyped name can never hit a stranger.
    pub(super) async fn inspect(&self, name: &InstanceName) -> Result<Inspection> {
        let inspection = self.inspect_raw(name.as_str()).await?;
        serde_json::from_value(inspection)
            .map_err(|error| Error::protocol(format!("the daemon's inspection cannot be read: {error}")))
    }

    /// The same, with everything that the daemon knows.
    pub(super) async fn inspect_raw(&self, name: &str) -> Result<Value> {
        if !is_container_name(name) {
            return Err(missing(name));
        }
        let target = Target::new("/containers").segment(name).segment("json");
        let inspection: Value = match self.client.get("look at the container", &target).await {
            Ok(inspection) => inspection,
            Err(error) if error.is_not_found() => return Err(missing(name)),
            Err(error) if error.is_conflict() => return Err(self.ambiguous(name).await?),
            Err(error) => return Err(error),
        };
        let text = |key: &str| inspection.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("Name").trim_start_matches('/') == name {
            return Ok(inspection);
        }
        if !is_id_of(name, text("Id")) {
            return Err(missing(name));
        }
        match self.holder_of_name(name, text("Id")).await? {
            Some(holder) => {
                let target = Target::new("/containers").segment(&holder).segment("json");
                self.client.get("look at the container", &target).await
            }
            None => Ok(inspection),
        }
    }

    /// A container that is called like another one's full id: the daemon finds the id first, the contract
    /// wants the name.
    async fn holder_of_name(&self, name: &str, id: &str) -> Result<Option<String>> {
        if name != id {
            return Ok(None);
        }
        let filters = json!({"name": [format!("^/{name}$")]}).to_string();
        let target = Target::new("/containers/json").with("all", "1").with("filters", &filters);
        let found: Vec<Summary> = self.client.get("look for the name", &target).await?;
        Ok(found.into_iter().find(|summary| summary.is_called(name)).map(|summary| summary.id))
    }

    /// The daemon found several ids that begin so.
    async fn ambiguous(&self, prefix: &str) -> Result<Error> {
        let all = self.list(&InstanceFilter::all()).await?;
        let candidates: Vec<String> = all
            .iter()
            .filter(|instance| is_id_of(prefix, &instance.id))
            .map(|instance| format!("{} ({})", instance.name, instance.id))
            .collect();
        if candidates.is_empty() {
            return Ok(missing(prefix));
        }
        Ok(Error::conflict(format!("`{prefix}` is the beginning of several ids: {}", candidates.join(", "))))
    }

    /// A container by its full id; `None` when it is gone.
    pub(super) async fn inspect_id(&self, id: &str) -> Result<Option<Inspection>> {
        let target = Target::new("/containers").segment(id).segment("json");
        match self.client.get("look at the container", &target).await {
            Ok(inspection) => Ok(Some(inspection)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    // ---- starting ---------------------------------------------------------------------------------

    pub(super) async fn start(&self, name: &InstanceName) -> Result<()> {
        let container = self.inspect(name).await?;
        match container.instance_state() {
            InstanceState::Running => Ok(()),
            InstanceState::Paused => Err(Error::conflict("it is paused, not stopped").with_hint("resume it")),
            _ => self.start_id(&container.id).await,
        }
    }

    /// Starts by id. Already started = success: the client library takes 304 for one.
    pub(super) async fn start_id(&self, id: &str) -> Result<()> {
        self.client
            .call("start the container", async |docker| {
                docker.start_container(id, None::<StartContainerOptions>).await
            })
            .await
            .map_err(|error| {
                // A network or a device that is gone is not the container's absence.
                if error.is_not_found() && !error.message().contains("No such container") {
                    return Error::conflict(error.message()).with_outcome(Outcome::Rejected);
                }
                error
            })
    }

    pub(super) async fn restart(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let container = self.inspect(name).await?;
        if let (StopMode::GracefulThenForce(grace), InstanceState::Running) =
            (mode, container.instance_state())
        {
            let options = RestartContainerOptions { t: Some(whole_seconds(grace)), ..Default::default() };
            let id = container.id.as_str();
            self.meter.forget(id);
            return self
                .client
                .long_call("restart the container", grace + STOP_MARGIN, async |docker| {
                    docker.restart_container(id, Some(options)).await
                })
                .await;
        }
        self.stop_container(&container, mode).await?;
        self.start_id(&container.id)
            .await
            .map_err(|error| error.with_hint("the restart had already stopped it"))
    }

    // ---- stopping ---------------------------------------------------------------------------------

    pub(super) async fn stop(&self, name: &InstanceName, mode: StopMode) -> Result<()> {
        let container = self.inspect(name).await?;
        self.stop_container(&container, mode).await
    }

    pub(super) async fn stop_container(&self, container: &Inspection, mode: StopMode) -> Result<()> {
        let id = container.id.as_str();
        match (mode, container.instance_state()) {
            (_, InstanceState::Stopped) => return Ok(()),
            (StopMode::Graceful(grace), InstanceState::Running | InstanceState::Paused) => {
                // The daemon's own stop always ends in SIGKILL; a signal alone never does. A signal that is
                // the stop signal also resumes a paused container, and keeps the restart policy from acting.
                let signal = container.config.stop_signal.as_deref().unwrap_or("SIGTERM");
                self.kill(id, signal).await?;
                if !self.has_stopped_within(id, grace).await? {
                    return Err(Error::timeout(format!("it did not stop within {grace:?} of {signal}"))
                        .with_outcome(Outcome::Rejected)
                        .with_hint("nothing was killed; give it longer, or stop it by force"));
                }
            }
            (StopMode::Force, InstanceState::Running | InstanceState::Paused) => {
                self.kill(id, "SIGKILL").await?;
                if !self.has_stopped_within(id, STOP_MARGIN).await? {
                    return Err(Error::timeout(format!("it still runs {STOP_MARGIN:?} after SIGKILL"))
                        .with_hint("a process that waits in the kernel cannot be killed"));
                }
            }
            // Also what waits for its next restart: there is nothing to send a signal to.
            (_, _) => self.stop_by_daemon(id, mode.grace()).await?,
        }
        self.meter.forget(id);
        Ok(())
    }

    async fn stop_by_daemon(&self, id: &str, grace: Duration) -> Result<()> {
        let options = StopContainerOptions { t: Some(whole_seconds(grace)), ..Default::default() };
        // The call lasts the whole grace period: its deadline is that and a margin, not the usual one.
        self.client
            .long_call("stop the container", grace + STOP_MARGIN, async |docker| {
                docker.stop_container(id, Some(options)).await
            })
            .await
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<()> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        let result = self
            .client
            .call("send the container a signal", async |docker| {
                docker.kill_container(id, Some(options)).await
            })
            .await;
        match result {
            // It stopped by itself in between.
            Err(error) if error.is_conflict() && error.message().contains("not running") => Ok(()),
            other => other,
        }
    }

    async fn has_stopped_within(&self, id: &str, limit: Duration) -> Result<bool> {
        let mut wait = Wait::at_most(limit);
        loop {
            let Some(container) = self.inspect_id(id).await? else { return Err(missing(id)) };
            if !container.state.running && container.instance_state() != InstanceState::Paused {
                return Ok(true);
            }
            if !wait.pause().await {
                return Ok(false);
            }
        }
    }

    pub(super) async fn pause(&self, name: &InstanceName) -> Result<()> {
        let container = self.inspect(name).await?;
        match container.instance_state() {
            InstanceState::Paused => Ok(()),
            InstanceState::Running => {
                let id = container.id.as_str();
                let result = self
                    .client
                    .call("pause the container", async |docker| docker.pause_container(id).await)
                    .await;
                match result {
                    Err(error) if error.message().contains("already paused") => Ok(()),
                    other => other,
                }
            }
            state => Err(not_running(state)),
        }
    }

    pub(super) async fn resume(&self, name: &InstanceName) -> Result<()> {
        let container = self.inspect(name).await?;
        match container.instance_state() {
            InstanceState::Running => Ok(()),
            InstanceState::Paused => {
                let id = container.id.as_str();
                let result = self
                    .client
                    .call("resume the container", async |docker| docker.unpause_container(id).await)
                    .await;
                match result {
                    Err(error) if error.message().contains("not paused") => Ok(()),
                    other => other,
                }
            }
            state => Err(not_running(state)),
        }
    }

    // ---- deleting ---------------------------------------------------------------------------------

    pub(super) async fn delete(&self, name: &InstanceName, force: bool) -> Result<()> {
        let container = self.inspect(name).await?;
        let state = container.instance_state();
        if !force
            && (container.state.running || matches!(state, InstanceState::Running | InstanceState::Paused))
        {
            return Err(
                Error::conflict(format!("it is {state}")).with_hint("stop it first, or delete with force")
            );
        }
        self.remove_id(&container.id, force).await?;
        self.delete_images_of(&container).await
    }

    /// Removes a container with its anonymous volumes, and returns when its name is free.
    pub(super) async fn remove_id(&self, id: &str, force: bool) -> Result<()> {
        let options = RemoveContainerOptions { force, v: true, link: false };
        let result = self
            .client
            .long_call("delete the container", REMOVAL_LIMIT, async |docker| {
                docker.remove_container(id, Some(options)).await
            })
            .await;
        match result {
            Ok(()) => {}
            // Somebody else is at it: what counts is that it ends.
            Err(error) if error.kind() == ErrorKind::Busy => {}
            Err(error) if error.is_not_found() => return Err(missing(id)),
            Err(error) if error.message().contains("cannot remove a running container") => {
                return Err(Error::conflict("it was started meanwhile").with_hint("delete with force"));
            }
            Err(error) => return Err(error),
        }
        self.meter.forget(id);
        let mut wait = Wait::at_most(REMOVAL_LIMIT);
        while self.inspect_id(id).await?.is_some() {
            if !wait.pause().await {
                return Err(Error::timeout(format!(
                    "the daemon accepted the deletion, but the container is still there after {REMOVAL_LIMIT:?}"
                )));
            }
        }
        Ok(())
    }
}

/// The list's request: one, with everything filtered by the server that it filters exactly.
fn list_target(filter: &InstanceFilter) -> Target {
    let labels: Vec<String> = filter.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // A server's filter by state knows fewer words than its answers have; one that cannot be told exactly
    // is left to us.
    let states: Vec<&str> = filter.states.iter().flat_map(|state| words_of(*state)).copied().collect();
    let exact =
        filter.states.iter().all(|state| matches!(state, InstanceState::Running | InstanceState::Paused));
    let mut filters = serde_json::Map::new();
    if !labels.is_empty() {
        filters.insert("label".to_owned(), json!(labels));
    }
    if exact && !states.is_empty() {
        filters.insert("status".to_owned(), json!(states));
    }
    // Never by name: the server takes it for a regular expression.
    let target = Target::new("/containers/json").with("all", "1");
    if filters.is_empty() { target } else { target.with("filters", &Value::Object(filters).to_string()) }
}

pub(super) fn missing(name: &str) -> Error {
    Error::not_found(format!("there is no container called `{}`", name.escape_debug()))
}

pub(super) fn not_running(state: InstanceState) -> Error {
    Error::conflict(format!("it does not run, it is {state}")).with_hint("start it first")
}

/// Docker counts grace periods in whole seconds: rounded up, since a guest is never given less than asked.
fn whole_seconds(grace: Duration) -> i32 {
    let seconds = grace.as_secs().saturating_add(u64::from(grace.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_filters_go_to_the_server() {
        let target = list_target(&InstanceFilter::all().with_name_prefix("web").with_label("a", "b=c"));
        assert_eq!(
            target.as_str(),
            "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%3Dc%22%5D%7D"
        );
        assert_eq!(list_target(&InstanceFilter::all()).as_str(), "/containers/json?all=1");
        let running = list_target(&InstanceFilter::all().with_state(InstanceState::Running));
        assert!(running.as_str().contains("status"));
        let unknown = list_target(&InstanceFilter::all().with_state(InstanceState::Unknown));
        assert!(!unknown.as_str().contains("status"));
    }

    #[test]
    fn a_grace_period_is_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::MAX), i32::MAX);
    }
}
