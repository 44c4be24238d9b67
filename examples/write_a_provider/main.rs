//! A provider of one's own: processes of this machine. `cargo run --example write_a_provider`.
//!
//! `provider.rs` is the contract, `process.rs` what it is made of: that is the whole provider. The test `tests/write_a_provider.rs` certifies it: the conformance
//! suite proves that it means what every other provider means.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod process;
mod provider;

use std::sync::Arc;
use std::time::Duration;

use provider::Processes;
use substrates::config::{Config, Environment, Section};
use substrates::registry::Registry;
use substrates::{InstanceConfig, InstanceState, Result, StopMode, SubstrateExt};

/// How a program makes it from a configuration: `type: process`, with the folder for logs.
fn from_section(name: &str, section: &Section) -> Result<Arc<dyn substrates::Substrate>> {
    let logs = std::env::temp_dir().join("substrates-processes");
    let logs = section.get("logs", logs)?;
    Ok(Arc::new(Processes::new(name, logs)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut registry = Registry::new();
    registry.register("process", from_section)?;
    // The standard layers come with it: retries, cache, events, metrics, …
    let stack = registry.open(&Config::from_environment(Environment::from_process()), "process")?;
    let substrate = stack.substrate();
    substrate.ensure_connected().await?;

    let config = InstanceConfig::new("../a name that is no path".parse()?)
        .with_command(["sh", "-c", "echo it works; exec sleep 60"])
        .with_label("role", "demo");
    let instance = substrate.create_and_start(&config).await?;
    println!("{} is {} (id {})", instance.name, instance.state, instance.id);

    for pause in [10, 20, 40, 80, 160, 320].map(Duration::from_millis) {
        tokio::time::sleep(pause).await;
        let lines = substrate.tail_logs(&config.name, 10).await?;
        if let Some(line) = lines.first() {
            println!("it says: {}", line.message);
            break;
        }
    }
    println!("it uses: {:?}", substrate.get_metrics(&config.name).await?);
    match substrate.pause_instance(&config.name).await {
        Ok(()) => println!("paused"),
        Err(refusal) => println!("refused: {refusal}"),
    }

    substrate.stop_instance(&config.name, StopMode::default()).await?;
    let stopped =
        substrate.wait_for_state(&config.name, InstanceState::Stopped, Duration::from_secs(5)).await?;
    println!("{} is {} ({})", stopped.name, stopped.state, stopped.provider_state);
    substrate.delete_instance(&config.name, false).await
}
