//! The configuration as its users meet it.

mod hostile;
mod loading;
mod secrets;
mod typed;

use super::{Config, ConfigError, Environment};

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::from_yaml_with("substrate.yaml", text, Environment::empty())
}

fn load_with<const N: usize>(text: &str, variables: [(&str, &str); N]) -> Result<Config, ConfigError> {
    Config::from_yaml_with("substrate.yaml", text, Environment::from_iter(variables))
}

/// The lines of the error that loading this text ends with.
fn refusal(text: &str) -> Vec<String> {
    lines(&load(text).unwrap_err())
}

fn lines(error: &ConfigError) -> Vec<String> {
    error.to_string().lines().map(str::to_owned).collect()
}
