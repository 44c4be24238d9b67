//! One LXD or Incus daemon with everything of its own: data, socket, bridge.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{Product, certificates, image, processes};
use crate::command::{command, output, quoted, shown};
use crate::lab::mounts::unmount_below;
use crate::lab::process::{ProcessId, tail};
use crate::lab::{DaemonStatus, create_private_directory};
use crate::wait::until;

const STOP_PATIENCE: Duration = Duration::from_secs(40);
const START_PATIENCE: Duration = Duration::from_secs(90);

/// Where the data of daemons is: containers have users of their own, who must be able to pass every folder on the
/// way to their disks, and nobody else may pass the lab's.
const DATA: &str = "/var/lib/substrates-lab";

/// What tells one daemon of the lab from another.
pub struct Profile {
    pub name: &'static str,
    pub bridge: &'static str,
    pub bridge_address: &'static str,
    /// Listen on HTTPS too.
    pub https: bool,
}

pub struct Daemon {
    product: &'static Product,
    profile: &'static Profile,
    home: PathBuf,
}

/// What must be known about a daemon that another run of this tool started.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    process: Option<ProcessId>,
    https_port: Option<u16>,
    /// Pool, bridge and default profile are made.
    configured: bool,
}

impl Daemon {
    pub fn new(product: &'static Product, profile: &'static Profile, lab: &Path) -> Self {
        Self { product, profile, home: lab.join(profile.name) }
    }

    pub fn name(&self) -> &'static str {
        self.profile.name
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// One per lab: the path of this one's is in its name.
    pub fn data(&self) -> PathBuf {
        let home = self.home.display().to_string();
        let sum = home.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        PathBuf::from(DATA).join(format!("{}-{:08x}", self.name(), sum & 0xffff_ffff))
    }

