//! The life of an instance, on the in-memory substrate: `cargo run --example quickstart`.
//!
//! Nothing has to be installed. With `"docker"` for `"fake"`, and words that its image knows for `write` and
//! `cat`, the same lines manage a container.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use futures_util::StreamExt;
use substrates::config::Config;
use substrates::layer::{Delivery, EventFilter};
use substrates::{
    Command, EventOrigin, InstanceConfig, InstanceName, Result, SnapshotConfig, SnapshotName, Substrate,
    SubstrateExt,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // The provider, with the standard layers around it: retries, cache, events, metrics, timeouts, …
    let stack = substrates::registry().open(&Config::default(), "fake")?;
    let substrate = stack.substrate();
    substrate.ensure_connected().await?;

    // Events are printed as they happen.
    let own = EventFilter::all().with_origin(EventOrigin::Own);
    let events = stack.events().map(|bus| bus.subscribe(own));
    let printer = tokio::spawn(async move {
        let Some(mut events) = events else { return };
        while let Some(delivery) = events.next().await {
            match delivery {
                Delivery::Event(event) => println!("    event: {event}"),
                Delivery::Lagged(missed) => println!("    {missed} events were missed"),
            }
        }
    });

    live(&*substrate).await?;

    // The stream ends with the last handle on the stack.
    drop((stack, substrate));
    let _ = printer.await;
    Ok(())
}

async fn live(substrate: &dyn Substrate) -> Result<()> {
    let web: InstanceName = "web".parse()?;

    say("create and start it").await;
    let config = InstanceConfig::new(web.clone())
        .with_image("busybox:local")
        .with_cpu_cores(0.5)
        .with_memory_mb(64)
        .with_label("role", "web");
    let instance = substrate.create_and_start(&config).await?;
    say(&format!("{} is {}, id {}", instance.name, instance.state, instance.id)).await;

    say("put something into it").await;
    substrate.execute_command(&web, &Command::new(["write", "/greeting", "hello"])).await?;
    show(substrate, &web).await?;

    say("take a snapshot").await;
    let good: SnapshotName = "good".parse()?;
    substrate.create_snapshot(&web, &SnapshotConfig::new(good.clone())).await?;

    say("break it").await;
    substrate.execute_command(&web, &Command::new(["rm", "/greeting"])).await?;
    show(substrate, &web).await?;

    say("restore the snapshot").await;
    substrate.restore_snapshot(&web, &good).await?;
    show(substrate, &web).await?;

    let usage = substrate.get_metrics(&web).await?;
    // What a technology does not measure is no zero.
    let told =
        |measured: Option<f64>| measured.map_or("an unknown part".to_owned(), |value| value.to_string());
    say(&format!("it uses {} % of a core and {} MiB", told(usage.cpu_percent), told(usage.memory_mb))).await;

    say("delete it").await;
    substrate.delete_instance(&web, true).await?;

    say("what that took").await;
    for (operation, counted) in substrate.substrate_metrics().operations {
        let mean = counted.durations.mean().unwrap_or_default();
        println!("{operation}: {} calls, {mean:?} on average", counted.calls);
    }
    Ok(())
}

async fn show(substrate: &dyn Substrate, name: &InstanceName) -> Result<()> {
    // Not repeated and not cached by any layer: a command may do anything. That it fails is no error.
    let output = substrate.execute_command(name, &Command::new(["cat", "/greeting"])).await?;
    say(&format!("/greeting: {:?}, {}", output.stdout_text(), output.status)).await;
    Ok(())
}

/// Lets the printer of events have its turn first, so that what is printed is in order.
async fn say(what: &str) {
    tokio::task::yield_now().await;
    println!("{what}");
}
