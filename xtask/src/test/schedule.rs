//! Which live tests run beside which: no two that need the same server, for a suite counts what is on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context, Result, anyhow};

/// A live test that was asked for.
pub struct LiveTest {
    /// Index of its program.
    pub binary: usize,
    /// What it needs, all of them.
    pub servers: BTreeSet<String>,
    /// Whether nothing else may use them meanwhile.
    pub alone: bool,
    pub name: String,
}

/// Tests of one program that need the same servers.
#[derive(Debug, PartialEq, Eq)]
pub struct Job {
    /// Index of the program.
    pub binary: usize,
    pub servers: BTreeSet<String>,
    /// One test after the other: those that measure.
    pub alone: bool,
    pub tests: Vec<String>,
}

impl Job {
    /// All ordinary tests of a program.
    pub fn without_servers(binary: usize) -> Self {
        Self { binary, servers: BTreeSet::new(), alone: false, tests: Vec::new() }
    }

    /// What runs, and on what.
    pub fn on(&self, program: &str) -> String {
        if self.servers.is_empty() {
            return program.to_owned();
        }
        format!("{program} on {}{}", listed(&self.servers), if self.alone { ", alone" } else { "" })
    }
}

pub fn listed(servers: &BTreeSet<String>) -> String {
    servers.iter().map(String::as_str).collect::<Vec<_>>().join(" + ")
}

/// The jobs of these tests.
pub fn jobs(tests: impl IntoIterator<Item = LiveTest>) -> Vec<Job> {
    let mut jobs: BTreeMap<(usize, BTreeSet<String>, bool), Vec<String>> = BTreeMap::new();
    for LiveTest { binary, servers, alone, name } in tests {
        jobs.entry((binary, servers, alone)).or_default().push(name);
    }
    jobs.into_iter().map(|((binary, servers, alone), tests)| Job { binary, servers, alone, tests }).collect()
}

/// Runs all jobs, `side_by_side` of them at most at once. Each is prepared, and its result told, in the calling thread.
///
/// # Errors
///
/// The first of a job that could not be run; what was begun is waited for.
pub fn run<P: Send, R: Send>(
    jobs: Vec<Job>,
    side_by_side: usize,
    mut prepare: impl FnMut(&Job) -> Result<P>,
    work: impl Fn(&Job, P) -> Result<R> + Sync,
    mut tell: impl FnMut(&Job, R),
) -> Result<()> {
    let mut waiting = jobs;
    let (mut last, mut busy) = (BTreeSet::new(), BTreeSet::new());
    let mut running = 0;
    let (sender, ended) = channel();
    thread::scope(|scope| {
        loop {
            while running < side_by_side.max(1)
                && let Some(next) = choice(&waiting, &last, &busy)
            {
                let job = waiting.remove(next);
                let prepared = prepare(&job)?;
                busy.extend(job.servers.iter().cloned());
                running += 1;
                let (sender, work) = (sender.clone(), &work);
                scope.spawn(move || {
                    // Without a word from it the others' end would be waited for in vain.
                    let result = catch_unwind(AssertUnwindSafe(|| work(&job, prepared)))
                        .unwrap_or_else(|_| Err(anyhow!("a job panicked: {job:?}")));
                    // Nobody listens any more when another job could not be run.
                    let _ = sender.send((job, result));
                });
            }
            if running == 0 {
                return Ok(());
            }
            let (job, result) = ended.recv().context("a job ended without a word")?;
            running -= 1;
            busy.retain(|server: &String| !job.servers.contains(server));
            tell(&job, result?);
            last = job.servers;
        }
    })
}

