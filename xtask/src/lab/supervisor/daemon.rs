//! One `supervisord` with everything of its own: configuration, socket, port, include folder, logs.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::endpoint;
use crate::command::{command, quoted};
use crate::lab::process::{ProcessId, all_with_arguments, tail};
use crate::lab::{DaemonStatus, create_private_directory};
use crate::wait::until;

/// A program that heeds no signal is given ten seconds by supervisord itself.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const START_PATIENCE: Duration = Duration::from_secs(30);
/// The longest path of a Unix socket that the kernel takes. supervisord binds a longer one first, with a number
/// behind it, and renames it.
const LONGEST_SOCKET_PATH: usize = 107 - 8;
/// In the environment of every program, so that one that outlived its daemon is known.
const MARK: &str = "SUBSTRATES_LAB_DAEMON";

pub struct Daemon {
    name: &'static str,
    home: PathBuf,
}

/// How to reach it on TCP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Credentials {
    pub port: u16,
    pub username: String,
    pub password: String,
}

/// What must be known about a daemon that another run of this tool started.
#[derive(Serialize, Deserialize)]
struct Record {
    process: Option<ProcessId>,
    /// The same over all starts, so that addresses stay valid.
    credentials: Credentials,
}

impl Daemon {
    pub fn new(name: &'static str, lab: &Path) -> Self {
        Self { name, home: lab.join(name) }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn credentials(&self) -> Result<Credentials> {
        Ok(self.record()?.context("the daemon was never started")?.credentials)
    }

    pub fn config_file(&self) -> PathBuf {
        self.home.join("supervisord.conf")
    }

    /// Where programs are defined.
    pub fn include_folder(&self) -> PathBuf {
        self.home.join("conf.d")
    }

    /// Where programs write.
    pub fn log_folder(&self) -> PathBuf {
        self.home.join("logs")
    }

    /// The script with which tests do something to this daemon.
    pub fn control_script(&self) -> PathBuf {
        self.home.join("control")
    }

    pub fn status(&self) -> DaemonStatus {
        DaemonStatus {
            daemon: self.name.to_owned(),
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
        let length = self.socket().as_os_str().len();
        if length > LONGEST_SOCKET_PATH {
            bail!(
                "{} has {length} bytes, a socket's path at most {LONGEST_SOCKET_PATH}: \
                 name a shorter folder in SUBSTRATES_LAB_DIR",
                self.socket().display()
            );
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
        self.end_orphans()?;
        let mut record = match self.record()? {
            Some(record) => record,
            None => Record { process: None, credentials: new_credentials()? },
        };
        for folder in [self.include_folder(), self.log_folder()] {
            create_private_directory(&folder)?;
        }
        self.write_config(&record.credentials)?;
        // One that a killed daemon left would be taken for a running one.
        if self.socket().exists() {
            fs::remove_file(self.socket())?;
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        // A session of its own, so that neither the end of this tool nor a Ctrl-C reaches it.
        let child = command("setsid")
            .args(["supervisord", "--nodaemon", "--configuration"])
            .arg(self.config_file())
            .current_dir("/")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run supervisord")?;
        let pid = i32::try_from(child.id()).context("the process id is out of range")?;
        let process = ProcessId::of(pid).with_context(|| self.with_log("supervisord ended at once"))?;
        record.process = Some(process);
        self.write_record(&record)?;
        self.wait_for_answer(Some(process))
    }

    /// SIGKILL to the daemon, as when the machine's memory runs out. Its programs go on until it is started again.
    pub fn kill(&self) -> Result<()> {
        match self.running()? {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Ends the daemon in order; it ends its programs.
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
        self.end_orphans()?;
        if self.record_file().exists() && !keep_state {
            fs::remove_file(self.record_file())?;
        }
        if keep_state || !self.home.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&self.home).with_context(|| format!("cannot remove {}", self.home.display()))
    }

    /// A script and a copy of this program, so that tests need neither cargo nor the folder it builds in.
    pub fn write_control_script(&self) -> Result<()> {
        let lab = self.home.parent().context("the daemon's home has a parent")?.display().to_string();
        let program = self.home.join("xtask");
        let new_program = self.home.join("xtask.new");
        // Renamed into place: a program that runs at this moment cannot be written to. Not by the path of this
        // program: cargo may have replaced it since it was started.
        fs::copy("/proc/self/exe", &new_program)?;
        fs::rename(&new_program, &program)?;
        let script = format!(
            "#!/bin/sh\n# {{kill|stop|start|freeze|thaw}}: returns when it is done.\n\
             exec {} lab --directory {} control {} \"$1\"\n",
            quoted(&program.display().to_string()),
            quoted(&lab),
            self.name,
        );
        let path = self.control_script();
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    fn write_config(&self, credentials: &Credentials) -> Result<()> {
        let Credentials { port, username, password } = credentials;
        let home = self.home.display();
        let logs = self.log_folder();
        let config = format!(
            "[supervisord]\nlogfile={home}/supervisord.log\npidfile={home}/supervisord.pid\nchildlogdir={logs}\n\
             environment={MARK}=\"{home}\"\nuser=root\n\n\
             [unix_http_server]\nfile={socket}\nchmod=0700\n\n\
             [inet_http_server]\nport=127.0.0.1:{port}\nusername={username}\npassword={password}\n\n\
             [rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\n\
             [supervisorctl]\nserverurl={address}\n\n\
             [include]\nfiles={include}/*.conf\n",
            logs = logs.display(),
            socket = self.socket().display(),
            address = self.address(),
            include = self.include_folder().display(),
        );
        let path = self.config_file();
        let write = || {
            let mut options = File::options();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            std::io::Write::write_all(&mut &file, config.as_bytes())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Programs that a killed daemon left behind.
    fn end_orphans(&self) -> Result<()> {
        let mark = format!("{MARK}={}", self.home.display());
        for (process, _) in all_with_arguments()? {
            let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                process.kill()?;
            }
        }
        Ok(())
    }

    /// Until the socket answers; an early end of the process is an error at once.
    fn wait_for_answer(&self, process: Option<ProcessId>) -> Result<()> {
        let answered = until(START_PATIENCE, || {
            if process.is_some_and(|process| !process.is_alive()) {
                bail!(self.with_log("supervisord ended before it answered"));
            }
            Ok(endpoint::version(&self.socket()).is_ok())
        })?;
        if !answered {
            bail!(
                self.with_log(&format!("supervisord does not answer after {} s", START_PATIENCE.as_secs()))
            );
        }
        Ok(())
    }

    fn running(&self) -> Result<Option<ProcessId>> {
        Ok(self.record()?.and_then(|record| record.process).filter(|process| process.is_alive()))
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
        self.home.join("supervisor.sock")
    }

    fn log(&self) -> PathBuf {
        self.home.join("console.log")
    }
}

/// The folder is private, and so is the password: it keeps other users of this machine away from the port.
fn new_credentials() -> Result<Credentials> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    let mut random = [0; 16];
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut random)?;
    let password = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Credentials { port: listener.local_addr()?.port(), username: "lab".to_owned(), password })
}
