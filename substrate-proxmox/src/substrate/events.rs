//! What happens, from the nodes' task lists and from how the guests are.
//!
//! Every change that somebody orders is a task, and the lists of tasks are complete; what happens by itself (a guest
//! that powers itself off) shows in the guests' states only. So both are polled: tasks tell what happened in between,
//! and the states tell the rest.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use substrate_core::{
    Error, Event, EventKind, EventOrigin, InstanceName, Result, WatchItem, WatchOptions, WatchStream,
};
use tokio::time::sleep;

use super::ProxmoxSubstrate;
use crate::client::{Form, Upid, is_success, path};
use crate::convert::guest::time;
use crate::convert::inventory::{Listed, Task};

/// How many tasks of a node are looked at per poll; more than that is a gap.
const PAGE: usize = 500;
/// How many polls in a row may fail before the watch ends.
const FAILURES: usize = 5;

/// What a task means for a guest once it has succeeded.
fn meaning(kind: &str) -> Option<EventKind> {
    Some(match kind {
        "qmcreate" | "vzcreate" | "qmrestore" | "vzrestore" => EventKind::Created,
        "qmstart" | "vzstart" => EventKind::Started,
        "qmstop" | "vzstop" | "qmshutdown" | "vzshutdown" => EventKind::Stopped,
        "qmreboot" | "vzreboot" | "qmreset" => EventKind::Restarted,
        "qmpause" => EventKind::Paused,
        "qmresume" => EventKind::Resumed,
        // To disk: then it is off.
        "qmsuspend" => EventKind::Stopped,
        "qmdestroy" | "vzdestroy" => EventKind::Deleted,
        "qmsnapshot" | "vzsnapshot" => EventKind::SnapshotCreated,
        "qmrollback" | "vzrollback" => EventKind::SnapshotRestored,
        "qmdelsnapshot" | "vzdelsnapshot" => EventKind::SnapshotDeleted,
        _ => return None,
    })
}

/// A guest as the watch knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: String,
    running: bool,
}

/// What was seen so far.
#[derive(Default)]
struct Picture {
    guests: HashMap<u64, Seen>,
    /// Tasks that were told, or ended before the watch began.
    told: HashSet<String>,
    /// From when on each node is asked, on the server's clock.
    since: u64,
}

/// What one poll found.
struct Poll {
    tasks: Vec<Task>,
    guests: Vec<Listed>,
    /// Whether a node did not answer: then what is missing is not gone.
    partial: bool,
    overflow: bool,
}

impl ProxmoxSubstrate {
    pub(super) async fn subscribe(&self, options: &WatchOptions) -> Result<WatchStream> {
        if options.after.is_some() {
            self.descriptor.get().require(substrate_core::Feature::WatchResume)?;
        }
        let mut picture = Picture::default();
        let begin = self.poll(&picture).await?;
        // What still runs is told when it ends.
        let ended = begin.tasks.iter().filter(|task| task.endtime.is_some());
        picture.told = ended.map(|task| task.upid.clone()).collect();
        picture.since = begin.tasks.iter().map(|task| task.starttime).max().unwrap_or_default();
        for listed in begin.guests.iter().filter(|listed| is_whole(listed)) {
            let name = name_of(listed);
            picture.guests.insert(listed.place.vmid, Seen { name, running: listed.status == "running" });
        }
        let watcher = self.watcher();
        let state = (watcher, picture, Vec::<Result<WatchItem>>::new().into_iter(), 0_usize);
        let items = stream::unfold(Some(state), |state| async {
            let (watcher, mut picture, mut ready, mut failures) = state?;
            loop {
                if let Some(item) = ready.next() {
                    let ends = item.is_err();
                    return Some((item, (!ends).then_some((watcher, picture, ready, failures))));
                }
                sleep(watcher.config.watch_interval).await;
                match watcher.poll(&picture).await {
                    Ok(poll) => {
                        failures = 0;
                        ready = watcher.told(&mut picture, poll).await.into_iter();
                    }
                    Err(error) => {
                        failures += 1;
                        if failures >= FAILURES || !(error.is_unavailable() || error.is_timeout()) {
                            ready = vec![Err(error)].into_iter();
                        }
                    }
                }
            }
        });
        Ok(items.boxed())
    }

    async fn poll(&self, picture: &Picture) -> Result<Poll> {
        let (mut tasks, mut overflow) = (Vec::new(), false);
        let nodes = self.online_nodes().await?;
        // Tasks first: what ends between the two looks is then seen in the states, and not told twice.
        let lists = nodes.iter().map(|node| async move {
            let query = Form::new().with("source", "all").with("limit", PAGE).with("since", picture.since);
            let target = path(&["nodes", &node.node, "tasks"]);
            match self.client.get::<Vec<Task>>("list the tasks", &target, query).await {
                // A node that went down meanwhile: its guests show as unknown.
                Err(error) if error.message().contains("(HTTP 595)") => Ok(Vec::new()),
                tasks => tasks,
            }
        });
        for list in try_join_all(lists).await? {
            overflow |= list.len() >= PAGE;
            tasks.extend(list);
        }
        let view = self.nodes_view().await?;
        let (guests, silent) = &*view;
        let guests = guests
            .iter()
            .filter(|listed| self.kinds.contains(&listed.place.kind) && !silent.contains(&listed.place.node));
        Ok(Poll { tasks, guests: guests.cloned().collect(), partial: !silent.is_empty(), overflow })
    }

