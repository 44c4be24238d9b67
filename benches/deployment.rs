//! A blueprint of 50 containers beside 50 bare create and start calls and beside `docker-compose`, on the daemon that
//! `SUBSTRATES_LAB_DOCKER` names, each at the parallelism that is best for it.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use substrate_engine::model::Name;
use substrate_engine::{Engine, EngineSettings, JournalStore, Reader, RunOptions};
use substrates::Substrate;
use substrates::config::Section;
use substrates_benches::{Promises, Ratio, SERVE, say};

const CONTAINERS: usize = 50;
const PARALLEL: [usize; 4] = [2, 4, 8, 16];
/// Each way takes its turn in each round, so that a busy machine is busy for both.
const ROUNDS: usize = 4;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Ok(host) = std::env::var("SUBSTRATES_LAB_DOCKER") else {
        say("SUBSTRATES_LAB_DOCKER is not set: nothing is measured (cargo xtask lab up docker)");
        return Ok(ExitCode::SUCCESS);
    };
    let image = std::env::var("SUBSTRATES_LAB_DOCKER_IMAGE").unwrap_or_else(|_| "busybox:local".to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(compare(&host, &image))
}

async fn compare(host: &str, image: &str) -> Result<ExitCode, Box<dyn Error>> {
    let bare = bollard::Docker::connect_with_unix(host, 120, bollard::API_DEFAULT_VERSION)?;
    let section = Section::from_value(serde_json::json!({ "host": host }));
    let docker: Arc<dyn Substrate> = substrates::registry().create("docker", "docker", &section)?;
    docker.connect().await?;
    let mut best = [Duration::MAX; 2];
    let mut at = [0; 2];
    say(&format!("{CONTAINERS} containers: at once, bare calls, blueprint"));
    for round in 0..ROUNDS {
        for parallel in PARALLEL {
            let times = [
                bare_calls(&bare, image, parallel).await?,
                blueprint(&docker, image, parallel, round).await?,
            ];
            say(&format!("  {parallel:>3}  {:>8.1?}  {:>8.1?}", times[0], times[1]));
            for ((best, at), time) in best.iter_mut().zip(&mut at).zip(times) {
                if time < *best {
                    (*best, *at) = (time, parallel);
                }
            }
        }
    }
    let [bare_time, blueprint_time] = best;
    let mut promises = Promises::default();
    promises.hold(&Ratio {
        what: "50 containers as a blueprint",
        beside: &format!("100 calls of the bare client `bollard` ({} at once, ours {})", at[0], at[1]),
        ratio: blueprint_time.as_secs_f64() / bare_time.as_secs_f64(),
        at_most: Some(1.2),
    });
    let Some(version) = composer() else {
        say("there is no `docker-compose`: not measured beside it (cargo xtask bench)");
        return Ok(promises.conclude());
    };
    let mut composed = Duration::MAX;
    for round in 0..ROUNDS {
        composed = composed.min(compose(host, image, round).await?);
    }
    promises.hold(&Ratio {
        what: "50 containers as a blueprint",
        beside: &format!("`docker-compose` {version} with the same"),
        ratio: blueprint_time.as_secs_f64() / composed.as_secs_f64(),
        at_most: None,
    });
    Ok(promises.conclude())
}

/// Its version, where there is one.
fn composer() -> Option<String> {
    let output = std::process::Command::new("docker-compose").args(["version", "--short"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

async fn compose(host: &str, image: &str, round: usize) -> Result<Duration, Box<dyn Error>> {
    let name = format!("compose{}x{round}", std::process::id());
    let file = std::env::temp_dir().join(format!("{name}.json"));
    let services: serde_json::Map<String, serde_json::Value> = (0..CONTAINERS)
        .map(|number| {
            let service = serde_json::json!({"image": image, "command": SERVE, "network_mode": "bridge"});
            (format!("web{number}"), service)
        })
        .collect();
    std::fs::write(&file, serde_json::json!({"version": "3.8", "services": services}).to_string())?;
    let run = |words: &[&str]| {
        let mut command = tokio::process::Command::new("docker-compose");
        command.args(["--project-name", &name, "--file"]).arg(&file).args(words);
        command.env("DOCKER_HOST", host).env("COMPOSE_PARALLEL_LIMIT", "64").kill_on_drop(true).output()
    };
    let began = Instant::now();
    let up = run(&["up", "--detach", "--no-color"]).await?;
    let time = began.elapsed();
    let down = run(&["down", "--timeout", "0"]).await?;
    std::fs::remove_file(&file)?;
    for output in [up, down] {
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    Ok(time)
}

async fn bare_calls(
    docker: &bollard::Docker,
    image: &str,
    parallel: usize,
) -> Result<Duration, Box<dyn Error>> {
    let names: Vec<String> = (0..CONTAINERS).map(|n| format!("bare-{}-{n}", std::process::id())).collect();
    let began = Instant::now();
    let made = stream::iter(&names)
        .map(|name| async move {
            let options = CreateContainerOptionsBuilder::new().name(name).build();
            let body = ContainerCreateBody {
                image: Some(image.to_owned()),
                cmd: Some(SERVE.map(str::to_owned).to_vec()),
                ..ContainerCreateBody::default()
            };
            docker.create_container(Some(options), body).await?;
            docker.start_container(name, None::<StartContainerOptions>).await
        })
        .buffer_unordered(parallel)
        .try_for_each(async |()| Ok(()))
        .await;
    let time = began.elapsed();
    let removed = stream::iter(&names)
        .map(Ok)
        .try_for_each_concurrent(8, |name| async move {
            let force = RemoveContainerOptionsBuilder::new().force(true).build();
            docker.remove_container(name, Some(force)).await
        })
        .await;
    made?;
    // What stays is in the way of everything that is measured next.
    removed?;
    Ok(time)
}

async fn blueprint(
    docker: &Arc<dyn Substrate>,
    image: &str,
    parallel: usize,
    round: usize,
) -> Result<Duration, Box<dyn Error>> {
    let name = format!("bench-{}-{parallel}-{round}", std::process::id());
    let folder = std::env::temp_dir().join(&name);
    let text = serde_json::json!({
        "name": name,
        "resources": [{
            "type": "compute", "name": name, "count": CONTAINERS, "provider": "docker",
            "specs": { "image": image, "command": SERVE },
        }],
    })
    .to_string();
    let documents = Reader::new().text("bench.yaml", &text).read();
    let mut settings = EngineSettings::default();
    settings.parallelism = parallel;
    let engine = Engine::builder(JournalStore::local(&folder)?)
        .facility(docker.clone())
        .settings(settings)
        .connect()
        .await?;
    let began = Instant::now();
    let desired = engine.validate(&documents)?;
    let report = engine.deploy(&desired, &RunOptions::default()).await?;
    let time = began.elapsed();
    let created = report.created.len();
    engine.destroy(&[Name::new(&name)?], None, &RunOptions::default()).await?;
    std::fs::remove_dir_all(&folder)?;
    if created != CONTAINERS {
        return Err(report.to_string().into());
    }
    Ok(time)
}
