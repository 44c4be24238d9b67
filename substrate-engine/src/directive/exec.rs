//! `exec`: run a command inside the instance.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use substrate_core::config::{ConfigError, Section, duration};
use substrate_core::{Command, Error, Feature, Operation, Result};

use super::{Action, CheckedDirective, Directive, DirectiveSite};
use crate::handler::Need;

/// Runs a command inside the instance, after it was started, or before it is stopped or removed.
///
/// ```yaml
/// - exec: {command: [systemctl, enable, nginx], user: root, timeout: 30s, on: [deploy, restart]}
/// ```
///
/// It reacts to `deploy` unless `on` says otherwise. An exit code other than 0 fails the resource.
#[derive(Debug, Clone, Copy)]
pub struct Exec;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    working_directory: Option<String>,
    #[serde(default = "default_timeout", with = "duration")]
    timeout: Duration,
    #[serde(default = "on_deploy")]
    on: Vec<When>,
}

impl Settings {
    fn command(&self) -> Command {
        let mut command = Command::new(self.command.clone()).with_timeout(self.timeout);
        command.environment = self.environment.iter().collect();
        command.user.clone_from(&self.user);
        command.working_directory.clone_from(&self.working_directory);
        command
    }
}

/// The actions around which an instance runs.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum When {
    Deploy,
    Start,
    Stop,
    Restart,
    Snapshot,
    Destroy,
}

fn default_timeout() -> Duration {
    Duration::from_secs(300)
}

fn on_deploy() -> Vec<When> {
    vec![When::Deploy]
}

#[async_trait]
impl Directive for Exec {
    fn name(&self) -> &str {
        "exec"
    }

    fn check(&self, settings: &Section) -> std::result::Result<CheckedDirective, ConfigError> {
        let typed: Settings = settings.parse()?;
        let wrong = |message: String| ConfigError::from(settings.problem(message));
        typed.command().validate().map_err(|error| wrong(format!("`exec`: {}", error.message())))?;
        if typed.on.is_empty() {
            return Err(wrong("`on` is empty: name the actions, such as `on: [deploy]`".to_owned()));
        }
        let asked = [
            (true, "command", Operation::ExecuteCommand.into()),
            (!typed.environment.is_empty(), "environment", Feature::CommandEnvironment.into()),
            (typed.user.is_some(), "user", Feature::CommandUser.into()),
            (typed.working_directory.is_some(), "working_directory", Feature::CommandWorkingDirectory.into()),
        ];
        let needs = asked.into_iter().filter(|(asked, ..)| *asked);
        let needs = needs
            .map(|(_, path, ability): (_, _, substrate_core::Ability)| Need::at(settings, path, ability));
        let actions = typed.on.iter().map(|when| match when {
            When::Deploy => Action::Deploy,
            When::Start => Action::Start,
            When::Stop => Action::Stop,
            When::Restart => Action::Restart,
            When::Snapshot => Action::Snapshot,
            When::Destroy => Action::Destroy,
        });
        let actions: Vec<Action> = actions.collect();
        let properties = serde_json::to_value(&typed).unwrap_or_default();
        Ok(CheckedDirective::new("exec", actions, properties).needing(needs))
    }

    async fn run(&self, settings: &Value, on: &DirectiveSite<'_>) -> Result<()> {
        let settings = Settings::deserialize(settings)
            .map_err(|error| Error::internal(format!("the settings of `exec` cannot be read: {error}")))?;
        on.execute(&settings.command()).await
    }
}
