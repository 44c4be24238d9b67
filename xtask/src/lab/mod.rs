//! Real servers for the live tests: installed from the distribution, started in private state folders,
//! ended by the process that was started and no other.

mod control_script;
mod docker;
mod firewall;
mod k8s;
mod libvirt;
mod lxc;
mod mounts;
pub mod packages;
mod process;
mod s3;
mod supervisor;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::command::quoted;
use docker::DockerServer;
use k8s::K8sServer;
use libvirt::{LibvirtServer, NewerLibvirtServer};
use lxc::LxcServer;
use s3::S3Server;
use supervisor::SupervisorServer;

/// Where all state lives, if the default will not do.
const DIRECTORY_VARIABLE: &str = "SUBSTRATES_LAB_DIR";

/// One technology of the lab. A further one is one file here and one line in [`Lab::open`].
pub trait Server {
    /// As typed on the command line, and as in `#[ignore = "live: NAME"]`.
    fn name(&self) -> &'static str;

    /// Whether it runs workloads: then a provider has to be certified on it.
    fn is_substrate(&self) -> bool {
        true
    }

    /// Gets what is missing from the distribution.
    fn install(&self) -> Result<()>;

    /// Starts what is not running; returns when it answers. True when something had to be started.
    fn up(&self) -> Result<bool>;

    /// Ends what [`up`](Self::up) started and removes its traces; nothing there is no error.
    fn down(&self, keep_state: bool) -> Result<()>;

    /// What runs, one entry per daemon.
    fn status(&self) -> Result<Vec<DaemonStatus>>;

    /// What the tests must know, as environment variables.
    fn environment(&self) -> Result<Vec<(String, String)>>;

    /// Does something to one daemon of this server, for tests of outages; false when it has no such daemon.
    fn control(&self, daemon: &str, action: Action) -> Result<bool>;
}

/// One daemon as `lab status` shows it.
pub struct DaemonStatus {
    pub daemon: String,
    /// The process, if it runs.
    pub pid: Option<i32>,
    /// As the daemon itself says, if it answers.
    pub version: Option<String>,
    pub address: String,
}

/// What a test may do to a daemon. Each returns when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    /// SIGKILL, as a crash or the kernel's memory killer would.
    Kill,
    /// End in order.
    Stop,
    /// Start it again; returns when it answers.
    Start,
    /// SIGSTOP: connections stay open, nothing answers.
    Freeze,
    /// SIGCONT.
    Thaw,
}

#[derive(Subcommand)]
pub enum LabCommand {
    /// Install and start servers (all, if none is named). Needs root on Debian 12.
    Up { servers: Vec<String> },
    /// End servers and remove their traces (all, if none is named).
    Down {
        servers: Vec<String>,
        /// Keep images, containers and volumes for the next `up`.
        #[arg(long)]
        keep_state: bool,
    },
    /// Show what runs.
    Status { servers: Vec<String> },
    /// Print the variables for the tests of the servers that are up: eval "$(cargo xtask lab env)".
    Env { servers: Vec<String> },
    /// Do something to one daemon (used by the control script that tests call).
    #[command(hide = true)]
    Control { daemon: String, action: Action },
}

pub fn execute(directory: Option<PathBuf>, command: LabCommand) -> Result<()> {
    let lab = Lab::open(directory)?;
    match command {
        LabCommand::Up { servers } => {
            for server in lab.select(&servers)? {
                if !lab.up(server)? {
                    println!("lab: {} was already up", server.name());
                }
            }
            lab.print_environment(&servers)
        }
        LabCommand::Down { servers, keep_state } => {
            for server in lab.select(&servers)? {
                lab.down(server, keep_state)?;
                println!("lab: {} is down", server.name());
            }
            Ok(())
        }
        LabCommand::Status { servers } => {
            for server in lab.select(&servers)? {
                for daemon in server.status()? {
                    let process = daemon.pid.map_or("down".to_owned(), |pid| format!("pid {pid}"));
                    let version = daemon.version.unwrap_or_else(|| "no answer".to_owned());
                    println!("{:<16} {process:<12} {version:<18} {}", daemon.daemon, daemon.address);
                }
            }
            Ok(())
        }
        LabCommand::Env { servers } => lab.print_environment(&servers),
        LabCommand::Control { daemon, action } => lab.control(&daemon, action),
    }
}

