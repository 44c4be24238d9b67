//! The trials as tests of their own: what [`certify!`](crate::certify) expands to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Completion, Conclusion, Failed};
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, watch};

use crate::report::{Report, TrialOutcome, TrialReport};
use crate::run::Run;
use crate::setup::Setup;
use crate::trial::Trial;
use crate::trials;

/// Names the folder where reports are written; none is written without it.
pub const REPORT_VARIABLE: &str = "SUBSTRATES_REPORT_DIR";

/// Makes the `main` of a test that certifies a provider, each trial being a test of its own.
///
/// The test needs `harness = false` in `Cargo.toml`. It knows the usual arguments of a test: a filter,
/// `--exact`, `--skip`, `--list`, `--ignored`, `--include-ignored`, `--test-threads`.
/// `setup` is a function that makes the [`Setup`](crate::Setup); it runs once, on the runtime that all
/// trials share, and not at all when no trial runs. With `ignore`, trials only run when ignored tests are
/// asked for, and the text is shown with each of them. A trial that does not apply is shown as ignored, with
/// the reason. `threads` is how many trials run at once unless the arguments tell: four, for trials wait more than
/// they compute; more where a server answers late and not busily. When [`SUBSTRATES_REPORT_DIR`](crate::harness::REPORT_VARIABLE) is set, the report is written
/// to `<provider>.json` in that folder.
///
/// ```no_run
/// # mod example {
/// use std::sync::Arc;
/// use substrate_conformance::{Guest, Setup};
/// use substrate_fake::Fake;
///
/// async fn setup() -> substrate_core::Result<Setup> {
///     let substrate = Arc::new(Fake::new("lab"));
///     Ok(Setup::new(substrate, "busybox:local", Guest::fake()).with_missing_image("missing:1"))
/// }
///
/// substrate_conformance::certify! { provider: "fake", setup: setup }
/// # }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! certify {
    (provider: $provider:expr, $(ignore: $reason:expr,)? $(threads: $threads:expr,)? setup: $setup:expr $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::harness::Certification::of($provider)
                $(.ignored($reason))?
                $(.with_threads($threads))?
                .run($setup)
        }
    };
}

/// What the tests of one program share.
struct Session<S> {
    runtime: Runtime,
    setup: S,
    /// Begun by the first trial that runs.
    run: OnceCell<Result<Arc<Run>, String>>,
    reports: Mutex<Vec<TrialReport>>,
    /// How many trials have ended.
    ended: watch::Sender<usize>,
    /// How many trials run beside the one that looks at what they left.
    others: usize,
}

/// The trials as the tests of this program: see [`certify!`](crate::certify).
#[derive(Debug, Clone, Copy)]
pub struct Certification {
    provider: &'static str,
    ignore: Option<&'static str>,
    threads: usize,
}

impl Certification {
    /// Of the provider of this name, which is the report's.
    pub fn of(provider: &'static str) -> Self {
        Self { provider, ignore: None, threads: 4 }
    }

    /// Trials run only when ignored tests are asked for.
    #[must_use]
    pub fn ignored(self, reason: &'static str) -> Self {
        Self { ignore: Some(reason), ..self }
    }

    /// How many trials run at once.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Runs what the arguments of this program ask for.
    pub fn run<S, F, E>(self, setup: S) -> ExitCode
    where
        S: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Setup, E>> + Send,
        E: fmt::Display,
    {
        let folder = std::env::var_os(REPORT_VARIABLE).map(PathBuf::from);
        match self.run_with(Arguments::from_args(), folder.as_deref(), setup) {
            Ok(conclusion) => conclusion.exit_code(),
            Err(problem) => complain(&problem),
        }
    }

    fn run_with<S, F, E>(
        self,
        mut arguments: Arguments,
        folder: Option<&Path>,
        setup: S,
    ) -> Result<Conclusion, String>
    where
        S: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Setup, E>> + Send,
        E: fmt::Display,
    {
        arguments.test_threads.get_or_insert(self.threads);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start a runtime: {error}"))?;
        let others = trials::all()
            .filter(|trial| trial.name != trials::LEAVES_NOTHING_BEHIND)
            .filter(|trial| {
                !arguments.is_filtered_out(&test(trial, self.ignore, || Ok(Completion::Completed)))
            })
            .count();
        let session = Arc::new(Session {
            runtime,
            setup,
            run: OnceCell::new(),
            reports: Mutex::default(),
            ended: watch::Sender::new(0),
            others,
        });
        let tests = trials::all()
            .enumerate()
            .map(|(number, trial)| {
                let session = Arc::clone(&session);
                test(trial, self.ignore, move || session.trial(number, trial))
            })
            .collect();
        let conclusion = libtest_mimic::run(&arguments, tests);
        session.finish(self.provider, folder)?;
        Ok(conclusion)
    }
}

/// One test. Its kind tells what it needs: an ignored test cannot print a reason.
fn test(
    trial: &Trial,
    ignore: Option<&'static str>,
    run: impl FnOnce() -> Result<Completion, Failed> + Send + 'static,
) -> libtest_mimic::Trial {
    libtest_mimic::Trial::ignorable_test(trial.name, run)
        .with_kind(ignore.unwrap_or_default())
        .with_ignored_flag(ignore.is_some())
}

