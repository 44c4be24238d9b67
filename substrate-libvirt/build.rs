//! Says what is missing, and how to get it, before the linker fails with something that nobody understands.

use std::process::{Command, ExitCode};

/// The oldest C library that the binding works with.
const OLDEST: &str = "6.0.0";

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    // Documentation is built without linking.
    if std::env::var_os("DOCS_RS").is_some() {
        return ExitCode::SUCCESS;
    }
    let program = std::env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let found = |arguments: &[&str]| {
        Command::new(&program).args(arguments).output().map(|output| output.status.success())
    };
    let problem = match found(&["--atleast-version", OLDEST, "libvirt", "libvirt-qemu"]) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => format!("the C library libvirt ({OLDEST} or newer) with its headers is not installed"),
        Err(error) => format!("pkg-config, which finds the C library libvirt, cannot be run ({error})"),
    };
    println!("cargo:warning=substrate-libvirt: {problem}");
    println!("cargo:warning=on Debian and Ubuntu:  apt-get install libvirt-dev pkg-config");
    println!("cargo:warning=on Fedora and RHEL:    dnf install libvirt-devel pkgconf");
    println!("cargo:warning=or leave the feature `libvirt` off");
    complain(&problem);
    ExitCode::FAILURE
}

#[allow(clippy::print_stderr, reason = "the only voice of a build script that gives up")]
fn complain(problem: &str) {
    eprintln!("substrate-libvirt: {problem}; on Debian: apt-get install libvirt-dev pkg-config");
}
