//! `${VARIABLE}` and `${VARIABLE:-default}` in text.

use super::environment::Environment;

/// Defaults may hold variables again; nobody needs more than a few levels, and each costs stack.
const DEEPEST: usize = 8;

/// Text after its variables were replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Part of the text came from the environment, so none of it may be shown.
    pub(crate) from_environment: bool,
}

impl Expanded {
    fn push_value(&mut self, dialect: Dialect, value: &str) {
        match dialect {
            Dialect::Final => self.text.push_str(value),
            Dialect::Template => self.text.push_str(&value.replace("${", "$${")),
        }
        self.from_environment = true;
    }
}

/// Replaces the variables of `text`; `None` when there is nothing to replace.
///
/// `$${` stands for `${` itself. As in a shell, the default of `:-` is taken when the variable is unset or empty.
/// `$VARIABLE` without braces stays as it is: passwords are full of dollar signs.
pub(crate) fn expand(text: &str, environment: &Environment) -> Result<Option<Expanded>, String> {
    expand_in(Dialect::Final, text, environment)
}

/// As [`expand`], but the result is still a template for a second reader: `${…}` that cannot be a variable of the
/// environment (`${web.address}`) stays, and so does the escape `$${`, which that reader undoes. What comes from
/// the environment is escaped, so that no value is ever read as a template.
pub(crate) fn expand_template(text: &str, environment: &Environment) -> Result<Option<Expanded>, String> {
    expand_in(Dialect::Template, text, environment)
}

/// What becomes of the `${…}` that the environment has nothing to do with.
#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    /// They are mistakes, and the result is plain text.
    Final,
    /// They are somebody else's, and the result is a template.
    Template,
}

fn expand_in(dialect: Dialect, text: &str, environment: &Environment) -> Result<Option<Expanded>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = Expanded { text: String::with_capacity(text.len()), from_environment: false };
    expand_into(dialect, text, environment, 0, &mut expanded)?;
    Ok(Some(expanded))
}

fn expand_into(
    dialect: Dialect,
    text: &str,
    environment: &Environment,
    depth: usize,
    into: &mut Expanded,
) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("`${{…}}` is nested more than {DEEPEST} levels deep"));
    }
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            into.text.push_str(before);
            into.text.push_str(if dialect == Dialect::Template { "$${" } else { "${" });
            rest = after;
            continue;
        }
        into.text.push_str(before);
        let Some((reference, after)) = split_at_closing_brace(after) else {
            return Err(
                "`${` without a closing `}` (write `$${` for the two characters themselves)".to_owned()
            );
        };
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let well_formed = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !well_formed && dialect == Dialect::Template {
            into.text.push_str("${");
            into.text.push_str(reference);
            into.text.push('}');
            rest = after;
            continue;
        }
        if !well_formed {
            // Not repeated: it may well be a piece of a password with a stray `${` in it.
            return Err("what stands in `${…}` is not the name of a variable: write `${NAME}` or \
                        `${NAME:-default}`, and `$${` for the two characters themselves"
                .to_owned());
        }
        match (environment.get(name), default) {
            (Some(value), None) => into.push_value(dialect, value),
            (Some(value), Some(_)) if !value.is_empty() => into.push_value(dialect, value),
            (_, Some(default)) => expand_into(dialect, default, environment, depth + 1, into)?,
            (None, None) => {
                return Err(format!(
                    "the environment variable `{name}` is not set (`${{{name}:-default}}` gives it a default)"
                ));
            }
        }
        rest = after;
    }
    into.text.push_str(rest);
    Ok(())
}

/// Splits behind the reference that was opened just before `text`, minding references inside its default.
fn split_at_closing_brace(text: &str) -> Option<(&str, &str)> {
    let mut open = 1_usize;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '{' if previous == '$' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
        previous = character;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Environment, expand, expand_template};

    fn text(text: &str) -> Result<String, String> {
        let environment = Environment::from_iter([("HOST", "pve"), ("EMPTY", ""), ("BRACE", "${HOST}")]);
        expand(text, &environment).map(|expanded| expanded.map_or(text.to_owned(), |expanded| expanded.text))
    }

    #[test]
    fn a_variable_is_replaced() {
        assert_eq!(text("https://${HOST}:8006/${HOST}").unwrap(), "https://pve:8006/pve");
    }

    #[test]
    fn a_default_stands_in_for_an_unset_or_empty_variable() {
        assert_eq!(text("${NONE:-local}").unwrap(), "local");
        assert_eq!(text("${EMPTY:-local}").unwrap(), "local");
        assert_eq!(text("${NONE:-}").unwrap(), "");
        assert_eq!(text("${HOST:-local}").unwrap(), "pve");
        assert_eq!(text("${NONE:-${HOST}:${PORT:-1}}!").unwrap(), "pve:1!");
    }

    #[test]
    fn an_empty_variable_is_defined() {
        assert_eq!(text("<${EMPTY}>").unwrap(), "<>");
    }

    #[test]
    fn a_doubled_dollar_is_literal() {
        assert_eq!(text("$${HOST} $5 $HOST $$").unwrap(), "${HOST} $5 $HOST $$");
    }

    #[test]
    fn values_are_not_expanded_again() {
        assert_eq!(text("${BRACE}").unwrap(), "${HOST}");
    }

    #[test]
    fn what_cannot_be_replaced_is_said() {
        assert!(text("${NONE}").unwrap_err().contains("`NONE` is not set"));
        assert!(text("${HOST").unwrap_err().contains("closing"));
        assert!(text("${}").unwrap_err().contains("not the name"));
        assert!(text("${1X}").unwrap_err().contains("not the name"));
        assert!(!text("${hunter 2}").unwrap_err().contains("hunter"));
        assert!(text(&format!("{}x{}", "${N:-".repeat(50), "}".repeat(50))).unwrap_err().contains("nested"));
    }

    #[test]
    fn only_text_from_the_environment_is_marked() {
        let environment = Environment::from_iter([("HOST", "pve")]);
        assert!(expand("${HOST}", &environment).unwrap().unwrap().from_environment);
        assert!(!expand("${NONE:-x}", &environment).unwrap().unwrap().from_environment);
        assert_eq!(expand("plain", &environment).unwrap(), None);
    }

    #[test]
    fn a_template_keeps_what_is_not_of_the_environment() {
        let environment = Environment::from_iter([("HOST", "pve"), ("BRACE", "${web.address}")]);
        let template = |text: &str| {
            expand_template(text, &environment).map(|expanded| expanded.map(|expanded| expanded.text))
        };
        assert_eq!(template("${HOST}:${web.port}").unwrap().unwrap(), "pve:${web.port}");
        assert_eq!(template("$${HOST} ${var.x}").unwrap().unwrap(), "$${HOST} ${var.x}");
        assert_eq!(template("${BRACE}").unwrap().unwrap(), "$${web.address}");
        assert!(template("${NONE}").unwrap_err().contains("`NONE` is not set"));
        assert!(template("${web.address").unwrap_err().contains("closing"));
    }
}
