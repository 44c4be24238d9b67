//! One blueprint over two technologies.

use std::collections::BTreeSet;

use super::docker::Docker;
use super::supervisor::{Supervisor, process};
use super::{Deployment, lines};

const CONTAINERS: &str = "
  - {type: network, name: NAME-front, provider: docker}
  - type: compute
    name: NAME-db
    provider: docker
    specs: {image: IMAGE, command: SERVE, networks: [NAME-front]}
    readiness: {log: ready}
";

#[test]
#[ignore = "live: docker + supervisor"]
fn containers_and_processes_are_deployed_rolled_back_and_destroyed_as_one() {
    let shop = Deployment::new("mixed", &[&Docker, &Supervisor]);
    let containers = Docker.fill(CONTAINERS);
    // A process that waits for a container, and a container that waits for the process.
    let gate = Docker.fill(
        "  - {type: compute, name: NAME-gate, provider: docker, dependencies: [NAME-worker], specs: {image: IMAGE, \
         command: SERVE}}\n",
    );
    let worker = |mark| process("worker", mark, ", dependencies: [NAME-db]");
    let first = shop.write("first.yaml", &(containers.clone() + &worker(1) + &gate));
    shop.deploy(&first);
    let wanted = lines(["NAME-db running", "NAME-gate running", "NAME-worker running", "network NAME-front"]);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);

    // Drift on both sides, mended in one run.
    Docker.client(&["rm", "-f", &format!("{}-gate", shop.name)]);
    Supervisor.client(&["stop", &format!("{}-worker", shop.name)]);
    assert_eq!(shop.plan(&first), ["create NAME/NAME-gate", "update NAME/NAME-worker"]);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);

    // A change that fails on one side is undone on both.
    let id = Docker.client(&["inspect", "-f", "{{.Id}}", &format!("{}-db", shop.name)]);
    let broken = gate.replace("NAME-gate", "NAME-door").replace("image: ", "image: no-such-");
    let second = shop.write("second.yaml", &(containers + &worker(2) + &broken));
    let answer = shop.run(&["deploy", &second, "--yes"]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    shop.does(&["rollback", &second, "--yes"]);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    assert_eq!(Docker.client(&["inspect", "-f", "{{.Id}}", &format!("{}-db", shop.name)]), id);

    shop.does(&["destroy", &first, "--yes"]);
    assert_eq!(shop.seen(), BTreeSet::new());
}
