//! One blueprint over every technology of the lab that is up; at each stage of its life the technologies' own clients
//! bear witness.
//!
//! ```text
//! eval "$(cargo xtask lab up docker lxd libvirt supervisor k8s)"
//! cargo run --features docker,lxc,libvirt,supervisor,k8s --example hybrid
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod technology;

use std::time::Duration;

use serde_json::json;
use substrate_engine::model::Name;
use substrate_engine::run::{CancellationToken, RunOptions};
use substrate_engine::{
    Desired, Engine, JournalStore, Reader, ReconcileOptions, Report, RollbackOptions, Selector,
};
use substrates::config::{Config, Environment};
use substrates::{InstanceFilter, InstanceState};
use technology::{Technology, View};
use tokio::time::{Instant, sleep};

type Problem = Box<dyn std::error::Error>;

/// How long the clients may need to agree: a machine that was asked to end takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

struct Hybrid {
    /// Of the deployment; names of instances begin with it.
    name: String,
    technologies: Vec<Technology>,
    engine: Engine,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Problem> {
    let hybrid = Hybrid::connect(format!("hybrid-{}", std::process::id())).await?;
    let lived = hybrid.lives().await;
    if lived.is_err() {
        println!("it went wrong: removing what there is");
        hybrid.ends().await?;
    }
    lived
}

impl Hybrid {
    async fn connect(name: String) -> Result<Self, Problem> {
        let registry = substrates::registry();
        let mut technologies = Technology::that_are_up();
        technologies.retain(|one| registry.available().any(|known| known == one.provider()));
        if technologies.is_empty() {
            return Err("no server is up that this build knows: see the first lines of this example".into());
        }
        let sections = technologies
            .iter()
            .map(|technology| Ok((technology.provider().to_owned(), technology.settings()?)))
            .collect::<Result<serde_json::Map<_, _>, Problem>>()?;
        // JSON is YAML.
        let sections = serde_json::Value::Object(sections).to_string();
        let config = Config::from_yaml_with("the lab", &sections, Environment::empty())?;
        let mut engine = Engine::builder(JournalStore::memory());
        for technology in &technologies {
            engine = engine.facility(registry.open(&config, technology.provider())?.substrate());
        }
        Ok(Self { name, technologies, engine: engine.connect().await? })
    }

    /// The whole life of the deployment.
    async fn lives(&self) -> Result<(), Problem> {
        let two_of_each = self.blueprint(&["a", "b"])?;
        done(&self.engine.deploy(&two_of_each, &RunOptions::default()).await?)?;
        self.agree_on("deployed", 2).await?;
        let again = self.engine.deploy(&two_of_each, &RunOptions::default()).await?;
        if again.steps_done() > 0 {
            return Err(format!("deployed again, it should have done nothing: {}", again.message).into());
        }

        for technology in &self.technologies {
            technology.is_damaged(&self.instance(technology, "b")).await?;
        }
        self.agree_on("damaged by hand", 1).await?;
        let drifts = self.engine.drift(&self.deployments()?, &Selector::all()).await?;
        for drift in &drifts {
            println!("    drift: {drift}");
        }
        if drifts.len() != self.technologies.len() {
            return Err("the drift is not what was damaged".into());
        }
        self.is_reconciled(&two_of_each).await?;

        let one_of_each = self.blueprint(&["a"])?;
        done(&self.engine.deploy(&one_of_each, &RunOptions::default()).await?)?;
        self.agree_on("changed", 1).await?;
        let before = RollbackOptions::default();
        done(&self.engine.rollback(&self.deployments()?, &before, &RunOptions::default()).await?)?;
        self.agree_on("rolled back", 2).await?;
        self.ends().await
    }

    /// Until the deployment is as it shall be, without being told what is wrong.
    async fn is_reconciled(&self, desired: &Desired) -> Result<(), Problem> {
        let stop = CancellationToken::new();
        let options = RunOptions::default().cancelled_by(stop.clone());
        let often = ReconcileOptions::default().every(Duration::from_secs(5));
        let reconciling = self.engine.reconcile(desired, &often, &options, |round| match round {
            Ok(report) => println!("    reconciled: {}", report.message),
            Err(error) => println!("    reconciling failed: {error}"),
        });
        let watching = async {
            let agreed = self.agree_on("reconciled", 2).await;
            stop.cancel();
            agreed
        };
        tokio::join!(reconciling, watching).1
    }

    async fn ends(&self) -> Result<(), Problem> {
        done(&self.engine.destroy(&self.deployments()?, None, &RunOptions::default()).await?)?;
        self.agree_on("destroyed", 0).await
    }

    /// These instances on each technology, each after the one before.
    fn blueprint(&self, which: &[&str]) -> Result<Desired, Problem> {
        let mut resources = Vec::new();
        let mut before = Vec::new();
        for technology in &self.technologies {
            for one in which {
                let name = self.instance(technology, one);
                resources.push(json!({
                    "type": "compute",
                    "name": name,
                    "provider": technology.provider(),
                    "dependencies": before,
                    "specs": technology.specs()?,
                }));
                before = vec![name];
            }
        }
        let text = json!({"name": self.name, "resources": resources}).to_string();
        Ok(self.engine.validate(&Reader::new().text("hybrid.yaml", &text).read())?)
    }

    fn deployments(&self) -> Result<Vec<Name>, Problem> {
        Ok(vec![self.name.parse()?])
    }

    fn instance(&self, technology: &Technology, which: &str) -> String {
        format!("{}-{}-{which}", self.name, technology.provider())
    }

    /// Ours and each technology's own client tell the same: so many instances run on it, and nothing else does.
    async fn agree_on(&self, stage: &str, running: usize) -> Result<(), Problem> {
        println!("{stage}:");
        for technology in &self.technologies {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let (ours, theirs) = (self.view(technology).await?, technology.shows(&self.name).await?);
                let is_as_wanted = theirs.values().filter(|runs| **runs).count() == running;
                if ours == theirs && is_as_wanted {
                    println!("    {:<10} {}", technology.provider(), shown(&theirs));
                    break;
                }
                if Instant::now() > deadline {
                    let provider = technology.provider();
                    let (ours, theirs) = (shown(&ours), shown(&theirs));
                    return Err(format!(
                        "{stage}: {running} shall run on {provider}; we see {ours}; its own client shows {theirs}"
                    )
                    .into());
                }
                sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    async fn view(&self, technology: &Technology) -> Result<View, Problem> {
        let facility = self.engine.facilities().find(|(name, _)| *name == technology.provider());
        let (_, substrate) = facility.ok_or("the engine has every technology")?;
        let mine = InstanceFilter::all().with_name_prefix(&self.name);
        let instances = substrate.list_instances(&mine).await?;
        let seen = |state| state == InstanceState::Running;
        Ok(instances.iter().map(|one| (one.name.to_string(), seen(one.state))).collect())
    }
}

fn shown(view: &View) -> String {
    let words = view.iter().map(|(name, runs)| format!("{name} {}", if *runs { "runs" } else { "is there" }));
    match view.is_empty() {
        true => "nothing".to_owned(),
        false => words.collect::<Vec<_>>().join(", "),
    }
}

/// A run that failed tells why.
fn done(report: &Report) -> Result<(), Problem> {
    match report.failed.first() {
        None => Ok(()),
        Some(failure) => Err(format!("{}: {}", failure.resource, failure.reason).into()),
    }
}
