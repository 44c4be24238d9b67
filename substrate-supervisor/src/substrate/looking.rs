//! Getting and listing: what supervisord tells, with what our files add.

use std::sync::Arc;

use substrate_core::{Error, Instance, InstanceFilter, InstanceName, Result};

use super::{Shared, SupervisorSubstrate};
use crate::client::Call;
use crate::convert::process::{Process, unloaded};
use crate::convert::record::Record;
use crate::convert::value::array;
use crate::error::{FaultCode, unreadable};
use crate::name::{Address, Target, missing, split_id};

/// What there is of one name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) address: Address,
    /// Nothing when supervisord has not loaded the program: its file is there.
    pub(super) process: Option<Process>,
    /// Nothing when somebody else made it.
    pub(super) record: Option<Record>,
}

impl Found {
    pub(super) fn into_instance(self) -> Result<Instance> {
        match (self.process, &self.record) {
            (Some(process), record) => process.into_instance(record.as_ref()),
            (None, Some(record)) => unloaded(record),
            (None, None) => Err(missing(&self.address.short())),
        }
    }
}

impl Shared {
    /// The process at an address, if there is one. One request.
    ///
    /// The file is read before supervisord is asked, and once more if the two do not fit: between the two looks it
    /// can have been made or removed, and what is ours must never look like a stranger's.
    pub(super) async fn look(&self, address: &Address) -> Result<Option<Found>> {
        let before = self.record(address).await?;
        let answer = self
            .client
            .ask("look at the process", Call::new("supervisor.getProcessInfo").text(address.namespec()))
            .await?;
        let process = match answer {
            Ok(value) => Some(Process::read(&value)?),
            Err(fault) if fault.code == FaultCode::BadName => None,
            Err(fault) => return Err(fault.into_error("look at the process")),
        };
        let record = match (&process, before) {
            (Some(_), Some(record)) => Some(record),
            (None, None) => None,
            _ => self.record(address).await?,
        };
        let found = Found { address: address.clone(), process, record };
        Ok((found.process.is_some() || found.record.is_some()).then_some(found))
    }

    /// Our record of a program. Groups with several processes are never ours.
    async fn record(&self, address: &Address) -> Result<Option<Record>> {
        match &self.folder {
            Some(folder) if address.group == address.process => {
                Ok(folder.read(vec![address.group.clone()]).await?.remove(&address.group))
            }
            _ => Ok(None),
        }
    }

    /// What one name or id means.
    pub(super) async fn find(&self, name: &InstanceName) -> Result<Found> {
        let text = name.as_str();
        match Target::of(text) {
            Target::Nobody => return Err(missing(text)),
            Target::Group(group) => return Err(self.is_a_group(&group).await?),
            Target::One(address) => {
                if let Some(found) = self.look(&address).await? {
                    return Ok(found);
                }
            }
        }
        let Some((address, key)) = split_id(text) else { return Err(missing(text)) };
        let found = self.look(&address).await?;
        found
            .filter(|found| found.record.as_ref().is_some_and(|record| record.key == key))
            .ok_or_else(|| missing(text))
    }

    /// What one name means, or each process of `group:*`.
    pub(super) async fn find_each(&self, name: &InstanceName) -> Result<Vec<Found>> {
        match Target::of(name.as_str()) {
            Target::Group(group) => {
                let members: Vec<Found> = self.members(&group).await?;
                if members.is_empty() { Err(missing(name.as_str())) } else { Ok(members) }
            }
            _ => Ok(vec![self.find(name).await?]),
        }
    }

    async fn members(&self, group: &str) -> Result<Vec<Found>> {
        let found = self.find_all().await?;
        Ok(found.into_iter().filter(|found| found.address.group == group).collect())
    }

    async fn is_a_group(&self, group: &str) -> Result<Error> {
        let members: Vec<String> =
            self.members(group).await?.iter().map(|found| format!("`{}`", found.address.short())).collect();
        Ok(if members.is_empty() {
            missing(&format!("{group}:*"))
        } else {
            Error::conflict(format!("that is a group of processes: {}", members.join(", ")))
                .with_hint("name one of them; only start, stop and restart take a whole group")
        })
    }

    /// Everything there is. One request.
    pub(super) async fn find_all(&self) -> Result<Vec<Found>> {
        const ATTEMPT: &str = "list the processes";
        let mut before = match &self.folder {
            Some(folder) => folder.read_all().await?,
            None => Default::default(),
        };
        let answer = self.client.call(ATTEMPT, Call::new("supervisor.getAllProcessInfo")).await?;
        let answer = array(answer).ok_or_else(|| unreadable(ATTEMPT, "it is no list"))?;
        let mut all = Vec::with_capacity(answer.len());
        let mut again = Vec::new();
        for value in answer {
            let process = Process::read(&value)?;
            let address = process.address.clone();
            let is_single = address.group == address.process;
            let record = if is_single { before.remove(&address.group) } else { None };
            if is_single && record.is_none() {
                again.push(address.group.clone());
            }
            all.push(Found { address, process: Some(process), record });
        }
        // Those that one of the two looks did not see: as in `look`.
        again.extend(before.into_keys());
        if let Some(folder) = self.folder.as_ref().filter(|_| !again.is_empty()) {
            let mut after = folder.read(again).await?;
            for found in all.iter_mut().filter(|found| found.record.is_none()) {
                found.record = after.remove(&found.address.short());
            }
            all.extend(after.into_values().map(|record| Found {
                address: Address::new(&record.name, &record.name),
                process: None,
                record: Some(record),
            }));
        }
        Ok(all)
    }

    pub(super) async fn list(&self, filter: &InstanceFilter) -> Result<Vec<Arc<Instance>>> {
        let mut instances = Vec::new();
        for found in self.find_all().await? {
            let instance = found.into_instance()?;
            if filter.matches(&instance) {
                instances.push(Arc::new(instance));
            }
        }
        instances.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(instances)
    }
}

impl SupervisorSubstrate {
    pub(super) async fn get(&self, name: &InstanceName) -> Result<Arc<Instance>> {
        Ok(Arc::new(self.shared.find(name).await?.into_instance()?))
    }
}
