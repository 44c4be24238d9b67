//! The environment as a value, so that configuration is a pure function and tests never touch the process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Environment variables, taken once and passed on. Cheap to clone. `Debug` shows how many, never a value.
///
/// ```
/// # use substrate_core::config::Environment;
/// let environment = Environment::from_iter([("DOCKER_HOST", "unix:///run/docker.sock")]);
/// assert_eq!(environment.get("DOCKER_HOST"), Some("unix:///run/docker.sock"));
/// assert_eq!(Environment::empty().get("DOCKER_HOST"), None);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: Arc<BTreeMap<String, String>>,
}

impl Environment {
    /// The variables of this process as they are now; those that are not UTF-8 are left out.
    pub fn from_process() -> Self {
        // `vars()` would panic on a variable that is not UTF-8.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// No variable at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The value of a variable; an empty value is a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Names and values, in alphabetical order of the names. Values may be secrets.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables: Arc::new(variables) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.variables.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Environment;

    #[test]
    fn debug_shows_no_value() {
        let environment = Environment::from_iter([("SUBSTRATE_X_PASSWORD", "hunter2")]);
        assert_eq!(format!("{environment:?}"), "Environment(1 variables)");
    }
}
