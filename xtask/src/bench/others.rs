//! Those that are measured beside us: libraries of Python, the composer, and other crates to build.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Ratio;
use crate::command::{command, run};
use crate::lab::packages::{Package, install};
use crate::weight;
use crate::workspace::Workspace;

const PYTHON_PACKAGES: [&str; 2] = ["docker==7.2.0", "apache-libcloud==3.9.1"];
/// The distribution's own: another one in the search path may have no environments.
const PYTHON: &str = "/usr/bin/python3";

/// Crates of about the same ambition, and how they are depended upon without anything that can be left out.
const CRATES: [(&str, &str); 2] = [("opendal-core", "0.59"), ("object_store", "0.14")];

/// How often each crate is built.
const BUILDS: usize = 2;

/// A Python with the libraries.
pub fn python(folder: &Path) -> Result<PathBuf> {
    install(&[Package::new("python3-venv")], &folder.join("apt.log"))?;
    let home = folder.join("python");
    let program = home.join("bin/python");
    let mark = home.join("complete");
    if !mark.exists() {
        run(command(PYTHON).args(["-m", "venv", "--clear"]).arg(&home))?;
        run(command(&program.display().to_string())
            .args(["-m", "pip", "install", "--quiet"])
            .args(PYTHON_PACKAGES))?;
        fs::write(&mark, "")?;
    }
    Ok(program)
}

pub fn composer(folder: &Path) -> Result<()> {
    install(&[Package::of_program("docker-compose", "docker-compose")], &folder.join("apt.log"))
}

/// What depending on the core costs beside depending on other crates: to build, and in crates. They are built in turn, and
/// each keeps its quicker build: the first of all has the servers' end beside it.
pub fn weights(workspace: &Workspace, folder: &Path) -> Result<Vec<Ratio>> {
    let crates = weight::crates(workspace)?;
    let mut seconds = f64::INFINITY;
    let mut others = CRATES.map(|_| (f64::INFINITY, 0));
    for _ in 0..BUILDS {
        seconds = seconds.min(weight::cold_build_seconds(workspace)?);
        for ((name, version), (their_seconds, their_crates)) in CRATES.into_iter().zip(&mut others) {
            let (took, count) = weigh(folder, name, version).with_context(|| format!("weighing {name}"))?;
            (*their_seconds, *their_crates) = (their_seconds.min(took), count);
        }
    }
    let mut ratios = Vec::new();
    for ((name, version), (their_seconds, their_crates)) in CRATES.into_iter().zip(others) {
        println!(
            "substrate-core {seconds:.1} s and {crates} crates; {name} {their_seconds:.1} s and {their_crates}"
        );
        let beside = format!("`{name}` {version}, without default features");
        for (what, ratio) in [
            ("building `substrate-core` from nothing", seconds / their_seconds),
            ("crates below `substrate-core`", crates as f64 / their_crates as f64),
        ] {
            ratios.push(Ratio { what: what.to_owned(), beside: beside.clone(), ratio, at_most: None });
        }
    }
    Ok(ratios)
}

/// Seconds to build a program that only depends on it, and the crates below it.
fn weigh(folder: &Path, name: &str, version: &str) -> Result<(f64, usize)> {
    let package = folder.join(format!("weight-{name}"));
    if package.exists() {
        fs::remove_dir_all(&package)?;
    }
    fs::create_dir_all(package.join("src"))?;
    fs::write(package.join("src/lib.rs"), "")?;
    fs::write(
        package.join("Cargo.toml"),
        format!(
            "[package]\nname = \"weight\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{name} = {{ version \
             = \"{version}\", default-features = false }}\n\n[workspace]\n"
        ),
    )?;
    let cargo = |words: &[&str]| {
        let mut cargo = command("cargo");
        cargo.args(words).current_dir(&package).env("CARGO_TARGET_DIR", package.join("target"));
        cargo
    };
    // Downloads are not in it.
    run(&mut cargo(&["fetch", "--quiet"]))?;
    let start = Instant::now();
    run(&mut cargo(&["build", "--quiet"]))?;
    let seconds = start.elapsed().as_secs_f64();
    // Without the crate itself, as ours is counted.
    let crates = weight::crates_in(&mut cargo(&["tree"]))?.saturating_sub(1);
    fs::remove_dir_all(&package)?;
    Ok((seconds, crates))
}
