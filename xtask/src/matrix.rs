//! The provider matrix in the README, generated from conformance reports so that nobody has to believe it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::report::{self, Report, Tally};
use crate::workspace::Workspace;

const BEGIN: &str = "<!-- matrix:begin -->";
const END: &str = "<!-- matrix:end -->";
const SERVER: &str = "| *server's version*";
const DAY: &str = "| *day of the run*";

/// The rows, by area of the contract. Written here although the core knows the same: this tool must build
/// and bring up the lab while the core does not compile. An operation that is missing here is an error.
const AREAS: &[(&str, &[&str])] = &[
    ("Connection", &["descriptor", "connect", "is_connected", "ensure_connected", "health_check"]),
    (
        "Lifecycle",
        &[
            "list_instances",
            "get_instance",
            "validate_config",
            "create_instance",
            "create_from_template",
            "start_instance",
            "stop_instance",
            "restart_instance",
            "pause_instance",
            "resume_instance",
            "delete_instance",
        ],
    ),
    ("Interaction", &["execute_command", "open_command", "get_logs"]),
    ("Metrics", &["get_metrics", "substrate_metrics"]),
    ("Resources", &["get_resource_limits", "set_resource_limits"]),
    (
        "Snapshots",
        &["create_snapshot", "list_snapshots", "restore_snapshot", "delete_snapshot", "clone_instance"],
    ),
    ("Networks", &["list_networks", "create_network", "delete_network", "attach_network", "detach_network"]),
    ("Volumes", &["list_volumes", "create_volume", "delete_volume"]),
    ("Images", &["list_images", "ensure_image"]),
    ("Events", &["watch"]),
];

/// Writes the matrix into the README; with `check` only compares.
pub fn execute(workspace: &Workspace, check: bool) -> Result<()> {
    let mut reports = report::by_provider(&workspace.report_directory())?;
    // An example's provider is certified like every other, but nobody can add it to a program.
    reports
        .retain(|provider, _| workspace.root().join(format!("substrate-{}", package_of(provider))).is_dir());
    if reports.is_empty() {
        bail!(
            "no conformance report in {}: run `cargo xtask test` first",
            workspace.report_directory().display()
        );
    }
    let readme = workspace.root().join("README.md");
    let old = fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let new = with_block(&old, &table(reports.values())?)?;
    if lasting(&old) == lasting(&new) && (check || old == new) {
        println!("matrix: README.md agrees with the reports");
        return Ok(());
    }
    if check {
        bail!(
            "the matrix in README.md is not that of the reports ({}): `cargo xtask matrix` writes\n{}",
            workspace.report_directory().display(),
            table(reports.values())?
        );
    }
    write(&readme, &new)?;
    println!("matrix: README.md rewritten");
    Ok(())
}

/// The package that a provider is from. One of them speaks to two servers, and one has two kinds of guests
/// (`proxmox-qemu`): each has a row of its own.
pub fn package_of(provider: &str) -> &str {
    match provider {
        "lxd" | "incus" => "lxc",
        other => other.split('-').next().unwrap_or(other),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The text with everything between the two marks replaced.
fn with_block(text: &str, block: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("README.md has no {BEGIN}"))?;
    let (_, after) =
        rest.split_once(END).with_context(|| format!("README.md has no {END} behind {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n{block}{END}{after}"))
}

/// What must agree: all but the servers' versions and the day, which change without anybody's doing.
fn lasting(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with(SERVER) && !line.starts_with(DAY)).collect()
}

