//! What happens: two watched lists, and the picture that they make.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use substrate_core::{
    Error, Event, EventOrigin, InstanceName, Result, WatchCursor, WatchItem, WatchOptions, WatchStream,
};

use tokio::time::{Instant, sleep_until};

use super::K8sSubstrate;
use super::feed::{Fed, Feed};
use crate::client::Client;
use crate::config::Workload as Kind;
use crate::convert::create::{resource, running_resource};
use crate::convert::picture::{Difference, Happened, Picture};
use crate::convert::pod::Pod;
use crate::convert::workload::Workload;

/// What begins a cursor of ours: the form of what follows may change.
const CURSOR: &str = "k8s/1";

/// How long a change waits for an earlier one of the other list, which comes over another stream.
///
/// Both lists come from one history, and a version is a place in it. Without the wait, a reader who comes late would be told
/// of an instance's end before he is told of its pod.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long the end of a run, and of an instance, waits of which the other list has something to tell: that it ran is not
/// told of a pod that comes after it, and lost.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(10);

/// From where both lists are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versions {
    workloads: String,
    pods: String,
}

impl Versions {
    pub(crate) fn cursor(&self) -> WatchCursor {
        WatchCursor(format!("{CURSOR}/{}/{}", self.workloads, self.pods))
    }

    pub(crate) fn parse(cursor: &WatchCursor) -> Result<Self> {
        let versions = cursor.0.strip_prefix(CURSOR).and_then(|rest| rest.strip_prefix('/'));
        let fits =
            |version: &str| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match versions.and_then(|versions| versions.split_once('/')) {
            Some((workloads, pods)) if fits(workloads) && fits(pods) => {
                Ok(Self { workloads: workloads.to_owned(), pods: pods.to_owned() })
            }
            _ => Err(Error::invalid_input("the cursor is none of this technology's")),
        }
    }
}

impl K8sSubstrate {
    pub(super) async fn subscribe(&self, options: &WatchOptions) -> Result<WatchStream> {
        let after = options.after.as_ref().map(Versions::parse).transpose()?;
        let mut queue = VecDeque::new();
        self.require_kubevirt().await?;
        let source = self.source().await?;
        let (picture, versions) = match &after {
            // As it was at the cursor, so that every change since then is one.
            Some(versions) => match source.picture(Some(versions)).await {
                Ok(found) => found,
                Err(error) if is_expired(&error) => {
                    queue.push_back(gap("the server no longer has the version of the cursor"));
                    source.picture(None).await?
                }
                Err(error) => return Err(error),
            },
            None => source.picture(None).await?,
        };
        let feeds = source.feeds(versions.clone());
        let watching = Watching { feeds, order: Order::default(), told: versions, source, picture, queue };
        Ok(stream::unfold(Some(watching), Watching::step).boxed())
    }

    async fn source(&self) -> Result<Source> {
        Ok(Source {
            client: self.client.clone(),
            substrate: self.descriptor.get().name.clone(),
            namespace: self.client.namespace().await?.to_owned(),
            kind: self.workload(),
        })
    }
}

/// The server's refusal to go back to a version, in whatever words.
fn is_expired(error: &Error) -> bool {
    let words = error.message();
    error.is_conflict() || words.contains("too old resource version") || words.contains("has been compacted")
}

fn gap(reason: &str) -> WatchItem {
    WatchItem::Gap { reason: reason.to_owned() }
}

/// Where lists come from.
struct Source {
    client: Arc<Client>,
    substrate: Arc<str>,
    namespace: String,
    kind: Kind,
}

impl Source {
    /// What is there, or was at a version.
    async fn lists(&self, at: Option<&Versions>) -> Result<(Vec<Workload>, Vec<Pod>, Versions)> {
        const ATTEMPT: &str = "list what is watched";
        let pods = running_resource(self.kind).all(&self.namespace);
        if self.kind == Kind::Pod {
            let version = at.map(|at| at.pods.as_str());
            let listing = self.client.list_of::<Pod>(ATTEMPT, &pods, version).await?;
            let bare: Vec<Pod> = listing.items.into_iter().filter(is_bare).collect();
            let workloads = bare.iter().map(Workload::of_pod).collect();
            let versions = Versions { workloads: listing.version.clone(), pods: listing.version };
            return Ok((workloads, bare, versions));
        }
        let all = resource(self.kind).all(&self.namespace);
        let (workloads, pods) = tokio::try_join!(
            self.client.list_of::<Workload>(ATTEMPT, &all, at.map(|at| at.workloads.as_str())),
            self.client.list_of::<Pod>(ATTEMPT, &pods, at.map(|at| at.pods.as_str())),
        )?;
        let versions = Versions { workloads: workloads.version, pods: pods.version };
        Ok((workloads.items, pods.items, versions))
    }

