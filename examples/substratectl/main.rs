//! `substratectl`: the whole contract on a command line, by hand and in scripts.
//!
//! ```text
//! cargo run --example substratectl -- -s fake types
//! cargo run --features docker --example substratectl -- -s docker list -o json
//! cargo run --example substratectl -- plan shop.yaml
//! ```
//!
//! `arguments` is the grammar, `selection` finds the substrate, `instances`, `inventory` and `streams` are the
//! commands, `blueprint` those about whole deployments, `output` and `ending` are what comes back.

mod arguments;
mod blueprint;
mod config_file;
mod ending;
mod instances;
mod inventory;
mod output;
mod progress;
mod selection;
mod streams;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::ending::Ending;
use crate::output::Output;

/// How long threads are waited for in the end.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return ending::of_parsing(&error, &words),
    };
    let format = arguments.global.output;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Ending::from(error).report(format),
    };
    let ended = runtime.block_on(run(arguments));
    // Threads end before the process does: the C library of a provider may not be used while it is torn down. Not waited
    // for without end: one may be reading a terminal on which nobody types.
    runtime.shutdown_timeout(PATIENCE);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(ending) => ending.report(format),
    }
}

async fn run(arguments: Arguments) -> Result<(), Ending> {
    let output = Output { format: arguments.global.output };
    if matches!(arguments.command, Command::Types) {
        let registry = substrates::registry();
        let types: Vec<&str> = registry.available().collect();
        return output.answer(&types, |types| types.join("\n"));
    }
    if let Command::Blueprint(command) = &arguments.command {
        return blueprint::run(&arguments.global, output, command).await;
    }
    // What is wrong with what was asked for is found before anything is connected.
    let create = match &arguments.command {
        Command::Create(create) => Some(config_file::requested(create)?),
        _ => None,
    };
    let substrate = selection::open(&arguments.global).await?;
    let substrate = &*substrate;
    match arguments.command {
        Command::Types | Command::Blueprint(_) => Ok(()),
        Command::Health => inventory::health(substrate, output).await,
        Command::List(list) => instances::list(substrate, output, &list).await,
        Command::Get { name } => instances::get(substrate, output, &name).await,
        Command::Create(_) => match create {
            Some(config) => instances::create(substrate, output, &config).await,
            None => Ok(()),
        },
        Command::Start { name } => instances::start(substrate, output, &name).await,
        Command::Restart { name } => instances::restart(substrate, output, &name).await,
        Command::Pause { name } => instances::pause(substrate, output, &name).await,
        Command::Resume { name } => instances::resume(substrate, output, &name).await,
        Command::Stop(stop) => instances::stop(substrate, output, &stop).await,
        Command::Delete { name, force } => instances::delete(substrate, output, &name, force).await,
        Command::Exec(exec) => streams::exec(substrate, output, exec).await,
        Command::Logs(logs) => streams::logs(substrate, output, &logs).await,
        Command::Metrics { name } => instances::metrics(substrate, output, &name).await,
        Command::Limits { name, limits } => instances::limits(substrate, output, &name, &limits).await,
        Command::Snapshot(command) => instances::snapshot(substrate, output, command).await,
        Command::Clone { source, destination } => {
            instances::clone(substrate, output, &source, destination).await
        }
        Command::Network(command) => inventory::network(substrate, output, command).await,
        Command::Volume(command) => inventory::volume(substrate, output, command).await,
        Command::Image(command) => inventory::image(substrate, output, command).await,
        Command::Watch { time } => streams::watch(substrate, output, time).await,
    }
}
