//! Where things are in the API.

use super::Target;

/// A sort of thing in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    StatefulSets,
    Deployments,
    ReplicaSets,
    Pods,
    Services,
    Claims,
    Quotas,
    Policies,
    Snapshots,
    /// KubeVirt's.
    Machines,
    /// What runs of a machine.
    MachineInstances,
    MachineSnapshots,
    MachineRestores,
}

impl Resource {
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::StatefulSets | Self::Deployments | Self::ReplicaSets => "apps/v1",
            Self::Pods | Self::Services | Self::Claims | Self::Quotas => "v1",
            Self::Policies => "networking.k8s.io/v1",
            Self::Snapshots => "snapshot.storage.k8s.io/v1",
            Self::Machines | Self::MachineInstances => "kubevirt.io/v1",
            Self::MachineSnapshots | Self::MachineRestores => "snapshot.kubevirt.io/v1beta1",
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::StatefulSets => "StatefulSet",
            Self::Deployments => "Deployment",
            Self::ReplicaSets => "ReplicaSet",
            Self::Pods => "Pod",
            Self::Services => "Service",
            Self::Claims => "PersistentVolumeClaim",
            Self::Quotas => "ResourceQuota",
            Self::Policies => "NetworkPolicy",
            Self::Snapshots => "VolumeSnapshot",
            Self::Machines => "VirtualMachine",
            Self::MachineInstances => "VirtualMachineInstance",
            Self::MachineSnapshots => "VirtualMachineSnapshot",
            Self::MachineRestores => "VirtualMachineRestore",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::StatefulSets => "statefulsets",
            Self::Deployments => "deployments",
            Self::ReplicaSets => "replicasets",
            Self::Pods => "pods",
            Self::Services => "services",
            Self::Claims => "persistentvolumeclaims",
            Self::Quotas => "resourcequotas",
            Self::Policies => "networkpolicies",
            Self::Snapshots => "volumesnapshots",
            Self::Machines => "virtualmachines",
            Self::MachineInstances => "virtualmachineinstances",
            Self::MachineSnapshots => "virtualmachinesnapshots",
            Self::MachineRestores => "virtualmachinerestores",
        }
    }

    /// All of them in a namespace.
    pub(crate) fn all(self, namespace: &str) -> Target {
        let group = self.group();
        let root = if group == "v1" { "/api/v1".to_owned() } else { format!("/apis/{group}") };
        Target::new(root).segment("namespaces").segment(namespace).segment(self.plural())
    }

    /// What can be done with one of KubeVirt's things beside changing it: served by KubeVirt itself, in a group of its own.
    pub(crate) fn act(self, namespace: &str, name: &str, act: &str) -> Target {
        Target::new("/apis/subresources.kubevirt.io/v1/namespaces")
            .segment(namespace)
            .segment(self.plural())
            .segment(name)
            .segment(act)
    }

    /// One of them.
    pub(crate) fn one(self, namespace: &str, name: &str) -> Target {
        self.all(namespace).segment(name)
    }
}
