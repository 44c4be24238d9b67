//! Looking, changing a configuration, deleting.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value};
use substrate_core::provider::Wait;
use substrate_core::{
    Error, Instance, InstanceFilter, InstanceKind, InstanceName, InstanceState, Outcome, Result,
};
use tokio::sync::OwnedMutexGuard;

use super::LxcSubstrate;
use crate::client::{Answer, Ended, Target};
use crate::convert::instance::{Document, StateDocument, status_condition};
use crate::convert::labels;
use crate::error;
use crate::name::{is_instance_name, is_uuid};

/// How long another change of the same instance is waited for.
const BUSY_LIMIT: Duration = Duration::from_secs(60);
/// How long a deletion may take: snapshots and disks go with it.
const DELETION_LIMIT: Duration = Duration::from_secs(300);
/// How long a change of a configuration may take.
const UPDATE_LIMIT: Duration = Duration::from_secs(120);
/// How often a change is tried again when somebody else changed the same thing in between.
const UPDATE_TRIES: usize = 16;
/// What of an instance's document can be written.
const WRITABLE: [&str; 7] =
    ["architecture", "config", "description", "devices", "ephemeral", "profiles", "stateful"];

/// The instance in a path.
pub(super) fn target(name: &str) -> Target {
    Target::new("/1.0/instances").segment(name)
}

pub(super) fn missing(name: &str) -> Error {
    let project_hint = "names belong to a project: is it the right one?";
    Error::not_found(format!("there is no instance called `{}`", name.escape_debug())).with_hint(project_hint)
}

impl LxcSubstrate {
    // ---- looking ----------------------------------------------------------------------------------

    pub(super) async fn list(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let documents: Vec<Document> = self.client.get("list the instances", &list_target(filter)).await?;
        let mut instances = Vec::with_capacity(documents.len());
        for document in documents {
            let instance = document.into_instance(None)?;
            if filter.matches(&instance) {
                instances.push(Arc::new(instance));
            }
        }
        instances.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(instances)
    }

    pub(super) async fn get(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        let document = self.find(name.as_str()).await?;
        Ok(Arc::new(self.described(document).await?))
    }

    /// The instance with what only a look inside tells.
    pub(super) async fn described(&self, document: Document) -> Result<Instance> {
        let runs = matches!(document.state(), InstanceState::Running | InstanceState::Paused);
        let inside = if runs {
            match self.inside(&document.name).await {
                // It may be on its way down at this moment: what it is, is known all the same.
                Err(error) if error.is_invalid_input() || error.is_internal() || error.is_conflict() => None,
                result => result?,
            }
        } else {
            None
        };
        document.into_instance(inside.as_ref())
    }

