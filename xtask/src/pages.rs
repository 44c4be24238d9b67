//! A page per provider, made from what its crate says of itself and from the last conformance run: nothing on it was
//! written twice.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};

use crate::matrix::package_of;
use crate::report::{self, Report};
use crate::workspace::Workspace;
use source::{Settings, prose_of, settings_of};

const FOLDER: &str = "docs/providers";

/// Writes the pages; with `check` only compares.
pub fn execute(workspace: &Workspace, check: bool) -> Result<()> {
    let mut packages: BTreeMap<String, Vec<Report>> = BTreeMap::new();
    for (provider, report) in report::by_provider(&workspace.report_directory())? {
        let package = format!("substrate-{}", package_of(&provider));
        // An example's provider has no crate.
        if workspace.root().join(&package).is_dir() {
            packages.entry(package).or_default().push(report);
        }
    }
    if packages.is_empty() {
        bail!(
            "no conformance report in {}: run `cargo xtask test` first",
            workspace.report_directory().display()
        );
    }
    let mut differing = Vec::new();
    for (package, reports) in &packages {
        let page = page(workspace, package, reports).with_context(|| format!("the page of {package}"))?;
        let name = format!("{FOLDER}/{}.md", package.trim_start_matches("substrate-"));
        let path = workspace.root().join(&name);
        if fs::read_to_string(&path).ok().as_deref() == Some(&page) {
            continue;
        }
        differing.push(name);
        if !check {
            fs::create_dir_all(workspace.root().join(FOLDER))?;
            fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    match (differing.is_empty(), check) {
        (true, _) => println!("pages: all agree with the crates and the reports"),
        (false, true) => {
            bail!(
                "not what the crates and reports say: {}; `cargo xtask pages` writes them",
                differing.join(", ")
            )
        }
        (false, false) => println!("pages: wrote {}", differing.join(", ")),
    }
    Ok(())
}

fn page(workspace: &Workspace, package: &str, reports: &[Report]) -> Result<String> {
    let sources = workspace.root().join(package).join("src");
    let read = |file: &str| {
        let path = sources.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut page = format!("# `{package}`\n\n");
    page.push_str(
        "*Made by `cargo xtask pages` from the crate's documentation and the last conformance run; change it there.*\n\n",
    );
    page.push_str(&prose_of(&read("lib.rs")?)?);
    for (title, file, what) in [
        (
            "Settings",
            "config.rs",
            "What a section of the configuration, or the value that a program makes, may hold.",
        ),
        ("Options", "options.rs", "What `options` of an instance, a network or a volume may hold."),
    ] {
        if !sources.join(file).is_file() {
            continue;
        }
        page.push_str(&format!("\n## {title}\n\n{what} Keys that are not here are refused.\n"));
        for settings in settings_of(&read(file)?)? {
            page.push_str(&table(&settings));
        }
    }
    page.push_str(&absences(reports));
    Ok(page)
}

fn table(settings: &Settings) -> String {
    let rows: String =
        settings.keys.iter().map(|(key, what)| format!("| `{key}` | {} |\n", in_cell(what))).collect();
    format!("\n### `{}`\n\n{}\n\n| key | |\n|---|---|\n{rows}", settings.name, settings.what)
}

/// What each of the servers has not, by name, with the reasons.
fn absences(reports: &[Report]) -> String {
    let names: BTreeSet<&String> = reports.iter().flat_map(|report| report.absent.keys()).collect();
    if names.is_empty() {
        return "\n## What it cannot do\n\nEvery method and feature of the contract is there.\n".to_owned();
    }
    let mut text = String::from(
        "\n## What it cannot do\n\nIt says so before anything is touched: asked for it, it answers `Unsupported` with \
         the reason. This is what it declared to the conformance suite of the lab's servers; other versions and \
         settings may have more.\n\n",
    );
    let heads: String = reports.iter().map(|report| format!(" {} |", report.provider)).collect();
    text.push_str(&format!("| |{heads}\n|---|{}\n", "---|".repeat(reports.len())));
    for name in names {
        let cells: String = reports
            .iter()
            .map(|report| {
                format!(" {} |", report.absent.get(name).map_or("has it".to_owned(), |why| in_cell(why)))
            })
            .collect();
        text.push_str(&format!("| `{name}` |{cells}\n"));
    }
    text
}

fn in_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(provider: &str, absent: &str) -> Report {
        serde_json::from_str(&format!(
            r#"{{"provider":"{provider}","version":"1","date":"2026-11-21","absent":{absent},"trials":[]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn what_one_server_has_and_another_has_not_stands_side_by_side() {
        let text = absences(&[report("lxd", r#"{"watch":"no | events"}"#), report("incus", "{}")]);
        assert!(text.contains("| | lxd | incus |\n|---|---|---|\n"), "{text}");
        assert!(text.contains("| `watch` | no \\| events | has it |\n"), "{text}");
        assert!(absences(&[report("fake", "{}")]).contains("Every method"));
    }
}