    async fn picture(&self, at: Option<&Versions>) -> Result<(Picture, Versions)> {
        let (workloads, pods, versions) = self.lists(at).await?;
        Ok((Picture::new(self.kind, workloads, pods), versions))
    }

    fn feeds(&self, versions: Versions) -> Feeds {
        let all = resource(self.kind).all(&self.namespace);
        let workloads =
            (self.kind != Kind::Pod).then(|| Feed::new(self.client.clone(), all, versions.workloads));
        let pods = running_resource(self.kind).all(&self.namespace);
        let pods = Feed::new(self.client.clone(), pods, versions.pods);
        Feeds { workloads, pods }
    }
}

fn is_bare(pod: &Pod) -> bool {
    pod.metadata.controller().is_none()
}

struct Feeds {
    /// Nothing where pods are the instances themselves.
    workloads: Option<Feed>,
    pods: Feed,
}

/// What came from one of the lists.
enum Next {
    Workload(Fed<Workload>),
    Pod(Fed<Pod>),
}

/// Something that came, and waits for what is earlier.
struct Held {
    next: Next,
    version: String,
    came: Instant,
}

impl Held {
    fn new(next: Next, version: &str) -> Self {
        Self { next, version: version.to_owned(), came: Instant::now() }
    }

    /// Its place in the history; a version that is no number has none and waits for nobody.
    fn place(&self) -> u64 {
        self.version.parse().unwrap_or(0)
    }
}

/// Changes of both lists, in the order in which they happened.
#[derive(Default)]
struct Order {
    workloads: VecDeque<Held>,
    pods: VecDeque<Held>,
}

enum Release {
    Now(Box<Held>),
    /// At this moment, if nothing comes before.
    At(Instant),
    Nothing,
}

impl Order {
    fn release(&mut self, feeds: &Feeds, picture: &Picture) -> Release {
        let Some(workload_feed) = &feeds.workloads else {
            return self.pods.pop_front().map_or(Release::Nothing, |held| Release::Now(Box::new(held)));
        };
        let (first, other, other_feed) = match (self.workloads.front(), self.pods.front()) {
            (None, None) => return Release::Nothing,
            (Some(workload), Some(pod)) => {
                let workload_first = workload.place() <= pod.place();
                let queue = if workload_first { &mut self.workloads } else { &mut self.pods };
                return queue.pop_front().map_or(Release::Nothing, |held| Release::Now(Box::new(held)));
            }
            (Some(workload), None) => (workload, &mut self.pods, &feeds.pods),
            (None, Some(pod)) => (pod, &mut self.workloads, workload_feed),
        };
        debug_assert!(other.is_empty());
        let passed = other_feed.version().parse::<u64>().is_ok_and(|version| version >= first.place());
        // A list that is not watched at the moment may have anything to tell.
        let patience = match &first.next {
            Next::Workload(Fed::Gone(gone)) if picture.awaits_pods_of(&gone.metadata.uid) => {
                PATIENCE_AT_THE_END
            }
            Next::Workload(Fed::Is(now))
                if now.replicas() == 0 && picture.awaits_pods_of(&now.metadata.uid) =>
            {
                PATIENCE_AT_THE_END
            }
            _ => PATIENCE,
        };
        let due = other_feed.open_since().map(|open| open.max(first.came) + patience);
        match due {
            _ if passed => {}
            Some(due) if due <= Instant::now() => {}
            Some(due) => return Release::At(due),
            None => return Release::Nothing,
        }
        let held = self.workloads.pop_front().or_else(|| self.pods.pop_front());
        held.map_or(Release::Nothing, |held| Release::Now(Box::new(held)))
    }
}

/// A watch under way.
struct Watching {
    source: Source,
    feeds: Feeds,
    order: Order,
    /// Up to where was told.
    told: Versions,
    picture: Picture,
    queue: VecDeque<WatchItem>,
}

