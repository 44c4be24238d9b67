//! Creating: a file with everything in it, then supervisord is told. A failure leaves nothing behind.
//!
//! `reloadConfig` only reads; what it says about programs of others is their owners' affair, and nothing is done
//! about it. A crash between the file and the call leaves a program that is not loaded: it is listed as such, with
//! its labels, and can be started (which loads it) and deleted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dxr::Value;
use substrate_core::provider::Wait;
use substrate_core::{Error, Instance, InstanceConfig, InstanceKind, Outcome, Result};

use super::{Shared, SupervisorSubstrate, connection, nothing_done};
use crate::client::Call;
use crate::convert::process::Process;
use crate::convert::program::Program;
use crate::convert::record::new_key;
use crate::convert::value::{array, text_member};
use crate::error::{Fault, FaultCode, unreadable};
use crate::folder::{Folder, blocking};
use crate::name::{Address, check_new};

const ATTEMPT: &str = "create the program";
/// How long a configuration that cannot be read may take to become readable: files of others are not always
/// written in one step.
const READABLE_LIMIT: Duration = Duration::from_secs(2);

impl SupervisorSubstrate {
    pub(super) async fn validate(&self, config: &InstanceConfig) -> Result<()> {
        self.checked(config).await.map(drop)
    }

    pub(super) async fn create(&self, config: &InstanceConfig) -> Result<Arc<Instance>> {
        let program = self.checked(config).await.map_err(nothing_done)?;
        let folder = self.shared.require_folder()?;
        let name = program.record.name.as_str();
        let _held = self.names.hold("process", name).await;
        self.shared.check_is_free(name).await.map_err(nothing_done)?;
        if !folder.add(name, program.file()?).await? {
            return Err(taken(name));
        }
        match self.shared.load_new(folder, &program).await {
            Ok(instance) => Ok(Arc::new(instance)),
            // The answer was lost: what there is can be found by its name and labels.
            Err(error) if error.outcome() == Outcome::Unknown => Err(error),
            Err(error) => Err(self.shared.undo(folder, &program, error).await),
        }
    }

    /// Everything that can be said without side effect.
    async fn checked(&self, config: &InstanceConfig) -> Result<Program> {
        config.validate()?;
        let descriptor = self.shared.descriptor.get();
        config.require_features(&descriptor.capabilities)?;
        self.shared.require_folder()?;
        if let Some(kind) = config.kind.filter(|kind| *kind != InstanceKind::Process) {
            return Err(Error::unsupported(format!("supervisord runs processes, not a {kind}")));
        }
        check_new(&config.name)?;
        let image = config.image.as_deref().filter(|image| image.starts_with('/'));
        if let Some(image) = image.map(str::to_owned)
            && self.shared.is_on_this_host().await?
        {
            blocking(move || check_executable(Path::new(&image))).await?;
        }
        Program::of(config, &new_key(), self.shared.config.log_folder.as_deref())
    }
}

impl Shared {
    pub(super) fn require_folder(&self) -> Result<&Folder> {
        self.folder.as_ref().ok_or_else(|| Error::unsupported(connection::NO_FOLDER))
    }

    /// Whether no program and no group has the name, loaded or not.
    ///
    /// Of two sections of one name supervisord makes one, without a word: it must not come to that.
    async fn check_is_free(&self, name: &str) -> Result<()> {
        let mut wait = Wait::at_most(READABLE_LIMIT);
        loop {
            let calls = [
                Call::new("supervisor.reloadConfig"),
                Call::new("supervisor.getAllConfigInfo"),
                Call::new("supervisor.getAllProcessInfo"),
            ];
            let [reloaded, configured, loaded] = self.client.batch(ATTEMPT, calls).await?;
            match reloaded {
                Err(fault) if fault.code == FaultCode::CantReread && wait.pause().await => continue,
                reloaded => drop(reloaded.map_err(|fault| fault.into_error(ATTEMPT))?),
            }
            for entries in [configured, loaded] {
                let entries = array(entries.map_err(|fault| fault.into_error(ATTEMPT))?);
                let entries = entries.ok_or_else(|| unreadable(ATTEMPT, "it is no list"))?;
                let is_it = |entry: &Value| {
                    text_member(entry, "group") == Some(name) || text_member(entry, "name") == Some(name)
                };
                if entries.iter().any(is_it) {
                    return Err(taken(name));
                }
            }
            return Ok(());
        }
    }

