//! libvirt: machines that boot, in software.

use std::collections::BTreeSet;
use std::process::Command;

use super::{Deployment, Stage, Technology, ends_as_it_shall_be_however_often_it_is_killed, lines, output};

struct Libvirt;

fn variable(name: &str) -> String {
    super::variable(&format!("SUBSTRATES_LAB_LIBVIRT{name}"))
}

impl Libvirt {
    /// The library's own client.
    fn client(&self, words: &[&str]) -> String {
        output(Command::new("virsh").args(["--quiet", "--connect", &variable("")]).args(words))
    }
}

impl Technology for Libvirt {
    fn section(&self) -> String {
        format!(
            "libvirt:
  uri: '{}'
  pool: machines
  image_pool: images
  domain_type: qemu
  default_resources: {{memory_mb: 96, cpu_cores: 1}}
  images:
    busybox: {{volume: '{}', kernel: '{}', initrd: '{}', kernel_arguments: '{}'}}
",
            variable(""),
            variable("_VOLUME"),
            variable("_KERNEL"),
            variable("_INITRD"),
            variable("_KERNEL_ARGUMENTS"),
        )
    }

    fn seen(&self, prefix: &str) -> BTreeSet<String> {
        let machines = self.client(&["list", "--all", "--title"]);
        let machines = machines.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let name = words.next().filter(|name| name.starts_with(prefix))?;
            Some(format!("{name} {}", words.next()?))
        });
        let networks = self.client(&["net-list", "--all", "--name"]);
        let networks = networks.lines().map(str::trim).filter(|name| name.starts_with(prefix));
        let volumes = self.client(&["vol-list", "machines"]);
        let volumes = volumes.lines().filter_map(|line| line.split_whitespace().next());
        let volumes = volumes.filter(|name| name.starts_with(prefix));
        machines
            .chain(networks.map(|name| format!("network {}", unmarked(name))))
            .chain(volumes.map(|name| format!("volume {name}")))
            .fold(BTreeSet::new(), |mut seen, line| {
                let is_twin = !seen.insert(line.clone());
                assert!(!is_twin, "there are two of: {line}");
                seen
            })
    }
}

/// A network has no labels, so that its name carries the mark: `-` and eight digits.
fn unmarked(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((plain, mark)) if mark.len() == 8 && mark.chars().all(|digit| digit.is_ascii_hexdigit()) => {
            plain
        }
        _ => name,
    }
}

/// Some of it differs from stage to stage.
fn stage(number: usize) -> Stage {
    let memory = if number.is_multiple_of(2) { 96 } else { 112 };
    let mut resources = format!(
        "
  - {{type: network, name: NAME-front, provider: libvirt}}
  - {{type: compute, name: NAME-db, provider: libvirt, specs: {{image: busybox, memory: {memory}MiB, networks: [NAME-front]}}}}
"
    );
    let mut wanted = lines(["NAME-db running", "network NAME-front"]);
    if !number.is_multiple_of(3) {
        resources += &format!(
            "  - {{type: compute, name: NAME-web, provider: libvirt, dependencies: [NAME-db], specs: {{image: busybox, labels: {{stage: '{number}'}}}}}}\n"
        );
        wanted.insert("NAME-web running".to_owned());
    }
    Stage { resources, wanted }
}

#[test]
#[ignore = "live: libvirt"]
fn machines_are_deployed_once_mended_rolled_back_and_destroyed() {
    let shop = Deployment::new("libvirt", &[&Libvirt]);
    let Stage { resources, wanted } = stage(1);
    let first = shop.write("first.yaml", &resources);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);
    // What the hypervisor made of it is not what was sent; that is no difference.
    assert_eq!(shop.plan(&first), [""; 0]);

    Libvirt.client(&["destroy", &format!("{}-web", shop.name)]);
    assert_eq!(shop.plan(&first), ["update NAME/NAME-web"]);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);

    let second = shop.write("second.yaml", &stage(3).resources);
    shop.deploy(&second);
    assert_eq!(shop.seen(), stage(3).wanted);
    shop.does(&["rollback", &second, "--yes"]);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    shop.does(&["destroy", &first, "--yes"]);
    assert_eq!(shop.seen(), BTreeSet::new());
}

#[test]
#[ignore = "live: libvirt"]
fn killed_at_any_moment_machines_end_as_they_shall_be_when_it_is_run_again() {
    ends_as_it_shall_be_however_often_it_is_killed("libvirt-kill", &Libvirt, 6, stage);
}
