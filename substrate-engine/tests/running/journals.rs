//! Stores that journals can be kept in, and one that they cannot.

use std::fmt;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use substrate_core::{InstanceFilter, Substrate};
use substrate_engine::{JournalStore, RunOptions};
use substrate_fake::Fake;

use super::lab::{engine, parse};

const WEB: &str = "name: shop\nresources: [{type: compute, name: web, specs: {image: busybox:local}}]";

/// A store that overwrites what was to be created only if absent, as servers do that do not know the condition.
#[derive(Debug, Default)]
struct Overwriting(InMemory);

impl fmt::Display for Overwriting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("overwriting")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Overwriting {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.0.put_opts(path, payload, PutOptions { mode: PutMode::Overwrite, ..options }).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_overwrites_is_refused_before_anything_is_made() {
    let fake = Arc::new(Fake::new("fake"));
    let journals = JournalStore::new(Arc::new(Overwriting::default()), "team");
    let engine = engine(fake.clone(), &journals).await;
    let error = engine.deploy(&parse(&engine, WEB), &RunOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("two engines could both write"), "{error}");
    let instances = fake.list_instances(&InstanceFilter::all()).await.unwrap();
    assert!(instances.is_empty(), "{instances:?}");
}

#[tokio::test(start_paused = true)]
async fn any_store_that_creates_only_what_is_absent_will_do() {
    let journals = JournalStore::new(Arc::new(InMemory::new()), "team");
    let engine = engine(Arc::new(Fake::new("fake")), &journals).await;
    assert!(engine.deploy(&parse(&engine, WEB), &RunOptions::default()).await.unwrap().is_done());
    assert_eq!(journals.deployments().await.unwrap(), ["shop"]);
}

#[test]
fn a_place_that_is_not_known_is_refused() {
    let error = JournalStore::open("ftp://somewhere").unwrap_err();
    assert!(error.is_invalid_input() && error.to_string().contains("s3://BUCKET/PREFIX"), "{error}");
}
