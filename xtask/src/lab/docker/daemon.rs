//! One `dockerd` with everything of its own: data, sockets, bridge, address pools, control group.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{certificates, cgroups, endpoint, firewall, network};
use crate::command::{command, output, run_within};
use crate::lab::mounts::unmount_below;
use crate::lab::process::{ProcessId, all_with_arguments, tail};
use crate::lab::{DaemonStatus, create_private_directory};
use crate::wait::until;

/// `dockerd` itself gives its containers 15 s; on a busy machine it needs more than that in all.
const STOP_PATIENCE: Duration = Duration::from_secs(40);
const START_PATIENCE: Duration = Duration::from_secs(90);
const REMOVE_PATIENCE: Duration = Duration::from_secs(60);

/// The longest path of a Unix socket that the kernel takes.
const LONGEST_SOCKET_PATH: usize = 107;
/// The longest that a daemon makes below its home.
const LONGEST_SOCKET: &str = "run/containerd/containerd-debug.sock";

/// What tells one daemon of the lab from another.
pub struct Profile {
    pub name: &'static str,
    pub bridge: &'static str,
    pub bridge_address: &'static str,
    /// Where networks without a subnet of their own get one; 256 each.
    pub address_pools: &'static [&'static str],
    pub firewall: bool,
    /// Listen on TCP with TLS too.
    pub tls: bool,
}

pub struct Daemon {
    profile: &'static Profile,
    home: PathBuf,
}

/// What must be known about a daemon that another run of this tool started.
#[derive(Serialize, Deserialize)]
struct Record {
    process: Option<ProcessId>,
    /// The same over all starts, so that addresses stay valid.
    tls_port: Option<u16>,
    firewall: Option<firewall::Before>,
}

impl Daemon {
    pub fn new(profile: &'static Profile, lab: &Path) -> Self {
        Self { profile, home: lab.join(profile.name) }
    }

    pub fn name(&self) -> &'static str {
        self.profile.name
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn tls_address(&self) -> Result<String> {
        let port = self.record()?.and_then(|record| record.tls_port).context("the daemon has no TLS port")?;
        Ok(format!("tcp://127.0.0.1:{port}"))
    }

    pub fn certificates(&self) -> PathBuf {
        self.home.join("certificates")
    }

    /// Written by the daemon itself.
    pub fn pid_file(&self) -> PathBuf {
        self.home.join("docker.pid")
    }

    /// Docker's own client, speaking to this daemon and reading nobody's settings.
    pub fn client(&self) -> Command {
        let mut client = command("docker");
        for variable in ["DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"] {
            client.env_remove(variable);
        }
        client.env("DOCKER_HOST", self.address()).arg("--config").arg(self.home.join("client"));
        client
    }

    pub fn status(&self) -> DaemonStatus {
        DaemonStatus {
            daemon: self.name().to_owned(),
            pid: self.running().ok().flatten().map(|process| process.pid),
            version: endpoint::version(&self.socket()).ok(),
            address: self.address(),
        }
    }

    /// Starts the daemon unless it runs; returns when it answers.
    pub fn up(&self) -> Result<bool> {
        if self.running()?.is_some() {
            // It may be frozen by a test that was itself ended.
            self.thaw()?;
            self.wait_for_answer(None)?;
            return Ok(false);
        }
        self.check_socket_length()?;
        if self.record()?.is_some() {
            self.clear_traces_of_a_crash()?;
        }
        create_private_directory(&self.home)?;
        self.start()?;
        Ok(true)
    }

