//! Measures calls beside each other.
//!
//! The machines are shared and noisy, so candidates run in turn, round by round, and each keeps its best
//! round: what a call costs when nobody disturbs it. Ratios within one run mean something; absolute times of
//! different runs do not. Allocations are counted in a run of their own, and are exact.

pub mod comparison;
pub mod population;

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Runtime;

/// Why nothing could be measured.
pub type Failure = Box<dyn std::error::Error>;

/// Ends at once when it is asked to: what instances run.
pub const SERVE: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"];

/// What one call costs.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// In nanoseconds, the best round's mean.
    pub nanoseconds: f64,
    /// Allocations of one call.
    pub allocations: u64,
}

impl Cost {
    /// What this costs more than `bare`.
    #[must_use]
    pub fn over(self, bare: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds - bare.nanoseconds,
            allocations: self.allocations.saturating_sub(bare.allocations),
        }
    }
}

/// One thing to measure: runs its call so many times.
pub type Candidate<'a> = (String, Box<dyn Fn(u32) + 'a>);

/// A candidate from an asynchronous call.
pub fn candidate<'a, F, Fut>(runtime: &'a Runtime, name: impl Into<String>, call: F) -> Candidate<'a>
where
    F: Fn() -> Fut + 'a,
    Fut: Future,
{
    let run = move |times: u32| {
        runtime.block_on(async {
            for _ in 0..times {
                std::hint::black_box(call().await);
            }
        });
    };
    (name.into(), Box::new(run))
}

/// Measures every candidate `rounds` times in turn, `calls` calls a round, and prints a line for each.
pub fn measure(title: &str, rounds: u32, calls: u32, candidates: &[Candidate<'_>]) -> Vec<Cost> {
    let mut best = vec![Duration::MAX; candidates.len()];
    for _ in 0..rounds {
        for ((_, run), best) in candidates.iter().zip(&mut best) {
            let began = Instant::now();
            run(calls);
            *best = (*best).min(began.elapsed());
        }
    }
    let costs: Vec<Cost> = candidates
        .iter()
        .zip(best)
        .map(|((_, run), best)| {
            // Of many calls, so that what a table allocates once in a while does not count as one each.
            let counted = 1000.min(calls);
            let allocations = allocation_counter::measure(|| run(counted)).count_total / u64::from(counted);
            Cost { nanoseconds: best.as_secs_f64() * 1e9 / f64::from(calls), allocations }
        })
        .collect();
    say(&format!("\n{title}"));
    for ((name, _), cost) in candidates.iter().zip(&costs) {
        say(&format!("  {name:<44} {:>12.0} ns {:>8} allocations", cost.nanoseconds, cost.allocations));
    }
    costs
}

/// Names the file that results are added to, a JSON document a line: `cargo xtask bench` makes the table of it.
const RESULTS: &str = "SUBSTRATES_BENCH_RESULTS";

/// What ours takes of what something else takes for the same, in one run.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio<'a> {
    /// What was done.
    pub what: &'a str,
    /// By what else.
    pub beside: &'a str,
    /// Ours divided by theirs.
    pub ratio: f64,
    /// What it may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// Prints a line.
#[allow(clippy::print_stdout, reason = "a bench is a program that prints")]
pub fn say(line: &str) {
    println!("{line}");
}

/// Prints whether a promise is kept, and ends the program with a failure when one is not.
#[derive(Debug, Default)]
pub struct Promises {
    broken: bool,
}

impl Promises {
    /// Notes one promise.
    pub fn check(&mut self, promise: &str, kept: bool) {
        say(&format!("  {} {promise}", if kept { "kept:  " } else { "BROKEN:" }));
        self.broken |= !kept;
    }

    /// Tells a ratio, notes what was promised of it, and puts it down where a file was named for that.
    pub fn hold(&mut self, ratio: &Ratio<'_>) {
        let Ratio { what, beside, ratio: value, at_most } = ratio;
        match at_most {
            Some(most) => {
                self.check(&format!("{what}: {value:.2} of {beside}; at most {most:.2}"), value <= most);
            }
            None => say(&format!("           {what}: {value:.2} of {beside}")),
        }
        let Some(file) = std::env::var_os(RESULTS) else { return };
        let added = File::options().create(true).append(true).open(&file).and_then(|mut file| {
            let mut line = serde_json::to_vec(ratio)?;
            line.push(b'\n');
            file.write_all(&line)
        });
        if let Err(error) = added {
            say(&format!("cannot write {}: {error}", file.display()));
            self.broken = true;
        }
    }

    /// Ends the program.
    pub fn conclude(self) -> std::process::ExitCode {
        if self.broken { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
    }
}
