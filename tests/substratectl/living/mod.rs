//! Blueprints on real servers: deployed twice, changed behind the engine's back, killed at any moment. What there is is
//! told by each technology's own client.

#[cfg(feature = "docker")]
mod docker;
#[cfg(feature = "lxc")]
mod incus;
#[cfg(feature = "k8s")]
mod kubernetes;
#[cfg(feature = "libvirt")]
mod libvirt;
#[cfg(all(feature = "docker", feature = "supervisor"))]
mod mixed;
#[cfg(feature = "supervisor")]
mod supervisor;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::facility::{Answer, program};

/// One server of the lab, and how its own client sees what is on it.
trait Technology {
    /// As `substrate.yaml` configures it.
    fn section(&self) -> String;

    /// What is on it whose name begins so, one line each: `NAME running`, `network NAME`, `volume NAME`.
    fn seen(&self, prefix: &str) -> BTreeSet<String>;
}

/// A variable that the lab sets.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set: is the lab up?"))
}

/// What a client prints.
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A deployment of its own: names of what it makes begin with its blueprint's.
struct Deployment<'a> {
    name: String,
    folder: PathBuf,
    on: Vec<&'a dyn Technology>,
}

impl<'a> Deployment<'a> {
    fn new(test: &str, on: &[&'a dyn Technology]) -> Self {
        let name = format!("sc-{test}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("substratectl").join(&name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let sections: String = on.iter().map(|one| one.section()).collect();
        std::fs::write(folder.join("substrate.yaml"), sections).unwrap();
        Self { name, folder, on: on.to_vec() }
    }

    /// Writes a blueprint; `NAME` in it stands for the prefix.
    fn write(&self, file: &str, resources: &str) -> String {
        let path = self.folder.join(file);
        let resources = resources.replace("NAME", &self.name);
        std::fs::write(&path, format!("name: {}\nresources:\n{resources}", self.name)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env_clear().args(["-c", "substrate.yaml"]).args(words).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Answer {
        self.command(words).output().unwrap().into()
    }

    /// Runs to a good end.
    fn does(&self, words: &[&str]) {
        let answer = self.run(words);
        assert_eq!(answer.status, Some(0), "{words:?}: {answer:?}");
    }

    fn deploy(&self, file: &str) {
        self.does(&["deploy", file, "--yes", "--parallel", "8"]);
    }

    /// The steps of a plan as `action resource`, in alphabetical order.
    fn plan(&self, file: &str) -> Vec<String> {
        let plan: Value = self.run(&["plan", file, "-o", "json"]).document();
        let word = |step: &Value, key: &str| step[key].as_str().unwrap().replace(&self.name, "NAME");
        let steps = plan["steps"].as_array().unwrap().iter();
        let mut steps: Vec<String> =
            steps.map(|step| format!("{} {}", word(step, "action"), word(step, "resource"))).collect();
        steps.sort();
        steps
    }

    /// What there is of it, by the technologies' own clients.
    fn seen(&self) -> BTreeSet<String> {
        let lines = self.on.iter().flat_map(|technology| technology.seen(&self.name));
        lines.map(|line| line.replace(&self.name, "NAME")).collect()
    }
}

/// Lines as a set.
fn lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    lines.into_iter().map(str::to_owned).collect()
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// What a blueprint is at one of its stages, and what there is when that is deployed.
struct Stage {
    resources: String,
    wanted: BTreeSet<String>,
}

/// Deploys stage after stage, kills so many of the deployments at any moment, runs each again, and looks.
fn ends_as_it_shall_be_however_often_it_is_killed(
    test: &str,
    on: &dyn Technology,
    kills: usize,
    stage: impl Fn(usize) -> Stage,
) {
    let shop = Deployment::new(test, &[on]);
    let mut dice = Dice(20_261_121);
    // How long it takes when nobody kills it, from nothing.
    let begun = Instant::now();
    shop.deploy(&shop.write("stage.yaml", &stage(1).resources));
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let (mut killed, mut number) = (0, 1);
    while killed < kills {
        number += 1;
        assert!(number < 4 * kills, "only {killed} of {number} runs were killed in time");
        let Stage { resources, wanted } = stage(number);
        let file = shop.write("stage.yaml", &resources);
        let moment = Duration::from_micros(dice.below(whole));
        killed += usize::from(is_killed_after(
            moment,
            shop.command(&["deploy", &file, "--yes", "--parallel", "8"]),
        ));
        shop.deploy(&file);
        assert_eq!(shop.seen(), wanted, "run {number}, killed after {moment:?}");
    }
    assert_eq!(shop.plan("stage.yaml"), [""; 0]);
    assert_eq!(shop.run(&["sweep", "stage.yaml"]).text(), "nothing was left behind\n");
    shop.does(&["destroy", "stage.yaml", "--yes"]);
    assert_eq!(shop.seen(), BTreeSet::new());
}

/// Whether it still ran then.
fn is_killed_after(moment: Duration, mut command: Command) -> bool {
    let until = Instant::now() + moment;
    // Nobody reads what it tells: a pipe would fill up and stop it.
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while Instant::now() < until {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}
