//! Everything that can be said about the code without running it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::build_packages;
use crate::command::{command, output, run, shown};
use crate::lab::cache_directory;
use crate::missing_library;
use crate::workspace::Workspace;

const FACADE: &str = "substrates";
const CORE: &str = "substrate-core";
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Runs every check, also after one that failed.
pub fn execute(workspace: &Workspace) -> Result<()> {
    build_packages::ensure()?;
    let mut failed = Vec::new();
    let mut judge = |title: String, check: &mut dyn FnMut() -> Result<()>| {
        println!("check: {title}");
        let start = Instant::now();
        match check() {
            Ok(()) => println!("check: done in {:.0} s", start.elapsed().as_secs_f64()),
            Err(error) => {
                println!("check: FAILED: {error:#}");
                failed.push(title);
            }
        }
    };
    let mut step = |command: &mut Command| judge(title(command), &mut || run(command));
    step(workspace.cargo().args(["fmt", "--all", "--check"]));
    for arguments in clippy_runs(workspace)? {
        step(workspace.cargo().arg("clippy").args(arguments).args(["--quiet", "--", "-D", "warnings"]));
    }
    let mut documentation = workspace.cargo();
    documentation.args(["doc", "--workspace", "--all-features", "--no-deps", "--quiet"]);
    step(documentation.env("RUSTDOCFLAGS", "-D warnings"));
    // Advisories are left out: they come from the network and change while the code does not.
    let mut deny = command(&cargo_deny()?.display().to_string());
    step(deny.current_dir(workspace.root()).args(["check", "bans", "licenses", "sources"]));
    judge("a missing C library is told by its package".to_owned(), &mut || {
        missing_library::is_told(workspace)
    });
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join("; ")) }
}

/// The command without the folder of its program.
fn title(command: &Command) -> String {
    let shown = shown(command);
    let folder = Path::new(command.get_program()).parent().map(|folder| format!("{}/", folder.display()));
    folder.and_then(|folder| shown.strip_prefix(&folder).map(str::to_owned)).unwrap_or(shown)
}

/// The feature combinations that matter: everything, each thing that a user may pick alone, and nothing.
fn clippy_runs(workspace: &Workspace) -> Result<Vec<Vec<String>>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut runs = vec![words(&["--workspace", "--all-features", "--all-targets"])];
    for package in [FACADE, CORE] {
        runs.push(words(&["--package", package, "--no-default-features"]));
        for feature in workspace.package(package)?.features.keys().filter(|feature| *feature != "default") {
            runs.push(words(&["--package", package, "--no-default-features", "--features", feature]));
        }
    }
    Ok(runs)
}

/// The licence checker, built into the cache folder if it is not there in the version we want.
fn cargo_deny() -> Result<PathBuf> {
    let tools = cache_directory()?.join("tools");
    let program = tools.join("bin/cargo-deny");
    let found = output(command(&program.display().to_string()).arg("--version")).unwrap_or_default();
    if found.split_whitespace().last() == Some(CARGO_DENY_VERSION) {
        return Ok(program);
    }
    println!("check: building cargo-deny {CARGO_DENY_VERSION}");
    let mut install = command("cargo");
    install.args(["install", "--quiet", "--locked", "--force", "--version", CARGO_DENY_VERSION, "--root"]);
    // Its build products are of no use to the workspace.
    run(install.arg(&tools).arg("cargo-deny").env_remove("CARGO_TARGET_DIR"))?;
    Ok(program)
}
