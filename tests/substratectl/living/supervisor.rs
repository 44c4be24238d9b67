//! Supervisor: processes, without networks or volumes.

use std::collections::BTreeSet;
use std::process::Command;

use super::{
    Deployment, Stage, Technology, ends_as_it_shall_be_however_often_it_is_killed, lines, output, variable,
};

pub(super) struct Supervisor;

impl Supervisor {
    /// The daemon's own client.
    pub(super) fn client(&self, words: &[&str]) -> String {
        let server = ["--serverurl", &variable("SUBSTRATES_LAB_SUPERVISOR")].map(str::to_owned);
        output(Command::new("supervisorctl").args(server).args(words))
    }
}

impl Technology for Supervisor {
    fn section(&self) -> String {
        format!(
            "supervisor: {{url: '{}', include_folder: '{}', log_folder: '{}'}}\n",
            variable("SUBSTRATES_LAB_SUPERVISOR"),
            variable("SUBSTRATES_LAB_SUPERVISOR_INCLUDE"),
            variable("SUBSTRATES_LAB_SUPERVISOR_LOGS"),
        )
    }

    fn seen(&self, prefix: &str) -> BTreeSet<String> {
        let status = self.client(&["status"]);
        let mine = status.lines().filter(|line| line.starts_with(prefix));
        let told = mine.map(|line| {
            let mut words = line.split_whitespace();
            let (name, state) = (words.next().unwrap(), words.next().unwrap());
            format!("{name} {}", state.to_lowercase())
        });
        told.collect()
    }
}

/// A process; another `mark` among its arguments makes it another one.
pub(super) fn process(name: &str, mark: usize, more: &str) -> String {
    let specs = format!("{{command: [/bin/sh, '-c', 'while :; do sleep 0.1; done', '{mark}']}}");
    format!("  - {{type: compute, name: NAME-{name}, provider: supervisor, specs: {specs}{more}}}\n")
}

#[test]
#[ignore = "live: supervisor"]
fn a_blueprint_of_processes_is_deployed_once_mended_rolled_back_and_destroyed() {
    let shop = Deployment::new("supervisor", &[&Supervisor]);
    let db = process("db", 1, "");
    let first =
        shop.write("first.yaml", &(db.clone() + &process("web", 1, ", count: 2, dependencies: [NAME-db]")));
    shop.deploy(&first);
    let wanted = lines(["NAME-db running", "NAME-web-0 running", "NAME-web-1 running"]);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);

    let process_id = Supervisor.client(&["pid", &format!("{}-db", shop.name)]);
    Supervisor.client(&["stop", &format!("{}-web-1", shop.name)]);
    assert_eq!(shop.plan(&first), ["update NAME/NAME-web[1]"]);
    shop.deploy(&first);
    assert_eq!(shop.seen(), wanted);

    let second = shop.write("second.yaml", &(db + &process("web", 2, "")));
    shop.deploy(&second);
    assert_eq!(shop.seen(), lines(["NAME-db running", "NAME-web running"]));
    shop.does(&["rollback", &second, "--yes"]);
    assert_eq!(shop.seen(), wanted);
    assert_eq!(shop.plan(&first), [""; 0]);
    let now = Supervisor.client(&["pid", &format!("{}-db", shop.name)]);
    assert_eq!(now, process_id, "what was not changed is the same process");

    shop.does(&["destroy", &first, "--yes"]);
    assert_eq!(shop.seen(), BTreeSet::new());
}

fn stage(number: usize) -> Stage {
    let mut resources =
        process("db", 0, "") + &process("cache", number, ", count: 3, dependencies: [NAME-db]");
    let mut wanted =
        lines(["NAME-db running", "NAME-cache-0 running", "NAME-cache-1 running", "NAME-cache-2 running"]);
    if !number.is_multiple_of(3) {
        resources += &process("job", 0, ", dependencies: [NAME-cache]");
        wanted.insert("NAME-job running".to_owned());
    }
    Stage { resources, wanted }
}

#[test]
#[ignore = "live: supervisor"]
fn killed_at_any_moment_processes_end_as_they_shall_be_when_it_is_run_again() {
    ends_as_it_shall_be_however_often_it_is_killed("supervisor-kill", &Supervisor, 10, stage);
}