/// All servers that this tool knows, in one folder.
pub struct Lab {
    directory: PathBuf,
    servers: Vec<Box<dyn Server>>,
}

impl Lab {
    /// The lab in the folder given, or in that of the environment, or in the user's cache.
    pub fn open(directory: Option<PathBuf>) -> Result<Self> {
        let directory = match directory.or_else(|| std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from)) {
            Some(directory) => std::path::absolute(directory)?,
            None => cache_directory()?.join("lab"),
        };
        let servers: Vec<Box<dyn Server>> = vec![
            Box::new(DockerServer::new(&directory)),
            Box::new(LxcServer::lxd(&directory)),
            Box::new(LxcServer::incus(&directory)),
            Box::new(LibvirtServer::new(&directory)),
            Box::new(NewerLibvirtServer::new(&directory)),
            Box::new(S3Server::new(&directory)),
            Box::new(SupervisorServer::new(&directory)),
            Box::new(K8sServer::new(&directory)),
        ];
        Ok(Self { directory, servers })
    }

    /// The servers named; all of them when none is.
    pub fn select(&self, names: &[String]) -> Result<Vec<&dyn Server>> {
        for name in names {
            if !self.servers.iter().any(|server| server.name() == name) {
                let known: Vec<&str> = self.servers.iter().map(|server| server.name()).collect();
                bail!("the lab has no server {name:?}; it knows: {}", known.join(", "));
            }
        }
        Ok(self
            .servers
            .iter()
            .filter(|server| names.is_empty() || names.iter().any(|name| name == server.name()))
            .map(AsRef::as_ref)
            .collect())
    }

    /// Installs and starts one server; false when it was up already.
    pub fn up(&self, server: &dyn Server) -> Result<bool> {
        require_root()?;
        let _lock = self.lock()?;
        server.install()?;
        let started = server.up()?;
        let variables = server.environment()?;
        let text: String =
            variables.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
        let file = self.environment_file(server);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(started)
    }

    /// Ends one server.
    pub fn down(&self, server: &dyn Server, keep_state: bool) -> Result<()> {
        require_root()?;
        let _lock = self.lock()?;
        server.down(keep_state)?;
        let file = self.environment_file(server);
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
        Ok(())
    }

    fn control(&self, daemon: &str, action: Action) -> Result<()> {
        require_root()?;
        for server in &self.servers {
            if server.control(daemon, action)? {
                return Ok(());
            }
        }
        bail!("the lab has no daemon {daemon:?}")
    }

    fn print_environment(&self, servers: &[String]) -> Result<()> {
        for server in self.select(servers)? {
            let file = self.environment_file(server);
            if file.exists() {
                print!("{}", fs::read_to_string(&file)?);
            }
        }
        Ok(())
    }

    fn environment_file(&self, server: &dyn Server) -> PathBuf {
        self.directory.join(format!("{}.env", server.name()))
    }

    /// One `up` or `down` at a time: two at once would start two daemons on one folder.
    fn lock(&self) -> Result<File> {
        create_private_directory(&self.directory)?;
        let path = self.directory.join("lock");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }
}

/// What this project keeps outside the checkout: the lab's state and installed tools.
pub fn cache_directory() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return Ok(PathBuf::from(cache).join("substrates"));
    }
    let home = std::env::home_dir().context("neither XDG_CACHE_HOME nor HOME says where to keep state")?;
    Ok(home.join(".cache").join("substrates"))
}

fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the lab starts system daemons and must be root; without root: cargo xtask test --no-live");
    }
    Ok(())
}

/// Keys and sockets live below: nobody else may look in.
fn create_private_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .with_context(|| format!("cannot make the folder {}", path.display()))
}
