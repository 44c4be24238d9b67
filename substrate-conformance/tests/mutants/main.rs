//! The suite can fail: each seeded bug is found by the trial whose rule it breaks.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests, outside of test functions too")]

mod bug;
mod distortion;
mod mutant;

use std::sync::Arc;
use std::time::Duration;

use bug::Bug;
use mutant::Mutant;
use substrate_conformance::{Guest, Report, Setup, Suite, TrialOutcome};
use substrate_core::Substrate;
use substrate_fake::Fake;

async fn run(substrate: Arc<dyn Substrate>, trials: &[&str]) -> Report {
    // Bugs make trials wait for what never comes: not for long.
    let setup = Setup::new(substrate, "busybox:local", Guest::fake())
        .with_missing_image("missing:1")
        .with_patience(Duration::from_millis(700))
        .with_trial_deadline(Duration::from_secs(3))
        .with_large_output(2 << 20);
    Suite::new(setup).only(trials.iter().copied()).run().await
}

async fn is_caught(bug: Bug, trials: &[&str]) {
    let fake: Arc<dyn Substrate> = Arc::new(Fake::new("fake"));
    let healthy = run(Arc::clone(&fake), trials).await;
    assert_eq!(healthy.count(TrialOutcome::Passed), trials.len(), "without the bug: {healthy}");
    let report = run(Arc::new(Mutant::new(bug, fake)), trials).await;
    let found = report.trial(trials[0]).unwrap();
    assert_eq!(found.outcome, TrialOutcome::Failed, "{bug:?} is not caught: {report}");
}

/// Bug, and the trial that catches it; further trials are run with it where the one alone finds nothing.
macro_rules! mutants {
    ($($test:ident: $bug:ident => $($trial:ident),+;)*) => {
        $(#[tokio::test]
        async fn $test() {
            is_caught(Bug::$bug, &[$(stringify!($trial)),+]).await;
        })*
    };
}

mutants! {
    start_returns_too_early: StartReturnsTooEarly => start_returns_when_the_instance_runs;
    second_start_fails: SecondStartFails => starting_twice_is_success_and_one_start;
    second_start_restarts: SecondStartRestarts => starting_twice_is_success_and_one_start;
    start_holds_a_lock_when_dropped: StartHoldsALockWhenDropped => a_dropped_start_leaves_it_running_or_stopped;
    stop_kills_silently: StopKillsSilently
        => a_graceful_stop_of_a_deaf_instance_is_a_timeout_and_kills_nothing;
    stop_is_not_idempotent: StopIsNotIdempotent => stopping_twice_is_success;
    restart_does_nothing: RestartDoesNothing => restart_is_a_new_start;
    pause_stops: PauseStops => pause_returns_when_the_instance_is_paused;
    delete_leaves_the_name: DeleteLeavesTheName => delete_frees_the_name_at_once;
    delete_needs_no_force: DeleteNeedsNoForce => delete_of_a_running_instance_without_force_is_a_conflict;
    create_starts: CreateStarts => create_leaves_the_instance_stopped;
    create_leaves_half: CreateLeavesHalf => create_on_a_missing_network_is_not_found_and_leaves_nothing;
    create_replaces: CreateReplaces => create_of_a_taken_name_is_already_exists_and_touches_nothing;
    create_adopts: CreateAdopts => creating_one_name_at_once_makes_one_instance;
    create_loses_labels: CreateLosesLabels => labels_are_on_the_instance_whenever_it_is_seen;
    create_loses_the_environment: CreateLosesTheEnvironment => the_environment_reaches_the_instance_exactly;
    create_leaks_a_volume: CreateLeaksAVolume => leaves_nothing_behind, delete_removes_the_instance;
    validate_accepts_everything: ValidateAcceptsEverything => validate_agrees_with_create_on_invalid_input;
    get_invents_the_missing: GetInventsTheMissing => get_of_a_missing_instance_is_not_found;
    get_mixes_up_answers: GetMixesUpAnswers => many_gets_at_once_are_answered_each_with_its_own;
    list_has_running_ones_only: ListHasRunningOnesOnly => list_has_running_and_stopped_instances;
    list_matches_substrings: ListMatchesSubstrings => list_filters_by_name_prefix_and_not_by_part;
    list_ignores_label_values: ListIgnoresLabelValues => list_filters_by_label_and_value_exactly;
    not_found_is_uncertain: NotFoundIsUncertain => not_found_is_never_uncertain;
    command_loses_the_exit_code: CommandLosesTheExitCode => every_exit_code_comes_back;
    command_merges_streams: CommandMergesStreams => both_streams_come_back_apart;
    command_cuts_output: CommandCutsOutput => a_command_may_write_much_on_both_streams;
    command_damages_bytes: CommandDamagesBytes => bytes_arrive_exactly;
    command_joins_arguments: CommandJoinsArguments => arguments_arrive_exactly;
    command_ignores_its_timeout: CommandIgnoresItsTimeout => a_command_beyond_its_timeout_is_a_timeout;
    session_ends_without_status: SessionEndsWithoutStatus => a_session_ends_with_its_exit_status;
    logs_give_one_line_too_many: LogsGiveOneLineTooMany => logs_give_the_last_lines;
    following_never_ends: FollowingNeverEnds => following_ends_when_the_instance_stops;
    metrics_are_fractions: MetricsAreFractions => a_busy_core_is_measured_as_a_hundred_percent;
    limits_are_ignored: LimitsAreIgnored => limits_that_are_set_come_back;
    restore_does_nothing: RestoreDoesNothing => restore_brings_the_content_back;
    restore_starts: RestoreStarts => restore_leaves_a_stopped_instance_stopped;
    restore_stops_before_it_looks: RestoreStopsBeforeItLooks
        => restore_of_a_missing_snapshot_is_not_found_and_touches_nothing;
    clone_shares_files: CloneSharesFiles => a_clone_is_independent_of_its_source;
    clone_copies_labels: CloneCopiesLabels => a_clone_has_its_own_labels_and_not_the_sources;
    attach_ignores_the_address: AttachIgnoresTheAddress => attaching_gives_the_address_asked_for;
    network_in_use_is_deleted: NetworkInUseIsDeleted => delete_of_a_network_in_use_is_a_conflict;
    volume_is_adopted: VolumeIsAdopted => a_taken_volume_name_is_already_exists;
    watch_always_gaps: WatchAlwaysGaps => a_gap_is_an_exception;
    watch_loses_stops: WatchLosesStops => a_life_is_watched_in_order;
    connects_only_once: ConnectsOnlyOnce => connecting_again_is_success;
    says_that_it_is_not_connected: SaysThatItIsNotConnected => a_connected_handle_says_so;
    says_that_it_is_unhealthy: SaysThatItIsUnhealthy => a_working_substrate_is_not_unhealthy;
    hides_what_is_required: HidesWhatIsRequired => every_required_operation_is_declared;
    missing_is_invalid_input: MissingIsInvalidInput => logs_of_a_missing_instance_are_not_found;
    list_takes_prefixes_as_patterns: ListTakesPrefixesAsPatterns => list_takes_a_name_prefix_literally;
    snapshot_replaces: SnapshotReplaces => a_taken_snapshot_name_is_already_exists;
    snapshots_are_listed_by_name: SnapshotsAreListedByName => snapshots_are_listed_oldest_first;
    snapshot_loses_what_it_was_given: SnapshotLosesWhatItWasGiven
        => a_snapshot_is_listed_with_what_it_was_given;
    snapshot_deletion_does_nothing: SnapshotDeletionDoesNothing
        => a_deleted_snapshot_is_gone_and_its_instance_is_not;
    network_is_adopted: NetworkIsAdopted => networks_of_one_name_at_once_make_one;
    network_loses_what_it_was_given: NetworkLosesWhatItWasGiven => a_network_is_listed_as_it_was_made;
    network_deletion_does_nothing: NetworkDeletionDoesNothing => a_deleted_network_is_gone_and_its_name_free;
    networks_are_listed_backwards: NetworksAreListedBackwards => networks_are_listed_in_order_of_names;
    options_are_ignored: OptionsAreIgnored => an_unknown_network_option_is_refused;
    volume_loses_what_it_was_given: VolumeLosesWhatItWasGiven => a_volume_carries_its_labels;
    volume_deletion_does_nothing: VolumeDeletionDoesNothing => a_deleted_volume_is_gone_and_its_name_free;
    volumes_are_listed_backwards: VolumesAreListedBackwards => volumes_are_listed_in_order_of_names;
    images_are_invented: ImagesAreInvented => a_missing_image_is_not_found;
    images_are_not_listed: ImagesAreNotListed => the_image_in_use_is_listed;
    empty_limits_clear_all: EmptyLimitsClearAll => setting_no_limits_changes_nothing;
}