    /// Starts the daemon on the state that is there; one that runs is only waited for.
    pub fn start(&self) -> Result<()> {
        if self.running()?.is_some() {
            return self.wait_for_answer(None);
        }
        if self.profile.tls {
            certificates::ensure(&self.certificates())?;
        }
        let mut record = match self.record()? {
            Some(record) => record,
            None => self.first_record()?,
        };
        network::ensure_bridge(self.profile.bridge, self.profile.bridge_address)?;
        // Both daemons refuse to start while the process of such a file seems to be there, and a killed one
        // that nobody has waited for does.
        for stale in [self.pid_file(), self.run_directory().join("containerd/containerd.pid")] {
            if stale.exists() {
                fs::remove_file(&stale).with_context(|| format!("cannot remove {}", stale.display()))?;
            }
        }
        fs::write(self.settings_file(), "{}\n").context("cannot write dockerd's settings")?;
        let log = File::options().create(true).append(true).open(self.log())?;
        // A session of its own, so that neither the end of this tool nor a Ctrl-C reaches it.
        let mut dockerd = command("setsid");
        dockerd
            .arg("dockerd")
            .args(self.arguments(&record))
            .current_dir("/")
            .stdout(log.try_clone()?)
            .stderr(log);
        for variable in ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "TMPDIR"] {
            dockerd.env_remove(variable);
        }
        let child = dockerd.spawn().context("cannot run dockerd")?;
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let process = ProcessId::of(pid).with_context(|| self.with_log("dockerd ended at once"))?;
        record.process = Some(process);
        self.write_record(&record)?;
        self.wait_for_answer(Some(process))
    }

    /// SIGKILL to the daemon and its containerd, as when the machine's memory runs out. Containers go on
    /// until the daemon is started again, which ends them.
    pub fn kill(&self) -> Result<()> {
        if let Some(process) = self.running()? {
            process.kill()?;
        }
        for (process, program) in self.companions()? {
            if program == "containerd" {
                process.kill()?;
            }
        }
        Ok(())
    }

    /// Ends the daemon in order; it ends its containers.
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
        // Without a record nothing on the machine is this daemon's: what bears its names is another lab's.
        if let Some(record) = self.record()? {
            self.remove_from_machine(record, keep_state)?;
            fs::remove_file(self.record_file())?;
        }
        if keep_state || !self.home.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&self.home).with_context(|| format!("cannot remove {}", self.home.display()))
    }

    fn remove_from_machine(&self, record: Record, keep_state: bool) -> Result<()> {
        if let Some(process) = self.running()? {
            process.signal(Signal::CONT)?;
            if !keep_state {
                self.remove_containers();
            }
            process.end(STOP_PATIENCE)?;
        }
        self.clear_traces_of_a_crash()?;
        let mut bridges = network::bridges_of(&self.data_directory())?;
        bridges.insert(self.profile.bridge.to_owned());
        for bridge in &bridges {
            network::remove_bridge(bridge)?;
        }
        match record.firewall {
            Some(before) => firewall::restore(&before, &bridges),
            None => Ok(()),
        }
    }

    fn arguments(&self, record: &Record) -> Vec<String> {
        let profile = self.profile;
        let mut arguments = vec![
            format!("--data-root={}", self.data_directory().display()),
            format!("--exec-root={}", self.run_directory().display()),
            format!("--pidfile={}", self.pid_file().display()),
            // Not that of the machine's own daemon, which may contradict what follows.
            format!("--config-file={}", self.settings_file().display()),
            format!("--host={}", self.address()),
            format!("--bridge={}", profile.bridge),
            format!("--cgroup-parent={}", self.cgroup()),
            "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
            "--log-driver=json-file".to_owned(),
            "--group=root".to_owned(),
            // A dockerd starts a containerd of its own unless the machine has one; there it must not meet
            // the containers of another.
            format!("--containerd-namespace={}", self.containerd_namespace()),
            format!("--containerd-plugins-namespace={}-plugins", self.containerd_namespace()),
        ];
        for pool in profile.address_pools {
            arguments.push(format!("--default-address-pool=base={pool},size=24"));
        }
        if record.firewall.is_none() {
            arguments
                .extend(["--iptables=false", "--ip-masq=false", "--ip-forward=false"].map(str::to_owned));
        }
        if let Some(port) = record.tls_port {
            let file = |name| self.certificates().join(name).display().to_string();
            arguments.push(format!("--host=tcp://127.0.0.1:{port}"));
            arguments.push("--tlsverify".to_owned());
            arguments.push(format!("--tlscacert={}", file(certificates::AUTHORITY)));
            arguments.push(format!("--tlscert={}", file(certificates::SERVER)));
            arguments.push(format!("--tlskey={}", file(certificates::SERVER_KEY)));
        }
        arguments
    }

    /// Before anything of this daemon's is on the machine, so that what is there is somebody else's.
    fn first_record(&self) -> Result<Record> {
        if network::exists(self.profile.bridge) {
            bail!(
                "there is a bridge {0} already: another lab on this machine, or what is left of one whose \
                 folder was removed by hand (then: ip link delete {0})",
                self.profile.bridge
            );
        }
        let tls_port = if self.profile.tls { Some(free_port()?) } else { None };
        let firewall = if self.profile.firewall { firewall::before()? } else { None };
        if self.profile.firewall && firewall.is_none() {
            println!("lab: another Docker manages the packet filter; {} leaves it alone", self.name());
        }
        let record = Record { process: None, tls_port, firewall };
        self.write_record(&record)?;
        Ok(record)
    }

    /// Until the socket answers; an early end of the process is an error at once.
    fn wait_for_answer(&self, process: Option<ProcessId>) -> Result<()> {
        let answered = until(START_PATIENCE, || {
            if process.is_some_and(|process| !process.is_alive()) {
                bail!(self.with_log("dockerd ended before it answered"));
            }
            Ok(endpoint::version(&self.socket()).is_ok())
        })?;
        if !answered {
            bail!(self.with_log(&format!("dockerd does not answer after {} s", START_PATIENCE.as_secs())));
        }
        Ok(())
    }

    fn running(&self) -> Result<Option<ProcessId>> {
        Ok(self.record()?.and_then(|record| record.process).filter(|process| process.is_alive()))
    }

    /// Removing them is quicker than the patience that the daemon has with each when it ends. What cannot
    /// be removed is ended by the control group: libnetwork of Docker 20.10 can lock itself up for good while
    /// several containers go at once, and its daemon then answers everything but this.
    fn remove_containers(&self) {
        let containers = output(self.client().args(["ps", "--all", "--quiet"])).unwrap_or_default();
        if !containers.trim().is_empty() {
            let mut removal = self.client();
            removal.args(["rm", "--force", "--volumes"]).args(containers.lines()).stdout(Stdio::null());
            if let Err(error) = run_within(REMOVE_PATIENCE, &mut removal) {
                println!("lab: {error:#}");
            }
        }
    }

    /// Processes and mounts that outlived a daemon; nothing to do after one that ended in order.
    fn clear_traces_of_a_crash(&self) -> Result<()> {
        for (process, _) in self.companions()? {
            process.kill()?;
        }
        cgroups::clear(&self.cgroup())?;
        unmount_below(&self.home)
    }

    /// Programs of Docker's that work for this daemon, known by its run directory or its namespace, with
    /// their names.
    fn companions(&self) -> Result<Vec<(ProcessId, String)>> {
        let run = self.run_directory().display().to_string();
        let namespace = self.containerd_namespace();
        let mut found = Vec::new();
        for (process, arguments) in all_with_arguments()? {
            let Some(program) = arguments.first().and_then(|path| path.rsplit('/').next()) else { continue };
            let is_dockers = program == "runc" || program.starts_with("containerd");
            if is_dockers && arguments.iter().any(|word| word.starts_with(&run) || *word == namespace) {
                found.push((process, program.to_owned()));
            }
        }
        Ok(found)
    }

    fn check_socket_length(&self) -> Result<()> {
        let longest = self.home.join(LONGEST_SOCKET);
        let length = longest.as_os_str().len();
        if length > LONGEST_SOCKET_PATH {
            bail!(
                "{} has {length} bytes, a socket's path at most {LONGEST_SOCKET_PATH}: \
                 name a shorter folder in SUBSTRATES_LAB_DIR",
                longest.display()
            );
        }
        Ok(())
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

    fn socket(&self) -> PathBuf {
        self.home.join("docker.sock")
    }

    fn log(&self) -> PathBuf {
        self.home.join("dockerd.log")
    }

    fn data_directory(&self) -> PathBuf {
        self.home.join("data")
    }

    fn run_directory(&self) -> PathBuf {
        self.home.join("run")
    }

    fn settings_file(&self) -> PathBuf {
        self.home.join("dockerd.json")
    }

    fn containerd_namespace(&self) -> String {
        format!("substrates-lab-{}", self.name())
    }

    fn cgroup(&self) -> String {
        format!("/substrates-lab-{}", self.name())
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
