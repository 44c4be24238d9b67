//! `wait-for`: go on only when something holds.

use substrate_core::config::{ConfigError, Section};

use super::{Action, CheckedDirective, Directive};
use crate::handler::Need;
use crate::model::Readiness;

/// Waits for a port, a command, a log line or the substrate's word for healthy, after a start.
///
/// ```yaml
/// - wait-for: {port: 5432, timeout: 30s, interval: 500ms}
/// ```
#[derive(Debug, Clone, Copy)]
pub struct WaitFor;

impl Directive for WaitFor {
    fn name(&self) -> &str {
        "wait-for"
    }

    fn check(&self, settings: &Section) -> Result<CheckedDirective, ConfigError> {
        let condition: Readiness = settings.parse()?;
        let needs = condition.needs().into_iter().map(|operation| Need::at(settings, "", operation));
        let needs: Vec<Need> = needs.collect();
        let actions = [Action::Deploy, Action::Start, Action::Restart];
        Ok(CheckedDirective::new("wait-for", actions, condition.describe()).needing(needs))
    }
}
