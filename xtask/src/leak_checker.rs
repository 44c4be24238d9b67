//! LeakSanitizer around the test programs that look for leaks: at such a program's end it tells what was allocated, by
//! C libraries too, and can be reached from nowhere. Loaded before the program, for which nothing is built anew: the
//! compiler's own way to it needs a nightly one, and valgrind takes thirty times as long.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::command;
use crate::lab::cache_directory;
use crate::lab::packages::{Package, install};

const LIBRARY: &str = "liblsan.so.0";
const PACKAGES: &[Package] = &[Package::new("liblsan0")];

/// Installs it if it is missing.
pub fn ensure() -> Result<()> {
    if works().is_ok() {
        return Ok(());
    }
    let folder = cache_directory()?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    install(PACKAGES, &folder.join("leak-checker.log"))
        .context("tests for leaks need LeakSanitizer; install liblsan0")?;
    works()
}

/// A library that is not there, or has been built for others, would only be warned of and left out.
fn works() -> Result<()> {
    let mut nothing = command("true");
    around(&mut nothing);
    let output = nothing.output().context("cannot run true")?;
    if !output.status.success() || !output.stderr.is_empty() {
        bail!(
            "LeakSanitizer cannot look at a program here ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Has a program looked at, and all that it starts: one with leaks ends with exit code 23. Whoever wants to see the
/// whole way to an allocation, through libraries without frame pointers too, sets
/// `LSAN_OPTIONS=fast_unwind_on_malloc=0`; it takes fifteen times as long.
pub fn around(program: &mut Command) {
    program.env("LD_PRELOAD", LIBRARY);
}
