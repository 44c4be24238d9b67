//! Stopping an engine at any moment: before and after every journal write and every call.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use substrate_core::layer::{Call, Interceptor, Next, StackBuilder};
use substrate_core::{Effect, Result, Substrate};
use tokio::sync::Notify;

/// Counts moments, and stops at one of them: whoever gets there waits for ever.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    passed: AtomicUsize,
    stop_at: Option<usize>,
    reached: Notify,
}

impl Moments {
    /// Never stops: for counting.
    pub(crate) fn counting() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn stopping_at(moment: usize) -> Arc<Self> {
        Arc::new(Self { stop_at: Some(moment), ..Self::default() })
    }

    pub(crate) fn count(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    async fn pass(&self) {
        let moment = self.passed.fetch_add(1, Ordering::SeqCst);
        // Nothing goes on after the end, whoever comes.
        if self.stop_at.is_some_and(|stop| moment >= stop) {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Runs something until it ends, or until the moment is reached: then it is dropped where it is.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.reached.notified() => None,
        }
    }
}

/// The substrate, with a moment before and after every call that changes something.
pub(crate) fn stopping_substrate(inner: Arc<dyn Substrate>, moments: &Arc<Moments>) -> Arc<dyn Substrate> {
    StackBuilder::new(inner).layer(StopAt(moments.clone())).build().unwrap().substrate()
}

#[derive(Debug)]
struct StopAt(Arc<Moments>);

impl Interceptor for StopAt {
    async fn around<T: Send + 'static, N: Next<T>>(&self, call: &Call<'_>, next: &N) -> Result<T> {
        if call.operation.profile().effect == Effect::Read {
            return next.run().await;
        }
        self.0.pass().await;
        let answer = next.run().await;
        self.0.pass().await;
        answer
    }
}

/// A store, with a moment before and after every write.
#[derive(Debug)]
pub(crate) struct StoppingStore {
    pub(crate) inner: Arc<InMemory>,
    pub(crate) moments: Arc<Moments>,
}

impl fmt::Display for StoppingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that stops")
    }
}

#[async_trait]
impl ObjectStore for StoppingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.moments.pass().await;
        let answer = self.inner.put_opts(location, payload, options).await;
        self.moments.pass().await;
        answer
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
