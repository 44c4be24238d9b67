//! A substrate of its own for each test, and what the program answers about it.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The program of the same build as this test.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples/substratectl");
    assert!(program.exists(), "{} is not built: cargo build --example substratectl", program.display());
    program
}

/// A facility of its own for one test.
pub(crate) struct Facility {
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Facility {
    pub(crate) fn new(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("substratectl").join(test);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let facility = Self { folder, environment: Vec::new() };
        let state = facility.path("state.json");
        facility.write("substrate.yaml", &format!("fake: {{state_file: {}}}\n", json!(state)));
        facility
    }

    /// With more in the environment of every command.
    pub(crate) fn with_environment(
        mut self,
        variables: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        self.environment.extend(variables);
        self
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> String {
        fs::write(self.path(file), text).unwrap();
        self.path(file).to_str().unwrap().to_owned()
    }

    /// The program without any configuration, and without what this machine's environment may say.
    pub(crate) fn bare(&self) -> Command {
        let mut command = Command::new(program());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// With the configuration of this facility, unless another one is named.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bare();
        if !words.contains(&"-c") {
            command.arg("-c").arg(self.path("substrate.yaml"));
        }
        command.args(words);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Answer {
        self.command(words).output().unwrap().into()
    }

    pub(crate) fn run_with_input(&self, words: &[&str], input: &[u8]) -> Answer {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _ = stdin.write_all(input);
            });
            child.wait_with_output().unwrap().into()
        })
    }

    /// Succeeds, and says so in these words.
    pub(crate) fn says(&self, words: &[&str], expected: &str) {
        assert_eq!(self.run(words).text(), expected, "{words:?}");
    }

    /// Succeeds with one JSON document.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let mut all = words.to_vec();
        // Before a command of an instance begins.
        let place = all.iter().position(|word| *word == "--").unwrap_or(all.len());
        all.splice(place..place, ["-o", "json"]);
        self.run(&all).document()
    }

    /// Fails, the same way in both formats, and in one line.
    pub(crate) fn fails(&self, words: &[&str], status: i32, kind: &str, operation: Value) -> String {
        let text = self.run(words);
        assert_eq!((text.status, text.stdout.as_slice()), (Some(status), &b""[..]), "{words:?}: {text:?}");
        assert!(text.stderr.starts_with("substratectl: "), "{words:?}: {text:?}");
        assert_eq!(text.stderr.lines().count(), 1, "{words:?}: {text:?}");
        let mut all = vec!["-o", "json"];
        all.extend(words);
        let answer = self.run(&all);
        assert_eq!((answer.status, &answer.stderr), (Some(status), &text.stderr), "{words:?}");
        let document: Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(document["error"]["kind"], kind, "{words:?}: {document}");
        assert_eq!(document["error"]["operation"], operation, "{words:?}: {document}");
        assert!(document["error"]["message"].is_string(), "{words:?}: {document}");
        text.stderr
    }

    /// A running instance.
    pub(crate) fn running(&self, name: &str) {
        self.says(&["create", name, "--image", "busybox:local"], &format!("created {name} (stopped)\n"));
        self.says(&["start", name], &format!("started {name}\n"));
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(formatter, "status {status:?}\n{}\n{stderr}", String::from_utf8_lossy(stdout))
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// What a success printed; it complains about nothing, and shows no progress where nobody looks.
    pub(crate) fn text(self) -> String {
        assert_eq!(
            (self.status, self.stderr.as_str()),
            (Some(0), ""),
            "{}",
            String::from_utf8_lossy(&self.stdout)
        );
        String::from_utf8(self.stdout).unwrap()
    }

    pub(crate) fn document(self) -> Value {
        let text = self.text();
        assert_eq!(text.lines().count(), 1, "one document on one line: {text}");
        serde_json::from_str(&text).unwrap()
    }
}
