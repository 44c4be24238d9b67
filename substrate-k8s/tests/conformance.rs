//! The conformance suite over a real cluster.

mod setup;

use substrate_conformance::Setup;
use substrate_core::Result;

async fn setup() -> Result<Setup> {
    setup::conformance(substrate_k8s::Workload::Stateful)
}

substrate_conformance::certify! { provider: "k8s", ignore: "live: k8s", threads: 8, setup: setup }
