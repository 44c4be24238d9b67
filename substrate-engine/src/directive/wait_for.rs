//! `wait-for`: go on only when something holds.

use async_trait::async_trait;
use serde_json::Value;
use substrate_core::config::{ConfigError, Section};
use substrate_core::{Error, Result};

use super::{Action, CheckedDirective, Directive, DirectiveSite};
use crate::handler::Need;
use crate::model::Readiness;

/// Waits for a port, a command, a log line or the substrate's word for healthy, after a start.
///
/// ```yaml
/// - wait-for: {port: 5432, timeout: 30s, interval: 500ms}
/// ```
#[derive(Debug, Clone, Copy)]
pub struct WaitFor;

#[async_trait]
impl Directive for WaitFor {
    fn name(&self) -> &str {
        "wait-for"
    }

    fn check(&self, settings: &Section) -> std::result::Result<CheckedDirective, ConfigError> {
        let condition: Readiness = settings.parse()?;
        let needs = condition.needs().into_iter().map(|operation| Need::at(settings, "", operation));
        let needs: Vec<Need> = needs.collect();
        let actions = [Action::Deploy, Action::Start, Action::Restart];
        Ok(CheckedDirective::new("wait-for", actions, condition.describe()).needing(needs))
    }

    async fn run(&self, settings: &Value, on: &DirectiveSite<'_>) -> Result<()> {
        let readiness = Readiness::from_description(settings)
            .ok_or_else(|| Error::internal("the settings of `wait-for` cannot be read"))?;
        on.wait_until(&readiness).await
    }
}
