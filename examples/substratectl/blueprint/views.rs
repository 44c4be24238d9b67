//! Commands that look: validate, plan, state, graph, schema.

use serde::Serialize;
use serde_json::json;
use substrates::engine::journal::{JournalState, Purpose};
use substrates::engine::model::{Name, ResourceId};
use substrates::engine::plan::{self, Observed, Recorded};

use super::arguments::{Drawing, Place, Selection};
use super::documents;
use super::session::{Session, looked_at};
use crate::arguments::Global;
use crate::ending::{self, Ending};
use crate::output::{self, Output, or_dash, table};
use crate::progress::while_waiting;

pub(super) async fn validate(global: &Global, output: Output, place: &Place) -> Result<(), Ending> {
    let session = Session::looking(global, place).await?;
    let count = session.desired.resources().len();
    output.answer(&ending::problems_as_json(&[]), |_| match count {
        1 => "1 resource, no problems".to_owned(),
        count => format!("{count} resources, no problems"),
    })
}

pub(super) async fn plan(
    global: &Global,
    output: Output,
    place: &Place,
    selection: &Selection,
) -> Result<(), Ending> {
    let session = Session::looking(global, place).await?;
    let selector = session.selector(selection).await?;
    let plan = while_waiting("planning", session.engine.plan(&session.desired, &selector)).await?;
    output.answer(&plan.to_json(), |_| plan.to_string())
}

/// As if nothing were there: the whole of it, and not what is left to do.
pub(super) async fn graph(
    global: &Global,
    output: Output,
    place: &Place,
    format: Drawing,
) -> Result<(), Ending> {
    let session = Session::looking(global, place).await?;
    let plan = plan::plan(&session.desired, &Recorded::default(), &Observed::default())
        .map_err(substrates::engine::EngineError::from)?;
    let (word, text) = match format {
        Drawing::Dot => ("dot", plan.to_dot()),
        Drawing::Mermaid => ("mermaid", plan.to_mermaid()),
    };
    output.answer(&json!({ "format": word, "graph": text }), |_| text.clone())
}

pub(super) fn schema(output: Output) -> Result<(), Ending> {
    output.answer(&substrates::engine::schema(), |schema| format!("{schema:#}"))
}

/// What a journal says of one deployment.
#[derive(Serialize)]
struct Deployment {
    deployment: Name,
    #[serde(flatten)]
    state: JournalState,
}

pub(super) async fn state(output: Output, place: &Place) -> Result<(), Ending> {
    let journals = looked_at(place)?;
    let documents = documents::read_or_known(place, &journals).await?;
    // For a name it does not matter what else is wrong; without any there is nothing to look for.
    if documents.blueprints.is_empty() {
        return Err(Ending::Invalid(documents.problems().iter().cloned().collect()));
    }
    let mut deployments = Vec::with_capacity(documents.blueprints.len());
    for blueprint in documents.blueprints {
        let deployment = blueprint.name.value;
        let state = while_waiting("reading", journals.state(deployment.as_str())).await?;
        deployments.push(Deployment { deployment, state });
    }
    output.answer(&json!({ "deployments": deployments }), |_| {
        deployments.iter().map(described).collect::<Vec<_>>().join("\n")
    })
}

fn described(one: &Deployment) -> String {
    let Deployment { deployment, state } = one;
    if state.runs.is_empty() && state.recorded.is_empty() {
        return format!("{deployment}: nothing was deployed\n");
    }
    let owner = match &state.owner {
        Some(owner) if owner.has_ended() => format!(", left unfinished by {owner}"),
        Some(owner) => format!(", being changed by {owner}"),
        None => String::new(),
    };
    let runs = state.runs.iter().map(|run| {
        let purpose = match run.purpose {
            Purpose::Deploy => "deploy".to_owned(),
            Purpose::Rollback { before } => format!("rollback to before {before}"),
            Purpose::Destroy => "destroy".to_owned(),
            other => format!("{other:?}"),
        };
        let status = run.status.map_or_else(|| "unfinished".to_owned(), |status| status.to_string());
        [run.number.to_string(), output::time(Some(run.at)), purpose, run.steps.to_string(), status]
    });
    let last = state.runs.last();
    let resources = state.recorded.known().map(|(id, resource)| {
        let failure = last.and_then(|run| run.failures.get(id));
        let facility = or_dash(resource.facility.as_deref());
        [id.to_string(), resource.kind.clone(), facility, resource.name.clone(), standing(state, id, failure)]
    });
    let resources = table(["RESOURCE", "KIND", "PROVIDER", "NAME", "STATE"], resources);
    let runs = table(["RUN", "BEGAN", "FOR", "STEPS", "STATUS"], runs);
    format!("{deployment} ({}){owner}\n{resources}{runs}", state.identity)
}

fn standing(state: &JournalState, id: &ResourceId, failure: Option<&String>) -> String {
    match (failure, state.recorded.unfinished(id)) {
        (Some(reason), _) => format!("failed: {reason}"),
        (None, Some(_)) => "unfinished".to_owned(),
        (None, None) => "deployed".to_owned(),
    }
}
