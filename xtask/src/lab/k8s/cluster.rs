//! The cluster: what is started in which order, and what is left of it afterwards.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::build::{self, Programs};
use super::certificates::{self, ADMIN, CONTROLLER_MANAGER, KUBELET, SCHEDULER};
use super::daemon::Daemons;
use super::endpoint::Endpoint;
use super::settings::{
    AGENT, API, CGROUP, CONTROLLERS, ETCD, NODE, NODE_ADDRESS, SCHEDULING, SERVICE_ADDRESS, Settings, VICTIM,
};
use super::sysctl;
use crate::command::{command, output, quoted};
use crate::lab::docker::daemon::{Daemon, Profile};
use crate::lab::docker::{cgroups, image};
use crate::lab::mounts::{mounted, unmount_below};
use crate::lab::{Action, DaemonStatus};
use crate::wait::until;

/// Where tests make their workloads.
pub const NAMESPACE: &str = "substrates-lab";

/// Of 1024, which everybody else has.
const POD_WEIGHT: &str = "8192";

const PATIENCE: Duration = Duration::from_secs(120);
const DAEMONS: [&str; 6] = [AGENT, SCHEDULING, CONTROLLERS, VICTIM, API, ETCD];
const PORTS: [&str; 5] = [ETCD, "k8s-etcd-peer", API, VICTIM, AGENT];

/// What the node's agent runs pods with. Without a packet filter: pods reach each other and the node, and nothing of the
/// machine's changes.
const RUNTIME: Profile = Profile {
    name: "k8s-docker",
    bridge: "substrates-k8s",
    bridge_address: "10.213.0.1/16",
    address_pools: &["10.214.0.0/16"],
    firewall: false,
    tls: false,
};

pub struct Cluster {
    home: PathBuf,
    lab: PathBuf,
    programs: Programs,
    daemons: Daemons,
    runtime: Daemon,
}

