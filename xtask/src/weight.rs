//! What depending on the core costs: an embedder pays it on every build.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::{output, run};
use crate::workspace::Workspace;

const CORE: &str = "substrate-core";
const MOST_DIRECT_DEPENDENCIES: usize = 12;

pub fn execute(workspace: &Workspace) -> Result<()> {
    let direct: BTreeSet<&str> = workspace
        .package(CORE)?
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.is_none() && !dependency.optional)
        .map(|dependency| dependency.name.as_str())
        .collect();
    println!("{CORE}: {} direct dependencies (at most {MOST_DIRECT_DEPENDENCIES})", direct.len());

    println!("{CORE}: {} crates in its tree", crates(workspace)?);

    println!("{CORE}: built cold in {:.1} s (dev profile)", cold_build_seconds(workspace)?);

    if direct.len() > MOST_DIRECT_DEPENDENCIES {
        let names: Vec<&str> = direct.into_iter().collect();
        bail!("{CORE} has more than {MOST_DIRECT_DEPENDENCIES} direct dependencies: {}", names.join(", "));
    }
    Ok(())
}

/// How many crates the core's tree has, without itself.
pub fn crates(workspace: &Workspace) -> Result<usize> {
    let mut tree = workspace.cargo();
    tree.args(["tree", "--package", CORE]);
    crates_in(&mut tree)
}

/// How many crates `cargo tree` shows, without the first one. One that is reached on several ways is listed again, with
/// a mark behind its version.
pub fn crates_in(tree: &mut Command) -> Result<usize> {
    let tree = output(tree.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"]))?;
    let first = tree.lines().next().unwrap_or_default().to_owned();
    let crates: BTreeSet<&str> =
        tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| *line != first).collect();
    Ok(crates.len())
}

pub fn cold_build_seconds(workspace: &Workspace) -> Result<f64> {
    // Downloads are not in it: listing the tree has fetched everything.
    let folder = workspace.target_directory().join("weight");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let start = Instant::now();
    run(workspace.cargo().args(["build", "--quiet", "--package", CORE, "--target-dir"]).arg(&folder))?;
    let seconds = start.elapsed().as_secs_f64();
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(seconds)
}
