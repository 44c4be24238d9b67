//! What a call takes on LXD and on Incus beside the same requests by a bare client, and beside the server's own client
//! for a command. The servers are those that `SUBSTRATES_LAB_LXD` and `SUBSTRATES_LAB_INCUS` name.

use std::io;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use substrates::config::Section;
use substrates::{InstanceName, Substrate};
use substrates_benches::comparison::{Comparison, Row};
use substrates_benches::population::among;
use substrates_benches::{Failure, Promises, SERVE, say};
use tokio::process::Command;

const INSTANCES: usize = 200;
const REQUESTS: &str = "the same requests by the bare client `reqwest`";

/// One of the two servers.
struct Server {
    /// As people call it.
    name: &'static str,
    /// As the variables of the lab have it.
    variable: &'static str,
    /// As its provider's configuration has it.
    kind: &'static str,
    /// Where its own client finds it.
    folder_variable: &'static str,
}

const SERVERS: [Server; 2] = [
    Server { name: "LXD", variable: "SUBSTRATES_LAB_LXD", kind: "lxd", folder_variable: "LXD_DIR" },
    Server { name: "Incus", variable: "SUBSTRATES_LAB_INCUS", kind: "incus", folder_variable: "INCUS_DIR" },
];

fn main() -> Result<ExitCode, Failure> {
    // The bare client wants one, even where nothing is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut promises = Promises::default();
    for server in &SERVERS {
        match std::env::var(server.variable) {
            Ok(address) => compare(server, &address, &mut promises)?,
            Err(_) => {
                let Server { variable, kind, .. } = server;
                say(&format!("{variable} is not set: nothing is measured (cargo xtask lab up {kind})"));
            }
        }
    }
    Ok(promises.conclude())
}

fn compare(server: &Server, address: &str, promises: &mut Promises) -> Result<(), Failure> {
    let image = server.told("_IMAGE")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let section = Section::from_value(serde_json::json!({ "address": address, "server": server.kind }));
    let ours: Arc<dyn Substrate> = substrates::registry().create("lxc", server.kind, &section)?;
    runtime.block_on(ours.connect())?;
    let socket = address.trim_start_matches("unix://").to_owned();
    // A connection for each request, as ours has it.
    let bare = reqwest::Client::builder().unix_socket(socket).pool_max_idle_per_host(0).build()?;
    among(
        &runtime,
        &*ours,
        INSTANCES,
        |config| config.with_image(&image).with_command(SERVE),
        |running, _| calls(server, Comparison { runtime: &runtime, ours: &*ours, promises }, &bare, running),
    )
}

fn calls(
    server: &Server,
    mut comparison: Comparison<'_>,
    bare: &reqwest::Client,
    running: &InstanceName,
) -> Result<(), Failure> {
    let name = server.name;
    let what = format!("list of {INSTANCES} instances of {name}");
    comparison.list(Row { what: &what, beside: REQUESTS, at_most: Some(1.2) }, INSTANCES, || {
        answer(bare, "instances?recursion=1".to_owned())
    })?;
    let what = format!("one instance of {name} that runs");
    // What it is, and what only a look inside tells: its addresses.
    comparison.one(Row { what: &what, beside: REQUESTS, at_most: None }, running, || async {
        answer(bare, format!("instances/{running}")).await?;
        answer(bare, format!("instances/{running}/state")).await
    })?;
    let client = server.told("_CLIENT")?;
    let folder = server.told("_FOLDER")?;
    let what = format!("command `true` on {name}");
    let beside = format!("`{client} exec`");
    comparison.command(Row { what: &what, beside: &beside, at_most: Some(1.3) }, running, || async {
        let mut exec = Command::new(&client);
        exec.args(["exec", running.as_str(), "--", "true"]).env(server.folder_variable, &folder);
        let output = exec.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        if output.status.success() {
            Ok(())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&output.stderr)))
        }
    })
}

impl Server {
    /// What the lab tells of it.
    fn told(&self, suffix: &str) -> Result<String, Failure> {
        let name = format!("{}{suffix}", self.variable);
        std::env::var(&name).map_err(|error| format!("{name}: {error}").into())
    }
}

/// All of an answer, unread.
async fn answer(client: &reqwest::Client, path: String) -> reqwest::Result<usize> {
    let answer = client.get(format!("http://lxc/1.0/{path}")).send().await?.error_for_status()?;
    Ok(answer.bytes().await?.len())
}