    pub fn certificates(&self) -> PathBuf {
        self.home.join("certificates")
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.data().join("unix.socket").display())
    }

    pub fn https_address(&self) -> Result<String> {
        let port = self.record()?.https_port.context("the daemon has no HTTPS port")?;
        Ok(format!("https://127.0.0.1:{port}"))
    }

    /// The script with which tests do something to this daemon.
    pub fn control_script(&self) -> PathBuf {
        self.home.join("control")
    }

    /// The product's own client, speaking to this daemon and keeping its settings here.
    fn client(&self, arguments: &[&str]) -> Command {
        let mut client = command(self.product.client);
        client.args(arguments);
        self.own(&mut client);
        client
    }

    fn own(&self, program: &mut Command) {
        for variable in
            ["LXD_SOCKET", "INCUS_SOCKET", "LXD_CONF", "INCUS_CONF", "LXD_PROJECT", "INCUS_PROJECT"]
        {
            program.env_remove(variable);
        }
        program.env(self.product.folder_variable, self.data()).env("HOME", &self.home);
    }

    pub fn status(&self) -> DaemonStatus {
        DaemonStatus {
            daemon: self.name().to_owned(),
            pid: self.running().ok().flatten().map(|process| process.pid),
            version: self.version().ok(),
            address: self.address(),
        }
    }

    /// What the daemon says of itself; an error when it does not answer.
    fn version(&self) -> Result<String> {
        if self.running()?.is_none() {
            bail!("{} does not run", self.name());
        }
        let answer = output(&mut self.client(&["query", "/1.0"]))?;
        let answer: serde_json::Value = serde_json::from_str(&answer).context("the answer is no JSON")?;
        let version = answer.pointer("/environment/server_version").and_then(|version| version.as_str());
        Ok(version.context("the daemon does not tell its version")?.to_owned())
    }

    /// Starts the daemon unless it runs; returns when it answers and has pool, bridge and profile.
    pub fn up(&self) -> Result<bool> {
        let started = if self.running()?.is_some() {
            // It may be frozen by a test that was itself ended.
            self.thaw()?;
            self.wait_for_answer(None)?;
            false
        } else {
            create_private_directory(&self.home)?;
            processes::end(&self.data())?;
            self.start()?;
            true
        };
        self.configure()?;
        Ok(started)
    }

    /// Starts the daemon on the state that is there; one that runs is only waited for.
    pub fn start(&self) -> Result<()> {
        if self.running()?.is_some() {
            return self.wait_for_answer(None);
        }
        let data = self.data();
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        for folder in [Path::new(DATA), &data] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o711))?;
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        // A session of its own, so that neither the end of this tool nor a Ctrl-C reaches it.
        let mut daemon = command("setsid");
        daemon
            .args([self.product.program, "--group", "root"])
            .current_dir("/")
            .stdout(log.try_clone()?)
            .stderr(log);
        self.own(&mut daemon);
        let child = daemon.spawn().with_context(|| format!("cannot run {}", self.product.program))?;
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let process = ProcessId::of(pid).with_context(|| self.with_log("it ended at once"))?;
        self.write_record(&Record { process: Some(process), ..self.record()? })?;
        self.wait_for_answer(Some(process))
    }

    /// SIGKILL, as when the machine's memory runs out. Containers go on.
    pub fn kill(&self) -> Result<()> {
        match self.running()? {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Ends the daemon in order; containers go on.
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
        if !self.record_file().exists() {
            return Ok(());
        }
        self.stop()?;
        processes::end(&self.data())?;
        unmount_below(&self.data())?;
        // A folder for each bridge that it ever made and did not remove.
        let mut bridges = vec![self.profile.bridge.to_owned()];
        if let Ok(folders) = fs::read_dir(self.data().join("networks")) {
            bridges.extend(folders.flatten().filter_map(|folder| folder.file_name().into_string().ok()));
        }
        for bridge in bridges {
            if output(command("ip").args(["link", "show", "dev", &bridge])).is_ok() {
                output(command("ip").args(["link", "delete", &bridge, "type", "bridge"]))?;
            }
        }
        if keep_state {
            return self.write_record(&Record { process: None, ..self.record()? });
        }
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
        }
        // The folder of all labs, if this was the last.
        let _ = fs::remove_dir(DATA);
        fs::remove_dir_all(&self.home).with_context(|| format!("cannot remove {}", self.home.display()))
    }

    // ---- what is in it ----------------------------------------------------------------------------

    fn configure(&self) -> Result<()> {
        let mut record = self.record()?;
        if record.configured {
            return Ok(());
        }
        let mut settings = String::new();
        if self.profile.https {
            let port = free_port()?;
            settings = format!("config:\n  core.https_address: 127.0.0.1:{port}\n");
            record.https_port = Some(port);
        }
        // Without address translation: it needs packet filters that not every kernel has, and nothing here
        // leaves the machine.
        settings.push_str(&format!(
            "storage_pools:\n- name: default\n  driver: dir\n\
             networks:\n- name: {bridge}\n  type: bridge\n  config:\n    ipv4.address: {address}\n    \
             ipv4.nat: \"false\"\n    ipv6.address: none\n\
             profiles:\n- name: default\n  devices:\n    root: {{type: disk, path: /, pool: default}}\n    \
             eth0: {{type: nic, network: {bridge}, name: eth0}}\n",
            bridge = self.profile.bridge,
            address = self.profile.bridge_address,
        ));
        let [program, arguments @ ..] = self.product.preseed else { bail!("no program takes the settings") };
        let mut preseed = command(program);
        preseed.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        self.own(&mut preseed);
        let mut child = preseed.spawn().with_context(|| format!("cannot run {}", shown(&preseed)))?;
        child.stdin.take().context("it takes no input")?.write_all(settings.as_bytes())?;
        let result = child.wait_with_output()?;
        if !result.status.success() {
            bail!("{}: {}", shown(&preseed), String::from_utf8_lossy(&result.stderr).trim());
        }
        record.configured = true;
        self.write_record(&record)
    }

    /// Imports the image, if the daemon does not have it.
    pub fn import(&self, file: &Path) -> Result<()> {
        if output(&mut self.client(&["image", "info", image::ALIAS])).is_ok() {
            return Ok(());
        }
        let file = file.display().to_string();
        output(&mut self.client(&["image", "import", &file, "--alias", image::ALIAS, "--public"])).map(drop)
    }

    /// The server's certificate, one of a client that it trusts, and one of a stranger.
    pub fn write_client_certificates(&self) -> Result<()> {
        let folder = self.certificates();
        certificates::ensure(&folder)?;
        fs::copy(self.data().join("server.crt"), folder.join("server.crt"))?;
        let client = folder.join(format!("{}.crt", certificates::CLIENT)).display().to_string();
        let add: &[&str] = match self.product.name {
            "lxd" => &["config", "trust", "add", &client],
            _ => &["config", "trust", "add-certificate", &client],
        };
        match output(&mut self.client(add)) {
            Err(error) if !format!("{error:#}").contains("already") => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether this kernel can do what bounds of bandwidth need: queues in one direction, policing in the other.
    pub fn limits_bandwidth(&self) -> Result<&'static str> {
        let bridge = self.profile.bridge;
        let tc = |arguments: &[&str]| output(command("tc").args(arguments)).is_ok();
        tc(&["qdisc", "add", "dev", bridge, "handle", "ffff:0", "ingress"]);
        let police: &[&str] = &["police", "rate", "1mbit", "burst", "1024k", "mtu", "64kb", "drop"];
        let filter: &[&str] = &["filter", "add", "dev", bridge, "parent", "ffff:0", "protocol", "all", "u32"];
        let can = tc(&[filter, &["match", "u32", "0", "0"], police].concat());
        tc(&["qdisc", "del", "dev", bridge, "handle", "ffff:0", "ingress"]);
        Ok(if can { "yes" } else { "no" })
    }

    /// A script and a copy of this program, so that tests need neither cargo nor the folder it builds in.
    pub fn write_control_script(&self) -> Result<()> {
        let lab = self.home.parent().context("the daemon's home has a parent")?.display().to_string();
        let program = self.home.join("xtask");
        let new_program = self.home.join("xtask.new");
        // Renamed into place: a program that runs at this moment cannot be written to. Not by the path of
        // this program: cargo may have replaced it since it was started.
        fs::copy("/proc/self/exe", &new_program)?;
        fs::rename(&new_program, &program)?;
        let script = format!(
            "#!/bin/sh\n# {{kill|stop|start|freeze|thaw}}: returns when it is done.\n\
             exec {} lab --directory {} control {} \"$1\"\n",
            quoted(&program.display().to_string()),
            quoted(&lab),
            self.name(),
        );
        let path = self.control_script();
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    // ---- the process ------------------------------------------------------------------------------

    /// Until the daemon answers; an early end of the process is an error at once.
    fn wait_for_answer(&self, process: Option<ProcessId>) -> Result<()> {
        let answered = until(START_PATIENCE, || {
            if process.is_some_and(|process| !process.is_alive()) {
                bail!(self.with_log("the daemon ended before it answered"));
            }
            Ok(self.version().is_ok())
        })?;
        if !answered {
            let seconds = START_PATIENCE.as_secs();
            bail!(self.with_log(&format!("the daemon does not answer after {seconds} s")));
        }
        Ok(())
    }

    fn running(&self) -> Result<Option<ProcessId>> {
        Ok(self.record()?.process.filter(|process| process.is_alive()))
    }

    fn with_log(&self, what: &str) -> String {
        format!("{what}; the end of {}:\n{}", self.log().display(), tail(&self.log(), 20))
    }

    fn record(&self) -> Result<Record> {
        let file = self.record_file();
        if !file.exists() {
            return Ok(Record::default());
        }
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is torn", file.display()))
    }

    fn write_record(&self, record: &Record) -> Result<()> {
        let file = self.record_file();
        let new_file = file.with_extension("new");
        fs::write(&new_file, serde_json::to_vec_pretty(record)?)
            .and_then(|()| fs::rename(&new_file, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn record_file(&self) -> PathBuf {
        self.home.join("daemon.json")
    }

    fn log(&self) -> PathBuf {
        self.home.join("daemon.log")
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