    /// What is new, in order; the picture then shows it.
    async fn told(&self, picture: &mut Picture, poll: Poll) -> Vec<Result<WatchItem>> {
        let mut items = Vec::new();
        if poll.overflow {
            items.push(Ok(WatchItem::Gap { reason: "more tasks than are listed".to_owned() }));
        }
        let active = poll.tasks.iter().filter(|task| task.endtime.is_none()).map(|task| task.starttime).min();
        let latest = poll.tasks.iter().map(|task| task.starttime).max();
        let mut ended: Vec<&Task> = poll
            .tasks
            .iter()
            .filter(|task| task.endtime.is_some() && !picture.told.contains(&task.upid))
            .collect();
        ended.sort_by_key(|task| (task.endtime, Upid::from_text(&task.upid).started_ticks()));
        let now = latest.map_or(SystemTime::UNIX_EPOCH, time);
        let mut last = SystemTime::UNIX_EPOCH;
        for task in &ended {
            let at = task.endtime.map_or(now, time).max(last);
            last = at;
            if task.status.as_deref().is_some_and(is_success)
                && let (Some(kind), Some(vmid)) = (meaning(&task.kind), task.vmid())
            {
                self.tell(picture, &poll, vmid, kind, at, &mut items).await;
            }
        }
        picture.told.extend(ended.iter().map(|task| task.upid.clone()));
        self.compare(picture, &poll, now.max(last), &mut items);
        // A little earlier: tasks that began in the same second may not be listed yet.
        let since = active.or(latest).unwrap_or_default().saturating_sub(10);
        picture.since = picture.since.max(since);
        let listed: HashSet<&String> = poll.tasks.iter().map(|task| &task.upid).collect();
        picture.told.retain(|upid| listed.contains(upid));
        items
    }

    /// One task that succeeded.
    async fn tell(
        &self,
        picture: &mut Picture,
        poll: &Poll,
        vmid: u64,
        kind: EventKind,
        at: SystemTime,
        items: &mut Vec<Result<WatchItem>>,
    ) {
        let known = picture.guests.get(&vmid).cloned();
        let known = match known {
            Some(seen) => seen,
            None => {
                // New to us: from the list, or from what this handle made.
                let listed = poll.guests.iter().find(|listed| listed.place.vmid == vmid);
                let named = listed.filter(|listed| is_whole(listed)).map(name_of);
                let name = match named.or_else(|| self.memory.name_of_late(vmid)) {
                    Some(name) => name,
                    None => {
                        if kind == EventKind::Deleted {
                            let reason = format!("guest {vmid} came and went before its name was seen");
                            items.push(Ok(WatchItem::Gap { reason }));
                        }
                        return;
                    }
                };
                items.push(Ok(self.event(&name, EventKind::Created, at)));
                let seen = Seen { name, running: false };
                picture.guests.insert(vmid, seen.clone());
                if kind == EventKind::Created {
                    return;
                }
                seen
            }
        };
        let running = match kind {
            // It was told when it was seen.
            EventKind::Created => return,
            EventKind::Started if known.running => return,
            EventKind::Stopped if !known.running => return,
            EventKind::Started | EventKind::Restarted => true,
            EventKind::Stopped => false,
            EventKind::Deleted => {
                if known.running {
                    items.push(Ok(self.event(&known.name, EventKind::Stopped, at)));
                }
                items.push(Ok(self.event(&known.name, kind, at)));
                picture.guests.remove(&vmid);
                return;
            }
            _ => known.running,
        };
        items.push(Ok(self.event(&known.name, kind, at)));
        if let Some(seen) = picture.guests.get_mut(&vmid) {
            seen.running = running;
        }
    }

    /// What happened without a task, or with one that is not listed yet.
    fn compare(
        &self,
        picture: &mut Picture,
        poll: &Poll,
        at: SystemTime,
        items: &mut Vec<Result<WatchItem>>,
    ) {
        let present: HashMap<u64, &Listed> =
            poll.guests.iter().map(|listed| (listed.place.vmid, listed)).collect();
        for listed in poll.guests.iter().filter(|listed| is_whole(listed)) {
            let (vmid, running) = (listed.place.vmid, listed.status == "running");
            match picture.guests.get_mut(&vmid) {
                None => {
                    let name = name_of(listed);
                    items.push(Ok(self.event(&name, EventKind::Created, at)));
                    if running {
                        items.push(Ok(self.event(&name, EventKind::Started, at)));
                    }
                    picture.guests.insert(vmid, Seen { name, running });
                }
                Some(seen) => {
                    seen.name = name_of(listed);
                    if seen.running != running && listed.status != "unknown" {
                        let kind = if running { EventKind::Started } else { EventKind::Stopped };
                        let name = seen.name.clone();
                        seen.running = running;
                        items.push(Ok(self.event(&name, kind, at)));
                    }
                }
            }
        }
        // Guests of a node that did not answer are not gone.
        if poll.partial {
            return;
        }
        let gone: Vec<u64> =
            picture.guests.keys().filter(|vmid| !present.contains_key(vmid)).copied().collect();
        for vmid in gone {
            if let Some(seen) = picture.guests.remove(&vmid) {
                if seen.running {
                    items.push(Ok(self.event(&seen.name, EventKind::Stopped, at)));
                }
                items.push(Ok(self.event(&seen.name, EventKind::Deleted, at)));
            }
        }
    }

    fn event(&self, name: &str, kind: EventKind, at: SystemTime) -> WatchItem {
        let event = Event::new(at, self.descriptor.get().name.clone(), kind, EventOrigin::Observed);
        let event = match InstanceName::new(name) {
            Ok(name) => event.with_instance(name),
            Err(error) => event.with_detail(Error::message(&error).to_owned()),
        };
        WatchItem::Event { event, cursor: None }
    }
}

/// Whether it is more than a placeholder.
fn is_whole(listed: &Listed) -> bool {
    !listed.is_being_made() && !listed.template
}

fn name_of(listed: &Listed) -> String {
    listed.name.clone().unwrap_or_else(|| listed.place.kind.nameless(listed.place.vmid))
}
