//! What can be asked for on the command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use substrates::config::{QuantityError, parse_duration, parse_size};
use substrates::{InstanceKind, InstanceName, InstanceState, NetworkName, SnapshotName, VolumeName};

use crate::blueprint::arguments as blueprint;

/// Manages what runs on a substrate: containers, virtual machines, pods, processes.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage; `exec` has the command's own; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "substratectl", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The configuration; without it, only what the environment says
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which substrate: its name, or its type; may be left out when only one is configured
    #[arg(short, long, global = true, value_name = "NAME|TYPE")]
    pub(crate) substrate: Option<String>,
    /// How answers are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: one document per line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the types of substrates that this program knows
    Types,
    /// Ask the substrate how it is
    Health,
    /// List instances
    List(List),
    /// Show one instance
    Get { name: InstanceName },
    /// Make an instance; it is not started
    Create(Box<Create>),
    /// Start an instance; running already is success
    Start { name: InstanceName },
    /// Stop an instance and start it again
    Restart { name: InstanceName },
    /// Freeze a running instance with its memory
    Pause { name: InstanceName },
    /// Let a paused instance go on
    Resume { name: InstanceName },
    /// Stop an instance: ask it, and cut it off after 10 seconds
    Stop(Stop),
    /// Delete an instance
    Delete {
        name: InstanceName,
        /// Also when it runs
        #[arg(long)]
        force: bool,
    },
    /// Run a command in an instance, and exit as it does
    Exec(Exec),
    /// Show what an instance wrote
    Logs(Logs),
    /// Show what an instance uses; `-` is not measured
    Metrics { name: InstanceName },
    /// Show the limits of an instance, or set those that are given and show all
    Limits {
        name: InstanceName,
        #[command(flatten)]
        limits: Limits,
    },
    /// Saved states of an instance
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Make a stopped copy of an instance
    Clone { source: InstanceName, destination: InstanceName },
    /// Networks
    #[command(subcommand)]
    Network(Network),
    /// Volumes
    #[command(subcommand)]
    Volume(Volume),
    /// Images
    #[command(subcommand)]
    Image(Image),
    #[command(flatten)]
    Blueprint(blueprint::Command),
    /// Show what happens on the substrate, whoever does it
    Watch {
        /// End after this time; without it, when interrupted
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        time: Option<Duration>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those with this label; all of several
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<KeyValue>,
    /// Only those in this state; one of several
    #[arg(long = "state", value_name = "STATE")]
    pub(crate) states: Vec<InstanceState>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<InstanceName>,
    /// Read everything from a YAML or JSON file instead; `-` is standard input
    ///
    /// The keys are those that JSON answers show: name, kind, image, command, limits, networks, environment,
    /// volumes, ports, labels, metadata, options. `${VAR}` and `${VAR:-default}` are replaced.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = [
        "name", "image", "kind", "cpu", "memory", "env", "labels", "networks", "argv",
    ])]
    pub(crate) file: Option<PathBuf>,
    /// What it is made from
    #[arg(long, required_unless_present = "file")]
    pub(crate) image: Option<String>,
    /// virtual_machine, container, pod or process; without it, what the substrate makes by default
    #[arg(long, value_parser = parse_kind)]
    pub(crate) kind: Option<InstanceKind>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Set a variable; without a value, to that of this process
    ///
    /// Values on a command line can be seen by everybody on this machine: give secrets without a value, or
    /// in a file.
    #[arg(long = "env", id = "env", value_name = "KEY[=VALUE]")]
    pub(crate) environment: Vec<String>,
    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<KeyValue>,
    /// Attach it to a network instead of the default one
    #[arg(long = "network", value_name = "NETWORK")]
    pub(crate) networks: Vec<NetworkName>,
    /// The command to run instead of the image's own
    #[arg(last = true)]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, Args)]
// The command of the same name is a group already.
#[group(skip)]
pub(crate) struct Limits {
    /// Processor cores: 2, 0.5
    #[arg(long, value_name = "CORES")]
    pub(crate) cpu: Option<f64>,
    /// Memory: 64MiB, 2GB; a bare number is bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub(crate) memory: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    pub(crate) name: InstanceName,
    /// Cut it off at once
    #[arg(long, conflicts_with = "timeout")]
    pub(crate) force: bool,
    /// Only ask, and fail when it still runs after this time: it is never cut off
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    pub(crate) name: InstanceName,
    /// Connect standard input, and a terminal when this is one
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// The command and its arguments; no shell reads them
    #[arg(last = true, required = true)]
    pub(crate) argv: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    pub(crate) name: InstanceName,
    /// Only the last so many lines
    #[arg(short = 'n', long, value_name = "NUMBER")]
    pub(crate) lines: Option<usize>,
    /// Go on with what it writes from now on, until it stops
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Snapshot {
    /// Save the state of an instance
    Create { name: InstanceName, snapshot: SnapshotName },
    /// Bring an instance back to a saved state
    Restore { name: InstanceName, snapshot: SnapshotName },
    /// Delete a saved state
    Delete { name: InstanceName, snapshot: SnapshotName },
    /// List the saved states of an instance, oldest first
    List { name: InstanceName },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// List networks
    List,
    /// Make a network
    Create { network: NetworkName },
    /// Delete a network
    Delete { network: NetworkName },
    /// Attach an instance to a network
    Attach { name: InstanceName, network: NetworkName },
    /// Take an instance off a network
    Detach { name: InstanceName, network: NetworkName },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// List volumes
    List,
    /// Make a volume
    Create { volume: VolumeName },
    /// Delete a volume and what is on it
    Delete { volume: VolumeName },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List the images at hand
    List,
    /// Make sure that an image is at hand, fetching it when it is not
    Ensure { image: String },
}

/// A label as it is written: the first `=` divides it.
#[derive(Debug, Clone)]
pub(crate) struct KeyValue {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for KeyValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// In MiB, as limits are counted; what is not whole is rounded up, so that nothing gets less than asked for.
fn parse_memory(text: &str) -> Result<u64, QuantityError> {
    parse_size(text).map(|bytes| bytes.div_ceil(1 << 20))
}

fn parse_kind(text: &str) -> Result<InstanceKind, String> {
    use InstanceKind::{Container, Pod, Process, VirtualMachine};
    let known = [VirtualMachine, Container, Pod, Process];
    known
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| format!("known kinds: {}", known.map(InstanceKind::as_str).join(", ")))
}
