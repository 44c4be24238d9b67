//! Measures calls beside each other.
//!
//! The machines are shared and noisy, so candidates run in turn, round by round, and each keeps its best
//! round: what a call costs when nobody disturbs it. Ratios within one run mean something; absolute times of
//! different runs do not. Allocations are counted in a run of their own, and are exact.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

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

    /// Ends the program.
    pub fn conclude(self) -> std::process::ExitCode {
        if self.broken { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
    }
}
