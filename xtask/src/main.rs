//! The developer's tool: `cargo xtask …`. Not published, and no part of what users build.

mod bench;
mod build_packages;
mod checks;
mod command;
mod lab;
mod leak_checker;
mod matrix;
mod missing_library;
mod pages;
mod report;
mod test;
mod wait;
mod weight;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer's tool of the substrate crates")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Real servers for live tests on this machine.
    Lab {
        /// Where the lab keeps its state [default: $SUBSTRATES_LAB_DIR, or lab in the cache folder]
        #[arg(long)]
        directory: Option<PathBuf>,
        #[command(subcommand)]
        command: lab::LabCommand,
    },
    /// All tests, the live ones against the lab (brought up and down, unless it was up).
    Test(test::TestArguments),
    /// Write the provider matrix into the README, from the reports of the last test run.
    Matrix {
        /// Only compare.
        #[arg(long)]
        check: bool,
    },
    /// Write a page per provider, from its crate's documentation and the reports of the last test run.
    Pages {
        /// Only compare.
        #[arg(long)]
        check: bool,
    },
    /// Measure beside others, and write the table and the picture of `benches/README.md`.
    Bench,
    /// What depending on substrate-core costs.
    Weight,
    /// Format, lints, documentation, licences and sources of dependencies.
    Check,
}

fn main() -> ExitCode {
    match execute(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(task: Task) -> Result<()> {
    match task {
        Task::Lab { directory, command } => lab::execute(directory, command),
        Task::Test(arguments) => test::execute(&Workspace::load()?, &arguments),
        Task::Matrix { check } => matrix::execute(&Workspace::load()?, check),
        Task::Pages { check } => pages::execute(&Workspace::load()?, check),
        Task::Bench => bench::execute(&Workspace::load()?),
        Task::Weight => weight::execute(&Workspace::load()?),
        Task::Check => checks::execute(&Workspace::load()?),
    }
}
