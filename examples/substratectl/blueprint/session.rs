//! The engine for one command.

use std::io::{self, Write};
use std::path::Path;

use substrates::engine::model::{Name, ResourceId};
use substrates::engine::run::ProgressEvent;
use substrates::engine::{
    Desired, Documents, Engine, EngineSettings, JournalStore, Report, RunOptions, Selector,
};

use super::arguments::{Place, Selection};
use super::{documents, interrupt};
use crate::arguments::Global;
use crate::ending::Ending;
use crate::progress::while_waiting;
use crate::selection;

/// Documents that were checked, and the engine that they were checked against.
pub(super) struct Session {
    pub(super) engine: Engine,
    pub(super) desired: Desired,
}

impl Session {
    /// For commands that look: where there is no journal yet, none is made.
    pub(super) async fn looking(global: &Global, place: &Place) -> Result<Self, Ending> {
        Self::new(global, place, looked_at(place)?, documents::read(place)?).await
    }

    /// For commands that change what documents say.
    pub(super) async fn changing(global: &Global, place: &Place) -> Result<Self, Ending> {
        Self::new(global, place, kept(place)?, documents::read(place)?).await
    }

    /// For commands that change what was deployed, whether its documents are there or only its name.
    pub(super) async fn undoing(global: &Global, place: &Place) -> Result<Self, Ending> {
        let journals = looked_at(place)?;
        let documents = documents::read_or_known(place, &journals).await?;
        Self::new(global, place, journals, documents).await
    }

    async fn new(
        global: &Global,
        place: &Place,
        journals: JournalStore,
        documents: Documents,
    ) -> Result<Self, Ending> {
        if global.substrate.is_some() {
            let told =
                "-s is for commands about one substrate: resources of a blueprint name theirs as `provider`";
            return Err(Ending::Usage(told.to_owned()));
        }
        let config = selection::config(global)?;
        let mut settings = EngineSettings::default();
        settings.parallelism = place.parallel.map_or(settings.parallelism, usize::from);
        settings.environment.clone_from(&place.environment);
        let opened = Engine::builder(journals)
            .settings(settings)
            .open(&documents, &config, &substrates::registry())
            .await?;
        let engine = while_waiting("connecting", opened.connect()).await?;
        let desired = engine.validate(&documents)?;
        Ok(Self { engine, desired })
    }

    /// What takes part. A name that nothing has is refused: done to nothing would look like done.
    pub(super) async fn selector(&self, selection: &Selection) -> Result<Selector, Ending> {
        let mut known: Vec<ResourceId> = self.desired.resources().iter().map(|one| one.id.clone()).collect();
        if !selection.only.is_empty() {
            for name in self.deployments() {
                let state = self.engine.state(name).await?;
                known.extend(state.recorded.known().map(|(id, _)| id.clone()));
            }
        }
        for only in &selection.only {
            let alone = Selector::all().resource(only.pattern.clone());
            if !known.iter().any(|id| alone.names(id)) {
                let told = format!("--only {}: there is no such resource in what was named", only.written);
                return Err(Ending::Usage(told));
            }
        }
        Ok(selection.selector())
    }

    pub(super) fn deployments(&self) -> &[Name] {
        self.desired.blueprints()
    }
}

/// The journal, made if it is missing.
fn kept(place: &Place) -> Result<JournalStore, Ending> {
    Ok(JournalStore::open(&place.journal)?)
}

/// The journal, or an empty one.
pub(super) fn looked_at(place: &Place) -> Result<JournalStore, Ending> {
    let is_missing_folder = !place.journal.contains("://") && !Path::new(&place.journal).exists();
    if is_missing_folder { Ok(JournalStore::memory()) } else { kept(place) }
}

/// Carries something out that tells how it goes on, and that can be stopped.
pub(super) async fn carried_out<F>(
    selector: Selector,
    work: impl FnOnce(RunOptions) -> F,
) -> Result<Report, Ending>
where
    F: Future<Output = Result<Report, substrates::engine::EngineError>>,
{
    let options = RunOptions::default().only(selector).telling(|event: &ProgressEvent<'_>| {
        // Whoever does not read it any more does not stop the work.
        let _ = writeln!(io::stderr(), "{event}");
    });
    let cancel = options.cancel.clone();
    let _listening = interrupt::listen(move || cancel.cancel())?;
    Ok(work(options).await?)
}
