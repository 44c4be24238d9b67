//! What the fake means, rule by rule. All of it on a paused clock.

mod capabilities;
mod commands;
mod faults;
mod lifecycle;
mod logs;
mod networks;
mod persistence;
mod snapshots;
mod watching;

use std::sync::Arc;

use substrate_core::{
    Command, CommandOutput, Instance, InstanceConfig, InstanceName, InstanceState, Result, Substrate,
};

use crate::Fake;

fn name(text: &str) -> InstanceName {
    InstanceName::new(text).unwrap()
}

fn config(text: &str) -> InstanceConfig {
    InstanceConfig::new(name(text)).with_image("busybox:local")
}

/// A running instance with this main command.
async fn running(fake: &Fake, text: &str, command: &[&str]) -> InstanceName {
    fake.create_instance(&config(text).with_command(command.iter().copied())).await.unwrap();
    fake.start_instance(&name(text)).await.unwrap();
    name(text)
}

async fn get(fake: &Fake, text: &str) -> Arc<Instance> {
    fake.get_instance(&name(text)).await.unwrap()
}

async fn state(fake: &Fake, text: &str) -> InstanceState {
    get(fake, text).await.state
}

async fn execute(fake: &Fake, text: &str, argv: &[&str]) -> Result<CommandOutput> {
    fake.execute_command(&name(text), &Command::new(argv.iter().copied())).await
}

async fn stdout(fake: &Fake, text: &str, argv: &[&str]) -> String {
    execute(fake, text, argv).await.unwrap().stdout_text()
}
