//! Blueprints over any substrate: read, checked and planned before anything is touched, then deployed so that a crash at
//! any moment loses nothing.
//!
//! ```
//! use substrate_core::{Capabilities, Descriptor, InstanceKind};
//! use substrate_engine::plan::{Observed, Recorded, RecordedResource, plan};
//! use substrate_engine::{Facilities, Reader, Rules, validate};
//!
//! let text = r#"
//! name: shop
//! variables: {size: 512MiB}
//! resources:
//!   - type: storage
//!     name: data
//!     specs: {size: 10GiB}
//!   - type: compute
//!     name: db
//!     specs: {image: postgres, cpu: 0.5, memory: "${var.size}", volumes: ["data:/var/lib"]}
//!     readiness: {port: 5432, timeout: 1m}
//!   - type: compute
//!     name: web
//!     count: 2
//!     specs: {image: nginx, environment: {DB: "${db.address}:5432"}}
//! "#;
//! let docker = Descriptor::new("docker", "docker-paris", [InstanceKind::Container], Capabilities::all());
//!
//! // Every mistake at once, with line and column; nothing is touched.
//! let documents = Reader::new().text("shop.yaml", text).read();
//! let desired = validate(&documents, &Rules::standard(), &Facilities::from_iter([docker]))?;
//!
//! let first = plan(&desired, &Recorded::default(), &Observed::default())?;
//! let order: Vec<String> = first.steps.iter().map(|step| step.resource.to_string()).collect();
//! assert_eq!(order, ["shop/data", "shop/db", "shop/web[0]", "shop/web[1]"]);
//!
//! // Once all of that is done and recorded, there is nothing left to do.
//! let recorded: Recorded =
//!     desired.resources().iter().map(|resource| (resource.id.clone(), RecordedResource::of(resource))).collect();
//! assert!(plan(&desired, &recorded, &Observed::default())?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The way of a document: [`Reader`] turns texts into the [`model`], [`validate`] asks the [`handler`]s and
//! [`directive`]s what it means and expands it to [`Desired`] instances with their order, [`plan`](plan::plan) compares
//! those with what was recorded and seen. All of it is pure: no clock, no network, no randomness.
//!
//! An [`Engine`] does the rest. It looks at the facilities, plans against its [`journal`], and carries the plan out: every
//! step is put down before its first call and again when it is done, and what it makes carries its marks from the call
//! that makes it. Killed at any moment, or dropped, it loses nothing: the next run finds by the marks what became of the
//! step and finishes or undoes it. Whoever else deploys the same meanwhile is told by whom it is being changed.
//!
//! ```
//! use std::sync::Arc;
//! use substrate_engine::{Engine, JournalStore, Reader, RunOptions};
//! use substrate_fake::Fake;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let engine = Engine::builder(JournalStore::memory()).facility(Arc::new(Fake::new("lab"))).connect().await?;
//! let text = "{name: shop, resources: [{type: compute, name: web, count: 2, specs: {image: 'busybox:local'}}]}";
//! let desired = engine.validate(&Reader::new().text("shop.yaml", text).read())?;
//!
//! let report = engine.deploy(&desired, &RunOptions::default()).await?;
//! assert_eq!((report.created.len(), report.failed.len()), (2, 0));
//! // The second time there is nothing to do.
//! assert_eq!(engine.deploy(&desired, &RunOptions::default()).await?.steps_done(), 0);
//! # Ok::<(), substrate_engine::EngineError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Variables and references.** `${NAME}` comes from the environment (and is a secret from then on), `${var.name}`
//! from `variables:` or the caller, `${count.index}` is the number of an instance. All three are replaced before
//! anything is checked. `${web.address}` is an output of another resource: it stays a text, and makes a dependency,
//! until that resource is there. So it can stand wherever a text can, and not for a number. `$${` is a literal `${`.
//!
//! **Defaults.** `defaults: {docker-paris: {compute: {memory: 1GiB}}}` lies under the specs of what lives on that
//! facility; a type of facilities stands for all of them, and a name lies over its type.
//!
//! **Kinds.** `compute`, `network`, `storage`, `service` and `configure` live on facilities;
//! [`Values`](handler::ValuesHandler), [`Command`](handler::CommandHandler) and
//! [`WriteFile`](handler::WriteFileHandler) on none. A program registers its own.
//!
//! **Sizes.** `8GB` is 8 · 10⁹ bytes, `8GiB` is 8 · 2³⁰; limits are rounded up to the MiB and GiB that substrates count
//! in. A size below 1 MiB is refused: its unit was forgotten.

pub mod directive;
pub mod document;
mod engine;
#[cfg(test)]
mod fuzz;
pub mod graph;
pub mod handler;
pub mod journal;
pub mod model;
pub mod plan;
mod readiness;
pub mod run;
mod schema;
mod validation;

pub use document::{Documents, Reader};
pub use engine::{
    ActionResult, Drift, Engine, EngineBuilder, EngineError, EngineSettings, FacilityHealth, Orphan,
    OrphanKind, Pattern, ReconcileOptions, RollbackOptions, Selector, SweepMode, Verdict,
};
pub use journal::JournalStore;
pub use readiness::{PortProbe, TcpProbe};
pub use run::{Report, RunOptions};
pub use schema::schema;
pub use validation::{Desired, DesiredResource, Facilities, Group, Interpreted, Rules, validate};
