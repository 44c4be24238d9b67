//! Commands inside an instance: preparing one, and its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use substrate_core::{Command, CommandSession, Error, ExitStatus, InstanceName, Outcome, Result};

use super::LxcSubstrate;
use super::exit_record::ExitRecord;
use super::lifecycle::target;
use super::session;
use crate::client::socket::Socket;
use crate::client::{Answer, Client, Operation, POLL, Progress, Target};
use crate::config::ServerKind;
use crate::name::{is_instance_name, is_uuid};

pub(super) const ATTEMPT: &str = "run the command";
/// Where programs are looked for when nothing else is said.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin";
/// The codes of a program that was not found, or could not be executed; a program's own as well.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// The secrets of an exec's websockets, by stream.
#[derive(Debug, Deserialize)]
struct Streams {
    fds: BTreeMap<String, String>,
}

/// A user of the instance.
#[derive(Debug, PartialEq, Eq)]
struct User {
    id: u32,
    group: u32,
    name: Option<String>,
    home: String,
}

impl LxcSubstrate {
    pub(super) async fn open(&self, name: &InstanceName, command: &Command) -> Result<CommandSession> {
        command.validate()?;
        command.require_features(&self.descriptor.get().capabilities)?;
        let name = name.as_str();
        if !is_instance_name(name) {
            return Err(super::lifecycle::missing(name));
        }
        match self.open_in(name, command).await {
            // Looked up only now: a look costs as much as the command.
            Err(error) if error.is_not_found() && is_uuid(name) => {
                let found = self.find(name).await?;
                self.open_in(&found.name, command).await
            }
            Err(error) if error.is_not_found() => Err(super::lifecycle::missing(name)),
            result => result,
        }
    }

    async fn open_in(&self, name: &str, command: &Command) -> Result<CommandSession> {
        let mut body = json!({
            "command": command.argv,
            "wait-for-websocket": true,
            "interactive": command.terminal.is_some(),
        });
        let mut environment: BTreeMap<&str, &str> = command.environment.iter().collect();
        let user = match &command.user {
            Some(user) => Some(self.user(name, user).await?),
            None => None,
        };
        let mut fields: Vec<(&str, Value)> = Vec::new();
        if let Some(user) = &user {
            fields.push(("user", user.id.into()));
            fields.push(("group", user.group.into()));
            environment.entry("HOME").or_insert(&user.home);
            if let Some(name) = &user.name {
                environment.entry("USER").or_insert(name);
            }
        }
        if let Some(folder) = &command.working_directory {
            self.check_folder(name, folder).await?;
            fields.push(("cwd", folder.as_str().into()));
        }
        if let Some(size) = command.terminal {
            fields.push(("width", size.columns.into()));
            fields.push(("height", size.rows.into()));
        }
        fields.push(("environment", json!(environment)));
        if let Some(document) = body.as_object_mut() {
            document.extend(fields.into_iter().map(|(key, value)| (key.to_owned(), value)));
        }
        let target = target(name).segment("exec");
        // Beside the request and not after it: whoever listens only when the command runs may miss its end.
        let record = async {
            let needed = command.terminal.is_none() && self.product() != Some(ServerKind::Incus);
            if needed { ExitRecord::of(&self.client, name).await } else { None }
        };
        let begin = self.client.send(ATTEMPT, Method::POST, &target, Some(&body), None);
        let (record, begun) = tokio::join!(record, begin);
        let operation = match begun? {
            Answer::Begun(operation) => operation,
            Answer::Done => return Err(Error::protocol("the server ran no command, and did not say why")),
        };
        self.connect(name, command, operation, record).await
    }

