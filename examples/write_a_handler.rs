//! A kind of one's own: feature flags, kept in a JSON file, deployed together with what uses them.
//!
//! Two versions of the kind stand side by side, so that documents written for the first one go on working. A blueprint
//! has a flag and a computer that is started with it; it is deployed twice, of which the second time does nothing, and
//! destroyed.
//!
//! ```text
//! cargo run --example write_a_handler
//! cargo test --example write_a_handler
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use substrate_engine::handler::{ChangeEffect, Found, Interpretation, ResourceHandler, Site, Subject};
use substrate_engine::model::{Name, VersionRange};
use substrate_engine::{Engine, JournalStore, Reader, Report, Rules, RunOptions};
use substrates::config::ConfigError;
use substrates::fake::Fake;
use substrates::{Error, InstanceFilter, Labels, Result, Substrate};
use tokio::sync::Mutex;

/// `kind: flag` as it was first: on or off.
#[derive(Debug)]
struct SwitchHandler(Arc<FlagFile>);

/// `kind: flag` since version 2: for a share of all users.
#[derive(Debug)]
struct ShareHandler(Arc<FlagFile>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchSpecs {
    #[serde(default)]
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareSpecs {
    percent: u8,
}

/// A flag as the file holds it, whichever version it was written by.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Flag {
    percent: u8,
    /// Whose it is: the marks of the deployment, written together with the flag and never after it.
    marks: Labels,
}

/// The service that keeps the flags. A real one would be somewhere else.
#[derive(Debug)]
struct FlagFile {
    path: PathBuf,
    /// One at a time reads, changes and writes.
    lock: Mutex<()>,
}

impl FlagFile {
    fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lock: Mutex::new(()) }
    }

    async fn load(&self) -> Result<BTreeMap<String, Flag>> {
        match std::fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| Error::internal(format!("the file of flags is damaged: {error}"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            // What cannot be read is not the same as what is not there.
            Err(error) => Err(Error::unavailable(format!("the file of flags cannot be read: {error}"))),
        }
    }

    async fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Flag>) -> Result<T>) -> Result<T> {
        let _one_at_a_time = self.lock.lock().await;
        let mut flags = self.load().await?;
        let result = change(&mut flags)?;
        let failed =
            |error: &dyn std::fmt::Display| Error::internal(format!("the flags cannot be written: {error}"));
        let text = serde_json::to_vec_pretty(&flags).map_err(|error| failed(&error))?;
        let unfinished = self.path.with_extension("new");
        std::fs::write(&unfinished, text).map_err(|error| failed(&error))?;
        std::fs::rename(&unfinished, &self.path).map_err(|error| failed(&error))?;
        Ok(result)
    }

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        Ok(self.load().await?.get(site.name).map(|flag| found(site, flag)))
    }

    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        let flag = flag(site, properties)?;
        let new = flag.clone();
        self.change(|flags| match flags.contains_key(site.name) {
            true => Err(Error::already_exists(format!("there is a flag `{}`", site.name))),
            false => Ok(flags.insert(site.name.to_owned(), new)),
        })
        .await?;
        Ok(found(site, &flag))
    }

    async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        let flag = flag(site, properties)?;
        let new = flag.clone();
        self.change(|flags| Ok(flags.insert(site.name.to_owned(), new))).await?;
        Ok(found(site, &flag))
    }

    async fn delete(&self, site: &Site<'_>) -> Result<()> {
        self.change(|flags| {
            flags.remove(site.name);
            Ok(())
        })
        .await
    }
}

fn flag(site: &Site<'_>, properties: &Value) -> Result<Flag> {
    let percent =
        properties.get("percent").and_then(Value::as_u64).and_then(|percent| u8::try_from(percent).ok());
    let percent = percent.ok_or_else(|| Error::invalid_input(format!("`{}` has no `percent`", site.id)))?;
    Ok(Flag { percent, marks: site.marks.clone() })
}

/// What is reported is compared with what is desired; what others use are the outputs.
fn found(site: &Site<'_>, flag: &Flag) -> Found {
    let mut found = Found::new(json!({ "percent": flag.percent }));
    found.labels = Some(flag.marks.clone());
    found.with_output("name", site.name).with_output("percent", flag.percent)
}

/// Both versions make flags of the same sort and differ in how they are written: each says what its specs mean.
macro_rules! flag_handler {
    ($handler:ident, $major:literal, $interpret:ident) => {
        #[async_trait]
        impl ResourceHandler for $handler {
            fn kind(&self) -> &str {
                "flag"
            }

            fn versions(&self) -> VersionRange {
                VersionRange::major($major)
            }

            fn needs_facility(&self) -> bool {
                false
            }

            fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
                Ok(Interpretation::new(json!({ "percent": $interpret(subject)? })))
            }

            fn effect_of(&self, _property: &str) -> ChangeEffect {
                ChangeEffect::Update
            }

            async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
                self.0.read(site).await
            }

            async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
                self.0.create(site, properties).await
            }

            async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
                self.0.update(site, properties).await
            }

            async fn delete(&self, site: &Site<'_>) -> Result<()> {
                self.0.delete(site).await
            }
        }
    };
}

flag_handler!(SwitchHandler, 1, switched);
flag_handler!(ShareHandler, 2, shared);

fn switched(subject: Subject<'_>) -> std::result::Result<u8, ConfigError> {
    Ok(if subject.specs.parse::<SwitchSpecs>()?.on { 100 } else { 0 })
}

