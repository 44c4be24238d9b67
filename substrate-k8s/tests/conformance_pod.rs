//! The conformance suite over a real cluster, with bare pods as instances.

mod setup;

use substrate_conformance::Setup;
use substrate_core::Result;

async fn setup() -> Result<Setup> {
    setup::conformance(substrate_k8s::Workload::Pod)
}

substrate_conformance::certify! { provider: "k8s-pod", ignore: "live: k8s", threads: 8, setup: setup }
