//! `SUBSTRATE_<NAME>_<KEY>=value`: settings from the environment.
//!
//! The rule, in full:
//! 1. Names and keys are compared in upper case, with `_` for everything that is no letter or digit:
//!    `pve-paris` is `PVE_PARIS`, `verify_ssl` is `VERIFY_SSL`.
//! 2. After `SUBSTRATE_` comes the name of a substrate, or `GLOBAL`; the longest name that fits wins, so with
//!    the substrates `pve` and `pve-paris`, `SUBSTRATE_PVE_PARIS_URL` is the `url` of `pve-paris`. A variable that
//!    fits no name is ignored: others may use the prefix.
//! 3. The rest names the key. Where it has double underscores, each leads one level down: `REGISTRY__HOST` is
//!    `registry.host`. Without, it is looked up among the paths that exist, those with the longest first key
//!    before others: `REGISTRY_HOST` is `registry_host` if there is such a key, otherwise `registry.host` if
//!    there is such a path.
//! 4. What does not exist yet is created, in lower case: `PASSWORD` makes `password`, `TLS__CA_FILE` makes
//!    `tls.ca_file`.
//! 5. The value is text; read as a number or a boolean it is parsed as YAML would. `${…}` in it is not replaced.

use super::environment::Environment;
use super::location::Location;
use super::node::{Content, Entry, Meaning, Node, Scalar, Step};
use super::problem::Problem;
use super::quote::quoted;

const PREFIX: &str = "SUBSTRATE_";

/// Applies the variables that concern one of `sections` to it.
pub(crate) fn apply(sections: &mut [(&str, &mut Node)], environment: &Environment) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (variable, value) in environment.iter() {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        let key_for =
            |name: &str| rest.strip_prefix(&normal(name))?.strip_prefix('_').filter(|key| !key.is_empty());
        let Some(longest) = sections
            .iter()
            .filter(|(name, _)| key_for(name).is_some())
            .map(|(name, _)| normal(name).len())
            .max()
        else {
            continue;
        };
        let mut fitting = sections
            .iter_mut()
            .filter(|(name, _)| normal(name).len() == longest)
            .filter_map(|(name, node)| key_for(name).map(|key| (*name, node, key)));
        let Some((name, node, key)) = fitting.next() else { continue };
        if let Some((other, ..)) = fitting.next() {
            let message = format!("it means both {} and {}: rename one of them", quoted(name), quoted(other));
            problems.push(Problem::new(name, message).at(Location::in_environment(variable)));
            continue;
        }
        let location = Location::in_environment(variable);
        let steps = steps_for(node, key);
        let mut scalar =
            Node::new(Content::Scalar(Scalar { text: value.to_owned(), meaning: Meaning::Undecided }), None);
        scalar.hidden = true;
        scalar.location = Some(location.clone());
        set(node, &steps, scalar, &location);
    }
    problems
}

/// The key path that the end of a variable's name means in this section.
fn steps_for(section: &Node, key: &str) -> Vec<String> {
    if !key.contains("__") {
        return existing(section, key).unwrap_or_else(|| vec![key.to_lowercase()]);
    }
    let mut node = Some(section);
    let mut steps = Vec::new();
    for level in key.split("__").map(|level| level.trim_matches('_')).filter(|level| !level.is_empty()) {
        let known = node.and_then(|node| node.entries().iter().find(|entry| normal(&entry.key) == level));
        steps.push(known.map_or_else(|| level.to_lowercase(), |entry| entry.key.clone()));
        node = known.map(|entry| &entry.node);
    }
    steps
}

/// The existing path whose keys, joined with `_`, spell `key`.
fn existing(node: &Node, key: &str) -> Option<Vec<String>> {
    let mut fitting: Vec<_> = node
        .entries()
        .iter()
        .filter_map(|entry| Some((entry, key.strip_prefix(&normal(&entry.key))?)))
        .collect();
    fitting.sort_by_key(|(_, rest)| rest.len());
    fitting.into_iter().find_map(|(entry, rest)| {
        if rest.is_empty() {
            return Some(vec![entry.key.clone()]);
        }
        let mut steps = existing(&entry.node, rest.strip_prefix('_')?)?;
        steps.insert(0, entry.key.clone());
        Some(steps)
    })
}

fn set(node: &mut Node, steps: &[String], scalar: Node, location: &Location) {
    let Some((first, rest)) = steps.split_first() else { return };
    let step = Step::Key(first.clone());
    if rest.is_empty() {
        node.set(Entry { key: first.clone(), key_location: Some(location.clone()), node: scalar });
        return;
    }
    if node.child(&step).is_none() {
        let map = Node::empty_map(Some(location.clone()));
        node.set(Entry { key: first.clone(), key_location: Some(location.clone()), node: map });
    }
    if let Some(child) = node.child_mut(&step) {
        set(child, rest, scalar, location);
    }
}

fn normal(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Environment, Node, apply, steps_for};

    fn key(section: serde_json::Value, variable: &str) -> String {
        steps_for(&Node::from_json(section), variable).join(".")
    }

    #[test]
    fn a_double_underscore_leads_one_level_down() {
        assert_eq!(key(json!({}), "REGISTRY__HOST_NAME"), "registry.host_name");
        assert_eq!(key(json!({"Registry": {"host-name": 1}}), "REGISTRY__HOST_NAME"), "Registry.host-name");
    }

    #[test]
    fn an_existing_path_is_found_through_single_underscores() {
        assert_eq!(key(json!({"registry": {"host": 1}}), "REGISTRY_HOST"), "registry.host");
        assert_eq!(key(json!({"registry": {"port": 1}}), "REGISTRY_HOST"), "registry_host");
    }

    #[test]
    fn the_longest_first_key_wins() {
        assert_eq!(key(json!({"a": {"b_c": 1}, "a_b": {"c": 1}}), "A_B_C"), "a_b.c");
        assert_eq!(key(json!({"a": {"b": 1}, "a_b": 1}), "A_B"), "a_b");
    }

    #[test]
    fn odd_underscores_do_no_harm() {
        assert_eq!(key(json!({}), "A____B"), "a.b");
        assert_eq!(key(json!({}), "__A"), "a");
        let mut node = Node::from_json(json!({}));
        apply(
            &mut [("x", &mut node)],
            &Environment::from_iter([("SUBSTRATE_X_____", "1"), ("SUBSTRATE_X_", "1")]),
        );
        assert_eq!(format!("{node:?}"), "{}");
    }

    #[test]
    fn the_longest_name_wins_and_others_are_ignored() {
        let (mut pve, mut paris) = (Node::from_json(json!({})), Node::from_json(json!({})));
        let environment =
            Environment::from_iter([("SUBSTRATE_PVE_PARIS_URL", "x"), ("SUBSTRATE_LYON_URL", "y")]);
        apply(&mut [("pve", &mut pve), ("pve-paris", &mut paris)], &environment);
        assert_eq!(format!("{pve:?} {paris:?}"), r#"{} {"url": [hidden]}"#);
    }

    #[test]
    fn two_names_that_read_alike_are_a_problem() {
        let (mut one, mut two) = (Node::from_json(json!({})), Node::from_json(json!({})));
        let environment = Environment::from_iter([("SUBSTRATE_A_B_URL", "x")]);
        let problems = apply(&mut [("a-b", &mut one), ("a.b", &mut two)], &environment);
        assert_eq!(
            problems[0].to_string(),
            "environment variable SUBSTRATE_A_B_URL: it means both `a-b` and `a.b`: rename one of them"
        );
    }
}
