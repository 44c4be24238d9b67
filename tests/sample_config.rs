//! A configuration in the flat form, one section per technology, opens as it stands.

#![cfg(feature = "docker")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use substrates::config::{Config, Environment};
use substrates::layer::StackSettings;

const SAMPLE: &str = include_str!("../substrate-core/tests/fixtures/substrate_config.yaml");

#[test]
fn the_docker_of_the_sample_opens_with_the_settings_of_global() {
    let config = Config::from_yaml_with("substrate_config.yaml", SAMPLE, Environment::empty()).unwrap();
    let settings: StackSettings = config.global().parse().unwrap();
    assert!(settings.enable_caching && settings.enable_events && settings.enable_metrics);
    let stack = substrates::registry().open(&config, "docker").unwrap();
    assert_eq!(&*stack.substrate().descriptor().provider_type, "docker");
    assert!(stack.cache().is_some() && stack.events().is_some());
}

#[test]
fn a_technology_that_this_program_lacks_is_named_with_those_that_it_has() {
    let text = "substrates: {hall: {type: mainframe}}";
    let config = Config::from_yaml_with("substrate.yaml", text, Environment::empty()).unwrap();
    let error = substrates::registry().open(&config, "hall").unwrap_err();
    assert!(error.is_invalid_input());
    assert!(error.message().contains("mainframe") && error.message().contains("docker"), "{error}");
}

#[test]
fn every_problem_of_a_section_is_told_at_once_with_its_place() {
    let text =
        "docker:\n  hots: unix:///x\n  pull_policy: sometimes\n  default_resources: {memory_mb: many}\n";
    let config = Config::from_yaml_with("substrate.yaml", text, Environment::empty()).unwrap();
    let message = substrates::registry().open(&config, "docker").unwrap_err().to_string();
    for expected in
        ["substrate.yaml:2:3", "did you mean `host`", "substrate.yaml:3:16", "substrate.yaml:4:34"]
    {
        assert!(message.contains(expected), "{expected} is not in: {message}");
    }
}
