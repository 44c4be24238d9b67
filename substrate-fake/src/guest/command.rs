//! Commands: what an argument vector does inside a running instance.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use substrate_core::{
    Command, CommandEvent, EnvironmentVariables, Error, ExitStatus, InstanceConfig, InstanceName,
    InstanceState, LogSource, Result,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::disk;
use super::program::{Invocation, Program, ProgramResult};
use crate::change::Change;
use crate::clock::deadline;
use crate::error::wrong_state;
use crate::files::absolute;
use crate::state::State;

/// A command on its way. What it changes at once is changed already; what is left is what takes time or
/// input, and goes on as its output is read.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) instance: InstanceName,
    /// The instance's id and run: the command ends with that run, not with a later one of the same name.
    pub(crate) id: String,
    pub(crate) run: u64,
    pub(crate) pulse: watch::Receiver<()>,
    pub(crate) work: Work,
}

/// What is left to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Only to be told.
    Told(VecDeque<CommandEvent>),
    /// Copies its input to its output.
    CopyInput,
    /// Writes so many zeros to each stream.
    Flood { stdout: u64, stderr: u64 },
    /// Ends at a time, after telling this.
    Until(Instant, VecDeque<CommandEvent>),
    /// Writes the terminal's size after each line of input.
    SizePerLine,
    /// Writes the terminal's size.
    Size,
    /// Calls the user's program when the input has ended.
    Scripted(Program, Box<Invocation>, Vec<u8>),
    /// Does not end by itself.
    Endless(VecDeque<CommandEvent>),
}

const USERS: [&str; 5] = ["root", "nobody", "daemon", "www-data", "user"];

/// A program's name without the folders in which programs lie.
pub(crate) fn plain_name(program: &str) -> &str {
    ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/"]
        .iter()
        .find_map(|folder| program.strip_prefix(folder))
        .filter(|name| !name.contains('/'))
        .unwrap_or(program)
}

/// Starts a command: everything that it does at once is done when this returns.
///
/// # Errors
/// `NotFound`; `Conflict` when the instance does not run; `InvalidInput` when the program, the user or the
/// folder does not exist.
pub(crate) fn launch(change: &mut Change<'_>, name: &InstanceName, command: &Command) -> Result<Launch> {
    let record = change.state.instance(name)?;
    if record.state != InstanceState::Running {
        return Err(wrong_state(name, record.state, "commands run in running instances only"));
    }
    let instance = record.config.name.clone();
    let (id, run, pulse) = (record.id.clone(), record.run, record.pulse.subscribe());
    let invocation = invocation(change.state, &instance, command)?;
    let work = work(change, &invocation, command)?;
    Ok(Launch { instance, id, run, pulse, work })
}

fn invocation(state: &State, instance: &InstanceName, command: &Command) -> Result<Invocation> {
    let user = command.user.as_deref().unwrap_or("root");
    let account = user.split(':').next().unwrap_or(user);
    let numeric = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric && !USERS.contains(&account) {
        return Err(Error::invalid_input(format!("there is no user `{user}` in the instance")));
    }
    let working_directory = absolute("/", command.working_directory.as_deref().unwrap_or("/"));
    if !disk::folder_exists(state, instance, &working_directory) {
        return Err(Error::invalid_input(format!(
            "there is no folder `{working_directory}` in the instance"
        )));
    }
    let environment = environment(&state.instance(instance)?.config, &command.environment);
    Ok(Invocation {
        instance: instance.clone(),
        argv: command.argv.clone(),
        environment,
        working_directory,
        user: user.to_owned(),
        input: Bytes::new(),
    })
}