fn table<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Result<String> {
    let reports: Vec<&Report> = reports.into_iter().collect();
    for report in &reports {
        let known = |operation: &str| AREAS.iter().any(|(_, operations)| operations.contains(&operation));
        if let Some(trial) = report.trials.iter().find(|trial| !known(&trial.operation)) {
            bail!(
                "trial {:?} of {} is about {:?}, which is in no row of the matrix",
                trial.name,
                report.provider,
                trial.operation
            );
        }
    }
    let line = |head: &str, cell: &dyn Fn(&Report) -> String| {
        let cells: String = reports.iter().map(|report| format!(" {} |", in_cell(&cell(report)))).collect();
        format!("{head} |{cells}\n")
    };
    let mut table = line("| Method", &|report| report.provider.clone());
    table.push_str(&format!("|---|{}\n", "---|".repeat(reports.len())));
    table.push_str(&line(SERVER, &|report| report.version.clone()));
    table.push_str(&line(DAY, &|report| report.date.clone()));
    for (area, operations) in AREAS {
        table.push_str(&line(&format!("| **{area}**"), &|_| String::new()));
        for operation in *operations {
            let of_operation = |report: &Report| {
                Tally::of(report.trials.iter().filter(|trial| trial.operation == *operation))
            };
            // Some methods are part of every trial, and no trial's subject.
            if reports.iter().any(|report| of_operation(report) != Tally::default()) {
                table.push_str(&line(&format!("| `{operation}`"), &|report| cell(of_operation(report))));
            }
        }
    }
    Ok(table)
}

/// Passed of all trials about a method; `–` where none applies.
fn cell(tally: Tally) -> String {
    let all = tally.passed + tally.failed + tally.skipped;
    match (tally.passed, tally.failed) {
        (0, 0) => "–".to_owned(),
        (passed, 0) => format!("{passed}/{all}"),
        (passed, failed) => format!("✗ {passed}/{all} ({failed} failed)"),
    }
}

fn in_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(provider: &str, version: &str, trials: &[String]) -> Report {
        serde_json::from_str(&format!(
            r#"{{"provider":"{provider}","version":"{version}","date":"2026-11-21","absent":{{}},"trials":[{}]}}"#,
            trials.join(",")
        ))
        .unwrap()
    }

    fn trial(operation: &str, outcome: &str) -> String {
        format!(
            r#"{{"name":"n","operation":"{operation}","outcome":"{outcome}","reason":null,"seconds":0.1}}"#
        )
    }

    #[test]
    fn a_method_counts_what_passed_of_all_and_tells_what_failed_and_what_nobody_offers() {
        let docker = report(
            "docker",
            "20.10",
            &[trial("create_instance", "passed"), trial("watch", "skipped"), trial("get_logs", "failed")],
        );
        let fake = report(
            "fake",
            "1",
            &[
                trial("create_instance", "passed"),
                trial("create_instance", "skipped"),
                trial("watch", "passed"),
            ],
        );
        let table = table([&docker, &fake]).unwrap();
        for line in [
            "| Method | docker | fake |",
            "| *server's version* | 20.10 | 1 |",
            "| *day of the run* | 2026-11-21 | 2026-11-21 |",
            "| `create_instance` | 1/1 | 1/2 |",
            "| `get_logs` | ✗ 0/1 (1 failed) | – |",
            "| `watch` | – | 1/1 |",
        ] {
            assert!(table.lines().any(|found| found == line), "{line}\n{table}");
        }
        assert!(!table.contains("pause_instance"), "nothing is known of it");
    }

    #[test]
    fn an_operation_without_a_row_is_an_error_that_names_it() {
        let error = table([&report("docker", "1", &[trial("levitate", "passed")])]).unwrap_err().to_string();
        assert!(error.contains("levitate"), "{error}");
    }

    #[test]
    fn a_newer_server_on_another_day_is_the_same_matrix() {
        let of = |version: &str, outcome: &str| {
            table([&report("docker", version, &[trial("watch", outcome)])]).unwrap()
        };
        assert_ne!(of("20.10", "passed"), of("27.0", "passed"));
        assert_eq!(lasting(&of("20.10", "passed")), lasting(&of("27.0", "passed")));
        assert_ne!(lasting(&of("20.10", "passed")), lasting(&of("20.10", "failed")));
    }

    #[test]
    fn only_the_block_between_the_marks_changes_and_writing_twice_changes_nothing() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = with_block(&text, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(with_block(&once, "new\n").unwrap(), once);
        assert!(with_block("no marks", "new\n").is_err());
    }
}
