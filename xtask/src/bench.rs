//! `cargo xtask bench`: what this costs beside others, as ratios within one run.

mod drawing;
mod others;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build_packages;
use crate::command::{command, output, run};
use crate::lab::{DaemonStatus, Lab, Server};
use crate::workspace::Workspace;

/// Where the benches put their ratios down.
const RESULTS: &str = "SUBSTRATES_BENCH_RESULTS";
const PACKAGE: &str = "substrates-benches";

/// One line of the results.
#[derive(Debug, PartialEq, Deserialize)]
pub struct Ratio {
    pub what: String,
    pub beside: String,
    /// Ours divided by theirs.
    pub ratio: f64,
    pub at_most: Option<f64>,
}

/// Benches, and the servers of the lab that they need. Each is up for its own only: the others would be busy beside it.
const GROUPS: [Group; 6] = [
    Group { servers: &[], benches: &["layers", "proxmox"] },
    Group { servers: &["docker"], benches: &["docker", "deployment"] },
    Group { servers: &["lxd", "incus"], benches: &["lxc"] },
    Group { servers: &["libvirt"], benches: &["libvirt"] },
    Group { servers: &["k8s"], benches: &["kubernetes"] },
    Group { servers: &["supervisor"], benches: &["supervisor"] },
];

struct Group {
    servers: &'static [&'static str],
    benches: &'static [&'static str],
}

/// What came of all benches.
#[derive(Default)]
struct Measured {
    ratios: Vec<Ratio>,
    /// Of the servers.
    versions: Vec<String>,
    /// Whether a promise was, or a bench did not come to its end.
    broken: bool,
}

pub fn execute(workspace: &Workspace) -> Result<()> {
    let measured = measure(workspace)?;
    let readme = workspace.root().join("benches/README.md");
    fs::write(workspace.root().join("benches/ratios.svg"), drawing::svg(&measured.ratios))?;
    fs::write(&readme, page(&measured)?).with_context(|| format!("cannot write {}", readme.display()))?;
    println!("bench: wrote benches/README.md and benches/ratios.svg");
    if measured.broken {
        bail!("a bench broke a promise or failed");
    }
    Ok(())
}

fn measure(workspace: &Workspace) -> Result<Measured> {
    let folder = workspace.target_directory().join("bench");
    fs::create_dir_all(&folder)?;
    let results = folder.join("ratios.jsonl");
    if results.exists() {
        fs::remove_file(&results)?;
    }
    let python = others::python(&folder)?;
    others::composer(&folder)?;
    build_packages::ensure()?;
    // Everything is built before anything is measured.
    run(workspace.cargo().args(["bench", "--package", PACKAGE, "--all-features", "--no-run"]))?;
    let lab = Lab::open(None)?;
    let mut measured = Measured::default();
    for group in &GROUPS {
        let done = with_servers(&lab, group.servers, |servers| {
            let mut environment = Vec::new();
            for server in servers {
                environment.extend(server.environment()?);
                measured.versions.extend(versions(server.status()?));
            }
            for bench in group.benches {
                let mut cargo = workspace.cargo();
                cargo.args(["bench", "--package", PACKAGE, "--all-features", "--bench", bench]);
                cargo.env(RESULTS, &results).env("SUBSTRATES_BENCH_PYTHON", &python);
                cargo.envs(environment.iter().map(|(key, value)| (key, value)));
                measured.broken |= run(&mut cargo).is_err();
            }
            Ok(())
        });
        // The others are measured all the same.
        if let Err(error) = done {
            println!("bench: {}: {error:#}", group.benches.join(", "));
            measured.broken = true;
        }
    }
    measured.ratios = read(&results)?;
    measured.ratios.extend(others::weights(workspace, &folder)?);
    Ok(measured)
}