/// The job to begin: one that needs several servers, so that none must stay up for it; else one of the server that was
/// just used, so that it is done with soon; else of the one for which most is to be done, so that nobody waits for it at
/// the end.
fn choice(waiting: &[Job], last: &BTreeSet<String>, busy: &BTreeSet<String>) -> Option<usize> {
    let left = |job: &Job| -> usize {
        let alike = waiting.iter().filter(|other| !other.servers.is_disjoint(&job.servers));
        alike.map(|other| other.tests.len()).sum()
    };
    let free = waiting.iter().enumerate().filter(|(_, job)| job.servers.is_disjoint(busy));
    // Of equals the first: programs are in the order of their names.
    free.rev()
        .max_by_key(|(_, job)| (job.servers.len(), job.servers.is_subset(last), left(job)))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn job(binary: usize, servers: &[&str], tests: usize) -> Job {
        Job {
            binary,
            servers: set(servers),
            alone: false,
            tests: (0..tests).map(|number| format!("t{number}")).collect(),
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn tests_of_one_program_are_apart_where_they_need_different_servers_or_to_be_alone() {
        let tests = [("docker", false), ("incus", false), ("docker", true), ("docker", false)];
        let jobs = jobs(tests.map(|(server, alone)| LiveTest {
            binary: 0,
            servers: set(&[server]),
            alone,
            name: "a".to_owned(),
        }));
        let told: Vec<_> = jobs.iter().map(|job| (job.on("it"), job.tests.len())).collect();
        let expected = [("it on docker", 2), ("it on docker, alone", 1), ("it on incus", 1)];
        assert_eq!(told, expected.map(|(words, tests)| (words.to_owned(), tests)));
    }

    #[test]
    fn the_server_with_most_to_do_is_first_and_a_busy_one_waits() {
        let jobs = [job(0, &["docker"], 3), job(1, &["k8s"], 2), job(2, &["k8s"], 2)];
        assert_eq!(choice(&jobs, &set(&[]), &set(&[])), Some(1));
        assert_eq!(choice(&jobs, &set(&[]), &set(&["k8s"])), Some(0));
        assert_eq!(choice(&jobs, &set(&[]), &set(&["docker", "k8s"])), None);
    }

    #[test]
    fn what_needs_several_servers_is_before_all_that_need_one() {
        let jobs = [job(0, &["docker"], 3), job(1, &["docker", "k8s"], 1)];
        assert_eq!(choice(&jobs, &set(&[]), &set(&[])), Some(1));
        assert_eq!(choice(&jobs, &set(&[]), &set(&["k8s"])), Some(0));
    }

    #[test]
    fn a_server_that_was_used_is_done_with_before_the_next() {
        let jobs = [job(0, &["docker"], 1), job(1, &["k8s"], 9)];
        assert_eq!(choice(&jobs, &set(&["docker"]), &set(&[])), Some(0));
        assert_eq!(choice(&jobs, &set(&["docker", "k8s"]), &set(&[])), Some(1));
    }

    #[test]
    fn what_was_prepared_for_a_job_is_what_it_gets() {
        let jobs = (0..9).map(|number| job(number, &[], 1)).collect();
        let mut told = 0;
        let work = |job: &Job, prepared| {
            assert_eq!(prepared, job.binary);
            Ok(())
        };
        run(jobs, 3, |job| Ok(job.binary), work, |_, ()| told += 1).unwrap();
        assert_eq!(told, 9);
    }

    #[test]
    fn every_job_runs_once_and_none_beside_one_with_its_server() {
        for side_by_side in 0..4 {
            let now: Mutex<Vec<BTreeSet<String>>> = Mutex::default();
            let jobs = vec![
                job(0, &["a"], 1),
                job(1, &["a"], 1),
                job(2, &["b"], 1),
                job(3, &["a", "b"], 1),
                job(4, &["c"], 1),
            ];
            let mut told = Vec::new();
            let work = |job: &Job, ()| {
                let mut running = now.lock().unwrap();
                assert!(
                    running.iter().all(|servers| servers.is_disjoint(&job.servers)),
                    "{job:?} beside {running:?}"
                );
                running.push(job.servers.clone());
                assert!(running.len() <= side_by_side.max(1), "{running:?}");
                drop(running);
                thread::yield_now();
                now.lock().unwrap().retain(|servers| *servers != job.servers);
                Ok(job.binary)
            };
            run(jobs, side_by_side, |_| Ok(()), work, |_, binary| told.push(binary)).unwrap();
            told.sort_unstable();
            assert_eq!(told, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn a_job_that_cannot_be_run_is_an_error() {
        let work = |_: &Job, ()| -> Result<()> { anyhow::bail!("no such program") };
        let nothing = |_: &Job| Ok(());
        assert!(run(vec![job(0, &["a"], 1)], 2, nothing, work, |_, ()| {}).is_err());
    }

    #[test]
    fn a_job_that_cannot_be_prepared_is_an_error() {
        let prepare = |_: &Job| -> Result<()> { anyhow::bail!("no such server") };
        assert!(run(vec![job(0, &["a"], 1)], 2, prepare, |_, ()| Ok(()), |_, ()| {}).is_err());
    }
}