    /// A look inside a running instance; nothing when it is gone.
    pub(super) async fn inside(&self, name: &str) -> Result<Option<StateDocument>> {
        match self.client.get("look inside the instance", &target(name).segment("state")).await {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The instance that `name` means: by its name, or by its id.
    pub(super) async fn find(&self, name: &str) -> Result<Document> {
        match self.look(name).await? {
            Some(document) => Ok(document),
            None if is_uuid(name) => self.find_id(name).await,
            None => Err(missing(name)),
        }
    }

    /// An instance by its name.
    pub(super) async fn look(&self, name: &str) -> Result<Option<Document>> {
        if !is_instance_name(name) {
            return Ok(None);
        }
        match self.client.get::<Document>("look at the instance", &target(name)).await {
            Ok(document) if document.name == name => Ok(Some(document)),
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn find_id(&self, id: &str) -> Result<Document> {
        let target = Target::new("/1.0/instances")
            .with("recursion", "1")
            .with("filter", &format!("config.volatile.uuid eq {id}"));
        let documents: Vec<Document> = self.client.get("look for the instance's id", &target).await?;
        documents.into_iter().find(|document| document.id() == id).ok_or_else(|| missing(id))
    }

    // ---- changing ---------------------------------------------------------------------------------

    /// The instance, held: nothing else through this handle changes it until the guard is dropped.
    pub(super) async fn held(&self, name: &InstanceName) -> Result<(OwnedMutexGuard<()>, Document)> {
        if !is_instance_name(name.as_str()) {
            return Err(missing(name.as_str()));
        }
        // An id means the same instance as its name.
        let name = if is_uuid(name.as_str()) {
            self.find(name.as_str()).await?.name
        } else {
            name.as_str().to_owned()
        };
        let guard = self.names.hold("instance", &name).await;
        let document = self.look(&name).await?.ok_or_else(|| missing(&name))?;
        Ok((guard, document))
    }

    /// Does something to an instance, and again while another change of it is under way: somebody else's, or
    /// one of ours whose caller has gone.
    pub(super) async fn when_free<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut wait = Wait::at_most(BUSY_LIMIT);
        loop {
            match attempt().await {
                Err(error) if error.is_busy() && wait.pause().await => {}
                result => return result,
            }
        }
    }

    /// Changes an instance's configuration. The whole is read, changed and written back on the condition that
    /// nobody has changed it since: a part alone would drop what the server keeps there for itself, or could not
    /// take a key away.
    pub(super) async fn update(
        &self,
        attempt: &str,
        name: &str,
        edit: impl Fn(&mut Map<String, Value>) -> Result<()>,
    ) -> Result<()> {
        let target = &target(name);
        let mut tries = UPDATE_TRIES;
        loop {
            let (document, tag): (Map<String, Value>, _) =
                self.client.get_tagged("look at the instance", target).await?;
            let mut writable: Map<String, Value> =
                document.into_iter().filter(|(key, _)| WRITABLE.contains(&key.as_str())).collect();
            edit(&mut writable)?;
            let (body, tag) = (&Value::Object(writable), tag.as_deref());
            let result = self
                .when_free(|| async move {
                    match self.client.send(attempt, Method::PUT, target, Some(body), tag).await? {
                        Answer::Done => Ok(Ended::Done),
                        Answer::Begun(operation) => {
                            self.client.follow(attempt, &operation, UPDATE_LIMIT).await
                        }
                    }
                })
                .await;
            match result {
                Ok(Ended::Done) => return Ok(()),
                Ok(Ended::Gone) => {
                    return Err(Error::unavailable(format!(
                        "cannot {attempt}: the server does not tell how the change ended"
                    )));
                }
                Err(error) if error::is_outdated(&error) && tries > 0 => tries -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    // ---- deleting ---------------------------------------------------------------------------------

    pub(super) async fn delete(&self, name: &InstanceName, force: bool) -> Result<()> {
        let (_held, document) = self.held(name).await?;
        let state = document.state();
        if !force && state != InstanceState::Stopped && state != InstanceState::Failed {
            return Err(
                Error::conflict(format!("it is {state}")).with_hint("stop it first, or delete with force")
            );
        }
        let mut wait = Wait::at_most(BUSY_LIMIT);
        loop {
            if force {
                self.cut(&document.name).await?;
            }
            match self.remove(&document.name).await {
                // Somebody else has started it in between.
                Err(error) if force && is_running(&error) && wait.pause().await => {}
                // It went with the stop.
                Err(error) if force && error.is_not_found() && document.is_ephemeral() => break,
                result => break result?,
            }
        }
        self.meter.forget(document.id());
        self.consoles.forget(document.id());
        Ok(())
    }

    /// Deletes a stopped instance; its name is free when this returns.
    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        let (attempt, target) = ("delete the instance", &target(name));
        let result = self
            .when_free(|| self.client.change(attempt, Method::DELETE, target, None, DELETION_LIMIT))
            .await;
        match result {
            Ok(Ended::Done) => Ok(()),
            Ok(Ended::Gone) => match self.look(name).await? {
                None => Ok(()),
                Some(_) => Err(Error::internal("the server ended the deletion, but the instance is there")
                    .with_outcome(Outcome::Unknown)),
            },
            // Somebody else was quicker.
            Err(error) if error.is_not_found() => Err(missing(name)),
            Err(error) => Err(error),
        }
    }
}

fn is_running(error: &Error) -> bool {
    error.is_conflict() && error.message().contains("is running")
}

/// The list's request: one, with everything filtered by the server that it filters exactly. Two levels deep it
/// would look into every running instance, which takes as long as there are instances.
fn list_target(filter: &InstanceFilter) -> Target {
    let mut conditions: Vec<String> =
        filter.labels.iter().filter_map(|(key, value)| labels::condition(key, value)).collect();
    match filter.kind {
        Some(InstanceKind::Container) => conditions.push("type eq container".to_owned()),
        Some(InstanceKind::VirtualMachine) => conditions.push("type eq virtual-machine".to_owned()),
        _ => {}
    }
    if let [state] = filter.states.as_slice() {
        conditions.extend(status_condition(*state).map(str::to_owned));
    }
    let target = Target::new("/1.0/instances").with("recursion", "1");
    if conditions.is_empty() { target } else { target.with("filter", &conditions.join(" and ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_filters_what_it_filters_exactly() {
        assert_eq!(list_target(&InstanceFilter::all()).as_str(), "/1.0/instances?recursion=1");
        let filter = InstanceFilter::all()
            .with_label("role", "web")
            .with_label("odd", "a b")
            .with_kind(InstanceKind::Container)
            .with_state(InstanceState::Stopped)
            .with_name_prefix("x");
        assert_eq!(
            list_target(&filter).as_str(),
            "/1.0/instances?recursion=1&filter=config.user.role%20eq%20web%20and%20type%20eq%20container%20and%20status%20eq%20Stopped"
        );
    }
}
