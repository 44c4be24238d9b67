//! Says what is missing, and how to get it, before the binding or the linker fails with something that nobody
//! understands.

use std::process::{Command, ExitCode};

/// What the binding links, in the oldest version that it works with.
const LIBRARIES: [&str; 2] = ["libvirt >= 6.0.0", "libvirt-qemu >= 6.0.0"];

/// What the program pkg-config itself reads.
const VARIABLES: [&str; 3] = ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"];

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    for variable in VARIABLES {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    // Documentation is built without linking.
    if std::env::var_os("DOCS_RS").is_some() || is_for_the_binding_to_say() {
        return ExitCode::SUCCESS;
    }
    match problem() {
        None => ExitCode::SUCCESS,
        Some(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

/// Whether somebody has said where the libraries of a target are: `PKG_CONFIG_ALLOW_CROSS`,
/// `PKG_CONFIG_PATH_aarch64-unknown-linux-gnu` and the like, which the binding understands.
///
/// A build dependency is built for the machine that builds and does not know the target; but without any such variable
/// the binding does not look for another machine's libraries either.
fn is_for_the_binding_to_say() -> bool {
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .any(|name| name.contains("PKG_CONFIG") && !VARIABLES.contains(&name.as_str()))
}

/// What stands in the way of a build; `None`: nothing.
fn problem() -> Option<String> {
    let program = std::env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    match Command::new(&program).args(["--exists", "--print-errors"]).args(LIBRARIES).status() {
        Ok(status) if status.success() => None,
        Ok(_) => Some(format!(
            "the C library of libvirt is not installed with its headers, or too old; needed: {}",
            LIBRARIES.join(", ")
        )),
        Err(error) => Some(format!(
            "`{}`, which knows where the C library of libvirt is, cannot be run ({error})",
            program.display()
        )),
    }
}

#[allow(clippy::print_stderr, reason = "the only voice of a build script that gives up")]
fn complain(problem: &str) {
    eprintln!("substrate-libvirt: {problem}");
    eprintln!("  Debian, Ubuntu:  apt-get install libvirt-dev pkg-config");
    eprintln!("  Fedora, RHEL:    dnf install libvirt-devel pkgconf");
    eprintln!("  or leave the feature `libvirt` off");
}
