//! Connections: opened when they are needed, closed when they are lost, and never used on the async runtime.
//!
//! Every call of the library blocks, some for minutes. Each runs as a job on the runtime's blocking threads, a
//! bounded number of them at once. A job that was begun is finished, also when nobody waits for it any more: what
//! has several steps is one job, so that a dropped call leaves nothing half-done.

mod event_loop;
mod hub;
pub(crate) mod native;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use substrate_core::{Error, Outcome, Result};
use tokio::sync::Semaphore;
use virt::connect::Connect;

pub use self::event_loop::use_own_event_loop;
use self::hub::Hub;
pub(crate) use self::hub::Subscription;
use self::native::{Callbacks, NativeEvent, Sink};
use crate::error;

/// What a connection is used for. A server answers five calls of one connection at a time; what is slow must not
/// stand in the way of what is quick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Looking. Events come over this one too.
    Look,
    /// Changing.
    Change,
    /// Speaking with guest agents, which may be slow or silent.
    Agent,
}

/// One below the server's usual limit per connection.
const AT_ONCE: usize = 4;
/// Between two keepalive messages, and how many may stay unanswered: a frozen server is noticed after 20 s.
const KEEPALIVE: (i32, u32) = (5, 3);

/// An open connection.
pub(crate) struct Connection {
    connect: Connect,
    callbacks: Mutex<Callbacks>,
    lost: Arc<AtomicBool>,
}

impl Connection {
    fn open(uri: &str, lane: Lane, hub: &Arc<Hub>) -> Result<Self> {
        event_loop::ensure()?;
        let connect = Connect::open(Some(uri)).map_err(|failure| error::not_connected(uri, &failure))?;
        // Drivers within this process have no wire to keep alive.
        let _ = connect.set_keep_alive(KEEPALIVE.0, KEEPALIVE.1);
        let lost = Arc::new(AtomicBool::new(false));
        let mut callbacks = Callbacks::default();
        if lane == Lane::Look {
            let (hub, seen) = (Arc::downgrade(hub), Arc::clone(&lost));
            let sink: Arc<Sink> = Arc::new(move |event| {
                if matches!(event, NativeEvent::Lost { .. }) {
                    seen.store(true, Ordering::Release);
                }
                if let Some(hub) = hub.upgrade() {
                    hub.publish(&event);
                }
            });
            callbacks = native::register(&connect, &sink)
                .map_err(|failure| error::translate("register for events", &failure))?;
        }
        Ok(Self { connect, callbacks: Mutex::new(callbacks), lost })
    }

    fn is_usable(&self) -> bool {
        !self.lost.load(Ordering::Acquire) && self.connect.is_alive().unwrap_or(false)
    }
}

impl std::ops::Deref for Connection {
    type Target = Connect;
    fn deref(&self) -> &Connect {
        &self.connect
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let callbacks = self.callbacks.get_mut().unwrap_or_else(PoisonError::into_inner);
        native::deregister(&self.connect, callbacks);
    }
}

/// One lane's connection, if it has one, and how many may use it.
struct Slot {
    connection: Mutex<Option<Arc<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { connection: Mutex::default(), permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// The connections to one server.
pub(crate) struct Client {
    uri: Arc<str>,
    timeout: Duration,
    look: Arc<Slot>,
    change: Arc<Slot>,
    agent: Arc<Slot>,
    hub: Arc<Hub>,
    connected: Arc<AtomicBool>,
}

impl Client {
    pub(crate) fn new(uri: impl Into<Arc<str>>, timeout: Duration) -> Self {
        Self {
            uri: uri.into(),
            timeout,
            look: Arc::default(),
            change: Arc::default(),
            agent: Arc::default(),
            hub: Arc::default(),
            connected: Arc::default(),
        }
    }

    /// Whether the server was there at the last exchange. A silent guest agent says nothing of it.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        self.hub.subscribe()
    }

    fn slot(&self, lane: Lane) -> &Arc<Slot> {
        match lane {
            Lane::Look => &self.look,
            Lane::Change => &self.change,
            Lane::Agent => &self.agent,
        }
    }

    /// Runs a job that looks.
    pub(crate) async fn look<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.run(Lane::Look, Some(self.timeout), job).await
    }