fn work(change: &mut Change<'_>, invocation: &Invocation, command: &Command) -> Result<Work> {
    let Some((program, arguments)) = invocation.argv.split_first() else {
        return Err(Error::invalid_input("the command is empty"));
    };
    let name = plain_name(program);
    if let Some(script) = change.programs.get(program).or_else(|| change.programs.get(name)) {
        return Ok(Work::Scripted(script.clone(), Box::new(invocation.clone()), Vec::new()));
    }
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    let path = |index: usize| absolute(&invocation.working_directory, argument(index));
    let instance = &invocation.instance;
    // In the way of such programs: `cat: /x: No such file or directory`, and 1.
    let outcome = |path: &str, done: std::result::Result<(), &str>| match done {
        Ok(()) => told("", "", 0),
        Err(why) => told("", &format!("{name}: {path}: {why}\n"), 1),
    };
    Ok(match name {
        "true" => told("", "", 0),
        "false" => told("", "", 1),
        "exit" => told("", "", number(argument(0), "an exit code")?),
        "emit" => {
            let code = if arguments.len() > 2 { number(argument(2), "an exit code")? } else { 0 };
            told(argument(0), argument(1), code)
        }
        "arguments" => told(&lines(arguments), "", 0),
        "echo" => told(&format!("{}\n", arguments.join(" ")), "", 0),
        "cat" if arguments.is_empty() => Work::CopyInput,
        "cat" => match disk::read(change.state, instance, &path(0)) {
            Some(content) => told_bytes(content, Bytes::new(), ExitStatus::Code(0)),
            None => outcome(argument(0), Err("No such file or directory")),
        },
        "write" => {
            let text = Bytes::copy_from_slice(argument(1).as_bytes());
            outcome(argument(0), disk::write(change.state, instance, &path(0), text))
        }
        // Whoever writes a file from outside: content over standard input, then the name and who may read it.
        "cp" if argument(0) == "/dev/stdin" => {
            let target = path(1);
            let copy =
                move |one: &Invocation| ProgramResult::success().with_file(target.clone(), one.input.clone());
            Work::Scripted(Program::new(copy), Box::new(invocation.clone()), Vec::new())
        }
        "mv" => {
            let first = usize::from(argument(0) == "-f");
            let (from, to) = (path(first), path(first + 1));
            let moved = match disk::read(change.state, instance, &from) {
                Some(content) => disk::write(change.state, instance, &to, content)
                    .and_then(|()| disk::remove(change.state, instance, &from)),
                None => Err("No such file or directory"),
            };
            outcome(argument(first), moved)
        }
        // A folder is there as soon as something is in it, and modes and owners are not kept.
        "mkdir" => told("", "", 0),
        "chmod" | "chown" => match disk::read(change.state, instance, &path(1)) {
            Some(_) => told("", "", 0),
            None => outcome(argument(1), Err("No such file or directory")),
        },
        "rm" => outcome(argument(0), disk::remove(change.state, instance, &path(0))),
        "flood" => Work::Flood {
            stdout: number(argument(0), "a number of bytes")?,
            stderr: number(argument(1), "a number of bytes")?,
        },
        "printenv" => match invocation.environment.get(argument(0)) {
            Some(value) => told(&format!("{value}\n"), "", 0),
            None => told("", "", 1),
        },
        "pwd" => told(&format!("{}\n", invocation.working_directory), "", 0),
        "whoami" => told(&format!("{}\n", invocation.user), "", 0),
        "hostname" => told(&format!("{instance}\n"), "", 0),
        "sleep" => {
            let seconds: f64 = number(argument(0), "a number of seconds")?;
            if seconds.is_nan() || seconds < 0.0 {
                return Err(Error::invalid_input(format!("sleep: {seconds} seconds is no time")));
            }
            // `infinity` too, as the usual `sleep` has it.
            let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            Work::Until(deadline(change.now, time), events(Bytes::new(), Bytes::new(), ExitStatus::Code(0)))
        }
        "kill-self" => {
            told_bytes(Bytes::new(), Bytes::new(), ExitStatus::Signal(number(argument(0), "a signal")?))
        }
        "stty" if argument(0) == "size" => match command.terminal {
            Some(_) => Work::Size,
            None => told("", "stty: standard input: Inappropriate ioctl for device\n", 1),
        },
        "stty-per-line" => Work::SizePerLine,
        "log" | "log-err" => {
            let source = if name == "log" { LogSource::Stdout } else { LogSource::Stderr };
            change.write_log(instance, source, &arguments.join(" "))?;
            told("", "", 0)
        }
        _ => {
            return Err(Error::invalid_input(format!("there is no program `{program}` in the instance"))
                .with_hint("the fake runs its own small programs; script others with Fake::program"));
        }
    })
}