    /// Connects to every stream at once: the server starts the command when all of them are there, and gives up
    /// when one is missing for some seconds.
    async fn connect(
        &self,
        name: &str,
        command: &Command,
        operation: Operation,
        record: Option<ExitRecord>,
    ) -> Result<CommandSession> {
        let streams: Streams = serde_json::from_value(operation.metadata.unwrap_or_default())
            .map_err(|error| Error::protocol(format!("the command has no streams: {error}")))?;
        let terminal = command.terminal.is_some();
        let stream = async |key: &str| -> Result<Option<Socket>> {
            let Some(secret) = streams.fds.get(key) else { return Ok(None) };
            let target = Target::new("/1.0/operations")
                .segment(&operation.id)
                .segment("websocket")
                .with("secret", secret);
            // Input that cannot arrive is the caller's to know; a terminal's stream also carries output.
            self.client.websocket(ATTEMPT, &target, key == "0" && !terminal).await.map(Some)
        };
        let (control, first, stdout, stderr) =
            tokio::try_join!(stream("control"), stream("0"), stream("1"), stream("2"))
                .map_err(|error| error.with_outcome(Outcome::Unknown))?;
        let (Some(control), Some(first)) = (control, first) else {
            return Err(Error::protocol("the command lacks a stream").with_outcome(Outcome::Unknown));
        };
        let (stdout, stderr) = if terminal { (None, None) } else { (stdout, stderr) };
        let streams = session::Streams { control, first, stdout, stderr, record };
        let open = command.interactive || command.input.is_some();
        let end = End { client: self.client.clone(), instance: name.to_owned(), operation: operation.id };
        session::begin(streams, open, terminal, Program::of(command), end)
            .await
            .map_err(|error| error.with_outcome(Outcome::Unknown))
    }

    /// A user by name or number, from the instance's own list.
    async fn user(&self, instance: &str, user: &str) -> Result<User> {
        let file = target(instance).segment("files").with("path", "/etc/passwd");
        let list = match self.client.get_raw("read the instance's users", &file).await {
            Ok((_, list)) => String::from_utf8_lossy(&list).into_owned(),
            Err(error) if error.is_not_found() => {
                // The instance itself, or only its list of users?
                self.find(instance).await?;
                String::new()
            }
            Err(error) => return Err(error),
        };
        find_user(&list, user).ok_or_else(|| {
            Error::invalid_input(format!("the instance has no user `{}`", user.escape_debug()))
        })
    }

    /// The servers would run the command elsewhere, without a word.
    async fn check_folder(&self, instance: &str, folder: &str) -> Result<()> {
        let end =
            End { client: self.client.clone(), instance: instance.to_owned(), operation: String::new() };
        match end.kind_of(folder).await? {
            Some(kind) if kind == "directory" || kind == "symlink" => Ok(()),
            Some(_) => Err(Error::invalid_input(format!("`{}` is no folder", folder.escape_debug()))),
            None => {
                self.find(instance).await?;
                Err(Error::invalid_input(format!("the instance has no folder `{}`", folder.escape_debug())))
            }
        }
    }
}

fn find_user(list: &str, user: &str) -> Option<User> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group.parse::<u32>().ok()?)),
        None => (user, None),
    };
    let number = user.parse::<u32>().ok();
    let found = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        let own_group: u32 = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        (name == user || number == Some(id)).then(|| User {
            id,
            group: group.unwrap_or(own_group),
            name: Some(name.to_owned()),
            home,
        })
    });
    // A number needs no entry.
    found
        .or_else(|| number.map(|id| User { id, group: group.unwrap_or(0), name: None, home: "/".to_owned() }))
}

/// What was to be executed, to find out whether it is there.
pub(super) struct Program {
    name: String,
    path: String,
    folder: Option<String>,
}

impl Program {
    fn of(command: &Command) -> Self {
        Self {
            name: command.argv.first().cloned().unwrap_or_default(),
            path: command.environment.get("PATH").unwrap_or(PATH).to_owned(),
            folder: command.working_directory.clone(),
        }
    }

    /// Where it can be.
    fn places(&self) -> Vec<String> {
        if self.name.starts_with('/') {
            return vec![self.name.clone()];
        }
        if self.name.contains('/') {
            let folder = self.folder.as_deref().unwrap_or("/root").trim_end_matches('/');
            return vec![format!("{folder}/{}", self.name)];
        }
        let folders = self.path.split(':').filter(|folder| folder.starts_with('/'));
        folders.map(|folder| format!("{}/{}", folder.trim_end_matches('/'), self.name)).collect()
    }
}

/// How a command ended.
#[derive(Clone)]
pub(super) struct End {
    client: Arc<Client>,
    instance: String,
    operation: String,
}

impl End {
    /// Waits for the command's end.
    pub(super) async fn status(&self) -> Result<ExitStatus> {
        loop {
            match self.client.wait_for(ATTEMPT, &self.operation, POLL).await? {
                Some(operation) if operation.progress() == Progress::Running => {}
                Some(operation) => return status_of(&operation),
                None => return Err(forgotten()),
            }
        }
    }

