//! The lab's cluster, as the suite needs it.

use std::sync::Arc;
use std::time::Duration;

use substrate_conformance::{Guest, Program, Setup};
use substrate_core::{Error, Result};
use substrate_k8s::{ImagePullPolicy, K8sConfig, K8sSubstrate, Workload};

pub(crate) fn variable(name: &str) -> Result<String> {
    let name = format!("SUBSTRATES_LAB_K8S{name}");
    std::env::var(&name).map_err(|_| Error::invalid_input(format!("{name} is not set: is the lab up?")))
}

pub(crate) fn config(workload: Workload) -> Result<K8sConfig> {
    Ok(K8sConfig::default()
        .with_kubeconfig(variable("")?)
        .with_namespace(variable("_NAMESPACE")?)
        .with_workload(workload)
        // A machine that builds beside leaves the cluster little.
        .with_request_timeout(Duration::from_secs(120))
        .with_image_pull_policy(ImagePullPolicy::Never)
        // Many at once on a small node: bounds are bounds here, and nothing is set aside for them.
        .with_reserve_limits(false)
        // Older than 1.30, but the lab's node was taught.
        .with_end_of_input(true))
}

#[allow(dead_code, reason = "not of machines")]
pub(crate) fn conformance(workload: Workload) -> Result<Setup> {
    let plain = Guest::busybox();
    let guest = Guest::new("busybox in a pod", move |program| match program {
        // A command's end comes when all its output has ended: the cluster's API tells it no sooner.
        Program::LeaveChild(..) => None,
        other => plain.argv(other),
    })
    .with_ready_line("ready");
    let setup = of(config(workload)?, guest)?;
    Ok(if workload == Workload::Pod { setup.without_stops() } else { setup })
}

pub(crate) fn of(config: K8sConfig, guest: Guest) -> Result<Setup> {
    let substrate = Arc::new(K8sSubstrate::new("k8s", config)?);
    let setup = Setup::new(substrate, variable("_IMAGE")?, guest)
        .without_subnets()
        .without_logs_of_stopped()
        // A pod takes seconds to end, and several trials end many of them.
        .with_trial_deadline(Duration::from_secs(400))
        .with_grace(Duration::from_secs(60))
        // The node measures every ten to fifteen seconds.
        .with_patience(Duration::from_secs(60))
        .with_large_output(16 << 20);
    // Alone on the cluster, as it should be, what bears no name of the run is found too.
    Ok(if std::env::var_os("SUBSTRATES_LAB_SHARED").is_some() { setup } else { setup.exclusive() })
}
