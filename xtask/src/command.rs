//! Running other programs: what was run is in every error.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait::until;

/// Where administrators' programs live; a user's `PATH` often lacks them.
const ADMINISTRATORS_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// A command that also finds administrators' programs and never waits for a person's input.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", path()).stdin(Stdio::null());
    command
}

/// The value of `PATH` with the administrators' folders at its end.
fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(ADMINISTRATORS_FOLDERS);
    path
}

/// True when the program can be found.
pub fn exists(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}

/// Runs to the end; its output goes where ours goes.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end, or is ended where that takes longer than `patience`; its output goes where ours goes.
pub fn run_within(patience: Duration, command: &mut Command) -> Result<()> {
    let mut child = command.spawn().with_context(|| format!("cannot run {}", shown(command)))?;
    if !until(patience, || Ok(child.try_wait()?.is_some()))? {
        child.kill()?;
        child.wait()?;
        bail!("{} did not end within {patience:?}", shown(command));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and gives what it wrote on standard output; an error holds what it wrote on standard
/// error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", shown(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as a person would type it (arguments are not quoted: it is for reading).
pub fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// One word of the shell, whatever it holds.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{command, quoted, run_within};

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let began = Instant::now();
        let error = run_within(Duration::from_millis(100), command("sleep").arg("30")).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_program_that_ends_says_how() {
        assert!(run_within(Duration::from_secs(20), &mut command("true")).is_ok());
        let error = run_within(Duration::from_secs(20), &mut command("false")).unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }

    #[test]
    fn a_quoted_word_stays_one_word() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
