//! What a call takes beside the bare client's and beside other libraries', on the daemon that `SUBSTRATES_LAB_DOCKER`
//! names.

use std::process::ExitCode;
use std::sync::Arc;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::StreamExt;
use substrates::config::Section;
use substrates::{InstanceFilter, InstanceName, Substrate};
use substrates_benches::comparison::{Comparison, Row};
use substrates_benches::population::among;
use substrates_benches::{Failure, Promises, Ratio, SERVE, candidate, measure, say};
use tokio::runtime::Runtime;

const CONTAINERS: usize = 200;
const LIST: &str = "list of 200 containers";
/// A Python with the packages `docker` and `apache-libcloud`, and the certificates of the daemon's TLS address.
const PYTHON: &str = "SUBSTRATES_BENCH_PYTHON";

fn main() -> Result<ExitCode, Failure> {
    let Ok(host) = std::env::var("SUBSTRATES_LAB_DOCKER") else {
        say("SUBSTRATES_LAB_DOCKER is not set: nothing is measured (cargo xtask lab up docker)");
        return Ok(ExitCode::SUCCESS);
    };
    let image = std::env::var("SUBSTRATES_LAB_DOCKER_IMAGE").unwrap_or_else(|_| "busybox:local".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();

    let section = Section::from_value(serde_json::json!({ "host": host }));
    let docker: Arc<dyn Substrate> = substrates::registry().create("docker", "docker", &section)?;
    runtime.block_on(docker.connect())?;
    let mut promises = Promises::default();
    among(
        &runtime,
        &*docker,
        CONTAINERS,
        |config| config.with_image(&image).with_command(SERVE),
        |running, _| {
            let bare = bollard::Docker::connect_with_unix(&host, 120, bollard::API_DEFAULT_VERSION)?;
            let comparison = Comparison { runtime: &runtime, ours: &*docker, promises: &mut promises };
            calls(comparison, &bare, running)?;
            other_libraries(&runtime, &*docker, &mut promises, &host)
        },
    )?;
    Ok(promises.conclude())
}

fn calls(
    mut comparison: Comparison<'_>,
    bare: &bollard::Docker,
    running: &InstanceName,
) -> Result<(), Failure> {
    let row = |what, at_most| Row { what, beside: "the bare client `bollard`", at_most: Some(at_most) };
    comparison.list(row(LIST, 1.1), CONTAINERS, || {
        bare.list_containers(Some(ListContainersOptionsBuilder::new().all(true).build()))
    })?;
    comparison.one(row("one container", 1.2), running, || bare.inspect_container(running.as_str(), None))?;
    comparison.command(row("command `true`", 1.2), running, || bare_command(bare, running.as_str()))
}

/// Lists by libraries of Python, inside of their own process.
fn other_libraries(
    runtime: &Runtime,
    docker: &dyn Substrate,
    promises: &mut Promises,
    host: &str,
) -> Result<(), Failure> {
    let Ok(python) = std::env::var(PYTHON) else {
        say(&format!("{PYTHON} is not set: not measured beside libraries of Python (cargo xtask bench)"));
        return Ok(());
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers.py");
    let output = std::process::Command::new(python).arg(script).arg(host).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    // In the same run, and right behind it.
    let all = &InstanceFilter::all();
    let list = [candidate(runtime, "ours", || docker.list_instances(all))];
    let costs = measure("the list again", 30, 5, &list);
    let [ours] = costs.as_slice() else { return Err("one candidate has one cost".into()) };
    for line in String::from_utf8(output.stdout)?.lines() {
        let (seconds, beside) = line.split_once(' ').ok_or("a line of peers.py has two parts")?;
        promises.hold(&Ratio {
            what: LIST,
            beside,
            ratio: ours.nanoseconds / (seconds.parse::<f64>()? * 1e9),
            at_most: None,
        });
    }
    Ok(())
}

async fn bare_command(
    docker: &bollard::Docker,
    container: &str,
) -> Result<Option<i64>, bollard::errors::Error> {
    let config = ExecConfig {
        cmd: Some(vec!["true".to_owned()]),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(container, config).await?.id;
    if let StartExecResults::Attached { mut output, .. } =
        docker.start_exec(&id, None::<StartExecOptions>).await?
    {
        while output.next().await.is_some() {}
    }
    Ok(docker.inspect_exec(&id).await?.exit_code)
}
