//! Commands about instances.

use substrates::{
    CloneConfig, Instance, InstanceConfig, InstanceFilter, InstanceName, ResourceLimits, SnapshotConfig,
    StopMode, Substrate,
};

use crate::arguments::{Limits, List, Snapshot, Stop};
use crate::config_file;
use crate::ending::Ending;
use crate::output::{self, Output, list as joined, or_dash, pairs, table};
use crate::progress::while_waiting;

pub(crate) async fn list(substrate: &dyn Substrate, output: Output, asked: &List) -> Result<(), Ending> {
    let mut filter = InstanceFilter::all();
    for label in &asked.labels {
        filter = filter.with_label(&label.key, &label.value);
    }
    filter.states.clone_from(&asked.states);
    let instances = while_waiting("listing", substrate.list_instances(&filter)).await?;
    output.answer(&instances, |instances| {
        table(
            ["NAME", "STATE", "KIND", "IMAGE", "ADDRESSES"],
            instances.iter().map(|one| {
                let image = or_dash(one.image.as_deref());
                [
                    one.name.to_string(),
                    one.state.to_string(),
                    one.kind.to_string(),
                    image,
                    joined(&one.addresses),
                ]
            }),
        )
    })
}

fn described(instance: &Instance) -> String {
    let labels = instance.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let networks = instance.networks.iter().map(|end| &end.network_name);
    pairs([
        ("name", instance.name.to_string()),
        ("id", instance.id.clone()),
        ("kind", instance.kind.to_string()),
        ("state", format!("{} ({})", instance.state, instance.provider_state)),
        ("image", or_dash(instance.image.as_deref())),
        ("addresses", joined(&instance.addresses)),
        ("networks", joined(networks)),
        ("labels", joined(labels)),
        ("created", output::time(instance.created_at)),
        ("started", output::time(instance.started_at)),
    ])
}

pub(crate) async fn get(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
) -> Result<(), Ending> {
    let instance = while_waiting("looking", substrate.get_instance(name)).await?;
    output.answer(&*instance, described)
}

pub(crate) async fn create(
    substrate: &dyn Substrate,
    output: Output,
    config: &InstanceConfig,
) -> Result<(), Ending> {
    let doing = format!("creating {}", config.name);
    let instance = while_waiting(doing, substrate.create_instance(config)).await?;
    output.answer(&*instance, |made| format!("created {} ({})", made.name, made.state))
}

pub(crate) async fn start(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
) -> Result<(), Ending> {
    while_waiting(format!("starting {name}"), substrate.start_instance(name)).await?;
    output.done(format!("started {name}"))
}

pub(crate) async fn restart(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
) -> Result<(), Ending> {
    let restart = substrate.restart_instance(name, StopMode::default());
    while_waiting(format!("restarting {name}"), restart).await?;
    output.done(format!("restarted {name}"))
}

pub(crate) async fn pause(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
) -> Result<(), Ending> {
    while_waiting(format!("pausing {name}"), substrate.pause_instance(name)).await?;
    output.done(format!("paused {name}"))
}

pub(crate) async fn resume(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
) -> Result<(), Ending> {
    while_waiting(format!("resuming {name}"), substrate.resume_instance(name)).await?;
    output.done(format!("resumed {name}"))
}

pub(crate) async fn stop(substrate: &dyn Substrate, output: Output, stop: &Stop) -> Result<(), Ending> {
    let mode = match (stop.force, stop.timeout) {
        (true, _) => StopMode::Force,
        // Who sets a time says how long to ask, and did not say to cut.
        (false, Some(timeout)) => StopMode::Graceful(timeout),
        (false, None) => StopMode::default(),
    };
    let name = &stop.name;
    while_waiting(format!("stopping {name}"), substrate.stop_instance(name, mode)).await?;
    output.done(format!("stopped {name}"))
}

pub(crate) async fn delete(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
    force: bool,
) -> Result<(), Ending> {
    while_waiting(format!("deleting {name}"), substrate.delete_instance(name, force)).await?;
    output.done(format!("deleted {name}"))
}

pub(crate) async fn clone(
    substrate: &dyn Substrate,
    output: Output,
    source: &InstanceName,
    destination: InstanceName,
) -> Result<(), Ending> {
    let doing = format!("cloning {source} to {destination}");
    let config = CloneConfig::new(destination);
    let copy = while_waiting(doing, substrate.clone_instance(source, &config)).await?;
    output.answer(&*copy, |copy| format!("created {} ({}), a copy of {source}", copy.name, copy.state))
}

pub(crate) async fn metrics(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
) -> Result<(), Ending> {
    let usage = while_waiting("measuring", substrate.get_metrics(name)).await?;
    let rounded = |value: Option<f64>| or_dash(value.map(|value| format!("{value:.2}")));
    output.answer(&usage, |usage| {
        pairs([
            ("cpu_percent", rounded(usage.cpu_percent)),
            ("memory_mb", rounded(usage.memory_mb)),
            ("disk_gb", rounded(usage.disk_gb)),
            ("network_rx_mbps", rounded(usage.network_rx_mbps)),
            ("network_tx_mbps", rounded(usage.network_tx_mbps)),
        ])
    })
}

pub(crate) async fn limits(
    substrate: &dyn Substrate,
    output: Output,
    name: &InstanceName,
    given: &Limits,
) -> Result<(), Ending> {
    let wanted = config_file::limits(given);
    if wanted != ResourceLimits::default() {
        while_waiting(format!("limiting {name}"), substrate.set_resource_limits(name, &wanted)).await?;
    }
    let limits = while_waiting("looking", substrate.get_resource_limits(name)).await?;
    output.answer(&limits, |limits| {
        pairs([
            ("cpu_cores", or_dash(limits.cpu_cores)),
            ("memory_mb", or_dash(limits.memory_mb)),
            ("disk_gb", or_dash(limits.disk_gb)),
            ("network_mbps", or_dash(limits.network_mbps)),
        ])
    })
}

pub(crate) async fn snapshot(
    substrate: &dyn Substrate,
    output: Output,
    command: Snapshot,
) -> Result<(), Ending> {
    match command {
        Snapshot::Create { name, snapshot } => {
            let doing = format!("saving {name} as {snapshot}");
            let config = SnapshotConfig::new(snapshot);
            let made = while_waiting(doing, substrate.create_snapshot(&name, &config)).await?;
            output.answer(&made, |made| format!("saved {name} as {}", made.name))
        }
        Snapshot::Restore { name, snapshot } => {
            let doing = format!("restoring {name} to {snapshot}");
            while_waiting(doing, substrate.restore_snapshot(&name, &snapshot)).await?;
            output.done(format!("restored {name} to {snapshot}"))
        }
        Snapshot::Delete { name, snapshot } => {
            let doing = format!("deleting {snapshot} of {name}");
            while_waiting(doing, substrate.delete_snapshot(&name, &snapshot)).await?;
            output.done(format!("deleted {snapshot} of {name}"))
        }
        Snapshot::List { name } => {
            let snapshots = while_waiting("listing", substrate.list_snapshots(&name)).await?;
            output.answer(&snapshots, |snapshots| {
                table(
                    ["NAME", "CREATED", "MEMORY", "BYTES"],
                    snapshots.iter().map(|one| {
                        let memory = if one.memory { "yes" } else { "no" };
                        let created = output::time(one.created_at);
                        [one.name.to_string(), created, memory.to_owned(), or_dash(one.size_bytes)]
                    }),
                )
            })
        }
    }
}
