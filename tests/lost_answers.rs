//! "Unknown" is a result: with the fault "effect done, answer lost" on each changing method, and retries on,
//! there is exactly one of everything, every time.

#![cfg(feature = "fake")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

use std::sync::Arc;
use std::time::Duration;

use substrates::fake::{Fake, Fault};
use substrates::layer::{RetrySettings, Stack, StackSettings, TimeoutSettings};
use substrates::{
    CloneConfig, Command, Error, ErrorKind, InstanceConfig, InstanceFilter, InstanceName, InstanceState,
    NetworkConfig, NetworkName, NetworkSpec, Operation, Outcome, ResourceLimits, SnapshotConfig,
    SnapshotName, StopMode, Substrate, VolumeName, VolumeSpec, mark,
};

fn name() -> InstanceName {
    "web".parse().unwrap()
}

fn network() -> NetworkName {
    "blue".parse().unwrap()
}

fn volume() -> VolumeName {
    "data".parse().unwrap()
}

fn snapshot() -> SnapshotName {
    "before".parse().unwrap()
}

fn config() -> InstanceConfig {
    InstanceConfig::new(name()).with_image("busybox:local")
}

/// How many of our things there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inventory {
    instances: usize,
    snapshots: usize,
    networks: usize,
    volumes: usize,
}

const fn inventory(instances: usize, snapshots: usize, networks: usize, volumes: usize) -> Inventory {
    Inventory { instances, snapshots, networks, volumes }
}

/// A world in which every change has something to change, seen through the standard stack.
struct World {
    fake: Fake,
    substrate: Arc<dyn Substrate>,
}

impl World {
    async fn new() -> Self {
        let fake = Fake::new("fake");
        let settings = StackSettings {
            retry: RetrySettings { retries: 4, jitter: false, ..RetrySettings::default() },
            timeouts: TimeoutSettings {
                mutate: Duration::from_secs(60),
                long: Duration::from_secs(60),
                ..TimeoutSettings::default()
            },
            ..StackSettings::default()
        };
        let substrate = Stack::standard(Arc::new(fake.clone()), &settings).unwrap().substrate();
        substrate.connect().await.unwrap();
        Self { fake, substrate }
    }

    /// Makes what `operation` needs to exist before it can be done.
    async fn prepare(&self, operation: Operation) {
        use Operation::*;
        let substrate = &self.substrate;
        if !matches!(operation, CreateInstance | CreateNetwork | DeleteNetwork | CreateVolume | DeleteVolume)
        {
            substrate.create_instance(&config()).await.unwrap();
        }
        if matches!(
            operation,
            StopInstance | RestartInstance | PauseInstance | ResumeInstance | ExecuteCommand
        ) {
            substrate.start_instance(&name()).await.unwrap();
        }
        if operation == ResumeInstance {
            substrate.pause_instance(&name()).await.unwrap();
        }
        if matches!(operation, RestoreSnapshot | DeleteSnapshot) {
            substrate.create_snapshot(&name(), &SnapshotConfig::new(snapshot())).await.unwrap();
        }
        if matches!(operation, DeleteNetwork | AttachNetwork | DetachNetwork) {
            substrate.create_network(&NetworkSpec::new(network())).await.unwrap();
        }
        if operation == DetachNetwork {
            substrate.attach_network(&name(), &NetworkConfig::new(network())).await.unwrap();
        }
        if operation == DeleteVolume {
            substrate.create_volume(&VolumeSpec::new(volume())).await.unwrap();
        }
    }

    async fn run(&self, operation: Operation) -> Result<(), Error> {
        use Operation::*;
        let substrate = &self.substrate;
        match operation {
            CreateInstance => substrate.create_instance(&config()).await.map(drop),
            StartInstance => substrate.start_instance(&name()).await,
            StopInstance => substrate.stop_instance(&name(), StopMode::Force).await,
            RestartInstance => substrate.restart_instance(&name(), StopMode::Force).await,
            PauseInstance => substrate.pause_instance(&name()).await,
            ResumeInstance => substrate.resume_instance(&name()).await,
            DeleteInstance => substrate.delete_instance(&name(), true).await,
            ExecuteCommand => substrate.execute_command(&name(), &Command::new(["true"])).await.map(drop),
            SetResourceLimits => {
                let limits = ResourceLimits { memory_mb: Some(64), ..ResourceLimits::default() };
                substrate.set_resource_limits(&name(), &limits).await
            }
            CreateSnapshot => {
                substrate.create_snapshot(&name(), &SnapshotConfig::new(snapshot())).await.map(drop)
            }
            RestoreSnapshot => substrate.restore_snapshot(&name(), &snapshot()).await,
            DeleteSnapshot => substrate.delete_snapshot(&name(), &snapshot()).await,
            CloneInstance => {
                substrate.clone_instance(&name(), &CloneConfig::new("copy".parse().unwrap())).await.map(drop)
            }
            CreateNetwork => substrate.create_network(&NetworkSpec::new(network())).await.map(drop),
            DeleteNetwork => substrate.delete_network(&network()).await,
            AttachNetwork => substrate.attach_network(&name(), &NetworkConfig::new(network())).await,
            DetachNetwork => substrate.detach_network(&name(), &network()).await,
            CreateVolume => substrate.create_volume(&VolumeSpec::new(volume())).await.map(drop),
            DeleteVolume => substrate.delete_volume(&volume()).await,
            other => unreachable!("{other} changes nothing"),
        }
    }

