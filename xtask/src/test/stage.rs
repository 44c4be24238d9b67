//! The lab's servers while live tests run: each is up from the first job that needs it to the last one. One that was used
//! and stands beside is not free: a cluster's node that still clears up makes Docker's suite half as long again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Error, Result};

use super::schedule::Job;
use crate::lab::{Lab, Server};

/// The variables that tell tests where a server is.
pub type Environment = Vec<(String, String)>;

pub struct Stage<'a> {
    lab: &'a Lab,
    servers: BTreeMap<&'static str, &'a dyn Server>,
    /// How many jobs still need a server.
    needed: BTreeMap<String, usize>,
    up: BTreeMap<&'static str, Environment>,
    /// Those that somebody else had started stay.
    ours: BTreeSet<&'static str>,
}

impl<'a> Stage<'a> {
    pub fn new(lab: &'a Lab, servers: &[&'a dyn Server], jobs: &[Job]) -> Self {
        let mut needed = BTreeMap::new();
        for server in jobs.iter().flat_map(|job| &job.servers) {
            *needed.entry(server.clone()).or_default() += 1;
        }
        Self {
            lab,
            servers: servers.iter().map(|server| (server.name(), *server)).collect(),
            needed,
            up: BTreeMap::new(),
            ours: BTreeSet::new(),
        }
    }

    /// Starts what a job needs and is not up, and tells where it is.
    pub fn enter(&mut self, job: &Job) -> Result<Environment> {
        let mut environment = Environment::new();
        for name in &job.servers {
            environment.extend_from_slice(self.ensure(name)?);
        }
        Ok(environment)
    }

    fn ensure(&mut self, name: &str) -> Result<&Environment> {
        let server = *self.servers.get(name).with_context(|| format!("the lab has no server {name}"))?;
        if !self.up.contains_key(name) {
            // Before it is up: one that came up half must come down too.
            if server.status()?.iter().all(|daemon| daemon.pid.is_none()) {
                self.ours.insert(server.name());
            }
            self.lab.up(server)?;
            self.up.insert(server.name(), server.environment()?);
        }
        self.up.get(name).context("it has just come up")
    }

    /// Ends what a job that is over was the last to need.
    pub fn leave(&mut self, job: &Job) -> Vec<Error> {
        let over = job.servers.iter().filter(|name| {
            self.needed.get_mut(*name).is_some_and(|needed| {
                *needed -= 1;
                *needed == 0
            })
        });
        let over: Vec<&str> = over.map(String::as_str).collect();
        over.into_iter().filter_map(|name| self.end(name).err()).collect()
    }

    /// Ends what is left, after a failure.
    pub fn clear(&mut self) -> Vec<Error> {
        let left: Vec<&str> = self.ours.iter().copied().collect();
        left.into_iter().filter_map(|name| self.end(name).err()).collect()
    }

    fn end(&mut self, name: &str) -> Result<()> {
        self.up.remove(name);
        if !self.ours.remove(name) {
            return Ok(());
        }
        let server = self.servers.get(name).with_context(|| format!("the lab has no server {name}"))?;
        self.lab.down(*server, false).with_context(|| format!("lab {name}"))
    }
}
