//! The workspace as cargo describes it, and cargo itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::{command, output};

#[derive(Deserialize)]
pub struct Workspace {
    packages: Vec<Package>,
    #[serde(rename = "workspace_root")]
    root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub version: String,
    manifest_path: PathBuf,
    pub dependencies: Vec<Dependency>,
    pub features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
pub struct Dependency {
    pub name: String,
    /// None is a normal dependency, else `dev` or `build`.
    pub kind: Option<String>,
    pub optional: bool,
}

impl Workspace {
    /// The workspace that this tool belongs to.
    pub fn load() -> Result<Self> {
        // As `cargo run` says it now, not as it was when this was built: checkouts may share a target folder.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
        let manifest = Path::new(&package).join("Cargo.toml");
        let mut metadata = command(&program());
        metadata.args(["metadata", "--format-version=1", "--no-deps", "--manifest-path"]).arg(manifest);
        serde_json::from_str(&output(&mut metadata)?).context("cannot read what cargo says of the workspace")
    }

    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    pub fn package(&self, name: &str) -> Result<&Package> {
        let found = self.packages.iter().find(|package| package.name == name);
        found.with_context(|| format!("the workspace has no package {name}"))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn target_directory(&self) -> &Path {
        &self.target_directory
    }

    /// Where conformance suites leave their reports during a test run.
    pub fn report_directory(&self) -> PathBuf {
        self.target_directory.join("conformance")
    }

    /// Cargo in the root of the workspace.
    pub fn cargo(&self) -> Command {
        let mut cargo = command(&program());
        cargo.current_dir(&self.root);
        cargo
    }
}

impl Package {
    pub fn directory(&self) -> Result<&Path> {
        self.manifest_path.parent().with_context(|| format!("the package {} has no folder", self.name))
    }
}

/// The cargo that runs this tool, so that both use the same toolchain.
fn program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
