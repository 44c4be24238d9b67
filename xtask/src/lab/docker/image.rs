//! The one image of the lab, made here: no registry is asked for anything.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::daemon::Daemon;
use crate::command::{command, output, shown};

/// As tests name it.
pub const NAME: &str = "busybox:local";

const BUSYBOX: &str = "/bin/busybox";
const EMPTY_FOLDERS: &[&str] = &["dev", "proc", "sys", "tmp", "root", "var"];

/// Where the image is as a file.
pub fn file(daemon: &Daemon) -> PathBuf {
    daemon.home().join("image.tar")
}

/// Imports the image, if the daemon does not have it, and saves it as a file.
pub fn ensure(daemon: &Daemon) -> Result<()> {
    if output(daemon.client().args(["image", "inspect", NAME])).is_err() {
        import(daemon)?;
    }
    let file = file(daemon);
    if !file.exists() {
        let torn = file.with_extension("new");
        output(daemon.client().args(["image", "save", "--output"]).arg(&torn).arg(NAME))?;
        fs::rename(&torn, &file)?;
    }
    Ok(())
}

fn import(daemon: &Daemon) -> Result<()> {
    let root = daemon.home().join("rootfs");
    make_root(&root)?;

    // The same content gives the same image, whenever it is made.
    let mut archive = command("tar");
    archive.arg("--directory").arg(&root).args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0"]);
    archive.args(["--numeric-owner", "--create", "."]).stdout(Stdio::piped());
    let mut archiver = archive.spawn().context("cannot run tar")?;
    let content = archiver.stdout.take().context("tar has no output")?;
    output(daemon.client().args(["import", "--change", r#"CMD ["/bin/sh"]"#, "-", NAME]).stdin(content))?;
    let status = archiver.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(&archive));
    }
    Ok(())
}

/// One static program under many names, and the little that programs expect around it.
fn make_root(root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("etc"))?;
    for folder in EMPTY_FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    fs::copy(BUSYBOX, root.join("bin/busybox")).with_context(|| format!("cannot copy {BUSYBOX}"))?;
    for applet in output(command(BUSYBOX).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    Ok(())
}
