//! The machines of the lab: the kernel of the distribution for clouds, a root file system of busybox, and QEMU's
//! guest agent. They are up in two seconds, in software alone.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::command::{command, output, run, shown};

/// The image's volume, and the files to boot.
pub const VOLUME: &str = "busybox.qcow2";
pub const KERNEL: &str = "vmlinuz";
pub const INITRD: &str = "initramfs";

/// Silent, so that the console holds what the guest's programs write and nothing else, and without what takes long in
/// software.
pub const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet loglevel=0 panic=-1 nokaslr mitigations=off no_timer_check \
     tsc=reliable random.trust_cpu=on";

const BUSYBOX: &str = "/bin/busybox";
/// Names the package with the kernel of today.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
const AGENT_PACKAGE: &str = "qemu-guest-agent";
const DISK_SIZE: &str = "64M";

/// What the root file system needs to be found, in the order in which it can be loaded.
const EARLY_MODULES: &[&str] =
    &["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"];
/// What the guest needs when it is up: the agent's channel, networks, memory, and the power button.
const LATE_MODULES: &[&str] = &[
    "virtio_console",
    "failover",
    "net_failover",
    "virtio_net",
    "virtio_balloon",
    "button",
    "evdev",
    "fat",
    "vfat",
    "nls_cp437",
    "nls_ascii",
];

/// Everything is written at once: the power may be cut at any moment, and a snapshot is of the disk.
const INIT_OF_INITRD: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in MODULES; do /bin/busybox insmod /lib/$module.ko; done
/bin/busybox mount -t ext4 -o rw,sync,dirsync,noatime /dev/vda /new
/bin/busybox mount -t devtmpfs dev /new/dev
exec /bin/busybox switch_root /new /sbin/init
"#;

/// Of cloud-init it does what tests look at: the user data are where cloud-init would have put them.
/// Then the agent: it is what tests wait for. Its port has its name a moment after the driver was loaded. With `substrates.deaf` the guest heeds no request to shut down.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
insmod /lib/virtio_console.ko
while [ -z "$agent" ]; do
    for port in /sys/class/virtio-ports/*; do
        [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] && agent=/dev/${port##*/}
    done
    [ -n "$agent" ] || sleep 0.05
done
if [ -e /dev/vdb ]; then
    for module in fat vfat nls_cp437 nls_ascii; do insmod /lib/$module.ko; done
    for disk in /dev/vd[b-z]; do
        mount -t vfat -o ro,iocharset=ascii "$disk" /mnt 2>/dev/null || continue
        mkdir -p /var/lib/cloud/instance
        cp /mnt/user-data /var/lib/cloud/instance/user-data.txt
        umount /mnt
    done
fi
if ! grep -q substrates.no-agent /proc/cmdline; then
    qemu-ga -m virtio-serial -p "$agent" -f /run/qemu-ga.pid -t /run -l /dev/null -d 2>/dev/null
fi
for module in failover net_failover virtio_net virtio_balloon; do insmod /lib/$module.ko; done
if grep -q substrates.deaf /proc/cmdline; then
    rm -f /sbin/shutdown
else
    insmod /lib/button.ko
    insmod /lib/evdev.ko
    acpid -l /dev/null 2>/dev/null
fi
for interface in /sys/class/net/eth*; do
    [ -e "$interface" ] && udhcpc -q -b -i "${interface##*/}" -s /etc/udhcpc >/dev/null 2>&1 &
done
while :; do
    sleep 3600 &
    wait
done
"#;

const SHUTDOWN: &str = "#!/bin/sh\nsync\nexec poweroff -f\n";
const DHCP: &str = r#"#!/bin/sh
case "$1" in
    deconfig) ifconfig "$interface" up ;;
    bound) ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}" ;;
esac
"#;

pub struct Guest {
    cache: PathBuf,
}

impl Guest {
    pub fn new(cache: &Path) -> Self {
        Self { cache: cache.to_owned() }
    }

