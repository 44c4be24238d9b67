//! What test harnesses print: `libtest` and `libtest-mimic` agree on it, but for small things.

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
}
