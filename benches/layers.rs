//! What the layers add to a call, one by one and all together, beside the layers of `opendal` and of `tower`.

#![allow(clippy::indexing_slicing, reason = "a measurement that is missing must end the program")]
#![allow(clippy::cast_precision_loss, reason = "allocations of one call are few")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use opendal::Operator;
use opendal::layers::{ConcurrentLimitLayer, MetricsLayer, RetryLayer, TimeoutLayer, TracingLayer};
use substrates::layer::{
    Announced, AttemptTimeout, Breaker, BreakerSettings, Cache, CacheSettings, CapabilityGate,
    ConcurrencyLimit, Counted, Deadline, EventBus, EventFilter, Intercepted, Interceptor, Nothing, RateLimit,
    Retry, RetrySettings, Stack, StackSettings, TimeoutSettings, Traced,
};
use substrates::{
    Capabilities, Descriptor, Event, EventKind, EventOrigin, HealthReport, Instance, InstanceConfig,
    InstanceFilter, InstanceKind, InstanceName, InstanceState, ResourceUsage, Result, StopMode, Substrate,
    async_trait,
};
use substrates_benches::{Promises, Ratio, candidate, measure, say};
use tower::ServiceExt;

/// A provider that costs next to nothing: what is measured is what stands around it.
struct Still {
    descriptor: Arc<Descriptor>,
    instance: Arc<Instance>,
}

impl Still {
    fn new() -> Result<Arc<Self>> {
        let kinds = [InstanceKind::Container];
        let descriptor = Arc::new(Descriptor::new("still", "still", kinds, Capabilities::all()));
        let mut instance =
            Instance::new("1", "web".parse()?, InstanceKind::Container, InstanceState::Running);
        instance.labels.insert("role", "web");
        Ok(Arc::new(Self { descriptor, instance: Arc::new(instance) }))
    }
}

#[async_trait]
impl Substrate for Still {
    fn descriptor(&self) -> Arc<Descriptor> {
        self.descriptor.clone()
    }
    async fn connect(&self) -> Result<()> {
        Ok(())
    }
    fn is_connected(&self) -> bool {
        true
    }
    async fn health_check(&self) -> Result<HealthReport> {
        Ok(HealthReport::healthy(Duration::ZERO))
    }
    async fn list_instances(&self, _: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        Ok(vec![self.instance.clone()])
    }
    async fn get_instance(&self, _: &InstanceName) -> Result<Arc<Instance>> {
        Ok(self.instance.clone())
    }
    async fn create_instance(&self, _: &InstanceConfig) -> Result<Arc<Instance>> {
        Ok(self.instance.clone())
    }
    async fn start_instance(&self, _: &InstanceName) -> Result<()> {
        Ok(())
    }
    async fn stop_instance(&self, _: &InstanceName, _: StopMode) -> Result<()> {
        Ok(())
    }
    async fn delete_instance(&self, _: &InstanceName, _: bool) -> Result<()> {
        Ok(())
    }
    async fn get_metrics(&self, _: &InstanceName) -> Result<ResourceUsage> {
        Ok(ResourceUsage::default())
    }
}

fn around<I: Interceptor>(layer: I, still: &Arc<Still>) -> Arc<dyn Substrate> {
    Arc::new(Intercepted::new(layer, still.clone()))
}

/// A policy that never repeats: what it costs to be asked.
#[derive(Clone)]
struct Never;

impl<Q: Clone, R, E> tower::retry::Policy<Q, R, E> for Never {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Q, _: &mut std::result::Result<R, E>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &Q) -> Option<Q> {
        Some(request.clone())
    }
}

