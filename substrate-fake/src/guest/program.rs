//! Programs that the user of the fake brings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use substrate_core::{EnvironmentVariables, ExitStatus, InstanceName};

/// How a program was called.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Invocation {
    /// The instance that it runs in.
    pub instance: InstanceName,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The instance's environment variables with the command's own on top.
    pub environment: EnvironmentVariables,
    /// The folder that it runs in.
    pub working_directory: String,
    /// The user that it runs as.
    pub user: String,
    /// All of its standard input: a scripted program is called when its input has ended.
    pub input: Bytes,
}

/// What a program does, described instead of done.
///
/// ```
/// use substrate_fake::{Fake, ProgramResult};
/// let fake = Fake::new("fake");
/// fake.program("pg_dump", |invocation| match invocation.argv.get(1).map(String::as_str) {
///     Some("shop") => ProgramResult::success().with_stdout("CREATE TABLE …"),
///     _ => ProgramResult::exit(1).with_stderr("pg_dump: no such database"),
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct ProgramResult {
    /// How it ends; `None` = it runs until somebody ends it.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: Bytes,
    pub(crate) stderr: Bytes,
    pub(crate) files: Vec<(String, Bytes)>,
    pub(crate) duration: Duration,
}

impl ProgramResult {
    fn new(status: Option<ExitStatus>) -> Self {
        Self {
            status,
            stdout: Bytes::new(),
            stderr: Bytes::new(),
            files: Vec::new(),
            duration: Duration::ZERO,
        }
    }

    /// Returns 0.
    pub fn success() -> Self {
        Self::exit(0)
    }

    /// Returns this code.
    pub fn exit(code: i32) -> Self {
        Self::new(Some(ExitStatus::Code(code)))
    }

    /// Is ended by this signal.
    pub fn killed_by(signal: i32) -> Self {
        Self::new(Some(ExitStatus::Signal(signal)))
    }

    /// Goes on running: as an instance's main program until it is asked to stop, as a command until the
    /// instance stops.
    pub fn running() -> Self {
        Self::new(None)
    }

    /// Writes to standard output: as a main program, into the log.
    pub fn with_stdout(mut self, data: impl Into<Bytes>) -> Self {
        self.stdout = data.into();
        self
    }

    /// Writes to standard error: as a main program, into the log.
    pub fn with_stderr(mut self, data: impl Into<Bytes>) -> Self {
        self.stderr = data.into();
        self
    }

    /// Writes a file, by absolute path.
    pub fn with_file(mut self, path: impl Into<String>, data: impl Into<Bytes>) -> Self {
        self.files.push((path.into(), data.into()));
        self
    }

    /// Takes so long, on tokio's clock, before it ends. A main program does not take time.
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }
}

type Script = dyn Fn(&Invocation) -> ProgramResult + Send + Sync;

/// A program that the user brought.
#[derive(Clone)]
pub(crate) struct Program(Arc<Script>);

impl Program {
    pub(crate) fn new(script: impl Fn(&Invocation) -> ProgramResult + Send + Sync + 'static) -> Self {
        Self(Arc::new(script))
    }

    pub(crate) fn call(&self, invocation: &Invocation) -> ProgramResult {
        (self.0)(invocation)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Program")
    }
}

/// The user's programs by name.
pub(crate) type Programs = BTreeMap<String, Program>;
