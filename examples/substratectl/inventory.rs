//! Commands about the substrate itself and what instances need: networks, volumes, images.

use substrates::{NetworkConfig, NetworkSpec, Substrate, VolumeSpec};

use crate::arguments::{Image, Network, Volume};
use crate::ending::Ending;
use crate::output::{self, Output, list as joined, or_dash, pairs, table};
use crate::progress::while_waiting;

pub(crate) async fn health(substrate: &dyn Substrate, output: Output) -> Result<(), Ending> {
    let report = while_waiting("asking", substrate.health_check()).await?;
    output.answer(&report, |report| {
        let capacity = &report.capacity;
        let mut text = pairs([
            ("status", report.status.to_string()),
            ("version", or_dash(report.version.as_deref())),
            ("latency", format!("{:.1} ms", report.latency.as_secs_f64() * 1e3)),
            ("cpu_cores", or_dash(capacity.cpu_cores)),
            ("memory_mb", or_dash(capacity.memory_mb)),
            ("instances", or_dash(capacity.instances)),
            ("running", or_dash(capacity.instances_running)),
        ]);
        for issue in &report.issues {
            text.push_str(&format!("issue: {issue}\n"));
        }
        text
    })
}

pub(crate) async fn network(
    substrate: &dyn Substrate,
    output: Output,
    command: Network,
) -> Result<(), Ending> {
    match command {
        Network::List => {
            let networks = while_waiting("listing", substrate.list_networks()).await?;
            output.answer(&networks, |networks| {
                table(
                    ["NAME", "DRIVER", "SUBNETS", "GATEWAY"],
                    networks.iter().map(|one| {
                        [one.name.to_string(), one.driver.clone(), joined(&one.subnets), or_dash(one.gateway)]
                    }),
                )
            })
        }
        Network::Create { network } => {
            let doing = format!("creating {network}");
            let spec = NetworkSpec::new(network);
            let made = while_waiting(doing, substrate.create_network(&spec)).await?;
            output.answer(&made, |made| format!("created {}", made.name))
        }
        Network::Delete { network } => {
            while_waiting(format!("deleting {network}"), substrate.delete_network(&network)).await?;
            output.done(format!("deleted {network}"))
        }
        Network::Attach { name, network } => {
            let doing = format!("attaching {name} to {network}");
            let place = NetworkConfig::new(network.clone());
            while_waiting(doing, substrate.attach_network(&name, &place)).await?;
            output.done(format!("attached {name} to {network}"))
        }
        Network::Detach { name, network } => {
            let doing = format!("detaching {name} from {network}");
            while_waiting(doing, substrate.detach_network(&name, &network)).await?;
            output.done(format!("detached {name} from {network}"))
        }
    }
}

pub(crate) async fn volume(substrate: &dyn Substrate, output: Output, command: Volume) -> Result<(), Ending> {
    match command {
        Volume::List => {
            let volumes = while_waiting("listing", substrate.list_volumes()).await?;
            output.answer(&volumes, |volumes| {
                table(
                    ["NAME", "LOCATION", "BYTES"],
                    volumes.iter().map(|one| {
                        [one.name.to_string(), or_dash(one.location.as_deref()), or_dash(one.size_bytes)]
                    }),
                )
            })
        }
        Volume::Create { volume } => {
            let doing = format!("creating {volume}");
            let spec = VolumeSpec::new(volume);
            let made = while_waiting(doing, substrate.create_volume(&spec)).await?;
            output.answer(&made, |made| format!("created {}", made.name))
        }
        Volume::Delete { volume } => {
            while_waiting(format!("deleting {volume}"), substrate.delete_volume(&volume)).await?;
            output.done(format!("deleted {volume}"))
        }
    }
}

pub(crate) async fn image(substrate: &dyn Substrate, output: Output, command: Image) -> Result<(), Ending> {
    match command {
        Image::List => {
            let images = while_waiting("listing", substrate.list_images()).await?;
            output.answer(&images, |images| {
                table(
                    ["NAMES", "ID", "CREATED", "BYTES"],
                    images.iter().map(|one| {
                        let created = output::time(one.created_at);
                        [joined(&one.names), one.id.clone(), created, or_dash(one.size_bytes)]
                    }),
                )
            })
        }
        Image::Ensure { image } => {
            let at_hand = while_waiting(format!("fetching {image}"), substrate.ensure_image(&image)).await?;
            output.answer(&at_hand, |at_hand| format!("{image} is at hand ({})", at_hand.id))
        }
    }
}
