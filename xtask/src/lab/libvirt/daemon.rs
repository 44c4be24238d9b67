//! One `libvirtd` with everything of its own.
//!
//! A daemon for the whole system knows no folders but those that it was built with. So each lives in name spaces of
//! its own: its folders are mounted over the system's there, its networks and packet filter are nobody else's, and
//! when the first process there ends, everything that it started does.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::guest::{Guest, VOLUME};
use super::traffic_control::{self, TrafficControl};
use crate::command::{command, output, quoted, run};
use crate::lab::mounts::mounted;
use crate::lab::process::{ProcessId, all_with_arguments, tail};
use crate::lab::{DaemonStatus, create_private_directory};
use crate::wait::until;

/// Where the daemon sees what is to be booted.
pub const BOOT: &str = "/var/lib/libvirt/boot";
/// Its storage pools, each a folder below its own.
const POOLS: [&str; 2] = ["machines", "images"];

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What is mounted where: the folder in the daemon's home, and the one that the daemon was built with.
const FOLDERS: [(&str, &str); 5] = [
    ("etc", "/etc/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("run", "/run/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
];

pub struct Daemon {
    name: &'static str,
    home: PathBuf,
    /// A folder with programs to use in the place of the machine's own.
    programs: Option<PathBuf>,
    traffic_control: Option<TrafficControl>,
}

/// The processes that hold the name spaces: the one that made them, and the first one inside.
#[derive(Serialize, Deserialize)]
struct Record {
    maker: ProcessId,
    first: ProcessId,
}

impl Daemon {
    pub fn new(name: &'static str, lab: &Path) -> Self {
        Self { name, home: lab.join(name), programs: None, traffic_control: None }
    }

    /// Runs programs that were unpacked into a folder.
    pub fn with_programs(mut self, root: &Path) -> Self {
        self.programs = Some(root.to_owned());
        self
    }

    /// Has what it asks the host's traffic control written down instead of done.
    pub fn with_recorded_traffic_control(mut self) -> Self {
        self.traffic_control = Some(TrafficControl::new(&self.home));
        self
    }

    /// Where that is written.
    pub fn recorded_traffic_control(&self) -> Option<&Path> {
        self.traffic_control.as_ref().map(TrafficControl::folder)
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn uri(&self) -> String {
        format!("qemu:///system?socket={}", self.home.join("run/libvirt-sock").display())
    }

    pub fn status(&self) -> DaemonStatus {
        DaemonStatus {
            daemon: self.name.to_owned(),
            pid: self.running().ok().flatten().map(|process| process.pid),
            version: self.version().ok(),
            address: self.uri(),
        }
    }

    /// As the daemon itself says: it has to answer.
    fn version(&self) -> Result<String> {
        let said = self.virsh(&["version", "--daemon"])?;
        said.lines()
            .find_map(|line| line.strip_prefix("Running against daemon: "))
            .map(|version| version.trim().to_owned())
            .context("libvirtd does not tell its version")
    }

    /// Bounded: a daemon that is frozen takes a connection and never answers.
    fn virsh(&self, arguments: &[&str]) -> Result<String> {
        let uri = self.uri();
        output(
            command("timeout")
                .env("LC_ALL", "C")
                .args(["15", "virsh", "--quiet", "--connect", &uri])
                .args(arguments),
        )
    }

    /// Starts the daemon unless it runs; returns when it answers and has its pools.
    pub fn up(&self, guest: &Guest) -> Result<bool> {
        if self.running()?.is_some() {
            // It may be frozen by a test that was itself ended.
            self.thaw()?;
            self.wait_for_answer()?;
            return Ok(false);
        }
        self.end_name_spaces()?;
        self.prepare(guest)?;
        self.make_name_spaces()?;
        self.start()?;
        self.define_pools()?;
        Ok(true)
    }

    fn prepare(&self, guest: &Guest) -> Result<()> {
        create_private_directory(&self.home)?;
        for (folder, system) in FOLDERS {
            let folder = self.home.join(folder);
            // The package's own settings to begin with; its default network is not wanted.
            if system.starts_with("/etc") && !folder.exists() {
                let package = match &self.programs {
                    Some(root) => root.join(system.trim_start_matches('/')),
                    None => PathBuf::from(system),
                };
                run(command("cp").arg("-a").arg(package).arg(&folder))?;
                let networks = folder.join("qemu/networks");
                if networks.exists() {
                    fs::remove_dir_all(networks)?;
                }
            }
            fs::create_dir_all(&folder)?;
        }
        // The emulator needs no name space within ours, and one cannot be made over what is mounted in `/dev`.
        let settings = self.home.join("etc/qemu.conf");
        fs::write(&settings, "namespaces = []\n")
            .with_context(|| format!("cannot write {}", settings.display()))?;
        // What a run of before left: sockets and process ids of processes that are gone.
        let run_folder = self.home.join("run");
        fs::remove_dir_all(&run_folder)?;
        fs::create_dir_all(&run_folder)?;
        let lib = self.home.join("lib");
        for pool in POOLS {
            fs::create_dir_all(lib.join(pool))?;
        }
        fs::create_dir_all(lib.join("boot"))?;
        for (file, name) in guest.files() {
            let folder = if name == VOLUME { "images" } else { "boot" };
            let place = lib.join(folder).join(name);
            // Copied: libvirt gives them to the emulator's user.
            fs::copy(&file, &place)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o644))?;
        }
        if let Some(traffic_control) = &self.traffic_control {
            traffic_control.prepare()?;
        }
        fs::write(self.no_kvm(), "")?;
        fs::set_permissions(self.no_kvm(), fs::Permissions::from_mode(0o000))?;
        Ok(())
    }

    /// A file that nobody can use, in the place of `/dev/kvm`: where that is there and does not work, libvirt probes
    /// the emulator anew at each definition, ten seconds long.
    fn no_kvm(&self) -> PathBuf {
        self.home.join("no-kvm")
    }

    fn make_name_spaces(&self) -> Result<()> {
        let ready = self.home.join("ready");
        if ready.exists() {
            fs::remove_file(&ready)?;
        }
        let script = self.home.join("first");
        fs::write(&script, self.first_script(&ready))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
        let log = File::options().create(true).append(true).open(self.log())?;
        // A session of its own, so that neither the end of this tool nor a Ctrl-C reaches it.
        let mut maker = command("setsid");
        maker
            .args([
                "unshare",
                "--mount",
                "--pid",
                "--net",
                "--uts",
                "--fork",
                "--kill-child=KILL",
                "--mount-proc",
            ])
            .arg(&script)
            .current_dir("/")
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = maker.spawn().context("cannot run unshare")?;
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let maker = ProcessId::of(pid).with_context(|| self.with_log("unshare ended at once"))?;
        let is_ready = until(START_PATIENCE, || {
            if !maker.is_alive() {
                bail!(self.with_log("the first process of the name spaces ended"));
            }
            Ok(ready.exists())
        })?;
        if !is_ready {
            bail!(self.with_log("the name spaces were not ready in time"));
        }
        let first = child_of(pid)?.with_context(|| self.with_log("the name spaces have no first process"))?;
        let record = Record { maker, first };
        fs::write(self.record_file(), serde_json::to_vec_pretty(&record)?)
            .context("cannot note the processes")
    }

    fn first_script(&self, ready: &Path) -> String {
        let home = |name: &str| quoted(&self.home.join(name).display().to_string());
        let mut script = "#!/bin/sh\nset -e\n".to_owned();
        if let Some(root) = &self.programs {
            let inside = |path: &str| quoted(&format!("{}{path}", root.display()));
            script.push_str(&format!("mount -t overlay overlay -o lowerdir={}:/usr /usr\n", inside("/usr")));
            // Modules of both versions in one folder would be loaded by the one daemon.
            script.push_str(&format!("for folder in {}/*/libvirt; do\n", inside("/usr/lib")));
            script.push_str(&format!("    mount --bind \"$folder\" \"${{folder#{}}}\"\ndone\n", inside("")));
        }
        if let Some(traffic_control) = &self.traffic_control {
            let program = quoted(&traffic_control.program().display().to_string());
            script.push_str(&format!("mount --bind {program} {}\n", traffic_control::SYSTEM));
        }
        for (folder, system) in FOLDERS {
            script.push_str(&format!("mkdir -p {system}\nmount --bind {} {system}\n", home(folder)));
        }
        script.push_str(&format!(
            "if [ -e /dev/kvm ]; then mount --bind {} /dev/kvm; fi\n\
             ip link set lo up\n\
             virtlogd --daemon --pid-file /run/libvirt/virtlogd.pid\n\
             touch {}\n\
             sleep infinity &\n\
             while :; do wait; done\n",
            home("no-kvm"),
            quoted(&ready.display().to_string()),
        ));
        script
    }

    fn define_pools(&self) -> Result<()> {
        let known = self.virsh(&["pool-list", "--all", "--name"])?;
        for pool in POOLS {
            if known.lines().any(|name| name.trim() == pool) {
                continue;
            }
            self.virsh(&["pool-define-as", pool, "dir", "--target", &format!("/var/lib/libvirt/{pool}")])?;
            self.virsh(&["pool-autostart", pool])?;
            self.virsh(&["pool-start", pool])?;
        }
        Ok(())
    }

    /// Starts the daemon in its name spaces; one that runs is only waited for.
    pub fn start(&self) -> Result<()> {
        if self.running()?.is_none() {
            let record = self.record()?.context("the lab is not up")?;
            let first = record.first.pid.to_string();
            run(command("nsenter")
                .args(["--target", &first, "--mount", "--pid", "--net", "--uts", "--"])
                .args(["libvirtd", "--daemon", "--pid-file", "/run/libvirt/libvirtd.pid"])
                .current_dir("/"))?;
        }
        self.wait_for_answer()
    }

    /// SIGKILL, as when the machine's memory runs out. Its machines go on.
    pub fn kill(&self) -> Result<()> {
        match self.running()? {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    pub fn stop(&self) -> Result<()> {
        if let Some(process) = self.running()? {
            process.signal(Signal::CONT)?;
            process.end(STOP_PATIENCE)?;
        }
        Ok(())
    }

    pub fn freeze(&self) -> Result<()> {
        self.running()?.context("the daemon does not run")?.signal(Signal::STOP)
    }

    pub fn thaw(&self) -> Result<()> {
        self.running()?.context("the daemon does not run")?.signal(Signal::CONT)
    }

    /// Ends the daemon with all that it started, and removes what it left on the machine.
    pub fn down(&self, keep_state: bool) -> Result<()> {
        self.stop()?;
        self.end_name_spaces()?;
        clear_control_groups()?;
        if keep_state || !self.home.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&self.home).with_context(|| format!("cannot remove {}", self.home.display()))
    }

    /// With the first process everything inside ends: machines, name servers, the daemon.
    fn end_name_spaces(&self) -> Result<()> {
        if let Some(record) = self.record()? {
            record.maker.kill()?;
            record.first.kill()?;
            fs::remove_file(self.record_file())?;
        }
        Ok(())
    }

    fn wait_for_answer(&self) -> Result<()> {
        if until(START_PATIENCE, || Ok(self.version().is_ok()))? {
            return Ok(());
        }
        bail!(self.with_log(&format!("libvirtd does not answer after {} s", START_PATIENCE.as_secs())))
    }

    /// The daemon's process, seen from outside: the one of that name in its name space of processes.
    fn running(&self) -> Result<Option<ProcessId>> {
        let Some(record) = self.record()?.filter(|record| record.first.is_alive()) else { return Ok(None) };
        let space = name_space_of(record.first.pid);
        let all = all_with_arguments()?;
        let is_daemon = |arguments: &[String]| {
            arguments.first().and_then(|path| path.rsplit('/').next()).is_some_and(|name| name == "libvirtd")
        };
        Ok(all
            .into_iter()
            .filter(|(process, arguments)| is_daemon(arguments) && process.is_alive())
            .map(|(process, _)| process)
            .find(|process| space.is_some() && name_space_of(process.pid) == space))
    }

    fn with_log(&self, what: &str) -> String {
        format!("{what}; the end of {}:\n{}", self.log().display(), tail(&self.log(), 20))
    }

    fn record(&self) -> Result<Option<Record>> {
        let file = self.record_file();
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let record = serde_json::from_slice(&text).with_context(|| format!("{} is torn", file.display()))?;
        Ok(Some(record))
    }

    fn record_file(&self) -> PathBuf {
        self.home.join("daemon.json")
    }

    fn log(&self) -> PathBuf {
        self.home.join("first.log")
    }
}

/// The only child of a process.
fn child_of(pid: i32) -> Result<Option<ProcessId>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(children.split_whitespace().next().and_then(|child| child.parse().ok()).and_then(ProcessId::of))
}

fn name_space_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Removes the control groups of machines that are gone: libvirt makes them below one that is shared by all its
/// daemons, so only what is empty goes.
fn clear_control_groups() -> Result<()> {
    for (point, kind) in mounted()? {
        if kind != "cgroup" && kind != "cgroup2" {
            continue;
        }
        let parent = point.join("machine");
        let Ok(entries) = fs::read_dir(&parent) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().ends_with(".libvirt-qemu") {
                remove_empty_groups(&entry.path());
            }
        }
        // Not while another daemon's machines are in it.
        let _ = fs::remove_dir(&parent);
    }
    Ok(())
}

/// A group can be removed when it has neither processes nor groups.
fn remove_empty_groups(group: &Path) {
    if let Ok(entries) = fs::read_dir(group) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_empty_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