    /// The finished files: kernel, initial RAM disk, disk.
    pub fn files(&self) -> [(PathBuf, &'static str); 3] {
        [KERNEL, INITRD, VOLUME].map(|name| (self.cache.join(name), name))
    }

    /// Makes what is missing, or was made by another recipe.
    pub fn ensure(&self) -> Result<()> {
        let recipe =
            [INIT_OF_INITRD, INIT, SHUTDOWN, DHCP, DISK_SIZE, "journal", &LATE_MODULES.join(" ")].join("\n");
        let mark = self.cache.join("recipe");
        let is_same = fs::read_to_string(&mark).is_ok_and(|known| known == recipe);
        if is_same && self.files().iter().all(|(file, _)| file.exists()) {
            return Ok(());
        }
        println!("lab: making the guest of libvirt's machines");
        let work = self.cache.join("work");
        if work.exists() {
            fs::remove_dir_all(&work)?;
        }
        fs::create_dir_all(&work)?;
        let kernel = unpack(&kernel_package()?, &work)?;
        let agent = unpack(AGENT_PACKAGE, &work)?;
        fs::copy(only_file(&kernel.join("boot"), "vmlinuz")?, self.cache.join(KERNEL))?;
        make_initrd(&work, &kernel, &self.cache.join(INITRD))?;
        make_disk(&work, &kernel, &agent, &self.cache.join(VOLUME))?;
        fs::remove_dir_all(&work)?;
        fs::write(&mark, recipe).context("cannot note the recipe")
    }
}

/// The package that holds the kernel, named by one that only depends on it.
fn kernel_package() -> Result<String> {
    let depends = output(command("apt-cache").args(["depends", KERNEL_PACKAGE]))?;
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .with_context(|| format!("{KERNEL_PACKAGE} names no kernel"))
}

/// Downloads a package and unpacks it into a folder, without installing it.
fn unpack(package: &str, work: &Path) -> Result<PathBuf> {
    let folder = work.join(package);
    fs::create_dir_all(&folder)?;
    // As root: the folder is private, and apt's own user could not write into it.
    run(command("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", package])
        .current_dir(&folder))?;
    let archive = only_file(&folder, package)?;
    let root = folder.join("root");
    run(command("dpkg").arg("-x").arg(archive).arg(&root))?;
    Ok(root)
}

fn only_file(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .with_context(|| format!("{} has no file that begins with {prefix}", folder.display()))
}

/// The kernel's modules by name, wherever below they are.
fn copy_modules(kernel: &Path, names: &[&str], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut wanted: BTreeSet<String> = names.iter().map(|name| format!("{name}.ko")).collect();
    let mut folders = vec![kernel.join("lib/modules")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if wanted.remove(&name) {
                fs::copy(entry.path(), to.join(name))?;
            }
        }
    }
    if wanted.is_empty() { Ok(()) } else { bail!("the kernel has no modules {wanted:?}") }
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn make_initrd(work: &Path, kernel: &Path, file: &Path) -> Result<()> {
    let root = work.join("initrd");
    for folder in ["bin", "lib", "proc", "sys", "dev", "new"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).with_context(|| format!("cannot copy {BUSYBOX}"))?;
    copy_modules(kernel, EARLY_MODULES, &root.join("lib"))?;
    write_program(&root.join("init"), &INIT_OF_INITRD.replace("MODULES", &EARLY_MODULES.join(" ")))?;
    // Not compressed: unpacking takes longer in software than reading.
    let mut cpio = command("cpio");
    cpio.args(["--create", "--format=newc", "--quiet"]).current_dir(&root);
    let mut archiver =
        cpio.stdin(Stdio::piped()).stdout(fs::File::create(file)?).spawn().context("cannot run cpio")?;
    let names = output(command("find").arg(".").current_dir(&root))?;
    archiver.stdin.take().context("cpio has no input")?.write_all(names.as_bytes())?;
    let status = archiver.wait()?;
    if status.success() { Ok(()) } else { bail!("{} ended with {status}", shown(&cpio)) }
}

fn make_disk(work: &Path, kernel: &Path, agent: &Path, file: &Path) -> Result<()> {
    let root = work.join("disk");
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "run", "var/log", "var/run", "mnt"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).with_context(|| format!("cannot copy {BUSYBOX}"))?;
    for applet in output(command(BUSYBOX).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    let program = agent.join("usr/sbin/qemu-ga");
    for library in
        output(command("ldd").arg(&program))?.split_whitespace().filter(|word| word.starts_with('/'))
    {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().context("a library lies in a folder")?)?;
        fs::copy(library, place).with_context(|| format!("cannot copy {library}"))?;
    }
    fs::create_dir_all(root.join("usr/sbin"))?;
    fs::copy(&program, root.join("usr/sbin/qemu-ga"))?;
    copy_modules(kernel, LATE_MODULES, &root.join("lib"))?;
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    write_program(&root.join("sbin/init"), INIT)?;
    write_program(&root.join("sbin/shutdown"), SHUTDOWN)?;
    // What the power button does.
    write_program(&root.join("etc/acpi/PWRF/00000080"), SHUTDOWN)?;
    write_program(&root.join("etc/udhcpc"), DHCP)?;
    let raw = work.join("disk.raw");
    run(command("truncate").args(["--size", DISK_SIZE]).arg(&raw))?;
    // With a journal: tests cut the power, and without one a block that was just written is found free.
    run(command("mke2fs")
        .args(["-q", "-t", "ext4", "-J", "size=4", "-m", "0", "-E", "root_owner=0:0", "-d"])
        .arg(&root)
        .arg(&raw))?;
    run(command("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(file))
}
