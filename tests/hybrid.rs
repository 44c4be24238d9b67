//! The example `hybrid` on real servers: one blueprint over all of them, of which each technology's own client says the
//! same as ours at every stage.

use std::process::Command;

#[test]
#[ignore = "live: docker + lxd + libvirt + supervisor + k8s"]
fn one_blueprint_lives_on_five_technologies_and_their_own_clients_bear_witness() {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(std::path::Path::parent).unwrap().join("examples/hybrid");
    let output = Command::new(program).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    // It says so of each technology at each stage: none was left out.
    for stage in ["deployed:", "damaged by hand:", "reconciled:", "changed:", "rolled back:", "destroyed:"] {
        let (_, rest) = told.split_once(stage).unwrap_or_else(|| panic!("no {stage} in {told}"));
        for technology in ["libvirt", "lxd", "docker", "supervisor", "k8s"] {
            let line = rest.lines().find(|line| line.trim_start().starts_with(technology));
            assert!(line.is_some(), "{technology} is missing at {stage} {told}");
        }
    }
}
