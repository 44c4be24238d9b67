//! What the engine costs: plans of up to a hundred thousand resources, and a deployment of ten thousand.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use substrate_engine::model::{Blueprint, Name, Resource};
use substrate_engine::plan::{Observed, Recorded, RecordedResource, plan};
use substrate_engine::{
    Desired, Documents, Engine, EngineSettings, Facilities, JournalStore, Rules, RunOptions, validate,
};
use substrates::Substrate;
use substrates::config::Section;
use substrates::fake::Fake;
use substrates_benches::{Promises, say};

const DEPLOYED: usize = 10_000;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut promises = Promises::default();
    let mut per_resource = Vec::new();
    say("plans: resources, validated, planned, planned again when all is as it shall be");
    for count in [1_000, 10_000, 100_000] {
        let facilities = Facilities::from_iter([Fake::new("fake").descriptor().as_ref().clone()]);
        let documents = layered(count)?;
        let began = Instant::now();
        let desired = validate(&documents, &Rules::standard(), &facilities)?;
        let validated = began.elapsed();
        let first = Instant::now();
        let steps = plan(&desired, &Recorded::default(), &Observed::default())?.steps.len();
        let first = first.elapsed();
        if steps != count {
            return Err(format!("{steps} steps for {count} resources").into());
        }
        let recorded = recorded(&desired);
        let again = Instant::now();
        let is_empty = plan(&desired, &recorded, &Observed::default())?.is_empty();
        let again = again.elapsed();
        if !is_empty {
            return Err("a plan that ought to be empty is not".into());
        }
        say(&format!("  {count:>7}  {validated:>9.1?}  {first:>9.1?}  {again:>9.1?}"));
        let worst = first.max(again);
        per_resource.push((validated + worst).as_secs_f64() / count as f64);
        if count == 100_000 {
            promises.check(
                &format!("100,000 resources are planned in {worst:.2?}; at most 2 s"),
                worst < Duration::from_secs(2),
            );
        }
    }
    if let [small, .., large] = per_resource.as_slice() {
        let growth = large / small;
        let text = format!(
            "a resource of 100,000 costs {growth:.1} times one of 1,000, checked and planned; at most 3"
        );
        promises.check(&text, growth <= 3.0);
    }
    if let Some(megabytes) = most_memory() {
        let text = format!("the most memory that was ever used is {megabytes} MiB; at most 1024");
        promises.check(&text, megabytes <= 1024);
    }

    let folder = std::env::temp_dir().join(format!("substrates-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (deployed, again) = runtime.block_on(deploy(&folder))?;
    std::fs::remove_dir_all(&folder)?;
    say(&format!("deployment of {DEPLOYED}, journal on the disk: {deployed:.2?}, and again {again:.2?}"));
    let text = format!("{DEPLOYED} resources are deployed in {deployed:.2?}; at most 5 s");
    promises.check(&text, deployed < Duration::from_secs(5));
    Ok(promises.conclude())
}

async fn deploy(folder: &std::path::Path) -> Result<(Duration, Duration), Box<dyn Error>> {
    let mut settings = EngineSettings::default();
    settings.parallelism = 256;
    let fake: Arc<dyn Substrate> = Arc::new(Fake::new("fake"));
    let engine =
        Engine::builder(JournalStore::local(folder)?).facility(fake).settings(settings).connect().await?;
    let desired = engine.validate(&layered(DEPLOYED)?)?;
    let began = Instant::now();
    let report = engine.deploy(&desired, &RunOptions::default()).await?;
    let deployed = began.elapsed();
    if report.created.len() != DEPLOYED {
        return Err(report.to_string().into());
    }
    let began = Instant::now();
    let report = engine.deploy(&desired, &RunOptions::default()).await?;
    if report.steps_done() != 0 {
        return Err("the second deployment did something".into());
    }
    Ok((deployed, began.elapsed()))
}

/// Resources of which each depends on three others.
fn layered(count: usize) -> Result<Documents, Box<dyn Error>> {
    let name = |number: usize| Name::new(&format!("r{number}"));
    let specs = serde_json::json!({
        "image": "busybox:local", "cpu": 2, "memory": "512MiB", "labels": {"team": "web"}
    });
    let mut blueprint = Blueprint::new(Name::new("shop")?);
    for number in 0..count {
        let mut resource = Resource::new(name(number)?, "compute")
            .with_specs(Section::from_value(specs.clone()).named("specs"));
        for step in [997, 1009, 1013] {
            if let Some(below) = number.checked_sub(step) {
                resource = resource.with_dependency(name(below)?);
            }
        }
        blueprint = blueprint.with_resource(resource);
    }
    Ok(Documents::from_blueprints([blueprint]))
}

fn recorded(desired: &Desired) -> Recorded {
    desired.resources().iter().map(|resource| (resource.id.clone(), RecordedResource::of(resource))).collect()
}

/// The most that this process ever used, in MiB, where the system tells.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}
