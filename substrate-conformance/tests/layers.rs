//! A layer changes nothing of what the contract promises: the suite passes over the fake through each of
//! them alone, and through all of them together.

use std::sync::Arc;
use std::time::Duration;

use substrate_conformance::{Guest, Report, Setup, Suite, TrialOutcome};
use substrate_core::Substrate;
use substrate_core::layer::{
    Announced, AttemptTimeout, Breaker, BreakerSettings, Cache, CacheSettings, CapabilityGate,
    ConcurrencyLimit, Counted, Deadline, EventBus, Intercepted, Interceptor, Nothing, RateLimit, Retry,
    RetrySettings, Stack, StackSettings, TimeoutSettings, Traced,
};
use substrate_fake::Fake;
use tokio::sync::OnceCell;

fn fake() -> Arc<dyn Substrate> {
    Arc::new(Fake::new("fake"))
}

async fn run(substrate: Arc<dyn Substrate>) -> Report {
    let setup = Setup::new(substrate, "busybox:local", Guest::fake())
        .with_missing_image("missing:1")
        .with_large_output(8 << 20)
        .exclusive();
    Suite::new(setup).with_parallelism(16).run().await
}

fn passed(report: &Report) -> Vec<String> {
    report.with_outcome(TrialOutcome::Passed).map(|trial| trial.name.clone()).collect()
}

/// Every trial passes, but for those that the bare fake skips too.
async fn passes(substrate: Arc<dyn Substrate>) {
    static BARE: OnceCell<Vec<String>> = OnceCell::const_new();
    let bare = BARE.get_or_init(|| async { passed(&run(fake()).await) }).await;
    let report = run(substrate).await;
    assert!(report.passed(), "{report}");
    assert_eq!(&passed(&report), bare);
}

async fn passes_through(layer: impl Interceptor) {
    passes(Arc::new(Intercepted::new(layer, fake()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_nothing() {
    passes_through(Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_tracing() {
    passes_through(Traced).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_metrics() {
    passes_through(Counted::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_events() {
    passes_through(Announced::new(EventBus::new(64))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_capability_gate() {
    passes_through(CapabilityGate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_cache() {
    passes_through(Cache::new(CacheSettings::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_deadline() {
    passes_through(Deadline::new(Duration::from_secs(60))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_retry() {
    let settings = RetrySettings { delay: Duration::from_millis(1), ..RetrySettings::default() };
    passes_through(Retry::new(settings).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_rate_limit() {
    passes_through(RateLimit::new(100_000.0, 1_000).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_concurrency_limit() {
    passes_through(ConcurrencyLimit::new(4).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_circuit_breaker() {
    passes_through(Breaker::new(BreakerSettings::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_attempt_timeout() {
    passes_through(AttemptTimeout::new(TimeoutSettings::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_standard_stack() {
    let stack = Stack::standard(fake(), &StackSettings::default()).unwrap();
    passes(stack.substrate()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_two_standard_stacks() {
    let inner = Stack::standard(fake(), &StackSettings::default()).unwrap();
    let outer = Stack::standard(inner.substrate(), &StackSettings::default()).unwrap();
    passes(outer.substrate()).await;
}
