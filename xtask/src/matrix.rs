//! The provider matrix in the README, generated from conformance reports so that nobody has to believe it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::report::{self, Report, Tally};
use crate::workspace::Workspace;

const BEGIN: &str = "<!-- matrix:begin -->";
const END: &str = "<!-- matrix:end -->";

/// The columns with their operations. Written here although the core knows the same: this tool must build
/// and bring up the lab while the core does not compile. An operation that is missing here is an error.
const GROUPS: &[(&str, &[&str])] = &[
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
    if old == new {
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
fn package_of(provider: &str) -> &str {
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

fn table<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Result<String> {
    let mut table = String::from("| Provider |");
    let mut rule = String::from("|---|");
    for (group, _) in GROUPS {
        table.push_str(&format!(" {group} |"));
        rule.push_str("---|");
    }
    table.push_str(&format!("\n{rule}\n"));
    for report in reports {
        table.push_str(&row(report)?);
    }
    Ok(table)
}

fn row(report: &Report) -> Result<String> {
    let known = |operation: &str| GROUPS.iter().any(|(_, operations)| operations.contains(&operation));
    if let Some(trial) = report.trials.iter().find(|trial| !known(&trial.operation)) {
        bail!(
            "trial {:?} of {} is about {:?}, which is in no column of the matrix",
            trial.name,
            report.provider,
            trial.operation
        );
    }
    let mut row = format!("| {} |", in_cell(&report.provider));
    for (_, operations) in GROUPS {
        let trials = report.trials.iter().filter(|trial| operations.contains(&trial.operation.as_str()));
        row.push_str(&format!(" {} |", cell(Tally::of(trials))));
    }
    row.push('\n');
    Ok(row)
}

/// Passed of those that ran, and how many the provider's capabilities left out.
fn cell(tally: Tally) -> String {
    let ran = match tally.passed + tally.failed {
        0 => "–".to_owned(),
        ran => format!("{}/{ran}", tally.passed),
    };
    match tally.skipped {
        0 => ran,
        skipped => format!("{ran} ({skipped} skipped)"),
    }
}

fn in_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(trials: &str) -> Report {
        serde_json::from_str(&format!(r#"{{"provider":"docker","version":"20.10.24","trials":[{trials}]}}"#))
            .unwrap()
    }

    fn trial(operation: &str, outcome: &str) -> String {
        format!(
            r#"{{"name":"n","operation":"{operation}","outcome":"{outcome}","reason":null,"seconds":0.1}}"#
        )
    }

    #[test]
    fn a_row_counts_what_ran_per_group_and_tells_what_was_skipped() {
        let trials = [
            trial("create_instance", "passed"),
            trial("stop_instance", "failed"),
            trial("watch", "skipped"),
            trial("get_logs", "passed"),
            trial("open_command", "skipped"),
        ];
        assert_eq!(
            row(&report(&trials.join(","))).unwrap(),
            "| docker | – | 1/2 | 1/1 (1 skipped) | – | – | – | – | – | – | – (1 skipped) |\n"
        );
    }

    #[test]
    fn an_operation_without_a_column_is_an_error_that_names_it() {
        let error = row(&report(&trial("levitate", "passed"))).unwrap_err().to_string();
        assert!(error.contains("levitate"), "{error}");
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