    /// How many instances, snapshots, networks and volumes of ours there are.
    async fn count(&self) -> Inventory {
        let instances = self.fake.list_instances(&InstanceFilter::all()).await.unwrap();
        let snapshots = match self.fake.list_snapshots(&name()).await {
            Ok(snapshots) => snapshots.len(),
            Err(error) if error.is_not_found() => 0,
            Err(error) => panic!("{error}"),
        };
        let networks = self.fake.list_networks().await.unwrap();
        let volumes = self.fake.list_volumes().await.unwrap();
        Inventory {
            instances: instances.len(),
            snapshots,
            networks: networks.iter().filter(|found| found.name == network()).count(),
            volumes: volumes.iter().filter(|found| found.name == volume()).count(),
        }
    }
}

/// Every changing operation that is repeated, with what exists when it is done.
const REPEATED: &[(Operation, Inventory)] = &[
    (Operation::CreateInstance, inventory(1, 0, 0, 0)),
    (Operation::StartInstance, inventory(1, 0, 0, 0)),
    (Operation::StopInstance, inventory(1, 0, 0, 0)),
    (Operation::PauseInstance, inventory(1, 0, 0, 0)),
    (Operation::ResumeInstance, inventory(1, 0, 0, 0)),
    (Operation::DeleteInstance, inventory(0, 0, 0, 0)),
    (Operation::SetResourceLimits, inventory(1, 0, 0, 0)),
    (Operation::CreateSnapshot, inventory(1, 1, 0, 0)),
    (Operation::RestoreSnapshot, inventory(1, 1, 0, 0)),
    (Operation::DeleteSnapshot, inventory(1, 0, 0, 0)),
    (Operation::CloneInstance, inventory(2, 0, 0, 0)),
    (Operation::CreateNetwork, inventory(0, 0, 1, 0)),
    (Operation::DeleteNetwork, inventory(0, 0, 0, 0)),
    (Operation::AttachNetwork, inventory(1, 0, 1, 0)),
    (Operation::DetachNetwork, inventory(1, 0, 1, 0)),
    (Operation::CreateVolume, inventory(0, 0, 0, 1)),
    (Operation::DeleteVolume, inventory(0, 0, 0, 0)),
];

#[test]
fn every_changing_operation_is_in_the_table_or_never_repeated() {
    for operation in Operation::ALL {
        let repeated = !operation.is_read() && operation.profile().repeat != substrates::Repeat::Never;
        // Connecting and fetching an image make nothing of which there could be two.
        let makes_nothing = matches!(operation, Operation::Connect | Operation::EnsureImage);
        let listed = REPEATED.iter().any(|(known, _)| known == operation);
        assert_eq!(listed, repeated && !makes_nothing, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_answer_there_is_exactly_one_of_everything() {
    for (operation, expected) in REPEATED {
        for lost in [1, 2, 3] {
            let world = World::new().await;
            world.prepare(*operation).await;
            world.fake.inject(Fault::answer_lost().on(*operation).times(lost));
            world.run(*operation).await.unwrap_or_else(|error| panic!("{operation}, {lost} lost: {error}"));
            assert_eq!(world.count().await, *expected, "{operation}, {lost} lost");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_answer_that_never_comes_there_is_exactly_one_of_everything() {
    for (operation, expected) in REPEATED {
        let world = World::new().await;
        world.prepare(*operation).await;
        world.fake.inject(Fault::answer_lost_hanging().on(*operation).nth(1));
        world.run(*operation).await.unwrap_or_else(|error| panic!("{operation}: {error}"));
        assert_eq!(world.count().await, *expected, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_nothing_can_tell_apart_is_not_repeated_and_says_so() {
    for operation in [Operation::RestartInstance, Operation::ExecuteCommand] {
        let world = World::new().await;
        world.prepare(operation).await;
        world.fake.inject(Fault::answer_lost().on(operation).every());
        let error = world.run(operation).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{operation}: {error}");
        let tries = world.fake.calls().iter().filter(|call| call.operation == operation).count();
        assert_eq!(tries, 1, "{operation}");
        assert_eq!(world.count().await.instances, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_instance_is_not_taken_for_a_lost_own_one() {
    let world = World::new().await;
    world.fake.inject(Fault::error(ErrorKind::Timeout).on(Operation::CreateInstance).nth(1));
    let theirs = config().with_label(mark::KEY, "theirs");
    let create = world.run(Operation::CreateInstance);
    let interfere = async {
        // The first try has failed, without effect; before the second somebody else takes the name.
        tokio::time::sleep(Duration::from_millis(1)).await;
        world.fake.world().create(&theirs).await.unwrap();
    };
    let (created, ()) = tokio::join!(create, interfere);
    assert!(created.unwrap_err().is_already_exists());
    let there = world.fake.get_instance(&name()).await.unwrap();
    assert_eq!(there.labels.get(mark::KEY), Some("theirs"));
}

#[tokio::test(start_paused = true)]
async fn an_adopted_instance_is_the_one_that_was_asked_for() {
    let world = World::new().await;
    world.fake.inject(Fault::answer_lost().on(Operation::CreateInstance).nth(1));
    let config = config().with_label("role", "web").with_memory_mb(96);
    let made = world.substrate.create_instance(&config).await.unwrap();
    assert_eq!(made.labels.get("role"), Some("web"));
    assert_eq!(made.state, InstanceState::Stopped);
    assert_eq!(world.substrate.get_resource_limits(&name()).await.unwrap().memory_mb, Some(96));
}
