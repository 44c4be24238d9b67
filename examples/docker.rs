//! The life of a container on a real daemon: `cargo run --features docker --example docker [IMAGE]`.
//!
//! The daemon is that of `DOCKER_HOST`, else the local one. The image (`busybox:local` when none is given)
//! needs a POSIX shell.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use futures_util::StreamExt;
use substrates::config::{Config, Environment};
use substrates::layer::{Delivery, EventFilter};
use substrates::{
    Command, InstanceConfig, InstanceName, Result, SnapshotConfig, SnapshotName, StopMode, Substrate,
    SubstrateExt,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let image = std::env::args().nth(1).unwrap_or_else(|| "busybox:local".to_owned());
    let config = Config::from_environment(Environment::from_process());
    let stack = substrates::registry().open(&config, "docker")?;
    let substrate = stack.substrate();
    substrate.ensure_connected().await?;
    let health = substrate.health_check().await?;
    println!("docker {}: {}", health.version.as_deref().unwrap_or("of unknown version"), health.status);

    let web: InstanceName = format!("substrates-example-{}", std::process::id()).parse()?;
    // Own calls, and what the daemon tells: a container that somebody else kills is an event too.
    let filter = EventFilter::all().with_instance(web.clone());
    let events = stack.events().map(|bus| bus.subscribe(filter));
    let printer = tokio::spawn(async move {
        let Some(mut events) = events else { return };
        while let Some(delivery) = events.next().await {
            if let Delivery::Event(event) = delivery {
                println!("    event: {event} ({:?})", event.origin);
            }
        }
    });

    let lived = live(&*substrate, &web, &image).await;
    println!("delete it, whatever happened: nothing is left behind");
    let deleted = substrate.delete_if_exists(&web, true).await;
    drop((stack, substrate));
    let _ = printer.await;
    lived.and(deleted.map(drop))
}

async fn live(substrate: &dyn Substrate, web: &InstanceName, image: &str) -> Result<()> {
    println!("create and start it");
    let config = InstanceConfig::new(web.clone())
        .with_image(image)
        .with_command(["sh", "-c", r#"trap "exit 0" TERM; while :; do sleep 0.1; done"#])
        .with_memory_mb(64)
        .with_label("role", "example");
    let instance = substrate.create_and_start(&config).await?;
    println!("{} is {}, addresses {:?}", instance.name, instance.state, instance.addresses);

    println!("put something into it");
    substrate.execute_command(web, &Command::new(["sh", "-c", "echo hello > /greeting"])).await?;
    show(substrate, web).await?;

    println!("take a snapshot");
    let good: SnapshotName = "good".parse()?;
    substrate.create_snapshot(web, &SnapshotConfig::new(good.clone())).await?;

    println!("break it");
    substrate.execute_command(web, &Command::new(["rm", "/greeting"])).await?;
    show(substrate, web).await?;

    println!("restore the snapshot");
    substrate.restore_snapshot(web, &good).await?;
    show(substrate, web).await?;

    println!("it uses {:?}", substrate.get_metrics(web).await?);
    println!("stop it: it is asked, and has ten seconds");
    substrate.stop_instance(web, StopMode::default()).await
}

async fn show(substrate: &dyn Substrate, name: &InstanceName) -> Result<()> {
    let output = substrate.execute_command(name, &Command::new(["cat", "/greeting"])).await?;
    println!("/greeting: {:?}, {}", output.stdout_text(), output.status);
    Ok(())
}