/// What is not declared is skipped without the bug, so these have no healthy run to compare with.
async fn is_caught_where_it_is_not_declared(bug: Bug, trial: &str) {
    let report = run(Arc::new(Mutant::new(bug, Arc::new(Fake::new("fake")))), &[trial]).await;
    let found = report.trial(trial).unwrap();
    assert_eq!(found.outcome, TrialOutcome::Failed, "{bug:?} is not caught: {report}");
}

#[tokio::test]
async fn an_undeclared_limit_is_ignored() {
    let trial = "undeclared_features_of_a_creation_are_refused_and_leave_nothing";
    is_caught_where_it_is_not_declared(Bug::UndeclaredLimitIsIgnored, trial).await;
}

#[tokio::test]
async fn an_undeclared_operation_works() {
    let trial = "undeclared_operations_are_refused_without_side_effect";
    is_caught_where_it_is_not_declared(Bug::UndeclaredOperationWorks, trial).await;
}

/// Every rule about what is not declared, each by its own feature.
#[tokio::test]
async fn undeclared_features_work() {
    for trial in [
        "undeclared_features_of_a_creation_are_refused_and_leave_nothing",
        "undeclared_features_of_a_validation_are_refused",
        "undeclared_features_of_a_command_are_refused",
        "undeclared_features_of_a_session_are_refused",
        "undeclared_features_of_logs_are_refused",
        "undeclared_limits_are_refused_and_change_nothing",
        "undeclared_features_of_a_snapshot_are_refused_and_leave_nothing",
        "undeclared_labels_of_a_clone_are_refused_and_leave_nothing",
        "undeclared_labels_of_a_network_are_refused_and_leave_nothing",
        "undeclared_labels_of_a_volume_are_refused_and_leave_nothing",
        "an_undeclared_fixed_address_is_refused_and_attaches_nothing",
        "an_undeclared_graceful_stop_is_refused_and_stops_nothing",
        "an_undeclared_cursor_is_refused",
        "limits_of_a_running_instance_are_a_conflict_without_live_limits",
        "a_snapshot_of_a_running_instance_is_a_conflict_where_it_is_not_declared",
        "a_clone_of_a_running_instance_is_a_conflict_where_it_is_not_declared",
    ] {
        is_caught_where_it_is_not_declared(Bug::UndeclaredFeaturesWork, trial).await;
    }
}
