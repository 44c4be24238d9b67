//! What happened, and how often and how long: `cargo run --example events_and_metrics`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use substrates::config::Config;
use substrates::layer::{Delivery, EventFilter};
use substrates::{
    EventKind, EventOrigin, InstanceConfig, InstanceFilter, InstanceName, Result, SubstrateExt,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let stack = substrates::registry().open(&Config::default(), "fake")?;
    let substrate = stack.substrate();
    substrate.ensure_connected().await?;
    // There is a bus unless the settings switch events off.
    let Some(bus) = stack.events() else { return Ok(()) };

    // A handler is called for each event that passes its filter, on a thread of its own: it may block and
    // even panic without harm to anybody. Dropping the subscription ends it.
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let own = EventFilter::all().with_origin(EventOrigin::Own);
    let handler = bus.on(own.clone().with_kind(EventKind::Started), move |event| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        println!("handler: start number {number}: {event}");
    });

    // A stream is read when its reader likes. Who is too far behind is told how much was lost.
    let mut endings = bus.subscribe(own.with_kind(EventKind::Failed).with_kind(EventKind::Deleted));

    let names: Vec<InstanceName> =
        ["red", "green", "blue"].map(str::parse).into_iter().collect::<Result<_>>()?;
    for name in &names {
        substrate.create_and_start(&InstanceConfig::new(name.clone()).with_image("busybox:local")).await?;
    }
    // The second and third read are answered from the cache.
    for _ in 0..3 {
        substrate.list_instances(&InstanceFilter::all()).await?;
    }
    for name in &names {
        // Without force a running instance is not deleted: a failure, and an event about it.
        let refused = substrate.delete_instance(name, false).await;
        println!("main: {}", refused.map_or_else(|error| error.to_string(), |()| "deleted".to_owned()));
        substrate.delete_instance(name, true).await?;
    }

    for _ in 0..2 * names.len() {
        match endings.next().await {
            Some(Delivery::Event(event)) => println!("stream: {event}"),
            Some(Delivery::Lagged(missed)) => println!("stream: {missed} events were lost"),
            None => break,
        }
    }

    let metrics = substrate.substrate_metrics();
    println!("\n{:<18} {:>5} {:>6} {:>12} {:>12}", "operation", "calls", "errors", "mean", "99 % below");
    for (operation, counted) in &metrics.operations {
        let errors: u64 = counted.errors.values().sum();
        let mean = counted.durations.mean().unwrap_or_default();
        let high = counted.durations.quantile(0.99).unwrap_or_default();
        println!("{operation:<18} {:>5} {errors:>6} {mean:>12?} {high:>12?}", counted.calls);
        for (kind, count) in &counted.errors {
            println!("    {count} × {kind}");
        }
    }
    println!(
        "cache: {} hits, {} misses; retries: {}",
        metrics.cache_hits, metrics.cache_misses, metrics.retries
    );

    // The handler has a thread of its own: give it the time to come to the end.
    while starts.load(Ordering::SeqCst) < names.len() {
        tokio::task::yield_now().await;
    }
    drop(handler);
    Ok(())
}
