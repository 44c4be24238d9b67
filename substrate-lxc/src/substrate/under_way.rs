//! What is under way on an instance: somebody else's change, or one of ours whose caller has gone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use substrate_core::Result;

use super::LxcSubstrate;
use crate::client::{POLL, Progress, Target};

const ATTEMPT: &str = "look what is under way";
/// The servers' own word for an operation that changes something. Others wait for somebody who connects, as commands do,
/// and end when their instance does.
const TASK: &str = "task";

/// An operation as the list of all of them tells it.
#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(default)]
    id: String,
    #[serde(default)]
    class: String,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    resources: Option<BTreeMap<String, Option<Vec<String>>>>,
}

impl Listed {
    fn is_under_way_on(&self, instance: &str) -> bool {
        let has_ended = matches!(self.status_code, 200 | 400..);
        self.class == TASK && !has_ended && self.paths().any(|path| is_of(path, instance))
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().flatten().filter_map(|(_, paths)| paths.as_ref()).flatten().map(String::as_str)
    }
}

/// `/1.0/instances/NAME`, `/1.0/containers/NAME`, with or without a project.
fn is_of(path: &str, instance: &str) -> bool {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    path.rsplit_once('/').is_some_and(|(folder, name)| {
        name == instance && (folder.ends_with("/instances") || folder.ends_with("/containers"))
    })
}

impl LxcSubstrate {
    /// Waits until what is under way on an instance has ended, each for at most so long. Whether there was anything.
    pub(super) async fn others_end(&self, instance: &str, limit: Duration) -> Result<bool> {
        let target = Target::new("/1.0/operations").with("recursion", "1");
        let by_state: BTreeMap<String, Option<Vec<Listed>>> = match self.client.get(ATTEMPT, &target).await {
            Ok(operations) => operations,
            // Who may not see them does without.
            Err(error) if error.is_permission_denied() || error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut found = false;
        for operation in by_state.into_values().flatten().flatten() {
            if !operation.is_under_way_on(instance) {
                continue;
            }
            // How it ends is for its own caller to know; here it counts only that it does.
            let longest = limit.min(POLL);
            let ended = match self.client.wait_for(ATTEMPT, &operation.id, longest).await {
                Ok(Some(operation)) => operation.progress() != Progress::Running,
                Ok(None) => true,
                Err(error) if error.is_unavailable() || error.is_timeout() => return Err(error),
                Err(_) => true,
            };
            // What lasts longer than that is no stop's or start's tail, and is not waited for again.
            found |= ended;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(class: &str, code: u16, path: &str) -> Listed {
        // As LXD 5.0.2 and Incus 6.0.4 write it.
        serde_json::from_value(serde_json::json!({
            "id": "0a1b", "class": class, "description": "Stopping instance", "status_code": code,
            "resources": {"instances": [path]},
        }))
        .unwrap()
    }

    #[test]
    fn a_change_that_has_not_ended_is_under_way() {
        let path = "/1.0/instances/web";
        assert!(listed("task", 103, path).is_under_way_on("web"));
        assert!(listed("task", 103, "/1.0/instances/web?project=a").is_under_way_on("web"));
        assert!(listed("task", 103, "/1.0/containers/web").is_under_way_on("web"));
        assert!(!listed("task", 200, path).is_under_way_on("web"), "it has ended");
        assert!(!listed("task", 401, path).is_under_way_on("web"), "it was cancelled");
        assert!(!listed("websocket", 103, path).is_under_way_on("web"), "a command");
        assert!(!listed("task", 103, path).is_under_way_on("eb"));
        assert!(!listed("task", 103, "/1.0/images/web").is_under_way_on("web"));
    }
}