impl<S, F, E> Session<S>
where
    S: Fn() -> F,
    F: Future<Output = Result<Setup, E>>,
    E: fmt::Display,
{
    fn trial(&self, number: usize, trial: &'static Trial) -> Result<Completion, Failed> {
        let report = self.runtime.block_on(async {
            let run = match self.run.get_or_init(|| self.begin()).await {
                Ok(run) => Arc::clone(run),
                Err(reason) => return TrialReport::failed(trial, reason),
            };
            if trial.name == trials::LEAVES_NOTHING_BEHIND {
                let mut ended = self.ended.subscribe();
                // Every other trial has a deadline, so this ends.
                let _ = ended.wait_for(|ended| *ended >= self.others).await;
            }
            let task = tokio::spawn(trial.report(number, run));
            task.await.unwrap_or_else(|error| TrialReport::failed(trial, &error.to_string()))
        });
        self.ended.send_modify(|ended| *ended += 1);
        let (outcome, reason) = (report.outcome, report.reason.clone().unwrap_or_default());
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        match outcome {
            TrialOutcome::Passed => Ok(Completion::Completed),
            TrialOutcome::Skipped => Ok(Completion::ignored_with(reason)),
            TrialOutcome::Failed => Err(Failed::from(reason)),
        }
    }

    async fn begin(&self) -> Result<Arc<Run>, String> {
        let setup = (self.setup)().await.map_err(|error| format!("the setup failed: {error}"))?;
        Run::begin(setup).await.map(Arc::new)
    }

    /// Removes what is still there and writes the report.
    fn finish(&self, provider: &str, folder: Option<&Path>) -> Result<(), String> {
        let Some(begun) = self.run.get() else { return Ok(()) };
        if let Ok(run) = begun {
            // What it finds was already reported by the trial that looks for it, if that was selected.
            let _ = self.runtime.block_on(run.reap());
        }
        let Some(folder) = folder else { return Ok(()) };
        let mut trials = std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner));
        let place = |name: &str| trials::all().position(|trial| trial.name == name);
        trials.sort_by_key(|trial| place(&trial.name));
        let provider_type = provider.to_owned();
        let report = match begun {
            Ok(run) => Report::of(provider_type, run, trials),
            Err(_) => Report::unusable(provider_type, trials),
        };
        report
            .write(folder, provider)
            .map_err(|error| format!("cannot write the report to {}: {error}", folder.display()))
    }
}

#[allow(clippy::print_stderr, reason = "the only voice of a test program whose harness has ended")]
fn complain(problem: &str) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use substrate_fake::Fake;

    use super::*;
    use crate::guest::Guest;

    /// Only this trial; what the harness prints goes into a file in `folder`.
    fn only(trial: &str, folder: &Path) -> Arguments {
        std::fs::create_dir_all(folder).unwrap();
        let logfile = folder.join("harness.log").display().to_string();
        Arguments {
            filter: Some(trial.to_owned()),
            exact: true,
            logfile: Some(logfile),
            ..Arguments::default()
        }
    }

    fn folder(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("substrate-conformance-{}-{test}", std::process::id()))
    }

    async fn fake() -> Result<Setup, String> {
        Ok(Setup::new(Arc::new(Fake::new("fake")), "busybox:local", Guest::fake()))
    }

    #[test]
    fn ignored_trials_need_no_setup() {
        let folder = folder("ignored");
        let never = || async { Err::<Setup, _>("the setup ran") };
        let trial = "connecting_again_is_success";
        let conclusion = Certification::of("fake")
            .ignored("live: fake")
            .run_with(only(trial, &folder), Some(&folder), never)
            .unwrap();
        assert_eq!((conclusion.num_ignored, conclusion.num_failed), (1, 0));
        assert!(!folder.join("fake.json").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_setup_that_fails_fails_the_trials_with_its_reason() {
        let folder = folder("failing");
        let failing = || async { Err::<Setup, _>("no daemon") };
        let arguments = only("connecting_again_is_success", &folder);
        let conclusion = Certification::of("fake").run_with(arguments, Some(&folder), failing).unwrap();
        assert_eq!(conclusion.num_failed, 1);
        assert!(std::fs::read_to_string(folder.join("fake.json")).unwrap().contains("no daemon"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_report_is_written_where_it_is_wanted() {
        let folder = folder("report");
        let arguments = Arguments { ignored: true, ..only("connecting_again_is_success", &folder) };
        let conclusion =
            Certification::of("fake").ignored("live: fake").run_with(arguments, Some(&folder), fake).unwrap();
        assert_eq!(conclusion.num_passed, 1);
        let text = std::fs::read(folder.join("fake.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(report["trials"][0]["operation"], "connect");
        assert_eq!(report["trials"][0]["outcome"], "passed");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_was_left_behind_is_looked_for_after_all_others() {
        let folder = folder("last");
        // It has to wait for none: it is the only one.
        let arguments = only(trials::LEAVES_NOTHING_BEHIND, &folder);
        let conclusion = Certification::of("fake").run_with(arguments, None, fake).unwrap();
        assert_eq!(conclusion.num_passed, 1);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
