//! Our list of 200 containers beside the bare client's, on the daemon that `SUBSTRATES_LAB_DOCKER` names.

#![allow(clippy::indexing_slicing, reason = "a measurement that is missing must end the program")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use bollard::query_parameters::ListContainersOptionsBuilder;
use substrates::config::Section;
use substrates::{InstanceConfig, InstanceFilter, Substrate, SubstrateExt};
use substrates_benches::{Promises, candidate, measure, say};

const CONTAINERS: usize = 200;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Ok(host) = std::env::var("SUBSTRATES_LAB_DOCKER") else {
        say("SUBSTRATES_LAB_DOCKER is not set: nothing is measured (cargo xtask lab up docker)");
        return Ok(ExitCode::SUCCESS);
    };
    let image = std::env::var("SUBSTRATES_LAB_DOCKER_IMAGE").unwrap_or_else(|_| "busybox:local".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();

    let section = Section::from_value(serde_json::json!({ "host": host }));
    let docker: Arc<dyn Substrate> = substrates::registry().create("docker", "docker", &section)?;
    let docker = &docker;
    runtime.block_on(docker.connect())?;
    let mark = format!("bench-{}", std::process::id());
    let configs: Vec<InstanceConfig> = (0..CONTAINERS)
        .map(|number| {
            let name = format!("{mark}-{number}").parse()?;
            Ok(InstanceConfig::new(name).with_image(&image).with_label("bench", &mark))
        })
        .collect::<substrates::Result<_>>()?;
    let names: Vec<_> = configs.iter().map(|config| config.name.clone()).collect();
    let made: Vec<_> = runtime.block_on(docker.create_instances(&configs));

    let result =
        made.into_iter().collect::<substrates::Result<Vec<_>>>().map_err(Into::into).and_then(|_| {
            let bare = bollard::Docker::connect_with_unix(&host, 120, bollard::API_DEFAULT_VERSION)?;
            let bare = &bare;
            let all = InstanceFilter::all();
            let all = &all;
            let found = runtime.block_on(docker.list_instances(all))?.len();
            let costs = measure(
                &format!("a list of {found} containers"),
                30,
                5,
                &[
                    candidate(&runtime, "bare client", || {
                        bare.list_containers(Some(ListContainersOptionsBuilder::new().all(true).build()))
                    }),
                    candidate(&runtime, "list_instances", || docker.list_instances(all)),
                ],
            );
            say("\npromises");
            let mut promises = Promises::default();
            let ratio = costs[1].nanoseconds / costs[0].nanoseconds;
            promises.check(
                &format!("ours takes {ratio:.2} of the bare client's time; at most 1.10"),
                ratio <= 1.10,
            );
            Ok::<_, Box<dyn Error>>(promises.conclude())
        });
    for deleted in runtime.block_on(docker.delete_instances(&names, true)) {
        if let Err(error) = deleted {
            say(&format!("left behind: {error}"));
        }
    }
    result
}
