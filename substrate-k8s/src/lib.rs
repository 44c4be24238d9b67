//! Kubernetes as a [`Substrate`](substrate_core::Substrate): an instance is a workload of one replica.
//!
//! ```no_run
//! use substrate_core::{Command, InstanceConfig, StopMode, Substrate};
//! use substrate_k8s::K8sSubstrate;
//!
//! # async fn run() -> substrate_core::Result<()> {
//! let cluster = K8sSubstrate::from_environment()?;
//! cluster.connect().await?;
//!
//! let config = InstanceConfig::new("web".parse()?)
//!     .with_image("nginx:1.27")
//!     .with_memory_mb(256)
//!     .with_label("role", "web");
//! cluster.create_instance(&config).await?;
//! cluster.start_instance(&config.name).await?;
//!
//! let output = cluster.execute_command(&config.name, &Command::new(["nginx", "-v"])).await?;
//! println!("{}", output.stderr_text());
//!
//! cluster.stop_instance(&config.name, StopMode::default()).await?;
//! cluster.delete_instance(&config.name, false).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is special about Kubernetes
//!
//! * **An instance is a workload**, of the one kind that [`K8sConfig::workload`] says: a StatefulSet (the default), a
//!   Deployment, a bare Pod, or a VirtualMachine of KubeVirt (see [below](#virtual-machines)). Stopped is scaled to zero, started is scaled to one. Workloads of that kind that others made
//!   are instances too; one of more replicas than one is listed, and not switched. The id is the workload's UID.
//! * **Created** by a server-side apply that succeeds only where nothing has the name; changed by patches without a version,
//!   so that nobody's change is in the way. The field manager is `substrate`.
//! * **A stop is over when the pod's UID has gone.** The shortest grace is one second: with none, Kubernetes forgets the pod
//!   without asking the node whether it ended. There is no graceful stop without a kill at the end, so `Graceful` is refused.
//!   The pod of a deployment gets its own grace at most; and should Kubernetes replace it at the moment of a stop, as it
//!   does with deployments, the replacement is ended too. Where never two may run, use the workload `stateful`.
//! * **A running pod may be anything but**: crash loops, images that cannot be fetched and pods that fit on no node are
//!   `Failed`, with the cluster's words in `provider_state`. A start waits for readiness.
//! * **A bare pod** runs from its creation, and cannot be stopped or restarted.
//! * **Commands** cannot have an environment, a folder or a user of their own. Their end comes when all their output has
//!   ended: a child that holds it open holds the command. Input needs Kubernetes 1.30 (see [`K8sConfig::end_of_input`]);
//!   it is sent as fast as the command reads it, 32 KiB in a round trip and no more in the first half second, for the
//!   way back may break with the way there when a command ends before it has read all. One that reads some of a lot of
//!   input and ends can lose its status by that, as with every client: `Unavailable`, and it may have happened. A
//!   command goes on when its session is dropped, until it reads or writes. An end by a signal is a code above 128.
//! * **Logs** are of the present pod, with the run before its last restart; they go with the pod. Both streams are one.
//! * **Bounds** change while it is stopped; in place where the cluster is 1.33 or newer. They are also reserved on the node,
//!   as is Kubernetes' custom, unless [`K8sConfig::reserve_limits`] says otherwise.
//! * **Networks are services**: attached is who carries the label `network.substrate/NAME`. They have no subnets. A network
//!   policy for the members is an option, see [`K8sNetworkOptions`]. A running deployment that is attached or detached is
//!   paused until its next start, or Kubernetes would replace its pod.
//! * **Volumes are claims**; empty folders, configuration maps and secrets are mounted by [`K8sOptions`].
//! * **Snapshots** are of the volumes that an instance mounts, where the cluster has the API `snapshot.storage.k8s.io/v1`.
//!   Kubernetes cannot bring a claim back to one: a volume is made of it (see [`K8sVolumeOptions`]).
//! * **Labels** that Kubernetes does not take (it takes few characters) are kept in an annotation and filtered here. What
//!   begins with `substrate/` or `network.substrate/` is this crate's own.
//! * **Usage** comes from the metrics API, else from the node's summary, else it is not measured.
//! * **Deletion** waits for the UID; what a finalizer holds is an error that names it, after
//!   [`K8sConfig::deletion_timeout`].
//! * **Secrets** belong into secrets of the namespace, see [`K8sOptions::secret_environment`]: `environment` stands in the
//!   workload for everybody who may read it.
//!
//! # Virtual machines
//!
//! With the workload `virtual-machine`, in a cluster that has KubeVirt (`kubevirt.io/v1`); in another, every call is an error
//! that says so, `connect` too.
//!
//! * **It boots** from an image that holds a disk (and forgets what was written), or from a claim; further claims are further
//!   disks, further interfaces are Multus': see [`K8sMachineOptions`]. A machine has no environment and no command; cloud-init
//!   has its data, up to 2048 bytes in the machine itself, else in a secret.
//! * **Started** is a run strategy, `Always` unless [`K8sMachineOptions::run_strategy`] says otherwise, and stopped is `Halted`;
//!   a machine of others whose strategy is `Manual` keeps it. A stop is over when the machine instance has gone by its UID.
//!   By force, the power is cut at once. KubeVirt always cuts it in the end, so `Graceful` is refused.
//! * **It runs** when its guest does, also while it is moved to another node (`provider_state` says `Migrating`); what cannot
//!   be scheduled, fetched or kept running has failed, with KubeVirt's words.
//! * **Paused and resumed** by KubeVirt's own API, `subresources.kubevirt.io`, which serves stops as well.
//! * **No commands**: KubeVirt runs none inside a machine. **Logs** are what the guest writes to its serial console, of the
//!   present pod. **Usage** is that of the machine's pod, KubeVirt's own part included.
//! * **Bounds** change while it is stopped. Cores are whole in the machine, and their use is bounded to the fraction.
//! * **Snapshots** are KubeVirt's (`snapshot.kubevirt.io/v1beta1`), and an instance can be brought back to one: it is stopped
//!   for that, and runs again if it ran. One that would leave a disk out, because its storage has no snapshots, is refused.
//!   Clones are not made: KubeVirt labels them after their creation only, so that nobody could tell whose one is.
//!
//! # Rights on the server
//!
//! In the namespace: `statefulsets`, `deployments` or `pods`, whichever the workload is, `services`,
//! `persistentvolumeclaims` and, where it is used, `networkpolicies` and `volumesnapshots`, each with get, list, watch,
//! create, patch and delete; `pods` with get, list, watch and delete, `pods/log`, `pods/exec`, `events` with list and watch,
//! `resourcequotas` with list. For machines, in place of `statefulsets`: `virtualmachines` with the same,
//! `virtualmachineinstances` with get, list, watch and patch, `virtualmachines/stop`, `/start`,
//! `virtualmachineinstances/pause`, `/unpause` of `subresources.kubevirt.io` with update, and `virtualmachinesnapshots` and
//! `virtualmachinerestores` where they are used. For usage `pods` of `metrics.k8s.io`, else `nodes/proxy`; for the health report `nodes` with
//! list, of the whole cluster, and without it the report says that it does not know.
//!
//! # Connecting
//!
//! See [`K8sConfig`]: a kubeconfig with its contexts, client certificates, token files and exec plugins (both read again when
//! they expire), or the service account of the pod. A handle survives restarts of the API server. Where a program has
//! chosen no cryptography for TLS, `ring` is chosen for the process, because the connector underneath panics without.

mod client;
mod config;
mod convert;
mod error;
#[cfg(test)]
mod fuzz;
mod name;
mod options;
mod substrate;

pub use crate::config::{ImagePullPolicy, K8sConfig, Workload};
pub use crate::options::{
    K8sMachineOptions, K8sNetworkOptions, K8sOptions, K8sVolumeOptions, KeyReference, ServicePort,
};
pub use crate::substrate::{K8sSubstrate, PROVIDER_TYPE};

/// Registers the type `k8s`.
///
/// # Errors
/// `AlreadyExists` when the registry knows a `k8s` already.
pub fn register(registry: &mut substrate_core::registry::Registry) -> substrate_core::Result<()> {
    registry.register(PROVIDER_TYPE, K8sSubstrate::from_section)
}
