//! What a manifest says about when it is applied and deleted.

use std::collections::BTreeMap;

use super::address::Dependency;
use crate::directive::Action;

/// When a resource takes part in what is done to all. Only manifests say any of it; resources of a blueprint always
/// take part, and are deleted in the reverse of the order in which they are applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplyRules {
    /// What must be deleted before it is deleted; `None` = what depends on it, as for everything else.
    pub delete_dependencies: Option<Vec<Dependency>>,
    /// The environments that it is for; all when empty.
    pub environments: Vec<String>,
    /// Leave it out unless it is selected by name.
    pub skip_apply_all: bool,
    /// Leave it alone when everything is deleted, unless it is selected by name.
    pub skip_delete_all: bool,
    /// Another action in the place of one: `{restart: deploy}`.
    pub action_overrides: BTreeMap<Action, Action>,
}

impl ApplyRules {
    /// Whether it is for an environment. Outside any, only what is for all of them takes part.
    #[must_use]
    pub fn is_for(&self, environment: Option<&str>) -> bool {
        self.environments.is_empty()
            || environment.is_some_and(|wanted| self.environments.iter().any(|one| one == wanted))
    }

    /// What is done when `action` is asked for.
    #[must_use]
    pub fn instead_of(&self, action: Action) -> Action {
        self.action_overrides.get(&action).copied().unwrap_or(action)
    }
}

#[cfg(test)]
mod tests {
    use super::ApplyRules;

    #[test]
    fn what_names_environments_is_for_no_other_and_not_for_none() {
        let everywhere = ApplyRules::default();
        assert!(everywhere.is_for(None) && everywhere.is_for(Some("test")));
        let production = ApplyRules { environments: vec!["production".to_owned()], ..ApplyRules::default() };
        assert!(production.is_for(Some("production")));
        assert!(!production.is_for(Some("test")) && !production.is_for(None));
    }
}
