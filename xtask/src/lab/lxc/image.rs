//! The one image of the lab, made here: no server of images is asked for anything. The same file serves both
//! products.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{command, output};

/// As tests name it.
pub const ALIAS: &str = "busybox-local";

const BUSYBOX: &str = "/bin/busybox";
const EMPTY_FOLDERS: &[&str] = &["dev", "proc", "sys", "tmp", "root", "var", "run", "mnt"];

/// An init that starts nothing and ends when it is asked to.
const INITTAB: &str = "::sysinit:/bin/true\n::shutdown:/bin/true\n";

/// The server fills the template in at the first start, as in images that have cloud-init. Here it lays the data where
/// cloud-init would have put them.
const METADATA: &str = "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: busybox\n  \
    description: one static program under many names\ntemplates:\n  /var/lib/cloud/instance/user-data.txt:\n    \
    when: [create, copy]\n    template: user-data.tpl\n";
const USER_DATA_TEMPLATE: &str = r#"{{ config_get("cloud-init.user-data", "") }}"#;

/// Where the file is. Its name is by what is in it: a file of before is not taken for this one.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("busybox-with-links.tar.gz")
}

/// Makes the file, if the folder does not have it.
pub fn ensure(folder: &Path) -> Result<PathBuf> {
    let image = path(folder);
    if image.exists() {
        return Ok(image);
    }
    let root = folder.join("rootfs");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    make_root(&root)?;
    fs::write(folder.join("metadata.yaml"), METADATA).context("cannot write the image's metadata")?;
    let templates = folder.join("templates");
    fs::create_dir_all(&templates)?;
    fs::write(templates.join("user-data.tpl"), USER_DATA_TEMPLATE)
        .context("cannot write the image's template")?;
    let torn = folder.join("new.tar.gz");
    let mut archive = command("tar");
    archive
        .arg("--directory")
        .arg(folder)
        .args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "--gzip",
            "--create",
        ])
        .arg("--file")
        .arg(&torn)
        .args(["metadata.yaml", "rootfs", "templates"]);
    output(&mut archive)?;
    fs::rename(&torn, &image)?;
    Ok(image)
}

fn make_root(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "etc"].iter().chain(EMPTY_FOLDERS) {
        let folder = root.join(name);
        fs::create_dir_all(&folder)?;
        let mode = if *name == "tmp" { 0o1777 } else { 0o755 };
        // Whatever the umask of the lab is: others than root run programs in it.
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    for (name, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("group", "root:x:0:\nnogroup:x:65534:\n"),
        ("inittab", INITTAB),
    ] {
        fs::write(root.join("etc").join(name), text)?;
        fs::set_permissions(root.join("etc").join(name), fs::Permissions::from_mode(0o644))?;
    }
    let busybox = root.join("bin/busybox");
    fs::copy(BUSYBOX, &busybox).with_context(|| format!("cannot copy {BUSYBOX}"))?;
    for applet in output(command(BUSYBOX).arg("--list"))?.lines() {
        if !matches!(applet, "busybox" | "init") {
            // Not a symbolic link: that is a file of its own, and hundreds of them unpacked with each container are
            // most of the time that a container takes to make.
            fs::hard_link(&busybox, root.join("bin").join(applet))?;
        }
    }
    Ok(symlink("../bin/busybox", root.join("sbin/init"))?)
}
