//! Docker.

use std::collections::BTreeSet;
use std::process::Command;

use super::{
    Deployment, Stage, Technology, ends_as_it_shall_be_however_often_it_is_killed, lines, output, variable,
};

pub(super) struct Docker;

impl Docker {
    /// The daemon's own client.
    pub(super) fn client(&self, words: &[&str]) -> String {
        output(Command::new("docker").args(["-H", &variable("SUBSTRATES_LAB_DOCKER")]).args(words))
    }

    /// A blueprint's resources with what stands for the image and for a program that serves.
    pub(super) fn fill(&self, resources: &str) -> String {
        // Ends at once when it is asked to.
        let serve = r#"[sh, -c, 'echo ready; trap "exit 0" TERM; while :; do sleep 0.1; done']"#;
        resources.replace("SERVE", serve).replace("IMAGE", &variable("SUBSTRATES_LAB_DOCKER_IMAGE"))
    }
}

impl Technology for Docker {
    fn section(&self) -> String {
        format!("docker: {{host: '{}'}}\n", variable("SUBSTRATES_LAB_DOCKER"))
    }

    fn seen(&self, prefix: &str) -> BTreeSet<String> {
        let mine = format!("name={prefix}");
        let lists: [&[&str]; 3] = [
            &["ps", "-a", "--format", "{{.Names}} {{.State}}"],
            &["network", "ls", "--format", "network {{.Name}}"],
            &["volume", "ls", "--format", "volume {{.Name}}"],
        ];
        let told = lists.iter().map(|words| {
            let (head, format) = words.split_at(words.len() - 2);
            self.client(&[head, &["--filter", &mine], format].concat())
        });
        told.flat_map(|told| told.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

const SHOP: &str = "
  - {type: network, name: NAME-front, provider: docker}
  - {type: storage, name: NAME-data, provider: docker}
  - type: compute
    name: NAME-db
    provider: docker
    specs: {image: IMAGE, command: SERVE, memory: 64MiB, cpu: 0.5, volumes: ['NAME-data:/data'], networks: [NAME-front]}
    directives: [{files: [{path: /etc/motd, content: 'hello', mode: '0600'}]}, {exec: {command: [grep, hello, /etc/motd]}}]
    readiness: {log: ready}
  - type: compute
    name: NAME-web
    provider: docker
    count: 2
    specs: {image: IMAGE, command: SERVE, environment: {DB: '${NAME-db.address}'}, networks: [NAME-front], labels: {tier: web}}
";

#[test]
#[ignore = "live: docker"]
fn a_blueprint_is_deployed_once_mended_rolled_back_and_destroyed() {
    let shop = Deployment::new("docker", &[&Docker]);
    let text = Docker.fill(SHOP);
    let first = shop.write("first.yaml", &text);
    shop.deploy(&first);
    let wanted = lines([
        "NAME-db running",
        "NAME-web-0 running",
        "NAME-web-1 running",
        "network NAME-front",
        "volume NAME-data",
    ]);
    assert_eq!(shop.seen(), wanted);
    // What the daemon made of it is not what was sent; that is no difference.
    assert_eq!(shop.plan(&first), [""; 0]);

    let db = format!("{}-db", shop.name);
    Docker.client(&["stop", "-t", "1", &format!("{}-web-1", shop.name)]);
    Docker.client(&["rm", "-f", &format!("{}-web-0", shop.name)]);
    Docker.client(&["update", "--cpus", "1", &db]);
    let drift = ["create NAME/NAME-web[0]", "update NAME/NAME-db", "update NAME/NAME-web[1]"];
    assert_eq!(shop.plan(&first), drift);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    assert_eq!(Docker.client(&["inspect", "-f", "{{.HostConfig.NanoCpus}}", &db]).trim(), "500000000");

    let id = Docker.client(&["inspect", "-f", "{{.Id}}", &db]);
    let second =
        shop.write("second.yaml", &text.replace("count: 2", "count: 1").replace("tier: web", "tier: other"));
    shop.deploy(&second);
    shop.does(&["rollback", &second, "--yes"]);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    assert_eq!(
        Docker.client(&["inspect", "-f", "{{.Id}}", &db]),
        id,
        "what was not changed is the same container"
    );

    shop.does(&["destroy", &first, "--yes"]);
    assert_eq!(shop.seen(), BTreeSet::new());
}

/// Twelve resources, some of which differ from stage to stage.
fn stage(number: usize) -> Stage {
    let mut resources = "
  - {type: network, name: NAME-front, provider: docker}
  - {type: network, name: NAME-back, provider: docker}
  - {type: storage, name: NAME-data, provider: docker}
  - {type: compute, name: NAME-db, provider: docker, specs: {image: IMAGE, command: SERVE, volumes: ['NAME-data:/data'], networks: [NAME-back]}}
  - {type: compute, name: NAME-cache, provider: docker, specs: {image: IMAGE, command: SERVE, memory: MEMORYMiB}}
"
    .replace("MEMORY", if number.is_multiple_of(2) { "64" } else { "96" });
    let mut wanted = lines([
        "NAME-db running",
        "NAME-cache running",
        "network NAME-front",
        "network NAME-back",
        "volume NAME-data",
    ]);
    if !number.is_multiple_of(3) {
        resources += &format!(
            "
  - {{type: compute, name: NAME-web, count: 3, provider: docker, dependencies: [NAME-db], specs: {{image: IMAGE, command: SERVE, labels: {{stage: '{number}'}}, networks: [NAME-front]}}}}
  - {{type: compute, name: NAME-log, provider: docker, specs: {{image: IMAGE, command: SERVE}}}}
  - {{type: network, name: NAME-lb, provider: docker, specs: {{type: http, backends: [NAME-web]}}}}
  - {{type: storage, name: NAME-logs, provider: docker}}
  - {{type: compute, name: NAME-job, provider: docker, dependencies: [NAME-log], specs: {{image: IMAGE, command: SERVE, volumes: ['NAME-logs:/logs']}}}}
"
        );
        wanted.extend(lines([
            "NAME-web-0 running",
            "NAME-web-1 running",
            "NAME-web-2 running",
            "NAME-log running",
            "NAME-job running",
            "network NAME-lb",
            "volume NAME-logs",
        ]));
    }
    Stage { resources: Docker.fill(&resources), wanted }
}

#[test]
#[ignore = "live: docker"]
fn killed_at_any_moment_it_ends_as_it_shall_be_when_it_is_run_again() {
    ends_as_it_shall_be_however_often_it_is_killed("docker-kill", &Docker, 50, stage);
}