    /// Whether a code means that there was nothing to execute: then no such program is there. The code alone can
    /// be a program's own.
    pub(super) async fn refusal(&self, status: ExitStatus, program: &Program) -> Result<Option<Error>> {
        let ExitStatus::Code(code @ (NOT_EXECUTABLE | NOT_FOUND)) = status else { return Ok(None) };
        for place in program.places() {
            let kind = match self.kind_of(&place).await {
                Ok(kind) => kind,
                // The instance ended meanwhile: the code is all there is.
                Err(error) if error.is_conflict() || error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            let executable = kind.as_deref().is_some_and(|kind| kind != "directory");
            if executable && code == NOT_FOUND {
                return Ok(None);
            }
            if let (Some(kind), NOT_EXECUTABLE) = (kind, code) {
                // What is no program cannot have returned a code of its own.
                let ran = kind != "directory" && self.may_execute(&place).await?;
                return Ok(if ran {
                    None
                } else {
                    Some(not_started(&program.name, "it cannot be executed"))
                });
            }
        }
        Ok(Some(not_started(&program.name, "there is no such program")))
    }

    /// What is at a path: `file`, `directory`, `symlink`.
    async fn kind_of(&self, path: &str) -> Result<Option<String>> {
        Ok(self.headers_of(path).await?.map(|(kind, _)| kind))
    }

    async fn may_execute(&self, path: &str) -> Result<bool> {
        let Some((kind, mode)) = self.headers_of(path).await? else { return Ok(false) };
        let mode = u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap_or(0);
        Ok(kind == "symlink" || mode & 0o111 != 0)
    }

    async fn headers_of(&self, path: &str) -> Result<Option<(String, String)>> {
        let file = target(&self.instance).segment("files").with("path", path);
        let headers = match self.client.head("look into the instance", &file).await {
            Ok(headers) => headers,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let header = |key: &str| {
            let both =
                ["x-incus-", "x-lxd-"].into_iter().find_map(|prefix| headers.get(format!("{prefix}{key}")));
            both.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Ok(Some((header("type"), header("mode"))))
    }
}

fn not_started(program: &str, why: &str) -> Error {
    Error::invalid_input(format!("the command could not be started: {why}: `{}`", program.escape_debug()))
        .with_outcome(Outcome::Rejected)
}

fn forgotten() -> Error {
    Error::unavailable("the server has forgotten the command: how it ended is not known")
}

fn status_of(operation: &Operation) -> Result<ExitStatus> {
    let code =
        operation.metadata.as_ref().and_then(|metadata| metadata.get("return")).and_then(Value::as_i64);
    match code {
        // A signal's end is a code above 128: the servers do not tell the two apart.
        Some(code) if code >= 0 => Ok(ExitStatus::Code(i32::try_from(code).unwrap_or(i32::MAX))),
        _ => Err(Error::conflict(format!(
            "the command ended without a status: {}",
            if operation.err.is_empty() { "no reason given" } else { &operation.err }
        ))
        .with_outcome(Outcome::Unknown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/false\n";

    #[test]
    fn a_user_is_found_by_name_or_number() {
        let web = |group| User { id: 33, group, name: Some("web".into()), home: "/srv".into() };
        assert_eq!(find_user(USERS, "web"), Some(web(34)));
        assert_eq!(find_user(USERS, "33"), Some(web(34)));
        assert_eq!(find_user(USERS, "web:5"), Some(web(5)));
        assert_eq!(find_user(USERS, "7").map(|user| (user.id, user.group)), Some((7, 0)));
        assert_eq!(find_user(USERS, "nobody"), None);
        assert_eq!(find_user("", "root"), None);
    }

    #[test]
    fn a_program_is_looked_for_where_it_would_be_found() {
        let places = |command: Command| Program::of(&command).places();
        assert_eq!(places(Command::new(["/bin/x"])), ["/bin/x"]);
        assert_eq!(places(Command::new(["./x"]).with_working_directory("/srv")), ["/srv/./x"]);
        assert_eq!(places(Command::new(["x"]).with_environment("PATH", "/a:b:/c/")), ["/a/x", "/c/x"]);
    }

    #[test]
    fn a_status_is_what_the_record_returns() {
        let operation = |json: Value| serde_json::from_value::<Operation>(json).unwrap();
        let ended =
            operation(json!({"status_code": 400, "err": "Command not found", "metadata": {"return": 127}}));
        assert_eq!(status_of(&ended).unwrap(), ExitStatus::Code(127));
        let odd = operation(json!({"status_code": 400, "err": "went away", "metadata": {"return": -1}}));
        assert!(status_of(&odd).unwrap_err().message().contains("went away"));
    }
}
