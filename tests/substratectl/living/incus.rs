//! Incus: system containers.

use std::collections::BTreeSet;
use std::process::Command;

use super::{Deployment, Stage, Technology, ends_as_it_shall_be_however_often_it_is_killed, lines, output};

struct Incus;

fn variable(name: &str) -> String {
    super::variable(&format!("SUBSTRATES_LAB_INCUS{name}"))
}

impl Incus {
    /// The server's own client.
    fn client(&self, words: &[&str]) -> String {
        output(Command::new(variable("_CLIENT")).env("INCUS_DIR", variable("_FOLDER")).args(words))
    }
}

impl Technology for Incus {
    fn section(&self) -> String {
        format!("incus: {{address: '{}'}}\n", variable(""))
    }

    fn seen(&self, prefix: &str) -> BTreeSet<String> {
        let instances = self.client(&["list", prefix, "--format", "csv", "--columns", "n,s"]);
        let volumes =
            self.client(&["storage", "volume", "list", "default", "--format", "csv", "--columns", "t,n"]);
        let instances = instances.lines().filter_map(|line| {
            let (name, state) = line.split_once(',')?;
            name.starts_with(prefix).then(|| format!("{name} {}", state.to_lowercase()))
        });
        let volumes = volumes.lines().filter_map(|line| {
            let name = line.strip_prefix("custom,")?;
            name.starts_with(prefix).then(|| format!("volume {name}"))
        });
        instances.chain(volumes).collect()
    }
}

/// Some of it differs from stage to stage.
fn stage(number: usize) -> Stage {
    // Ends at once when it is asked to.
    const SERVE: &str = r#"[sh, -c, 'trap "exit 0" TERM; while :; do sleep 0.1; done']"#;
    let memory = if number.is_multiple_of(2) { 64 } else { 96 };
    let mut resources = format!(
        "
  - {{type: storage, name: NAME-data, provider: incus}}
  - {{type: compute, name: NAME-db, provider: incus, specs: {{image: IMAGE, command: SERVE, memory: {memory}MiB, volumes: ['NAME-data:/data']}}}}
"
    );
    let mut wanted = lines(["NAME-db running", "volume NAME-data"]);
    if !number.is_multiple_of(3) {
        resources += &format!(
            "
  - {{type: compute, name: NAME-web, count: 2, provider: incus, dependencies: [NAME-db], specs: {{image: IMAGE, command: SERVE, labels: {{stage: '{number}'}}}}}}
"
        );
        wanted.extend(lines(["NAME-web-0 running", "NAME-web-1 running"]));
    }
    let resources = resources.replace("SERVE", SERVE).replace("IMAGE", &variable("_IMAGE"));
    Stage { resources, wanted }
}

#[test]
#[ignore = "live: incus"]
fn system_containers_are_deployed_once_mended_rolled_back_and_destroyed() {
    let shop = Deployment::new("incus", &[&Incus]);
    let Stage { resources, wanted } = stage(1);
    let first = shop.write("first.yaml", &resources);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);
    // What the server made of it is not what was sent; that is no difference.
    assert_eq!(shop.plan(&first), [""; 0]);

    Incus.client(&["delete", "--force", &format!("{}-web-0", shop.name)]);
    Incus.client(&["stop", "--force", &format!("{}-web-1", shop.name)]);
    assert_eq!(shop.plan(&first), ["create NAME/NAME-web[0]", "update NAME/NAME-web[1]"]);
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
#[ignore = "live: incus"]
fn killed_at_any_moment_system_containers_end_as_they_shall_be_when_it_is_run_again() {
    ends_as_it_shall_be_however_often_it_is_killed("incus-kill", &Incus, 12, stage);
}
