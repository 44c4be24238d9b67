//! How commands ended, from LXD's own log.
//!
//! LXD (5.0, at least) keeps a command's operation open until everybody has let go of its output: a child that it
//! left in the background holds back the exit status, and LXD's own client hangs with it. That the command itself has
//! ended shows in its control stream, which is closed at once; the status is in the server's log, which can be
//! listened to. The log tells the instance and not the operation: where commands of one instance ended differently
//! at the same time it decides nothing, and the operation's end is waited for.

use std::collections::BTreeMap;

use serde::Deserialize;
use substrate_core::ExitStatus;

use super::exec::ATTEMPT;
use crate::client::socket::{self, Incoming, Socket};
use crate::client::{Client, Target};

/// What LXD writes when a command's process has ended.
const ENDED: &str = "Instance process stopped";

#[derive(Deserialize)]
struct Entry {
    metadata: Message,
}

#[derive(Deserialize)]
struct Message {
    message: String,
    #[serde(default)]
    context: Context,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    instance: String,
    project: String,
    #[serde(rename = "PID")]
    process: String,
    #[serde(rename = "exitStatus")]
    status: String,
}

/// The ends of commands in one instance since this began to listen.
pub(super) struct ExitRecord {
    socket: Option<Socket>,
    ends: Ends,
}

impl ExitRecord {
    /// Begins to listen; nothing where the server does not let us: then it is as its own client has it.
    pub(super) async fn of(client: &Client, instance: &str) -> Option<Self> {
        let target = Target::new("/1.0/events").with("type", "logging");
        let socket = client.websocket(ATTEMPT, &target, false).await.ok()?;
        let project = client.project().unwrap_or("default").to_owned();
        let ends = Ends { instance: instance.to_owned(), project, statuses: BTreeMap::new() };
        Some(Self { socket: Some(socket), ends })
    }

    /// Reads until another end is known, perhaps for ever: to be raced with something.
    pub(super) async fn listen(&mut self) {
        while let Some(socket) = self.socket.as_mut() {
            match socket::receive(ATTEMPT, socket).await {
                Ok(Incoming::Text(text)) => {
                    if self.ends.note(&text) {
                        return;
                    }
                }
                Ok(Incoming::Data(_) | Incoming::Pong) => {}
                Ok(Incoming::Closed) | Err(_) => self.socket = None,
            }
        }
        std::future::pending::<()>().await;
    }

    /// How the command ended, if all that ended meanwhile did so in the same way.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.ends.status()
    }
}

struct Ends {
    instance: String,
    project: String,
    /// By process.
    statuses: BTreeMap<String, i32>,
}

impl Ends {
    /// Whether the line tells an end of ours.
    fn note(&mut self, text: &str) -> bool {
        // Every request of everybody is in the log: most lines are not worth reading.
        if !text.contains(ENDED) {
            return false;
        }
        let Ok(Entry { metadata: Message { message, context } }) = serde_json::from_str(text) else {
            return false;
        };
        if message == ENDED
            && context.instance == self.instance
            && context.project == self.project
            && let Ok(status) = context.status.parse()
        {
            self.statuses.insert(context.process, status);
            return true;
        }
        false
    }

    fn status(&self) -> Option<ExitStatus> {
        let mut statuses = self.statuses.values();
        let first = *statuses.next()?;
        statuses.all(|status| *status == first).then_some(ExitStatus::Code(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(instance: &str, process: &str, status: &str) -> String {
        // As LXD 5.0.2 wrote it.
        format!(
            r#"{{"type":"logging","timestamp":"2026-11-21T07:40:43.093481916Z","metadata":{{"message":"Instance process stopped","level":"debug","context":{{"PID":"{process}","err":"\u003cnil\u003e","exitStatus":"{status}","instance":"{instance}","interactive":"false","project":"default"}}}},"location":"none"}}"#
        )
    }

    fn ends() -> Ends {
        Ends { instance: "q1".to_owned(), project: "default".to_owned(), statuses: BTreeMap::new() }
    }

    #[test]
    fn the_end_of_the_instance_s_only_command_is_known() {
        let mut ends = ends();
        assert_eq!(ends.status(), None);
        assert!(!ends.note(&line("other", "1", "7")));
        assert!(!ends.note(r#"{"type":"logging","metadata":{"message":"Handling API request"}}"#));
        assert_eq!(ends.status(), None);
        assert!(ends.note(&line("q1", "2", "4")));
        assert_eq!(ends.status(), Some(ExitStatus::Code(4)));
    }

    #[test]
    fn ends_that_differ_decide_nothing() {
        let mut ends = ends();
        ends.note(&line("q1", "2", "4"));
        ends.note(&line("q1", "3", "4"));
        assert_eq!(ends.status(), Some(ExitStatus::Code(4)));
        ends.note(&line("q1", "4", "0"));
        assert_eq!(ends.status(), None);
    }
}