impl Watching {
    async fn step(state: Option<Self>) -> Option<(Result<WatchItem>, Option<Self>)> {
        let mut watching = state?;
        loop {
            if let Some(item) = watching.queue.pop_front() {
                return Some((Ok(item), Some(watching)));
            }
            if let Err(error) = watching.advance().await {
                return Some((Err(error), None));
            }
        }
    }

    async fn advance(&mut self) -> Result<()> {
        let due = match self.order.release(&self.feeds, &self.picture) {
            Release::Now(held) => return self.tell(*held).await,
            Release::At(due) => Some(due),
            Release::Nothing => None,
        };
        let Feeds { workloads, pods } = &mut self.feeds;
        tokio::select! {
            fed = async {
                match workloads {
                    Some(feed) => feed.next::<Workload>(|workload| &workload.metadata.resource_version).await,
                    None => std::future::pending().await,
                }
            } => {
                let fed = fed?;
                if let (Some(feed), false) = (workloads, matches!(fed, Fed::Opened)) {
                    self.order.workloads.push_back(Held::new(Next::Workload(fed), feed.version()));
                }
            }
            fed = pods.next::<Pod>(|pod| &pod.metadata.resource_version) => {
                let fed = fed?;
                if !matches!(fed, Fed::Opened) {
                    self.order.pods.push_back(Held::new(Next::Pod(fed), pods.version()));
                }
            }
            () = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
        Ok(())
    }

    async fn tell(&mut self, held: Held) -> Result<()> {
        let told = if matches!(held.next, Next::Workload(_)) {
            &mut self.told.workloads
        } else {
            &mut self.told.pods
        };
        *told = held.version;
        let happened = match held.next {
            Next::Workload(Fed::Is(workload)) => self.picture.workload(Difference::Is(workload)),
            Next::Workload(Fed::Gone(workload)) => self.picture.workload(Difference::Gone(workload)),
            Next::Pod(Fed::Is(pod)) if self.concerns(&pod) => self.picture.pod(Difference::Is(pod)),
            Next::Pod(Fed::Gone(pod)) if self.concerns(&pod) => self.picture.pod(Difference::Gone(pod)),
            Next::Workload(Fed::Lost(reason)) | Next::Pod(Fed::Lost(reason)) => {
                return self.list_again(reason).await;
            }
            _ => return Ok(()),
        };
        let cursor = self.told.cursor();
        self.queue_events(happened, &cursor);
        Ok(())
    }

    fn concerns(&self, pod: &Pod) -> bool {
        self.source.kind != Kind::Pod || is_bare(pod)
    }

    /// A server that was restarted knows no version from before: what has changed since is looked at, and what came and
    /// went in between nobody can tell.
    async fn list_again(&mut self, reason: &str) -> Result<()> {
        let (workloads, pods, versions) = self.source.lists(None).await?;
        self.queue.push_back(gap(reason));
        let cursor = versions.cursor();
        self.told = versions.clone();
        self.order = Order::default();
        self.feeds = self.source.feeds(versions);
        let happened = self.picture.catch_up(workloads, pods);
        self.queue_events(happened, &cursor);
        Ok(())
    }

    fn queue_events(&mut self, happened: Vec<Happened>, cursor: &WatchCursor) {
        for event in happened {
            if let Some(event) = self.event(event) {
                self.queue.push_back(WatchItem::Event { event, cursor: Some(cursor.clone()) });
            }
        }
    }

    /// Nothing for a name that is none of ours.
    fn event(&self, happened: Happened) -> Option<Event> {
        let instance = InstanceName::new(&happened.instance).ok()?;
        let event =
            Event::new(happened.time, self.source.substrate.clone(), happened.kind, EventOrigin::Observed);
        let event = event.with_instance(instance);
        Some(match happened.detail {
            Some(detail) => event.with_detail(detail),
            None => event,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_a_foreign_one_is_refused() {
        let versions = Versions { workloads: "12".to_owned(), pods: "34".to_owned() };
        assert_eq!(Versions::parse(&versions.cursor()).unwrap(), versions);
        for foreign in ["", "12", "k8s/1/12", "k8s/1//", "k8s/1/1&x=2/3", "docker/1/2"] {
            assert!(
                Versions::parse(&WatchCursor(foreign.to_owned())).unwrap_err().is_invalid_input(),
                "{foreign}"
            );
        }
    }
}
