//! Commands about what was deployed: drift, reconcile, sweep, actions.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;
use substrates::engine::directive::Action;
use substrates::engine::run::ProgressEvent;
use substrates::engine::{ActionResult, Orphan, ReconcileOptions, RunOptions, SweepMode, Verdict};

use super::arguments::{Consent, Place, Selection};
use super::session::Session;
use super::{changes, consent, interrupt};
use crate::arguments::Global;
use crate::ending::Ending;
use crate::output::{Output, or_dash, table};
use crate::progress::while_waiting;

pub(super) async fn drift(
    global: &Global,
    output: Output,
    place: &Place,
    selection: &Selection,
) -> Result<(), Ending> {
    let session = Session::undoing(global, place).await?;
    let selector = session.selector(selection).await?;
    let drifts = while_waiting("looking", session.engine.drift(session.deployments(), &selector)).await?;
    output.answer(&json!({ "drift": drifts }), |_| match drifts.is_empty() {
        true => "no drift".to_owned(),
        false => drifts.iter().map(|drift| format!("{drift}\n")).collect(),
    })
}

/// Each round is one answer; a round that had nothing to do is none in text.
pub(super) async fn reconcile(
    global: &Global,
    output: Output,
    place: &Place,
    selection: &Selection,
    agreed: &Consent,
    (every, once): (Duration, bool),
) -> Result<(), Ending> {
    let session = Session::changing(global, place).await?;
    consent::can_be_given(agreed, "reconcile")?;
    let selector = session.selector(selection).await?;
    if !agreed.yes {
        let plan = while_waiting("planning", session.engine.plan(&session.desired, &selector)).await?;
        consent::given(agreed, &plan).await?;
    }
    let options = RunOptions::default().only(selector).telling(|event: &ProgressEvent<'_>| {
        let _ = writeln!(io::stderr(), "{event}");
    });
    let (stop, last) = (options.cancel.clone(), options.cancel.clone());
    let _listening = interrupt::listen(move || stop.cancel())?;
    let mut ended: Result<(), Ending> = Err(Ending::Interrupted);
    let heard = |round: Result<_, _>| {
        let told = match round {
            Ok(report) => changes::answer(output, &report),
            Err(error) => Err(Ending::from(error)),
        };
        match told {
            // Nobody listens any more.
            Err(Ending::Unread) => ended = Err(Ending::Unread),
            told if once => ended = told,
            Err(Ending::Failed(error)) => {
                // The next round may succeed.
                let _ = writeln!(io::stderr(), "{error}");
                return;
            }
            _ => return,
        }
        last.cancel();
    };
    session
        .engine
        .reconcile(&session.desired, &ReconcileOptions::default().every(every), &options, heard)
        .await;
    ended
}

pub(super) async fn sweep(
    global: &Global,
    output: Output,
    place: &Place,
    agreed: &Consent,
) -> Result<(), Ending> {
    let session = Session::undoing(global, place).await?;
    let mode = if agreed.yes { SweepMode::Remove } else { SweepMode::DryRun };
    let orphans = while_waiting("looking", session.engine.sweep(mode)).await?;
    output.answer(&json!({ "orphans": orphans }), |_| listed(&orphans, agreed.yes))?;
    let failed = orphans.iter().any(|one| matches!(one.verdict, Verdict::Failed { .. }));
    if failed { Err(Ending::Told) } else { Ok(()) }
}

fn listed(orphans: &[Orphan], removed: bool) -> String {
    let mut text: String = orphans.iter().map(|orphan| format!("{orphan}\n")).collect();
    if orphans.is_empty() {
        text.push_str("nothing was left behind\n");
    } else if !removed && orphans.iter().any(|one| one.verdict == Verdict::Abandoned) {
        text.push_str("nothing was removed: --yes removes what is abandoned\n");
    }
    text
}

pub(super) async fn act(
    global: &Global,
    output: Output,
    action: Action,
    place: &Place,
    selection: &Selection,
) -> Result<(), Ending> {
    let session = Session::undoing(global, place).await?;
    let selector = session.selector(selection).await?;
    let acting = session.engine.act(action, session.deployments(), Some(&session.desired), &selector);
    let results = while_waiting(action.as_str(), acting).await?;
    output.answer(&json!({ "action": action, "results": results }), |_| {
        table(["RESOURCE", "KIND", "PROVIDER", "NAME", "STATE", "FAILURE"], results.iter().map(row))
    })?;
    if results.iter().all(|one| one.failure.is_none()) { Ok(()) } else { Err(Ending::Told) }
}

fn row(one: &ActionResult) -> [String; 6] {
    [
        one.resource.to_string(),
        one.kind.clone(),
        or_dash(one.facility.as_deref()),
        one.name.clone(),
        one.state.clone(),
        or_dash(one.failure.as_deref()),
    ]
}