/// Does something while these servers are up. Those that were down are down again afterwards, whatever came of it.
fn with_servers(lab: &Lab, names: &[&str], work: impl FnOnce(&[&dyn Server]) -> Result<()>) -> Result<()> {
    // None named would select all.
    if names.is_empty() {
        return work(&[]);
    }
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let servers = lab.select(&names)?;
    let mut were_down = Vec::new();
    let all_up = servers.iter().try_for_each(|server| {
        if lab.up(*server)? {
            were_down.push(*server);
        }
        Ok(())
    });
    let done = all_up.and_then(|()| work(&servers));
    were_down.into_iter().try_for_each(|server| lab.down(server, false)).and(done)
}

/// The daemons of one server with their versions; of several of one version the first.
fn versions(daemons: Vec<DaemonStatus>) -> Vec<String> {
    let mut seen = HashSet::new();
    daemons
        .into_iter()
        .filter_map(|daemon| Some((daemon.daemon, daemon.version.filter(|version| version != "-")?)))
        .filter(|(_, version)| seen.insert(version.clone()))
        .map(|(daemon, version)| format!("{daemon} {version}"))
        .collect()
}

fn read(results: &Path) -> Result<Vec<Ratio>> {
    let text = fs::read_to_string(results).with_context(|| format!("cannot read {}", results.display()))?;
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no result: {line}")))
        .collect()
}

fn page(measured: &Measured) -> Result<String> {
    let rows: String = measured
        .ratios
        .iter()
        .map(|ratio| {
            let most = ratio.at_most.map_or(String::new(), |most| format!("{most:.2}"));
            let cell = |text: &str| text.replace('|', "\\|");
            format!("| {} | {} | **{:.2}** | {most} |\n", cell(&ratio.what), cell(&ratio.beside), ratio.ratio)
        })
        .collect();
    let benches: Vec<String> =
        GROUPS.iter().flat_map(|group| group.benches).map(|bench| format!("`{bench}`")).collect();
    Ok(format!(
        "# What it costs, beside others\n\n\
         *Made by `cargo xtask bench`, never typed.* Each ratio is ours divided by theirs, both measured in turn in one \
         run; below 1 is less than theirs. Machines are shared and noisy: ratios of one run mean something, absolute \
         times of different runs do not.\n\n\
         {}\n\n\
         ![ratios](ratios.svg)\n\n\
         | what | beside | ratio | promised at most |\n|---|---|---|---|\n{rows}\n\
         The benches are {}; `fake` and `engine` (how it grows to 100,000 resources) have nobody beside them: `cargo bench \
         --package {PACKAGE}`. What each bare client is asked is told where a bench begins. Live tests fail too when a \
         list or a command takes more than is promised.\n",
        machine(&measured.versions)?,
        benches.join(", ")
    ))
}

/// The machine, the versions and the day.
fn machine(versions: &[String]) -> Result<String> {
    let information = fs::read_to_string("/proc/cpuinfo")?;
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let threads = std::thread::available_parallelism()?;
    let system = fs::read_to_string("/etc/os-release")?;
    let system =
        system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown system");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let day = output(command("date").args(["--utc", "+%Y-%m-%d"]))?;
    let compiler = output(command("rustc").arg("--version"))?;
    Ok(format!(
        "{}: {model}, {threads} threads; {}, kernel {}; {}; {}.",
        day.trim(),
        system.trim_matches('"'),
        kernel.trim(),
        compiler.trim(),
        versions.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_told_once_and_only_where_there_is_one() {
        let daemon = |name: &str, version: Option<&str>| DaemonStatus {
            daemon: name.to_owned(),
            pid: None,
            version: version.map(str::to_owned),
            address: String::new(),
        };
        let told = versions(vec![
            daemon("k8s-docker", Some("20.10")),
            daemon("k8s-etcd", Some("-")),
            daemon("k8s-api", Some("v1.20")),
            daemon("k8s-victim", Some("v1.20")),
            daemon("k8s-agent", None),
        ]);
        assert_eq!(told, ["k8s-docker 20.10", "k8s-api v1.20"]);
    }
}
