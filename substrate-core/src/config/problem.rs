//! What is wrong with a configuration: all of it, each with its place.

use std::fmt;

use super::location::Location;
use super::quote::quoted;

/// One thing that is wrong. It never holds a value that came from the environment or stands under a key that
/// looks like a secret.
///
/// ```
/// # use substrate_core::config::{Location, Problem};
/// let problem = Problem::new("docker.passwrod", "unknown key `passwrod` in `docker`")
///     .at(Location::in_source("substrate.yaml", 3, 5))
///     .suggest("password");
/// assert_eq!(
///     problem.to_string(),
///     "substrate.yaml:3:5: unknown key `passwrod` in `docker`: did you mean `password`?",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written; `None` for values that the program itself passed in.
    pub location: Option<Location>,
    /// Dotted path from the name of the section, such as `docker.registry.port` or `lxc.dns[1]`.
    pub path: String,
    /// What is wrong, in one line.
    pub message: String,
    /// The known word that was probably meant.
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem without a place and a suggestion.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { location: None, path: path.into(), message: message.into(), suggestion: None }
    }

    /// The same problem, at a place.
    #[must_use]
    pub fn at(mut self, location: impl Into<Option<Location>>) -> Self {
        self.location = location.into();
        self
    }

    /// The same problem, with the word that was probably meant.
    #[must_use]
    pub fn suggest<'a>(mut self, suggestion: impl Into<Option<&'a str>>) -> Self {
        self.suggestion = suggestion.into().map(str::to_owned);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, ": did you mean {}?", quoted(suggestion)),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the document.
///
/// `Display` prints one line per problem, [`ConfigError::summary`] one line in all.
///
/// ```
/// # use substrate_core::config::{ConfigError, Problem};
/// let error = ConfigError::from_iter([Problem::new("a", "no such file"), Problem::new("b", "no type")]);
/// assert_eq!(error.to_string(), "no such file\nno type");
/// assert_eq!(error.summary(), "no such file (and 1 more problem)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The problems, at least one unless it was built from none.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems, by value: to gather those of several sections into one error.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The first problem and how many more there are, on one line.
    pub fn summary(&self) -> String {
        let first =
            self.problems.first().map_or_else(|| "invalid configuration".to_owned(), Problem::to_string);
        match self.problems.len() {
            0 | 1 => first,
            2 => format!("{first} (and 1 more problem)"),
            count => format!("{first} (and {} more problems)", count - 1),
        }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// Sorts the problems by place; those without one come last.
impl FromIterator<Problem> for ConfigError {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut problems: Vec<Problem> = problems.into_iter().collect();
        // Sources keep their first-seen order: alphabetical order would tear a chain of overlays apart.
        let mut sources = Vec::new();
        for problem in &problems {
            if let Some(Location::Source { source, .. }) = &problem.location
                && !sources.contains(source)
            {
                sources.push(source.clone());
            }
        }
        problems.sort_by_key(|problem| match &problem.location {
            Some(Location::Source { source, line, column }) => {
                (sources.iter().position(|known| known == source).unwrap_or(usize::MAX), *line, *column)
            }
            Some(Location::Environment { .. }) => (usize::MAX, 0, 0),
            None => (usize::MAX, 0, 1),
        });
        Self { problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.problems.is_empty() {
            return f.write_str("invalid configuration");
        }
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
