//! Connecting, discovering, health.

use std::time::Duration;

use substrate_core::{
    Capabilities, Capacity, Descriptor, Feature, HealthReport, HealthStatus, InstanceKind, Operation, Result,
};
use tokio::time::Instant;
use virt::sys;

use super::host::{Driver, Host};
use super::{LibvirtSubstrate, PROVIDER_TYPE};
use crate::client::native;
use crate::config::{LibvirtConfig, SnapshotForm};
use crate::error::Attempt;

const OWN_SYSTEM: &str = "a machine runs what its disk or kernel boots, and has no command of its own; run commands by \
     its guest agent";
const MOCK: &str = "libvirt's test driver is a mock: its machines run nothing";

/// What libvirt with QEMU can do at best.
pub(super) fn at_best(config: &LibvirtConfig) -> Capabilities {
    let mut capabilities = Capabilities::all()
        .without(Feature::CreateCommand, OWN_SYSTEM)
        .without(
            Feature::CreateEnvironment,
            "a machine's system has no environment that a hypervisor could set",
        )
        .without(
            Feature::CreateVolumes,
            "a machine gets disks, not folders: what is mounted where is its own system's affair",
        )
        .without(Feature::CreatePorts, "libvirt publishes no ports: a machine is reached by its address")
        .without(
            Feature::CommandWithoutAgent,
            "commands need QEMU's guest agent running inside, on the channel that each machine gets",
        )
        .without(
            Feature::CommandInput,
            "the guest agent takes a command's whole input with its start: it cannot be fed while it runs",
        )
        .without(Feature::CommandTerminal, "the guest agent gives commands no terminal")
        .without(Feature::CommandResize, "the guest agent gives commands no terminal")
        .without(Feature::CommandWorkingDirectory, "the guest agent runs commands in its own folder")
        .without(Feature::CommandUser, "the guest agent runs commands as its own user")
        .without(Feature::ImageFiles, "disk images are put into the pool of images by hand")
        .without(Feature::LogSince, "a console's log has no times")
        .without(Feature::LogStreamsApart, "a console is one stream")
        .without(
            Feature::CloneWhileRunning,
            "the disk of a running machine cannot be copied at one moment; stop it first",
        )
        .without(
            Feature::ResourceLabels,
            "libvirt keeps no metadata with volumes and snapshots, nor with networks before version 9.7",
        )
        .without(Feature::WatchResume, "libvirt keeps no history of events");
    if !config.bandwidth_limits {
        capabilities = capabilities.without(
            Feature::NetworkLimit,
            "bounds of bandwidth need parts of the host's traffic control that libvirt cannot be asked about: where they \
             are there, set `bandwidth_limits`",
        );
    }
    if config.live_memory_mb.is_none() {
        capabilities = capabilities.without(
            Feature::LiveLimits,
            "memory changes while a machine runs only below what it was started with: set `live_memory_mb`",
        );
    }
    capabilities
}

/// What external snapshots need: older servers take them, and can neither go back to them nor delete them.
const EXTERNAL_SNAPSHOTS_SINCE: u32 = 10_000_000;

fn capabilities(host: &Host, config: &LibvirtConfig) -> Capabilities {
    let mut capabilities = at_best(config);
    if config.snapshots == SnapshotForm::External {
        let reason = match host.driver {
            Driver::Test => Some(MOCK),
            Driver::Qemu if host.library < EXTERNAL_SNAPSHOTS_SINCE => Some(
                "the settings want external snapshots, and a libvirt before 10.0 can neither restore nor delete them",
            ),
            Driver::Qemu => None,
        };
        if let Some(reason) = reason {
            capabilities = [Operation::CreateSnapshot, Operation::RestoreSnapshot, Operation::DeleteSnapshot]
                .into_iter()
                .fold(capabilities, |all, one| all.without(one, reason));
        }
    }
    if host.driver == Driver::Qemu {
        return capabilities;
    }
    let operations = [
        Operation::ExecuteCommand,
        Operation::OpenCommand,
        Operation::GetLogs,
        Operation::CloneInstance,
        Operation::AttachNetwork,
        Operation::DetachNetwork,
    ];
    let operations = operations.into_iter().fold(capabilities, |all, one| all.without(one, MOCK));
    [
        Feature::LiveLimits,
        Feature::CloudInit,
        Feature::FixedAddress,
        Feature::GracefulStop,
        Feature::CommandEnvironment,
        Feature::LogFollow,
        Feature::DiskLimit,
    ]
    .into_iter()
    .fold(operations, |all, one| all.without(one, MOCK))
}

/// What one look at the server gave.
struct Findings {
    library: u32,
    hypervisor: u32,
    node: virt::connect::NodeInfo,
    free_memory: Option<u64>,
    instances: u64,
    running: u64,
    secure: bool,
    pool: std::result::Result<(f64, f64), String>,
}

impl LibvirtSubstrate {
    pub(super) async fn discover(&self) -> Result<()> {
        let host = self.client.look(|connection| Host::of(connection)).await?;
        let name = self.descriptor.get().name.clone();
        let capabilities = capabilities(&host, &self.config);
        self.hosts.set(host);
        self.descriptor.set(Descriptor::new(
            PROVIDER_TYPE,
            name,
            [InstanceKind::VirtualMachine],
            capabilities,
        ));
        Ok(())
    }

