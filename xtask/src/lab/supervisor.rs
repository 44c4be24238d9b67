//! Supervisor: two real `supervisord`. `supervisor` is for every live test; `supervisor-restart`, the victim, may
//! be killed and frozen by tests of outages without harm to the others.

mod daemon;
mod endpoint;

use std::path::Path;

use anyhow::Result;

use super::packages::{Package, install};
use super::{Action, DaemonStatus, Server, create_private_directory};
use daemon::Daemon;

const PACKAGES: &[Package] = &[Package::of_program("supervisor", "supervisord")];

pub struct SupervisorServer {
    main: Daemon,
    victim: Daemon,
}

impl SupervisorServer {
    pub fn new(lab: &Path) -> Self {
        Self { main: Daemon::new("supervisor", lab), victim: Daemon::new("supervisor-restart", lab) }
    }

    fn daemons(&self) -> [&Daemon; 2] {
        [&self.main, &self.victim]
    }
}

impl Server for SupervisorServer {
    fn name(&self) -> &'static str {
        self.main.name()
    }

    fn install(&self) -> Result<()> {
        create_private_directory(self.main.home())?;
        install(PACKAGES, &self.main.home().join("apt.log"))
    }

    fn up(&self) -> Result<bool> {
        let mut started = false;
        for daemon in self.daemons() {
            started |= daemon.up()?;
        }
        self.victim.write_control_script()?;
        Ok(started)
    }

    fn down(&self, keep_state: bool) -> Result<()> {
        for daemon in self.daemons() {
            daemon.down(keep_state)?;
        }
        Ok(())
    }

    fn status(&self) -> Result<Vec<DaemonStatus>> {
        Ok(self.daemons().into_iter().map(Daemon::status).collect())
    }

    fn environment(&self) -> Result<Vec<(String, String)>> {
        let (main, victim) = (&self.main, &self.victim);
        let credentials = main.credentials()?;
        let shown = |path: std::path::PathBuf| path.display().to_string();
        let variables = [
            ("SUPERVISOR", main.address()),
            ("SUPERVISOR_HTTP", format!("http://127.0.0.1:{}", credentials.port)),
            ("SUPERVISOR_USERNAME", credentials.username),
            ("SUPERVISOR_PASSWORD", credentials.password),
            ("SUPERVISOR_CONFIG", shown(main.config_file())),
            ("SUPERVISOR_INCLUDE", shown(main.include_folder())),
            ("SUPERVISOR_LOGS", shown(main.log_folder())),
            ("SUPERVISOR_VICTIM", victim.address()),
            ("SUPERVISOR_VICTIM_INCLUDE", shown(victim.include_folder())),
            ("SUPERVISOR_VICTIM_LOGS", shown(victim.log_folder())),
            ("SUPERVISOR_VICTIM_RESTART", shown(victim.control_script())),
        ];
        Ok(variables.map(|(name, value)| (format!("SUBSTRATES_LAB_{name}"), value)).to_vec())
    }

    fn control(&self, daemon: &str, action: Action) -> Result<bool> {
        let Some(daemon) = self.daemons().into_iter().find(|candidate| candidate.name() == daemon) else {
            return Ok(false);
        };
        match action {
            Action::Kill => daemon.kill()?,
            Action::Stop => daemon.stop()?,
            Action::Start => daemon.start()?,
            Action::Freeze => daemon.freeze()?,
            Action::Thaw => daemon.thaw()?,
        }
        Ok(true)
    }
}
