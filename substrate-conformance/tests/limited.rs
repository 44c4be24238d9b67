//! A substrate that can less passes too: what it does not declare it refuses, and the rest works.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use substrate_conformance::{Guest, Report, Setup, Suite, TrialOutcome};
use substrate_core::{Ability, Capabilities, Feature, Operation};
use substrate_fake::Fake;

async fn run(capabilities: Capabilities) -> Report {
    let setup = Setup::new(
        Arc::new(Fake::builder().capabilities(capabilities).build()),
        "busybox:local",
        Guest::fake(),
    )
    .with_missing_image("missing:1")
    .with_large_output(256 << 10)
    .with_many_calls(100)
    .exclusive();
    let report = Suite::new(setup).run().await;
    assert!(report.passed(), "{report}");
    report
}

fn without<A: Into<Ability> + Copy>(abilities: &[A]) -> Capabilities {
    abilities.iter().fold(Capabilities::all(), |capabilities, ability| {
        capabilities.without(*ability, "this technology has none")
    })
}

fn optional_operations() -> Vec<Operation> {
    Operation::ALL.iter().copied().filter(|operation| !operation.profile().required).collect()
}

/// Whether a trial passed, so that the test knows that it was not skipped.
fn has_passed(report: &Report, trial: &str) -> bool {
    report.trial(trial).is_some_and(|trial| trial.outcome == TrialOutcome::Passed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_substrate_with_the_required_operations_only() {
    let report = run(Capabilities::required_only()).await;
    assert!(has_passed(&report, "undeclared_operations_are_refused_without_side_effect"), "{report}");
    assert!(has_passed(&report, "undeclared_features_of_a_creation_are_refused_and_leave_nothing"));
    assert!(has_passed(&report, "delete_frees_the_name_at_once"));
    assert!(has_passed(&report, "create_runs_the_instance_where_stopped_is_not_declared"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_substrate_with_every_operation_and_no_feature() {
    let report = run(without(Feature::ALL)).await;
    assert!(has_passed(&report, "undeclared_features_of_a_command_are_refused"), "{report}");
    assert!(has_passed(&report, "a_snapshot_of_a_running_instance_is_a_conflict_where_it_is_not_declared"));
    assert!(has_passed(&report, "an_undeclared_cursor_is_refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_substrate_with_every_feature_and_no_optional_operation() {
    let report = run(without(&optional_operations())).await;
    assert!(has_passed(&report, "label_values_come_back_exactly"), "{report}");
}

/// Like a hypervisor without an agent in its guests.
#[tokio::test(flavor = "multi_thread")]
async fn a_substrate_without_commands() {
    let report = run(without(&[Operation::ExecuteCommand, Operation::OpenCommand])).await;
    assert!(has_passed(&report, "restore_leaves_a_stopped_instance_stopped"), "{report}");
}

/// Like containers whose disks cannot be saved while they run.
#[tokio::test(flavor = "multi_thread")]
async fn a_substrate_that_saves_and_limits_at_rest_only() {
    let report = run(without(&[
        Feature::SnapshotWhileRunning,
        Feature::SnapshotMemory,
        Feature::CloneWhileRunning,
        Feature::LiveLimits,
        Feature::DiskLimit,
        Feature::NetworkLimit,
    ]))
    .await;
    assert!(has_passed(&report, "restore_brings_the_content_back"), "{report}");
    assert!(has_passed(&report, "undeclared_limits_are_refused_and_change_nothing"));
}

/// Each ability missing by itself: no trial may need more than it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_substrate_that_lacks_one_thing() {
    let operations = optional_operations().into_iter().map(Ability::Operation);
    stream::iter(operations.chain(Feature::ALL.iter().copied().map(Ability::Feature)))
        .for_each_concurrent(8, |ability| async move {
            let report = run(Capabilities::all().without(ability, "the one thing")).await;
            assert!(report.count(TrialOutcome::Passed) > 150, "{ability}: {report}");
        })
        .await;
}
