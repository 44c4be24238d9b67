//! The conformance suite with machines of a stand-in for KubeVirt as instances, on a real API server. The stand-in is none
//! of KubeVirt: what is certified is how this crate speaks, not that a machine boots.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a stand-in may panic")]

mod setup;
mod stand_in;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stand_in::{Definition, KubeVirt};
use substrate_conformance::{Guest, Program, Setup, harness::Certification};
use substrate_core::Result;
use substrate_k8s::Workload;

static STAND_IN: Mutex<Option<KubeVirt>> = Mutex::new(None);

async fn setup() -> Result<Setup> {
    let (kubeconfig, namespace) = (setup::variable("")?, setup::variable("_NAMESPACE")?);
    let kubevirt = KubeVirt::up(&kubeconfig, &namespace, "", &Definition::MACHINES).await;
    let config = setup::config(Workload::VirtualMachine)?.with_kubeconfig(kubevirt.kubeconfig());
    STAND_IN.lock().unwrap_or_else(PoisonError::into_inner).replace(kubevirt);
    // Nothing runs inside, and nobody can be asked to.
    let guest = Guest::new("a stand-in for a machine", |_: &Program| None);
    Ok(setup::of(config, guest)?.with_patience(Duration::from_secs(60)))
}

fn main() -> ExitCode {
    let code = Certification::of("k8s-virtual-machine").ignored("live: k8s").with_threads(8).run(setup);
    // With what it has installed in the cluster.
    drop(STAND_IN.lock().unwrap_or_else(PoisonError::into_inner).take());
    code
}
