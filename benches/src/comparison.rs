//! The calls that every substrate has, beside a bare client that does the same.

use std::cell::RefCell;
use std::fmt::Display;

use substrates::{Command, InstanceFilter, InstanceName, Substrate};
use tokio::runtime::Runtime;

use crate::{Failure, Promises, Ratio, candidate, measure};

/// One row of the table before it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// What is done.
    pub what: &'a str,
    /// By what else.
    pub beside: &'a str,
    /// What the ratio may be.
    pub at_most: Option<f64>,
}

/// A substrate whose calls are measured, each in turn with what it is beside.
pub struct Comparison<'a> {
    /// Where both run.
    pub runtime: &'a Runtime,
    /// Whose calls are measured.
    pub ours: &'a dyn Substrate,
    /// Where the ratios go.
    pub promises: &'a mut Promises,
}

impl Comparison<'_> {
    /// `list_instances`, of no fewer than `least`.
    ///
    /// # Errors
    ///
    /// A call of either failed, or the list was too short.
    pub fn list<T, E: Display, Fut: Future<Output = Result<T, E>>>(
        &mut self,
        row: Row<'_>,
        least: usize,
        bare: impl Fn() -> Fut,
    ) -> Result<(), Failure> {
        let all = &InstanceFilter::all();
        let ours = self.ours;
        let found = self.runtime.block_on(ours.list_instances(all))?.len();
        if found < least {
            return Err(format!("{}: {found} were listed", row.what).into());
        }
        self.hold(row, 150, 1, bare, || ours.list_instances(all))
    }

    /// `get_instance`.
    ///
    /// # Errors
    ///
    /// A call of either failed.
    pub fn one<T, E: Display, Fut: Future<Output = Result<T, E>>>(
        &mut self,
        row: Row<'_>,
        name: &InstanceName,
        bare: impl Fn() -> Fut,
    ) -> Result<(), Failure> {
        let ours = self.ours;
        self.hold(row, 100, 5, bare, || ours.get_instance(name))
    }

    /// `execute_command` of `true` in an instance that runs.
    ///
    /// # Errors
    ///
    /// A call of either failed, or the command did.
    pub fn command<T, E: Display, Fut: Future<Output = Result<T, E>>>(
        &mut self,
        row: Row<'_>,
        name: &InstanceName,
        bare: impl Fn() -> Fut,
    ) -> Result<(), Failure> {
        let ours = self.ours;
        let command = &Command::new(["true"]);
        let output = self.runtime.block_on(ours.execute_command(name, command))?;
        if !output.success() {
            return Err(format!("{}: {}", row.what, output.stderr_text()).into());
        }
        self.hold(row, 75, 1, bare, || ours.execute_command(name, command))
    }

    /// What takes milliseconds is a round by itself: on a busy machine hardly one of several calls in a row is undisturbed.
    fn hold<T, E: Display, Fut: Future<Output = Result<T, E>>, O, Ours>(
        &mut self,
        row: Row<'_>,
        rounds: u32,
        calls: u32,
        bare: impl Fn() -> Fut,
        ours: impl Fn() -> Ours,
    ) -> Result<(), Failure>
    where
        Ours: Future<Output = substrates::Result<O>>,
    {
        // A call that fails is quick, and would be taken for a fast one.
        let failure = &RefCell::new(None);
        let costs = measure(
            row.what,
            rounds,
            calls,
            &[
                candidate(self.runtime, row.beside, || noting(failure, bare())),
                candidate(self.runtime, "ours", || noting(failure, ours())),
            ],
        );
        if let Some(failure) = failure.take() {
            return Err(format!("{}: {failure}", row.what).into());
        }
        let [theirs, ours] = costs.as_slice() else { return Err("two candidates have two costs".into()) };
        self.promises.hold(&Ratio {
            what: row.what,
            beside: row.beside,
            ratio: ours.nanoseconds / theirs.nanoseconds,
            at_most: row.at_most,
        });
        Ok(())
    }
}

async fn noting<T, E: Display>(
    failure: &RefCell<Option<String>>,
    call: impl Future<Output = Result<T, E>>,
) -> Option<T> {
    match call.await {
        Ok(answer) => Some(answer),
        Err(error) => {
            failure.replace(Some(error.to_string()));
            None
        }
    }
}
