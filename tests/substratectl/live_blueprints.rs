//! Blueprints on a real daemon: deployed twice, changed behind the engine's back, killed at any moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::facility::{Answer, program};

/// Ends at once when it is asked to.
const SERVE: &str = r#"[sh, -c, 'echo ready; trap "exit 0" TERM; while :; do sleep 0.1; done']"#;

/// A deployment of its own: names on the daemon begin with its blueprint's.
struct Deployment {
    name: String,
    folder: std::path::PathBuf,
}

impl Deployment {
    fn new(test: &str) -> Self {
        let name = format!("sc-{test}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("substratectl").join(&name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self { name, folder }
    }

    /// Writes a blueprint; `NAME` in it stands for the prefix, `SERVE` for a command.
    fn write(&self, file: &str, resources: &str) -> String {
        let image = std::env::var("SUBSTRATES_LAB_DOCKER_IMAGE").expect("SUBSTRATES_LAB_DOCKER_IMAGE is set");
        let resources =
            resources.replace("NAME", &self.name).replace("SERVE", SERVE).replace("IMAGE", &image);
        let path = self.folder.join(file);
        std::fs::write(&path, format!("name: {}\nresources:\n{resources}", self.name)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env_clear().env("DOCKER_HOST", lab()).args(words).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Answer {
        self.command(words).output().unwrap().into()
    }

    fn deploy(&self, file: &str) {
        let answer = self.run(&["deploy", file, "--yes", "--parallel", "8"]);
        assert_eq!(answer.status, Some(0), "{answer:?}");
    }

    /// The steps of a plan as `action resource`.
    fn plan(&self, file: &str) -> Vec<String> {
        let plan: Value = self.run(&["plan", file, "-o", "json"]).document();
        let word = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
        let steps = plan["steps"].as_array().unwrap().iter();
        steps.map(|step| format!("{} {}", word(step, "action"), word(step, "resource"))).collect()
    }

    /// What the daemon has of it, by its own client.
    fn on_the_daemon(&self) -> BTreeSet<String> {
        let mine = format!("name={}", self.name);
        let lists: [&[&str]; 3] = [
            &["ps", "-a", "--format", "{{.Names}} {{.State}}"],
            &["network", "ls", "--format", "network {{.Name}}"],
            &["volume", "ls", "--format", "volume {{.Name}}"],
        ];
        let lines = lists.iter().flat_map(|words| {
            let (head, format) = words.split_at(words.len() - 2);
            let found = docker(&[head, &["--filter", &mine], format].concat());
            found.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        lines.map(|line| line.replace(&self.name, "NAME")).collect()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // However the test ended.
        let mine = format!("name={}", self.name);
        for (list, remove) in [
            (["ps", "-aq"].as_slice(), ["rm", "-f"].as_slice()),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
        ] {
            let found = docker(&[list, &["--filter", &mine]].concat());
            for id in found.lines() {
                docker(&[remove, &[id]].concat());
            }
        }
    }
}

fn lab() -> String {
    std::env::var("SUBSTRATES_LAB_DOCKER").expect("SUBSTRATES_LAB_DOCKER is set: is the lab up?")
}

/// The daemon's own client.
fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(["-H", &lab()]).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
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
    let shop = Deployment::new("bp");
    let first = shop.write("first.yaml", SHOP);
    shop.deploy(&first);
    let wanted = BTreeSet::from(
        [
            "NAME-db running",
            "NAME-web-0 running",
            "NAME-web-1 running",
            "network NAME-front",
            "volume NAME-data",
        ]
        .map(str::to_owned),
    );
    assert_eq!(shop.on_the_daemon(), wanted);
    // What the daemon made of it is not what was sent; that is no difference.
    assert_eq!(shop.plan(&first), [""; 0]);

    let (db, web) = (format!("{}-db", shop.name), format!("{}-web-0", shop.name));
    docker(&["stop", "-t", "1", &format!("{}-web-1", shop.name)]);
    docker(&["rm", "-f", &web]);
    docker(&["update", "--cpus", "1", &db]);
    let mut drift = shop.plan(&first);
    drift.sort();
    let blueprint = &shop.name;
    assert_eq!(
        drift,
        [
            format!("create {blueprint}/{web}", web = web.trim_end_matches("-0").to_owned() + "[0]"),
            format!("update {blueprint}/{db}"),
            format!("update {blueprint}/{web}", web = web.trim_end_matches("-0").to_owned() + "[1]"),
        ]
    );
    shop.deploy(&first);
    assert_eq!(shop.on_the_daemon(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    assert_eq!(docker(&["inspect", "-f", "{{.HostConfig.NanoCpus}}", &db]).trim(), "500000000");

    let id = docker(&["inspect", "-f", "{{.Id}}", &db]);
    let second =
        shop.write("second.yaml", &SHOP.replace("count: 2", "count: 1").replace("tier: web", "tier: other"));
    shop.deploy(&second);
    let answer = shop.run(&["rollback", &second, "--yes"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert_eq!(shop.on_the_daemon(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    assert_eq!(docker(&["inspect", "-f", "{{.Id}}", &db]), id, "what was not changed is the same container");

    let answer = shop.run(&["destroy", &first, "--yes"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert_eq!(shop.on_the_daemon(), BTreeSet::new());
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// Twelve resources, some of which differ from stage to stage.
fn stage(number: usize) -> String {
    let mut text = "
  - {type: network, name: NAME-front, provider: docker}
  - {type: network, name: NAME-back, provider: docker}
  - {type: storage, name: NAME-data, provider: docker}
  - {type: compute, name: NAME-db, provider: docker, specs: {image: IMAGE, command: SERVE, volumes: ['NAME-data:/data'], networks: [NAME-back]}}
  - {type: compute, name: NAME-cache, provider: docker, specs: {image: IMAGE, command: SERVE, memory: MEMORYMiB}}
"
    .replace("MEMORY", if number.is_multiple_of(2) { "64" } else { "96" });
    if !number.is_multiple_of(3) {
        text += &format!(
            "
  - {{type: compute, name: NAME-web, count: 3, provider: docker, dependencies: [NAME-db], specs: {{image: IMAGE, command: SERVE, labels: {{stage: '{number}'}}, networks: [NAME-front]}}}}
  - {{type: compute, name: NAME-log, provider: docker, specs: {{image: IMAGE, command: SERVE}}}}
  - {{type: network, name: NAME-lb, provider: docker, specs: {{type: http, backends: [NAME-web]}}}}
  - {{type: storage, name: NAME-logs, provider: docker}}
  - {{type: compute, name: NAME-job, provider: docker, dependencies: [NAME-log], specs: {{image: IMAGE, command: SERVE, volumes: ['NAME-logs:/logs']}}}}
"
        );
    }
    text
}

fn wanted_at(number: usize) -> BTreeSet<String> {
    let mut wanted = vec![
        "NAME-db running",
        "NAME-cache running",
        "network NAME-front",
        "network NAME-back",
        "volume NAME-data",
    ];
    if !number.is_multiple_of(3) {
        wanted.extend(["NAME-web-0 running", "NAME-web-1 running", "NAME-web-2 running", "NAME-log running"]);
        wanted.extend(["NAME-job running", "network NAME-lb", "volume NAME-logs"]);
    }
    wanted.into_iter().map(str::to_owned).collect()
}

#[test]
#[ignore = "live: docker"]
fn killed_at_any_moment_it_ends_as_it_shall_be_when_it_is_run_again() {
    const KILLS: usize = 50;
    let shop = Deployment::new("kill");
    let mut dice = Dice(20_261_121);
    // How long it takes when nobody kills it, from nothing and back.
    let begun = Instant::now();
    shop.deploy(&shop.write("stage.yaml", &stage(1)));
    let whole = begun.elapsed();
    let mut killed = 0;
    let mut number = 1;
    while killed < KILLS {
        number += 1;
        assert!(number < 4 * KILLS, "only {killed} of {number} runs were killed in time");
        let file = shop.write("stage.yaml", &stage(number));
        let mut child = shop.command(&["deploy", &file, "--yes", "--parallel", "8"]).spawn().unwrap();
        let moment = Duration::from_micros(dice.below(u64::try_from(whole.as_micros()).unwrap()));
        let until = Instant::now() + moment;
        let ended = loop {
            match child.try_wait().unwrap() {
                Some(status) => break Some(status),
                None if Instant::now() >= until => break None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        if ended.is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        shop.deploy(&file);
        assert_eq!(shop.on_the_daemon(), wanted_at(number), "run {number}, killed after {moment:?}");
    }
    assert_eq!(shop.plan(&shop.write("stage.yaml", &stage(number))), [""; 0]);
    let answer = shop.run(&["sweep", "stage.yaml"]);
    assert_eq!(answer.text(), "nothing was left behind\n");
    let answer = shop.run(&["destroy", "stage.yaml", "--yes"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert_eq!(shop.on_the_daemon(), BTreeSet::new());
}
