//! What building the whole workspace needs beside Rust.
//!
//! Only the feature `libvirt` links a C library, and no default build has it; but what is checked and tested is
//! everything. This tool itself needs none of it.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{command, output};
use crate::lab::cache_directory;
use crate::lab::packages::{Package, install};

const PACKAGES: &[Package] = &[Package::new("libvirt-dev"), Package::of_program("pkg-config", "pkg-config")];

/// Installs what is missing.
pub fn ensure() -> Result<()> {
    // However it came to be there.
    if output(command("pkg-config").args(["--exists", "libvirt", "libvirt-qemu"])).is_ok() {
        return Ok(());
    }
    let folder = cache_directory()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    install(PACKAGES, &folder.join("build-packages.log")).context(
        "the workspace needs libvirt's C library to be built with all features; install libvirt-dev and pkg-config",
    )
}
