//! The engine as its users meet it: documents in, desired resources and plans out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that failed"
)]

mod directives;
mod forms;
mod hostile;
mod kinds;
mod manifests;
mod planning;
mod problems;
mod properties;
mod sample;
mod scale;
mod variables;

use substrate_core::config::ConfigError;
use substrate_core::{Capabilities, Descriptor, InstanceKind};
use substrate_engine::plan::{Observed, Plan, Recorded, RecordedResource, plan};
use substrate_engine::{Desired, Documents, Facilities, Reader, Rules, validate};

/// One facility that can do everything.
fn facilities() -> Facilities {
    facility("fake", Capabilities::all())
}

fn facility(name: &str, capabilities: Capabilities) -> Facilities {
    Facilities::from_iter([Descriptor::new("fake", name, [InstanceKind::Container], capabilities)])
}

fn read(text: &str) -> Documents {
    Reader::new().text("shop.yaml", text).read()
}

fn check(text: &str) -> Result<Desired, ConfigError> {
    validate(&read(text), &Rules::standard(), &facilities())
}

fn desired(text: &str) -> Desired {
    check(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The lines of the report that validating this text ends with.
fn refusal(text: &str) -> Vec<String> {
    lines(&check(text).unwrap_err())
}

fn lines(error: &ConfigError) -> Vec<String> {
    error.to_string().lines().map(str::to_owned).collect()
}

/// What the journal holds once all of it was deployed.
fn deployed(desired: &Desired) -> Recorded {
    desired.resources().iter().map(|one| (one.id.clone(), RecordedResource::of(one))).collect()
}

fn plan_of(text: &str, recorded: &Recorded) -> Plan {
    plan(&desired(text), recorded, &Observed::default()).unwrap()
}

/// The steps as `action resource`, in their order.
fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {}", step.action, step.resource)).collect()
}