fn number<N: std::str::FromStr>(text: &str, what: &str) -> Result<N> {
    text.parse().map_err(|_| Error::invalid_input(format!("`{}` is not {what}", text.escape_debug())))
}

fn lines(arguments: &[String]) -> String {
    arguments.iter().flat_map(|argument| [argument.as_str(), "\n"]).collect()
}

fn told(stdout: &str, stderr: &str, code: i32) -> Work {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    told_bytes(bytes(stdout), bytes(stderr), ExitStatus::Code(code))
}

fn told_bytes(stdout: Bytes, stderr: Bytes, status: ExitStatus) -> Work {
    Work::Told(events(stdout, stderr, status))
}

fn output(stdout: Bytes, stderr: Bytes) -> VecDeque<CommandEvent> {
    [CommandEvent::Stdout(stdout), CommandEvent::Stderr(stderr)]
        .into_iter()
        .filter(|event| !matches!(event, CommandEvent::Stdout(data) | CommandEvent::Stderr(data) if data.is_empty()))
        .collect()
}

fn events(stdout: Bytes, stderr: Bytes, status: ExitStatus) -> VecDeque<CommandEvent> {
    let mut events = output(stdout, stderr);
    events.push_back(CommandEvent::Exited(status));
    events
}

/// What is left to do after the user's program told what it does; its files are written.
pub(crate) fn told_by_program(
    change: &mut Change<'_>,
    instance: &InstanceName,
    result: ProgramResult,
) -> Work {
    let mut stderr = result.stderr.to_vec();
    let mut status = result.status;
    for (path, data) in result.files {
        if let Err(why) = disk::write(change.state, instance, &absolute("/", &path), data) {
            stderr.extend_from_slice(format!("{path}: {why}\n").as_bytes());
            status = Some(ExitStatus::Code(1));
        }
    }
    let stderr = Bytes::from(stderr);
    match status {
        None => Work::Endless(output(result.stdout, stderr)),
        Some(status) if result.duration.is_zero() => told_bytes(result.stdout, stderr, status),
        Some(status) => {
            Work::Until(deadline(change.now, result.duration), events(result.stdout, stderr, status))
        }
    }
}

/// Writes the files of a main program: what cannot be written is told in its log.
pub(crate) fn write_files(
    change: &mut Change<'_>,
    instance: &InstanceName,
    files: Vec<(String, Bytes)>,
) -> Result<()> {
    for (path, data) in files {
        if let Err(why) = disk::write(change.state, instance, &absolute("/", &path), data) {
            change.write_log(instance, LogSource::Stderr, &format!("{path}: {why}"))?;
        }
    }
    Ok(())
}

/// How the main program of an instance is called.
pub(crate) fn main_invocation(config: &InstanceConfig) -> Invocation {
    Invocation {
        instance: config.name.clone(),
        argv: config.command.clone(),
        environment: environment(config, &EnvironmentVariables::default()),
        working_directory: "/".to_owned(),
        user: "root".to_owned(),
        input: Bytes::new(),
    }
}

/// What every program finds, the instance's own on top, the command's own on top of that.
fn environment(config: &InstanceConfig, own: &EnvironmentVariables) -> EnvironmentVariables {
    let mut environment: EnvironmentVariables =
        [("HOME", "/root"), ("PATH", "/usr/local/bin:/usr/bin:/bin")].into_iter().collect();
    for (key, value) in config.environment.iter().chain(own.iter()) {
        environment.insert(key, value);
    }
    environment
}