    /// Makes supervisord load the file that was just written.
    async fn load_new(&self, folder: &Folder, program: &Program) -> Result<Instance> {
        let name = program.record.name.as_str();
        let address = Address::new(name, name);
        let mut wait = Wait::at_most(READABLE_LIMIT);
        loop {
            let calls = [
                Call::new("supervisor.reloadConfig"),
                Call::new("supervisor.addProcessGroup").text(name),
                Call::new("supervisor.getProcessInfo").text(address.namespec()),
                Call::new("supervisor.getAllConfigInfo"),
            ];
            let [reloaded, added, process, configured] = self.client.batch(ATTEMPT, calls).await?;
            match reloaded {
                Err(fault) if fault.code == FaultCode::CantReread => {
                    let is_ours = fault.text.contains(&format!("program:{name}'"));
                    if !is_ours && wait.pause().await {
                        continue;
                    }
                    return Err(if is_ours { wrong_program(&fault) } else { fault.into_error(ATTEMPT) });
                }
                reloaded => drop(reloaded.map_err(|fault| fault.into_error(ATTEMPT))?),
            }
            match added {
                Ok(_) => {}
                // Somebody else has made supervisord load whatever is new.
                Err(fault) if fault.code == FaultCode::AlreadyAdded => {}
                Err(fault) if fault.code == FaultCode::BadName => {
                    return Err(Error::invalid_input(format!(
                        "supervisord does not read {}",
                        folder.pattern()
                    ))
                    .with_outcome(Outcome::Rejected)
                    .with_hint(
                        "its `[include]` must name these files, and it must be allowed to read them",
                    ));
                }
                Err(fault) => return Err(fault.into_error(ATTEMPT)),
            }
            check_is_alone(program, configured.map_err(|fault| fault.into_error(ATTEMPT))?)?;
            Process::read(&process.map_err(|fault| fault.into_error(ATTEMPT))?)?;
            // With the time of the file, which only a look at it tells.
            let found = self.look(&address).await?;
            let found = found
                .filter(|found| found.record.as_ref().is_some_and(|record| record.key == program.record.key))
                .ok_or_else(|| Error::conflict("it was deleted while it was being created"))?;
            return found.into_instance();
        }
    }

    /// Takes back what a failed creation made; the failure stays the answer.
    async fn undo(&self, folder: &Folder, program: &Program, error: Error) -> Error {
        let record = &program.record;
        let removed = match error.outcome() {
            // supervisord has not even heard of it.
            Outcome::NotSent => folder.remove(&record.name, &record.key).await,
            _ => self.remove_program(folder, record, record.logs.clone()).await,
        };
        match removed {
            Ok(_) => error,
            Err(left) => error.with_outcome(Outcome::Unknown).with_hint(format!(
                "it could not be taken back: {}; delete it, or remove {}",
                left.message(),
                folder.file(&record.name).display()
            )),
        }
    }
}

/// Whether supervisord has understood our file, and nothing besides.
fn check_is_alone(program: &Program, configured: Value) -> Result<()> {
    let name = program.record.name.as_str();
    let expected = program.command()?;
    let entries = array(configured).unwrap_or_default();
    let ours: Vec<&Value> =
        entries.iter().filter(|entry| text_member(entry, "group") == Some(name)).collect();
    // Before 4.2 it does not tell commands.
    let is_ours = |entry: &&Value| text_member(entry, "command").is_none_or(|command| command == expected);
    if ours.len() == 1 && ours.iter().all(is_ours) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "another file of supervisord's configuration has a section for `{name}`, and supervisord has mixed the two"
    ))
    .with_hint("choose another name, or remove that section"))
}

fn wrong_program(fault: &Fault) -> Error {
    Error::invalid_input(format!("supervisord refuses the program: {}", fault.text))
        .with_outcome(Outcome::Rejected)
}

fn taken(name: &str) -> Error {
    Error::already_exists(format!("there is a program, a process or a group called `{name}` already"))
}

fn check_executable(path: &Path) -> Result<()> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|_| {
        Error::not_found(format!("there is no file `{}`", shown.to_string().escape_debug()))
            .with_hint("the image of a process is the path of its program on supervisord's host")
    })?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(Error::invalid_input(format!("`{shown}` is not an executable file")));
    }
    Ok(())
}
