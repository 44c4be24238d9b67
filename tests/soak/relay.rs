//! A wire to a server that can be cut and slow.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Ends with its owner, and every connection with it.
pub(crate) struct Relay {
    path: PathBuf,
    cuts: watch::Sender<u64>,
    slowness: Arc<Mutex<Slowness>>,
    listening: JoinHandle<()>,
}

/// Until then, each piece takes so long.
#[derive(Clone, Copy)]
struct Slowness {
    until: Instant,
    pause: Duration,
}

impl Relay {
    pub(crate) async fn new(path: PathBuf, server: &str) -> Self {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (cuts, cut) = watch::channel(0);
        let slowness = Arc::new(Mutex::new(Slowness { until: Instant::now(), pause: Duration::ZERO }));
        let (server, slow) = (server.to_owned(), slowness.clone());
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), cut.clone(), slow.clone()));
            }
        });
        Self { path, cuts, slowness, listening }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every connection ends at once.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    pub(crate) fn slow_for(&self, duration: Duration, pause: Duration) {
        let slowness = Slowness { until: Instant::now() + duration, pause };
        *self.slowness.lock().unwrap_or_else(PoisonError::into_inner) = slowness;
    }

    pub(crate) fn hurry(&self) {
        self.slow_for(Duration::ZERO, Duration::ZERO);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

async fn carry(
    client: UnixStream,
    server: String,
    mut cut: watch::Receiver<u64>,
    slowness: Arc<Mutex<Slowness>>,
) {
    cut.mark_unchanged();
    // A server that is not there: the client's connection ends with this function.
    let Ok(server) = UnixStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(copy(from_client, to_server, &slowness), copy(from_server, to_client, &slowness));
    };
    tokio::select! {
        () = both => {}
        _ = cut.changed() => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, slowness: &Mutex<Slowness>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Slowness { until, pause } = *slowness.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < until {
            sleep(pause).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
