//! What test harnesses print: `libtest` and `libtest-mimic` agree on it, but for small things.

use std::collections::{HashMap, VecDeque};

/// How many lines are kept of a test that failed: its last ones, for it panics after everything else that it prints.
const LAST_LINES: usize = 12;

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// With the reason, if the harness gives one.
    Ignored(Option<String>),
}

/// One line `test NAME ... VERDICT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestLine {
    pub name: String,
    /// `libtest-mimic` may print a kind in brackets before the name.
    pub kind: Option<String>,
    pub verdict: Verdict,
}

/// The counts of a line `test result: …`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
}

/// What the tests that failed have printed, which a harness tells when all have run.
#[derive(Debug, Default)]
pub struct Failures {
    lines: HashMap<String, VecDeque<String>>,
    /// The test that the next line belongs to.
    current: Option<String>,
}

impl Failures {
    /// Takes the next line of the harness.
    pub fn read(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            self.current = Some(name.strip_suffix(" stdout").unwrap_or(name).to_owned());
        } else if line == "failures:" || line == "stack backtrace:" || counts(line).is_some() {
            self.current = None;
        } else if let Some(name) = &self.current
            && !line.trim().is_empty()
            && !line.starts_with("note: run with `RUST_BACKTRACE=")
        {
            let lines = self.lines.entry(name.clone()).or_default();
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        }
    }

    /// The last words of a test.
    pub fn of(&self, test: &str) -> impl Iterator<Item = &str> {
        self.lines.get(test).into_iter().flatten().map(String::as_str)
    }
}

/// None when the line is about no test.
pub fn test_line(line: &str) -> Option<TestLine> {
    let (subject, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let verdict = match verdict.trim() {
        "ok" => Verdict::Passed,
        "FAILED" => Verdict::Failed,
        verdict => Verdict::Ignored(reason(verdict.strip_prefix("ignored")?)),
    };
    let (kind, name) = match subject.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((kind, name)) => (Some(kind.to_owned()), name),
        None => (None, subject),
    };
    // Names are padded by one harness; the other says of some tests that they should panic.
    let name = name.trim().trim_end_matches(" - should panic").to_owned();
    Some(TestLine { name, kind, verdict })
}

/// `, reason` of the one harness, ` (reason)` of the other.
fn reason(rest: &str) -> Option<String> {
    let bracketed = || rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    rest.strip_prefix(", ").or_else(bracketed).map(str::to_owned)
}

/// None when the line is no summary.
pub fn counts(line: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    for part in rest.split("; ") {
        match part.split_once(' ') {
            Some((number, "passed")) => counts.passed = number.parse().ok()?,
            Some((number, "failed")) => counts.failed = number.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

/// The servers in an ignore reason such as `live: docker`, `live: docker (the victim)` or `live: docker + supervisor`;
/// none when the test is not a live one.
pub fn live_servers(reason: &str) -> Vec<&str> {
    let Some(servers) = reason.strip_prefix("live:") else { return Vec::new() };
    let servers = servers.split([',', ';', '(']).next().unwrap_or_default();
    servers.split('+').map(str::trim).filter(|server| !server.is_empty()).collect()
}

/// Whether nothing else may use a live test's servers meanwhile, as in `live: docker, alone`: for tests that measure.
pub fn runs_alone(reason: &str) -> bool {
    reason.starts_with("live:") && reason.split(',').skip(1).any(|word| word.trim() == "alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, kind: Option<&str>, verdict: Verdict) -> Option<TestLine> {
        Some(TestLine { name: name.to_owned(), kind: kind.map(str::to_owned), verdict })
    }

    #[test]
    fn every_verdict_of_both_harnesses_is_read() {
        let ignored = |reason: &str| Verdict::Ignored(Some(reason.to_owned()));
        assert_eq!(test_line("test a::b ... ok"), line("a::b", None, Verdict::Passed));
        assert_eq!(test_line("test a ... FAILED"), line("a", None, Verdict::Failed));
        assert_eq!(test_line("test a ... ignored"), line("a", None, Verdict::Ignored(None)));
        assert_eq!(test_line("test a ... ignored, live: docker"), line("a", None, ignored("live: docker")));
        assert_eq!(
            test_line("test [x y] a   ... ignored (no exec)"),
            line("a", Some("x y"), ignored("no exec"))
        );
        assert_eq!(test_line("test a - should panic ... ok"), line("a", None, Verdict::Passed));
    }

    #[test]
    fn other_lines_are_about_no_test() {
        for other in
            ["running 3 tests", "test result: ok. 1 passed; 0 failed", "testing ... ok", "test a ... what"]
        {
            assert_eq!(test_line(other), None, "{other}");
        }
    }

    fn last_words(output: &str, test: &str) -> Vec<String> {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.read(line));
        failures.of(test).map(str::to_owned).collect()
    }

    #[test]
    fn the_last_words_of_a_failed_test_are_read_in_both_harnesses() {
        let of_libtest = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\n\nthread 'a::b' panicked at a.rs:1:2:\n\
                          boom\nstack backtrace:\n   0: somewhere\nnote: run with `RUST_BACKTRACE=full`\n\n\nfailures:\n    a::b\n\n\
                          test result: FAILED. 0 passed; 1 failed; finished in 0.1s\nmore";
        assert_eq!(last_words(of_libtest, "a::b"), ["thread 'a::b' panicked at a.rs:1:2:", "boom"]);
        let plain = "---- a::b stdout ----\n\nboom\nnote: run with `RUST_BACKTRACE=1` environment variable\n";
        assert_eq!(last_words(plain, "a::b"), ["boom"]);
        let of_mimic =
            "failures:\n\n---- one ----\nfirst\n\n---- other ----\nsecond\n\nfailures:\n    one\n    other\n";
        assert_eq!(last_words(of_mimic, "one"), ["first"]);
        assert_eq!(last_words(of_mimic, "other"), ["second"]);
        assert!(last_words(of_mimic, "third").is_empty());
    }

    #[test]
    fn of_a_test_that_prints_a_lot_the_end_is_kept() {
        let lines: String = (0..100).map(|number| format!("{number}\n")).collect();
        let kept = last_words(&format!("---- one stdout ----\n{lines}"), "one");
        assert_eq!((kept.len(), kept.last().map(String::as_str)), (LAST_LINES, Some("99")));
    }

    #[test]
    fn a_summary_gives_its_counts() {
        let summary = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counts(summary), Some(Counts { passed: 3, failed: 2 }));
        assert_eq!(counts("test a ... ok"), None);
    }

    #[test]
    fn the_provider_of_a_live_reason_is_its_first_word() {
        assert_eq!(live_servers("live: docker"), ["docker"]);
        assert_eq!(live_servers("live:docker (the victim)"), ["docker"]);
        assert_eq!(live_servers("live: docker + supervisor"), ["docker", "supervisor"]);
        assert_eq!(live_servers("slow"), [""; 0]);
        assert_eq!(live_servers("live:"), [""; 0]);
    }

    #[test]
    fn a_live_test_runs_alone_when_its_reason_says_so() {
        assert!(runs_alone("live: docker, alone"));
        assert_eq!(live_servers("live: docker, alone"), ["docker"]);
        for reason in ["live: docker", "live: alone", "slow, alone", "live: docker (alone)"] {
            assert!(!runs_alone(reason), "{reason}");
        }
    }
}