    /// Runs a job that changes something: it takes the time that it takes, or is cut off by the layers around.
    pub(crate) async fn change<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.run(Lane::Change, None, job).await
    }

    /// Runs a job on a blocking thread with the lane's connection, which is opened if need be.
    pub(crate) async fn run<T, F>(&self, lane: Lane, limit: Option<Duration>, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let slot = Arc::clone(self.slot(lane));
        let begin = async {
            let closed = |_| Error::internal("the limit of calls at once is gone");
            let permit = Arc::clone(&slot.permits).acquire_owned().await.map_err(closed)?;
            let (uri, hub, connected) =
                (Arc::clone(&self.uri), Arc::clone(&self.hub), Arc::clone(&self.connected));
            let task = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let connection = slot
                    .connection(&uri, lane, &hub)
                    .inspect_err(|_| connected.store(false, Ordering::Release))?;
                let result = job(&connection);
                // What is unavailable may be something behind the server, a guest agent for one.
                let is_lost = result.as_ref().is_err_and(Error::is_unavailable) && !connection.is_usable();
                if is_lost {
                    slot.forget(&connection);
                }
                connected.store(!is_lost, Ordering::Release);
                result
            });
            task.await.unwrap_or_else(|failure| {
                Err(Error::internal(format!("a call of the library ended abnormally: {failure}")))
            })
        };
        match limit {
            None => begin.await,
            Some(limit) => tokio::time::timeout(limit, begin).await.unwrap_or_else(|_| {
                self.connected.store(false, Ordering::Release);
                Err(Error::timeout(format!("{} did not answer within {limit:?}", self.uri)))
            }),
        }
    }
}

impl Drop for Client {
    /// Closing is a call of the library too, and may have to wait for the server: never on the async runtime, where
    /// handles are dropped. It belongs to the runtime all the same, which waits for it in its own end: a thread that is
    /// in the library while the process ends finds it half torn down.
    fn drop(&mut self) {
        let open: Vec<Arc<Connection>> = [&self.look, &self.change, &self.agent]
            .into_iter()
            .filter_map(|slot| slot.connection.lock().unwrap_or_else(PoisonError::into_inner).take())
            .collect();
        if let (false, Ok(runtime)) = (open.is_empty(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(open));
        }
    }
}

impl Slot {
    /// The open connection, or a new one in the place of one that is lost.
    fn connection(&self, uri: &str, lane: Lane, hub: &Arc<Hub>) -> Result<Arc<Connection>> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &*slot {
            if connection.is_usable() {
                return Ok(Arc::clone(connection));
            }
            *slot = None;
        }
        let connection = Arc::new(
            Connection::open(uri, lane, hub).map_err(|failure| failure.with_outcome(Outcome::NotSent))?,
        );
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Lets go of a connection that is lost, unless a new one has taken its place.
    fn forget(&self, lost: &Arc<Connection>) {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, lost)) {
            *slot = None;
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("uri", &self.uri)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_guest_agent_is_no_lost_connection() {
        let client = Client::new("test:///default", Duration::from_secs(10));
        client.look(|_| Ok(())).await.unwrap();
        let silent = |_: &Connection| Err::<(), _>(Error::unavailable("the guest agent is silent"));
        assert!(client.run(Lane::Agent, None, silent).await.unwrap_err().is_unavailable());
        assert!(client.is_connected());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_not_connected() {
        let client = Client::new("qemu+unix:///system?socket=/no/such/socket", Duration::from_secs(10));
        assert!(client.look(|_| Ok(())).await.is_err());
        assert!(!client.is_connected());
    }

    /// What a callback is called with leads to the hub.
    #[tokio::test]
    async fn a_connection_that_closed_leaves_nothing_that_was_registered_on_it() {
        let client = Client::new("test:///default", Duration::from_secs(10));
        client.look(|_| Ok(())).await.unwrap();
        let hub = Arc::clone(&client.hub);
        assert_eq!(Arc::weak_count(&hub), 1);
        drop(client);
        let released = async {
            while Arc::weak_count(&hub) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), released).await.unwrap();
    }
}