    /// What the server is: found out once, and at each connect.
    pub(super) async fn host(&self) -> Result<Host> {
        if let Some(host) = self.hosts.known() {
            return Ok(host);
        }
        let host = self.client.look(|connection| Host::of(connection)).await?;
        self.hosts.set(host.clone());
        Ok(host)
    }

    pub(super) async fn health(&self) -> Result<HealthReport> {
        let start = Instant::now();
        self.client.look(|connection| connection.lib_version().attempt("ask for the version")).await?;
        let latency: Duration = start.elapsed();
        let host = self.host().await?;
        let pool = self.config.pool.clone();
        let found = self
            .client
            .look(move |connection| {
                let statistics = native::all_statistics(connection, sys::VIR_DOMAIN_STATS_STATE)
                    .attempt("count the machines")?;
                let running = statistics.iter().filter(|one| one.number("state.state") == Some(1)).count();
                let pool = connection.lookup_storage_pool_by_name(&pool).and_then(|pool| pool.info());
                Ok(Findings {
                    library: connection.lib_version().attempt("ask for the library's version")?,
                    hypervisor: connection.hyp_version().attempt("ask for the hypervisor's version")?,
                    node: connection.node_info().attempt("ask for the host's capacity")?,
                    free_memory: connection.free_memory().ok(),
                    instances: statistics.len() as u64,
                    running: running as u64,
                    secure: connection.is_secure().unwrap_or(true),
                    pool: pool
                        .map(|info| (gibibytes(info.capacity), gibibytes(info.allocation)))
                        .map_err(|failure| failure.message().to_owned()),
                })
            })
            .await?;
        Ok(self.report(latency, &host, &found))
    }

    fn report(&self, latency: Duration, host: &Host, found: &Findings) -> HealthReport {
        let mut report = HealthReport::healthy(latency)
            .with_version(version(found.library))
            .with_property("hypervisor", host.driver_name.clone())
            .with_property("hypervisor_version", version(found.hypervisor))
            .with_property("kvm", host.has_kvm)
            .with_property("cpu_model", found.node.model.clone());
        let memory = found.node.memory / 1024;
        report.capacity = Capacity {
            cpu_cores: Some(f64::from(found.node.cpus)),
            memory_mb: Some(memory),
            memory_used_mb: found.free_memory.map(|free| memory.saturating_sub(free >> 20)),
            instances: Some(found.instances),
            instances_running: Some(found.running),
            ..Capacity::default()
        };
        match &found.pool {
            Ok((capacity, allocation)) => {
                report.capacity.disk_gb = Some(*capacity);
                report.capacity.disk_used_gb = Some(allocation.min(*capacity));
            }
            Err(problem) => {
                let issue = format!(
                    "the storage pool `{}` cannot be used, so nothing can be made: {problem}",
                    self.config.pool
                );
                report = report.with_issue(HealthStatus::Degraded, issue);
            }
        }
        if !found.secure {
            report = report.with_issue(
                HealthStatus::Degraded,
                "the connection is not encrypted: anybody in between can read and change everything",
            );
        }
        report
    }
}

/// `9000000` is 9.0.0.
fn version(number: u32) -> String {
    format!("{}.{}.{}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000)
}

#[allow(clippy::cast_precision_loss, reason = "a figure for a person")]
fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_people_write_them() {
        assert_eq!(version(9_000_000), "9.0.0");
        assert_eq!(version(7_002_022), "7.2.22");
    }

    #[test]
    fn live_limits_are_declared_where_there_is_room_above() {
        let host =
            Host { driver: Driver::Qemu, driver_name: "QEMU".into(), library: 9_000_000, has_kvm: true };
        let config = LibvirtConfig::default();
        assert!(!capabilities(&host, &config).can(Feature::LiveLimits));
        let config = config.with_live_memory_mb(1024);
        assert!(capabilities(&host, &config).can(Feature::LiveLimits));
    }

    #[test]
    fn external_snapshots_are_offered_where_they_can_be_brought_back() {
        let host =
            |library| Host { driver: Driver::Qemu, driver_name: "QEMU".into(), library, has_kvm: true };
        let external = LibvirtConfig::default().with_snapshots(SnapshotForm::External);
        let old = capabilities(&host(9_010_000), &external);
        for operation in [Operation::CreateSnapshot, Operation::RestoreSnapshot, Operation::DeleteSnapshot] {
            assert!(old.require(operation).unwrap_err().message().contains("before 10.0"), "{operation}");
        }
        assert!(capabilities(&host(10_000_000), &external).can(Operation::CreateSnapshot));
        assert!(capabilities(&host(9_000_000), &LibvirtConfig::default()).can(Operation::CreateSnapshot));
    }

    #[test]
    fn bandwidth_is_bounded_where_the_settings_say_that_it_can_be() {
        let config = LibvirtConfig::default();
        let error = at_best(&config).require(Feature::NetworkLimit).unwrap_err();
        assert!(error.message().contains("bandwidth_limits"), "{error}");
        assert!(at_best(&config.with_bandwidth_limits(true)).can(Feature::NetworkLimit));
    }

    #[test]
    fn the_mock_runs_nothing_and_says_so() {
        let host =
            Host { driver: Driver::Test, driver_name: "TEST".into(), library: 11_000_000, has_kvm: false };
        let mock = capabilities(&host, &LibvirtConfig::default());
        let error = mock.require(Operation::ExecuteCommand).unwrap_err();
        assert!(error.message().contains("mock"), "{error}");
        assert!(mock.can(Operation::PauseInstance));
    }
}