fn main() -> std::result::Result<ExitCode, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let still = Still::new()?;
    let bare: Arc<dyn Substrate> = still.clone();
    let name: InstanceName = "web".parse()?;
    let name = &name;

    let uncached = CacheSettings { instance: Duration::ZERO, ..CacheSettings::default() };
    let no_cache = StackSettings { enable_caching: false, ..StackSettings::default() };
    let layers: Vec<(&str, Arc<dyn Substrate>)> = vec![
        ("bare call", bare.clone()),
        ("through nothing", around(Nothing, &still)),
        ("tracing (nobody listens)", around(Traced, &still)),
        ("metrics", around(Counted::new(), &still)),
        ("events (nobody listens)", around(Announced::new(EventBus::new(16)), &still)),
        ("capability gate", around(CapabilityGate, &still)),
        ("cache, bypassed", around(Cache::new(uncached), &still)),
        ("deadline", around(Deadline::new(Duration::from_secs(60)), &still)),
        ("retry", around(Retry::new(RetrySettings::default())?, &still)),
        ("rate limit", around(RateLimit::new(1e9, 1000)?, &still)),
        ("concurrency limit", around(ConcurrencyLimit::new(1024)?, &still)),
        ("circuit breaker", around(Breaker::new(BreakerSettings::default()), &still)),
        ("attempt timeout", around(AttemptTimeout::new(TimeoutSettings::default()), &still)),
        ("standard stack, no cache", Stack::standard(bare.clone(), &no_cache)?.substrate()),
    ];
    let candidates: Vec<_> = layers
        .iter()
        .map(|(title, substrate)| candidate(&runtime, *title, move || substrate.get_instance(name)))
        .collect();
    let costs = measure("a read through one layer", 40, 5_000, &candidates);
    let (bare_read, stack_read) = (costs[0], costs[costs.len() - 1]);

    let stack = Stack::standard(bare.clone(), &StackSettings::default())?.substrate();
    let (stack, bare) = (&stack, &bare);
    let changes = measure(
        "a change",
        40,
        5_000,
        &[
            candidate(&runtime, "bare call", || bare.start_instance(name)),
            candidate(&runtime, "standard stack", || stack.start_instance(name)),
        ],
    );
    let cached = measure(
        "a read through the standard stack",
        400,
        5_000,
        &[
            candidate(&runtime, "cached get_instance", || stack.get_instance(name)),
            candidate(&runtime, "not cached: a change before it", || async {
                let _ = stack.start_instance(name).await;
                stack.get_instance(name).await
            }),
        ],
    );

    let memory = Operator::new(opendal::services::Memory::default())?;
    runtime.block_on(memory.write("web", "x"))?;
    let layered = memory
        .clone()
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new())
        .layer(ConcurrentLimitLayer::new(1024))
        .layer(MetricsLayer::default())
        .layer(TracingLayer::new());
    let opendal = measure(
        "opendal, stat on its memory service",
        40,
        5_000,
        &[
            candidate(&runtime, "bare call", || memory.stat("web")),
            candidate(&runtime, "retry, timeout, limit, metrics, tracing", || layered.stat("web")),
        ],
    );

    let service = {
        let name = name.clone();
        tower::service_fn(move |()| {
            let (still, name) = (still.clone(), name.clone());
            async move { still.get_instance(&name).await.map_err(tower::BoxError::from) }
        })
    };
    let bare_service = tower::util::BoxCloneService::new(service.clone());
    let stacked_service = tower::util::BoxCloneService::new(
        tower::ServiceBuilder::new()
            .concurrency_limit(1024)
            .retry(Never)
            .timeout(Duration::from_secs(60))
            .service(service),
    );
    let tower = measure(
        "tower, around the same bare call",
        40,
        5_000,
        &[
            candidate(&runtime, "bare service", || bare_service.clone().oneshot(())),
            candidate(&runtime, "limit, retry, timeout", || stacked_service.clone().oneshot(())),
        ],
    );

    let fan_out: Vec<_> = [0, 1, 10, 100]
        .into_iter()
        .map(|subscribers| {
            let bus = EventBus::new(16);
            let streams: Vec<_> = (0..subscribers).map(|_| bus.subscribe(EventFilter::all())).collect();
            let streams = std::cell::RefCell::new(streams);
            let run: Box<dyn Fn(u32)> = Box::new({
                let runtime = &runtime;
                move |times| {
                    for _ in 0..times {
                        bus.publish(Event::new(
                            std::time::SystemTime::UNIX_EPOCH,
                            "still",
                            EventKind::Started,
                            EventOrigin::Own,
                        ));
                        for stream in streams.borrow_mut().iter_mut() {
                            runtime.block_on(stream.next());
                        }
                    }
                }
            });
            (format!("an event to {subscribers} subscribers"), run)
        })
        .collect();
    measure("event bus", 10, 1_000, &fan_out);

    say("\npromises");
    let mut promises = Promises::default();
    let theirs = opendal[1].over(opendal[0]);
    for (what, added) in [("read", stack_read.over(bare_read)), ("change", changes[1].over(changes[0]))] {
        let text =
            format!("the standard stack adds {} allocations to a {what}; at most 2", added.allocations);
        promises.check(&text, added.allocations <= 2);
        promises.hold(&Ratio {
            what: &format!("time that a dozen layers add to a {what}"),
            beside: "what five layers of opendal add on its memory service",
            ratio: added.nanoseconds / theirs.nanoseconds,
            at_most: Some(0.5),
        });
        promises.hold(&Ratio {
            what: &format!("allocations that a dozen layers add to a {what}"),
            beside: "those of five layers of opendal",
            ratio: added.allocations as f64 / theirs.allocations as f64,
            at_most: None,
        });
    }
    let theirs = tower[1].over(tower[0]);
    promises.hold(&Ratio {
        what: "time that a dozen layers add to a read",
        beside: "what three layers of tower add (limit, retry, timeout)",
        ratio: stack_read.over(bare_read).nanoseconds / theirs.nanoseconds,
        at_most: None,
    });
    let cached = cached[0];
    let text = format!("a cached read takes {:.0} ns; under 300", cached.nanoseconds);
    promises.check(&text, cached.nanoseconds < 300.0);
    Ok(promises.conclude())
}