fn shared(subject: Subject<'_>) -> std::result::Result<u8, ConfigError> {
    let percent = subject.specs.parse::<ShareSpecs>()?.percent;
    // A mistake is shown in its place, before anything runs.
    match subject.specs.child("percent") {
        Some(place) if percent > 100 => Err(place.problem("`percent` must be at most 100").into()),
        _ => Ok(percent),
    }
}

const SHOP: &str = "
name: shop
resources:
  - {type: flag, name: dark-mode, version: v1, specs: {on: true}}
  - {type: flag, name: new-checkout, version: v2, specs: {percent: 25}}
  - type: compute
    name: web
    specs:
      image: nginx
      labels: {new-checkout: '${new-checkout.percent} percent', dark-mode: '${dark-mode.percent} percent'}
";

/// An engine that knows flags, over an in-memory facility.
async fn engine(flags: &Path, facility: Arc<Fake>) -> Result<Engine> {
    let flags = Arc::new(FlagFile::new(flags));
    let mut rules = Rules::standard();
    rules
        .handlers
        .register(SwitchHandler(flags.clone()))
        .map_err(|error| Error::internal(error.to_string()))?;
    rules.handlers.register(ShareHandler(flags)).map_err(|error| Error::internal(error.to_string()))?;
    Engine::builder(JournalStore::memory()).rules(rules).facility(facility).connect().await
}

async fn deploy(engine: &Engine, text: &str) -> std::result::Result<Report, Box<dyn std::error::Error>> {
    let desired = engine.validate(&Reader::new().text("shop.yaml", text).read())?;
    Ok(engine.deploy(&desired, &RunOptions::default()).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let flags = std::env::temp_dir().join(format!("substrate-flags-{}.json", std::process::id()));
    let facility = Arc::new(Fake::new("fake"));
    let engine = engine(&flags, facility.clone()).await?;

    println!("First:\n{}", deploy(&engine, SHOP).await?);
    println!("The flags are now:\n{}\n", std::fs::read_to_string(&flags)?);
    for instance in facility.list_instances(&InstanceFilter::all()).await? {
        println!(
            "{} was started with `new-checkout` for {}\n",
            instance.name,
            instance.labels.get("new-checkout").unwrap_or("nobody")
        );
    }
    println!("Again:\n{}", deploy(&engine, SHOP).await?);
    let report = engine.destroy(&[Name::new("shop")?], None, &RunOptions::default()).await?;
    println!("Destroyed:\n{report}");
    println!("The flags are now:\n{}", std::fs::read_to_string(&flags)?);
    std::fs::remove_file(&flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        Arc, Engine, Fake, InstanceFilter, Name, PathBuf, RunOptions, SHOP, Substrate, deploy, engine,
    };

    struct Shop {
        flags: PathBuf,
        facility: Arc<Fake>,
        engine: Engine,
    }

    async fn shop(test: &str) -> Shop {
        let flags = std::env::temp_dir().join(format!("substrate-flags-{test}-{}.json", std::process::id()));
        let _ = std::fs::remove_file(&flags);
        let facility = Arc::new(Fake::new("fake"));
        let engine = engine(&flags, facility.clone()).await.unwrap();
        Shop { flags, facility, engine }
    }

    impl Drop for Shop {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.flags);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn flags_are_deployed_with_what_uses_them_once_and_go_with_it() {
        let shop = shop("once").await;
        let first = deploy(&shop.engine, SHOP).await.unwrap();
        assert!(first.is_done() && first.created.len() == 3, "{first}");
        let instances = shop.facility.list_instances(&InstanceFilter::all()).await.unwrap();
        assert_eq!(instances[0].labels.get("new-checkout"), Some("25 percent"));
        assert_eq!(instances[0].labels.get("dark-mode"), Some("100 percent"));
        assert_eq!(deploy(&shop.engine, SHOP).await.unwrap().steps_done(), 0);
        let names = [Name::new("shop").unwrap()];
        let gone = shop.engine.destroy(&names, None, &RunOptions::default()).await.unwrap();
        assert!(gone.is_done(), "{gone}");
        assert_eq!(std::fs::read_to_string(&shop.flags).unwrap(), "{}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flag_that_somebody_turned_is_turned_back() {
        let shop = shop("drift").await;
        deploy(&shop.engine, SHOP).await.unwrap();
        let turned = std::fs::read_to_string(&shop.flags).unwrap().replace(": 25", ": 99");
        std::fs::write(&shop.flags, turned).unwrap();
        let report = deploy(&shop.engine, SHOP).await.unwrap();
        assert_eq!(
            report.updated.iter().map(ToString::to_string).collect::<Vec<_>>()[0],
            "shop/new-checkout"
        );
        assert!(std::fs::read_to_string(&shop.flags).unwrap().contains(": 25"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mistake_is_shown_in_its_place_and_by_its_version() {
        let shop = shop("mistake").await;
        let wrong = SHOP.replace("percent: 25", "percent: 125").replace("on: true", "percent: 1");
        let error = deploy(&shop.engine, &wrong).await.unwrap_err().to_string();
        assert!(error.contains("shop.yaml:5:68: `percent` must be at most 100"), "{error}");
        assert!(error.contains("shop.yaml:4:56: unknown key `percent`"), "{error}");
        assert!(!shop.flags.exists());
    }
}
