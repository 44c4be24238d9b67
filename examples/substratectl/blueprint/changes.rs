//! Commands that change things: deploy, roll back, destroy.

use std::path::Path;

use substrates::Error;
use substrates::engine::run::Timeline;
use substrates::engine::{Report, RollbackOptions};

use super::arguments::{Consent, Deploy, Place, Selection};
use super::consent;
use super::session::{Session, carried_out};
use crate::arguments::Global;
use crate::ending::Ending;
use crate::output::Output;
use crate::progress::while_waiting;

pub(super) async fn deploy(global: &Global, output: Output, asked: &Deploy) -> Result<(), Ending> {
    let session = Session::changing(global, &asked.place).await?;
    consent::can_be_given(&asked.consent, "deploy")?;
    let (engine, desired) = (&session.engine, &session.desired);
    let selector = session.selector(&asked.selection).await?;
    if !asked.consent.yes {
        let plan = while_waiting("planning", engine.plan(desired, &selector)).await?;
        consent::given(&asked.consent, &plan).await?;
    }
    let report = carried_out(selector, async |mut options| {
        options.rollback_on_failure = asked.rollback_on_failure;
        engine.deploy(desired, &options).await
    })
    .await?;
    let ended = answer(output, &report);
    if let Some(file) = &asked.timeline {
        write_timeline(file, &report.timeline)?;
    }
    ended
}

pub(super) async fn rollback(
    global: &Global,
    output: Output,
    place: &Place,
    selection: &Selection,
    consent: &Consent,
    to: Option<u64>,
) -> Result<(), Ending> {
    let session = Session::undoing(global, place).await?;
    consent::can_be_given(consent, "rollback")?;
    let (engine, deployments) = (&session.engine, session.deployments());
    let mut target = RollbackOptions::default().with_documents(&session.desired);
    if let Some(run) = to {
        for name in deployments {
            let last = engine.state(name).await?.last_run();
            if run >= last {
                return Err(Ending::Usage(format!(
                    "--to {run}: the last run of `{name}` is {last}, choose an earlier one"
                )));
            }
        }
        target = target.before_run(run + 1);
    }
    let selector = session.selector(selection).await?;
    if !consent.yes {
        let plan = while_waiting("planning", engine.plan_rollback(deployments, &target, &selector)).await?;
        consent::given(consent, &plan).await?;
    }
    let report =
        carried_out(selector, async |options| engine.rollback(deployments, &target, &options).await).await?;
    answer(output, &report)
}

pub(super) async fn destroy(
    global: &Global,
    output: Output,
    place: &Place,
    selection: &Selection,
    consent: &Consent,
) -> Result<(), Ending> {
    let session = Session::undoing(global, place).await?;
    consent::can_be_given(consent, "destroy")?;
    let (engine, deployments) = (&session.engine, session.deployments());
    let selector = session.selector(selection).await?;
    if !consent.yes {
        let plan = while_waiting("planning", engine.plan_destroy(deployments, &selector)).await?;
        consent::given(consent, &plan).await?;
    }
    let documents = Some(&session.desired);
    let report =
        carried_out(selector, async |options| engine.destroy(deployments, documents, &options).await).await?;
    answer(output, &report)
}

/// What came of it, and the exit status that goes with it.
pub(super) fn answer(output: Output, report: &Report) -> Result<(), Ending> {
    use substrates::engine::journal::RunStatus;
    output.answer(report, ToString::to_string)?;
    match report.status {
        RunStatus::Done => Ok(()),
        RunStatus::Cancelled => Err(Ending::Interrupted),
        _ => Err(Ending::Told),
    }
}

/// A picture where the name of the file asks for one.
fn write_timeline(file: &Path, timeline: &Timeline) -> Result<(), Ending> {
    let text = match file.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => timeline.to_svg(),
        _ => serde_json::to_string_pretty(timeline).map_err(std::io::Error::from)?,
    };
    std::fs::write(file, text).map_err(|error| {
        Error::invalid_input(format!("the run is over, but `{}` cannot be written: {error}", file.display()))
            .into()
    })
}
