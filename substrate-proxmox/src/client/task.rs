//! Tasks: nearly every change is one, and only its end says what came of it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use substrate_core::{Error, Outcome, Result};
use tokio::time::{Instant, sleep};

use super::{Client, Form, path};
use crate::error;

/// Between two looks at a task: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(700);
/// How many lines of a log are asked for at once, and how many are read at most.
const LOG_PAGE: usize = 1_000;
const LONGEST_LOG: usize = 100_000;
/// How long a task's state may be out of reach before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a task that was just made may be unknown to its node.
const UNKNOWN_YET: Duration = Duration::from_secs(5);

/// A task's id: `UPID:node:pid:pstart:starttime:type:id:user:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upid(String);

impl Upid {
    pub(crate) fn parse(attempt: &str, answer: &Value) -> Result<Self> {
        match answer.as_str() {
            Some(text) if text.starts_with("UPID:") => Ok(Self(text.to_owned())),
            _ => Err(Error::protocol(format!("cannot {attempt}: the answer is no task"))),
        }
    }

    pub(crate) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn part(&self, index: usize) -> &str {
        self.0.split(':').nth(index).unwrap_or_default()
    }

    /// The node that runs it: not always the one that was asked.
    pub(crate) fn node(&self) -> &str {
        self.part(1)
    }

    /// A finer order than seconds, on one node.
    pub(crate) fn started_ticks(&self) -> u64 {
        u64::from_str_radix(self.part(3), 16).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    exitstatus: Option<String>,
}

/// Whether a task's result is a success: warnings are one.
pub(crate) fn is_success(exit_status: &str) -> bool {
    exit_status == "OK" || exit_status.starts_with("WARNINGS")
}

impl Client {
    /// Follows a task to its end.
    ///
    /// Nothing is undone when this is dropped: the task goes on.
    pub(crate) async fn follow(&self, attempt: &str, upid: &Upid) -> Result<()> {
        let target = path(&["nodes", upid.node(), "tasks", upid.as_str(), "status"]);
        let (mut pause, mut seen, begin) = (FIRST_PAUSE, Instant::now(), Instant::now());
        loop {
            match self.get::<Status>(attempt, &target, Form::new()).await {
                Ok(status) if status.status == "stopped" => {
                    let verdict = status.exitstatus.unwrap_or_default();
                    if is_success(&verdict) {
                        return Ok(());
                    }
                    let log = self.log(upid).await.unwrap_or_default();
                    return Err(error::from_task(attempt, &verdict, &log));
                }
                Ok(_) => seen = Instant::now(),
                // The id comes back before the list of tasks knows it.
                Err(error) if error.is_not_found() && begin.elapsed() < UNKNOWN_YET => {}
                // It was accepted and goes on, whether we can see it or not.
                Err(error) if (error.is_unavailable() || error.is_timeout()) && seen.elapsed() < PATIENCE => {
                }
                Err(error) => {
                    return Err(error.with_outcome(Outcome::Unknown).with_hint(format!(
                        "the task {} was accepted; look what came of it",
                        upid.as_str()
                    )));
                }
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// What a task wrote, page by page: left alone, the API gives the first 50 lines.
    pub(crate) async fn log(&self, upid: &Upid) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(default)]
            t: String,
        }
        let target = path(&["nodes", upid.node(), "tasks", upid.as_str(), "log"]);
        let mut all = Vec::new();
        loop {
            let query = Form::new().with("start", all.len()).with("limit", LOG_PAGE);
            let lines: Vec<Line> = self.get("read the task's log", &target, query).await?;
            let is_last = lines.len() < LOG_PAGE;
            all.extend(lines.into_iter().map(|line| line.t));
            if is_last || all.len() >= LONGEST_LOG {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_names_its_node_and_its_ticks() {
        let upid = Upid::from_text("UPID:pve2:00002488:0006132F:6B00DEB7:qmcreate:100:root@pam:");
        assert_eq!((upid.node(), upid.started_ticks()), ("pve2", 0x6132F));
        assert!(Upid::parse("try", &Value::Null).unwrap_err().is_protocol());
    }

    #[test]
    fn warnings_are_a_success() {
        assert!(is_success("OK") && is_success("WARNINGS: 2"));
        assert!(!is_success("unexpected status") && !is_success(""));
    }
}