impl Cluster {
    pub fn new(lab: &Path) -> Self {
        let home = lab.join("k8s");
        Self {
            lab: lab.to_owned(),
            // Beside the state, which goes with every `down`: building takes minutes.
            programs: Programs::new(lab.join("k8s-programs")),
            daemons: Daemons::new(home.clone()),
            runtime: Daemon::new(&RUNTIME, lab),
            home,
        }
    }

    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.home.join("admin.kubeconfig")
    }

    pub fn victim_kubeconfig(&self) -> PathBuf {
        self.home.join("victim.kubeconfig")
    }

    pub fn control_script(&self) -> PathBuf {
        self.home.join("control")
    }

    pub fn up(&self) -> Result<bool> {
        let mut started = self.runtime.up()?;
        image::ensure(&self.runtime)?;
        self.ensure_pause_image()?;
        self.prepare()?;
        started |= self.start_etcd()?;
        started |= self.start_api_server(API)?;
        started |= self.start_api_server(VICTIM)?;
        self.define()?;
        for (name, program) in [(CONTROLLERS, "kube-controller-manager"), (SCHEDULING, "kube-scheduler")] {
            let arguments = self.settings(|settings| {
                Ok(if name == CONTROLLERS { settings.controllers() } else { settings.scheduler() })
            })?;
            started |= self.daemons.start(name, &self.programs.path(program), &arguments)?;
        }
        started |= self.start_agent()?;
        self.wait_for_service_account()?;
        DAEMONS.into_iter().try_for_each(|name| self.daemons.favour(name))?;
        self.write_control_script()?;
        Ok(started)
    }

    pub fn down(&self, keep_state: bool) -> Result<()> {
        if self.daemons.has_record() {
            for name in DAEMONS {
                self.daemons.stop(name)?;
            }
            sysctl::restore(&self.daemons.record()?.sysctl)?;
        }
        self.runtime.down(keep_state)?;
        cgroups::clear(CGROUP)?;
        unmount_below(&self.home)?;
        if keep_state || !self.home.exists() {
            return Ok(());
        }
        // Where the controllers put volumes; it is empty unless a test left one.
        let _ = fs::remove_dir("/tmp/hostpath_pv");
        fs::remove_dir_all(&self.home).with_context(|| format!("cannot remove {}", self.home.display()))
    }

    pub fn status(&self) -> Result<Vec<DaemonStatus>> {
        let mut all = vec![self.runtime.status()];
        for name in DAEMONS.iter().rev() {
            let port = self.daemons.record()?.ports.get(*name).copied();
            let is_api = *name == API || *name == VICTIM;
            let version = if is_api { self.version(name).ok() } else { None };
            all.push(DaemonStatus {
                daemon: (*name).to_owned(),
                pid: self.daemons.running(name)?.map(|process| process.pid),
                version: version.or_else(|| (!is_api).then(|| "-".to_owned())),
                address: port.map(|port| format!("{NODE_ADDRESS}:{port}")).unwrap_or_default(),
            });
        }
        Ok(all)
    }

    pub fn control(&self, daemon: &str, action: Action) -> Result<bool> {
        if !DAEMONS.contains(&daemon) {
            return Ok(false);
        }
        match action {
            Action::Kill => self.daemons.kill(daemon)?,
            Action::Stop => self.daemons.stop(daemon)?,
            Action::Freeze => self.daemons.signal(daemon, Signal::STOP)?,
            Action::Thaw => self.daemons.signal(daemon, Signal::CONT)?,
            Action::Start if daemon == AGENT => drop(self.start_agent()?),
            Action::Start if daemon == ETCD => drop(self.start_etcd()?),
            Action::Start if daemon == API || daemon == VICTIM => drop(self.start_api_server(daemon)?),
            Action::Start => drop(self.up()?),
        }
        Ok(true)
    }

    // ---- before the start -------------------------------------------------------------------------

    fn settings<T>(&self, use_them: impl FnOnce(&Settings<'_>) -> Result<T>) -> Result<T> {
        let record = self.daemons.record()?;
        use_them(&Settings { home: &self.home, record: &record, docker: self.runtime.address() })
    }

    fn ensure_pause_image(&self) -> Result<()> {
        const NAME: &str = "pause:local";
        if output(self.runtime.client().args(["image", "inspect", NAME])).is_ok() {
            return Ok(());
        }
        let archive = self.home.join("pause.tar");
        let folder = self.programs.folder();
        output(command("tar").arg("-cf").arg(&archive).arg("-C").arg(folder).arg(build::PAUSE))?;
        let entry = r#"ENTRYPOINT ["/pause"]"#;
        output(self.runtime.client().args(["import", "--change", entry]).arg(&archive).arg(NAME)).map(drop)
    }

    fn prepare(&self) -> Result<()> {
        let mut record = self.daemons.record()?;
        if record.ports.is_empty() {
            // Held all at once, so that no two are the same.
            let mut held = Vec::new();
            for name in PORTS {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
                    .context("no port is free on this machine")?;
                record.ports.insert(name.to_owned(), listener.local_addr()?.port());
                held.push(listener);
            }
            record.sysctl = sysctl::read();
            self.daemons.write_record(&record)?;
        }
        self.settings(|settings| {
            certificates::ensure(&settings.certificates(), NODE, NODE_ADDRESS, SERVICE_ADDRESS)?;
            for (name, server) in [
                (CONTROLLER_MANAGER, API),
                (SCHEDULER, API),
                (KUBELET, API),
                (ADMIN, API),
                ("victim", VICTIM),
            ] {
                let certificate = if name == "victim" { ADMIN } else { name };
                let mut content = certificates::kubeconfig(
                    &settings.certificates(),
                    &format!("https://{NODE_ADDRESS}:{}", settings.port(server)?),
                    certificate,
                );
                if let Some(context) = content.pointer_mut("/contexts/0/context") {
                    context["namespace"] = json!(NAMESPACE);
                }
                fs::write(settings.kubeconfig(name), content.to_string())?;
            }
            let mut agent = settings.agent_settings()?;
            agent["maxOpenFiles"] = json!(most_open_files());
            fs::write(settings.agent_settings_file(), agent.to_string())?;
            Ok(())
        })
    }

    // ---- daemons ----------------------------------------------------------------------------------

    fn start_etcd(&self) -> Result<bool> {
        let (arguments, port) = self.settings(|settings| Ok((settings.etcd()?, settings.port(ETCD)?)))?;
        let started = self.daemons.start(ETCD, &self.programs.path(build::ETCD), &arguments)?;
        self.daemons.wait(ETCD, PATIENCE, || {
            let address = format!("http://127.0.0.1:{port}/health");
            output(command("curl").args(["--fail", "--silent", "--noproxy", "*", &address])).is_ok()
        })?;
        Ok(started)
    }

    fn start_api_server(&self, name: &str) -> Result<bool> {
        let arguments = self.settings(|settings| settings.api_server(name))?;
        let started = self.daemons.start(name, &self.programs.path("kube-apiserver"), &arguments)?;
        self.daemons.wait(name, PATIENCE, || self.ask(name, |server| server.get("/readyz")).is_ok())?;
        Ok(started)
    }

    fn start_agent(&self) -> Result<bool> {
        for (root, _) in mounted()?.into_iter().filter(|(_, kind)| kind == "cgroup") {
            let group = root.join(CGROUP.trim_start_matches('/'));
            fs::create_dir_all(&group)?;
            // All pods together weigh as much as one session of a machine that builds beside: what a busy core uses, and
            // how soon a pod ends, would be the machine's answer and not the cluster's.
            let weight = group.join("cpu.shares");
            if weight.exists() {
                fs::write(&weight, POD_WEIGHT).with_context(|| format!("cannot set {}", weight.display()))?;
            }
        }
        let arguments = self.settings(|settings| Ok(settings.agent()))?;
        // A node that was ready before this agent started says nothing about this one.
        let before = self.heartbeat().ok().flatten();
        let started = self.daemons.start(AGENT, &self.programs.path("kubelet"), &arguments)?;
        self.daemons.wait(AGENT, PATIENCE, || {
            self.heartbeat().is_ok_and(|now| now.is_some() && (!started || now != before))
        })?;
        Ok(started)
    }

    /// When the node last said that it is ready.
    fn heartbeat(&self) -> Result<Option<String>> {
        let node = self.ask(API, |server| server.get_json(&format!("/api/v1/nodes/{NODE}")))?;
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        Ok(ready.and_then(|ready| ready["lastHeartbeatTime"].as_str()).map(str::to_owned))
    }

    /// The namespace of the tests, and a class of volumes that makes folders of this machine.
    fn define(&self) -> Result<()> {
        self.ask(API, |server| {
            server.create("/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}}))?;
            server.create(
                "/apis/storage.k8s.io/v1/storageclasses",
                &json!({
                    "metadata": {
                        "name": "folders",
                        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                    },
                    "provisioner": "kubernetes.io/host-path",
                    "reclaimPolicy": "Delete",
                }),
            )
        })
    }

    /// Until then every pod of the namespace is refused.
    fn wait_for_service_account(&self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
        let there = until(PATIENCE, || {
            let account = self.ask(API, |server| server.get_json(&path));
            Ok(account.is_ok_and(|account| account.pointer("/secrets/0").is_some()))
        })?;
        anyhow::ensure!(there, self.daemons.with_log(CONTROLLERS, "it makes no service account"));
        Ok(())
    }

    fn ask<T>(&self, name: &str, question: impl FnOnce(&Endpoint<'_>) -> Result<T>) -> Result<T> {
        self.settings(|settings| {
            let address = format!("https://{NODE_ADDRESS}:{}", settings.port(name)?);
            question(&Endpoint { address, certificates: &settings.certificates() })
        })
    }

    fn version(&self, name: &str) -> Result<String> {
        let version = self.ask(name, |server| server.get_json("/version"))?;
        Ok(version["gitVersion"].as_str().context("the answer names no version")?.to_owned())
    }

    /// A script and a copy of this program, so that tests need neither cargo nor the folder it builds in.
    fn write_control_script(&self) -> Result<()> {
        let program = self.home.join("xtask");
        let new_program = self.home.join("xtask.new");
        // Renamed into place: a program that runs at this moment cannot be written to.
        fs::copy("/proc/self/exe", &new_program)?;
        fs::rename(&new_program, &program)?;
        let script = format!(
            "#!/bin/sh\n# {{kill|stop|start|freeze|thaw}} [DAEMON]: returns when it is done.\n\
             exec {} lab --directory {} control \"${{2:-{VICTIM}}}\" \"$1\"\n",
            quoted(&program.display().to_string()),
            quoted(&self.lab.display().to_string()),
        );
        let path = self.control_script();
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?)
    }
}

/// The agent wants more than sandboxes allow, and ends when it does not get them.
fn most_open_files() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(1_000_000).min(1_000_000)
}
