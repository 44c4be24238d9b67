//! The machine's packet filter: rules that daemons leave behind, read and removed.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::command::{command, output, shown};

/// The rules and chains of a table as `iptables` lists them.
pub fn rules(table: &str) -> Result<Vec<String>> {
    let text = output(command("iptables").args(["--wait", "10", "--table", table, "--list-rules"]))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Removes rules (`-A …`) as they were listed, all of them or none: they may be thousands, and one program for each
/// takes minutes.
pub fn delete<'a>(table: &str, rules: impl IntoIterator<Item = &'a String>) -> Result<()> {
    let lines: String = rules
        .into_iter()
        .filter_map(|rule| rule.strip_prefix("-A "))
        .map(|rule| format!("-D {rule}\n"))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let mut restore = command("iptables-restore");
    restore.args(["--wait", "10", "--noflush"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = restore.spawn().with_context(|| format!("cannot run {}", shown(&restore)))?;
    let mut input = child.stdin.take().context("it takes no input")?;
    input.write_all(format!("*{table}\n{lines}COMMIT\n").as_bytes())?;
    drop(input);
    let result = child.wait_with_output()?;
    if !result.status.success() {
        bail!("{}: {}", shown(&restore), String::from_utf8_lossy(&result.stderr).trim());
    }
    Ok(())
}

pub fn iptables(arguments: &[&str]) -> Result<()> {
    output(command("iptables").args(["--wait", "10"]).args(arguments)).map(drop)
}

/// The arguments of a rule as `iptables` lists it: parted by blanks, those with blanks inside in double quotes.
pub fn words(rule: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut characters = rule.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' if is_quoted => word.get_or_insert_default().extend(characters.next()),
            ' ' if !is_quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_one_argument() {
        let rule = r#"-A FORWARD -o br0 -m comment --comment "say \"on network\" -j x" -j ACCEPT"#;
        assert_eq!(
            words(rule),
            [
                "-A",
                "FORWARD",
                "-o",
                "br0",
                "-m",
                "comment",
                "--comment",
                "say \"on network\" -j x",
                "-j",
                "ACCEPT"
            ]
        );
        assert_eq!(words(r#"--comment "" -j"#), ["--comment", "", "-j"]);
    }
}
