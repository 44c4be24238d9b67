//! What somebody reads who builds the libvirt provider where its C library is not installed.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;

const PACKAGE: &str = "substrate-libvirt";
const ADVICE: &str = "apt-get install libvirt-dev";
/// The binding, which tells of it in words for those who know pkg-config.
const BINDING: &str = "`virt-sys ";

/// Builds the provider with no library to be found: the build has to end, and the first error has to name the package.
pub fn is_told(workspace: &Workspace) -> Result<()> {
    let folder = workspace.target_directory().join("missing-library");
    let libraries = folder.join("no-libraries");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&libraries).with_context(|| format!("cannot create {}", libraries.display()))?;
    let output = workspace
        .cargo()
        .args(["check", "--package", PACKAGE, "--target-dir"])
        .arg(&folder)
        .env("PKG_CONFIG_LIBDIR", &libraries)
        .env_remove("PKG_CONFIG_PATH")
        .output()
        .context("cannot run cargo")?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{PACKAGE} was built without the C library");
    ensure!(
        names_the_package(&told),
        "a build of {PACKAGE} without the C library does not say `{ADVICE}` first: {told}"
    );
    Ok(())
}

/// Whether a build that ended says what to install, and before the binding says anything.
fn names_the_package(told: &str) -> bool {
    let advice = told.find(ADVICE);
    advice.is_some_and(|advice| told.find(BINDING).is_none_or(|binding| advice < binding))
}

#[cfg(test)]
mod tests {
    use super::names_the_package;

    #[test]
    fn the_package_is_named_before_the_binding_speaks() {
        let ours = "error: failed to run custom build command for `substrate-libvirt-library v0.1.0`\n\
                    Debian, Ubuntu:  apt-get install libvirt-dev pkg-config\n";
        let theirs = "error: failed to run custom build command for `virt-sys v0.3.2`\n\
                      The file `libvirt.pc` needs to be installed\n";
        assert!(names_the_package(ours));
        assert!(names_the_package(&format!("{ours}{theirs}")));
        assert!(!names_the_package(&format!("{theirs}{ours}")));
        assert!(!names_the_package(theirs));
        assert!(!names_the_package(""));
    }
}
