//! The untyped tree that every document becomes: each node knows where it was written and whether it may be shown.

use std::fmt;

use super::location::Location;
use super::quote::quoted;
use super::secret_keys::looks_secret;

/// One value of the tree.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) content: Content,
    pub(crate) location: Option<Location>,
    /// The value came from the environment or stands under a key that looks like a secret.
    pub(crate) hidden: bool,
}

#[derive(Clone)]
pub(crate) enum Content {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    /// In document order, which messages and iteration keep; configuration maps are too small for an index.
    Map(Vec<Entry>),
    /// Stands for a value that was found wrong and reported: it satisfies whatever type is asked for, so that
    /// reading goes on to the next problem. The number says which of several guesses is tried.
    Placeholder(usize),
}

/// A scalar keeps its text beside its meaning, because `1.10` is a number to one setting and a version to another.
#[derive(Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) meaning: Meaning,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Meaning {
    Text,
    Bool(bool),
    Integer(i128),
    Float(f64),
    /// From the environment, which has no types: whatever it is read as, text when that is left open.
    Undecided,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_location: Option<Location>,
    pub(crate) node: Node,
}

/// One step from a node to a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Node {
    pub(crate) fn new(content: Content, location: Option<Location>) -> Self {
        Self { content, location, hidden: false }
    }

    pub(crate) fn empty_map(location: Option<Location>) -> Self {
        Self::new(Content::Map(Vec::new()), location)
    }

    /// A tree without places, from values that the program made.
    pub(crate) fn from_json(value: serde_json::Value) -> Self {
        use serde_json::Value;
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(value) => {
                Content::Scalar(Scalar { text: value.to_string(), meaning: Meaning::Bool(value) })
            }
            Value::Number(number) => {
                let meaning = number
                    .as_i128()
                    .map(Meaning::Integer)
                    .or_else(|| number.as_f64().map(Meaning::Float))
                    .unwrap_or(Meaning::Text);
                Content::Scalar(Scalar { text: number.to_string(), meaning })
            }
            Value::String(text) => Content::Scalar(Scalar { text, meaning: Meaning::Text }),
            Value::Array(items) => Content::List(items.into_iter().map(Self::from_json).collect()),
            Value::Object(fields) => Content::Map(
                fields
                    .into_iter()
                    .map(|(key, value)| Entry { key, key_location: None, node: Self::from_json(value) })
                    .collect(),
            ),
        };
        Self::new(content, None)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let Content::Map(entries) = &mut self.content else { return None };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index))
    }

    /// Puts a value under a key, in place of the one that was there; anything that is no map becomes one.
    pub(crate) fn set(&mut self, new: Entry) {
        let Content::Map(entries) = &mut self.content else {
            self.content = Content::Map(vec![new]);
            return;
        };
        match entries.iter_mut().find(|entry| entry.key == new.key) {
            Some(old) => *old = new,
            None => entries.push(new),
        }
    }

    pub(crate) fn child(&self, step: &Step) -> Option<&Self> {
        match (step, &self.content) {
            (Step::Key(key), _) => self.entry(key).map(|entry| &entry.node),
            (Step::Index(index), Content::List(items)) => items.get(*index),
            _ => None,
        }
    }

    pub(crate) fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (step, &mut self.content) {
            (Step::Key(key), Content::Map(entries)) => {
                entries.iter_mut().find(|entry| entry.key == *key).map(|entry| &mut entry.node)
            }
            (Step::Index(index), Content::List(items)) => items.get_mut(*index),
            _ => None,
        }
    }

    /// The node at a dotted path and the steps to it. A key that itself contains dots is found too (the longest
    /// key wins); a number picks from a list.
    pub(crate) fn find(&self, path: &str) -> Option<(Vec<Step>, &Self)> {
        if path.is_empty() {
            return Some((Vec::new(), self));
        }
        let ends = std::iter::once(path.len()).chain(path.rmatch_indices('.').map(|(at, _)| at));
        for end in ends {
            let (Some(head), rest) = (path.get(..end), path.get(end + 1..).unwrap_or("")) else { continue };
            let step = match &self.content {
                Content::List(_) => match head.parse() {
                    Ok(index) => Step::Index(index),
                    Err(_) => continue,
                },
                _ => Step::Key(head.to_owned()),
            };
            if let Some(child) = self.child(&step)
                && let Some((mut steps, node)) = child.find(rest)
            {
                steps.insert(0, step);
                return Some((steps, node));
            }
        }
        None
    }

    /// Lays `other` over this tree: maps are merged key by key, anything else is replaced.
    pub(crate) fn overlay(&mut self, other: Self) {
        match (&mut self.content, other.content) {
            (Content::Map(_), Content::Map(theirs)) => {
                for entry in theirs {
                    match self.child_mut(&Step::Key(entry.key.clone())) {
                        Some(mine) => mine.overlay(entry.node),
                        None => self.set(entry),
                    }
                }
            }
            (content, theirs) => {
                *content = theirs;
                self.location = other.location;
                self.hidden = other.hidden;
            }
        }
    }

    /// Marks everything under keys that look like secrets.
    pub(crate) fn hide_secrets(&mut self) {
        match &mut self.content {
            Content::Map(entries) => {
                for entry in entries {
                    if looks_secret(&entry.key) {
                        entry.node.hide();
                    } else {
                        entry.node.hide_secrets();
                    }
                }
            }
            Content::List(items) => items.iter_mut().for_each(Self::hide_secrets),
            _ => {}
        }
    }

    fn hide(&mut self) {
        self.hidden = true;
        match &mut self.content {
            Content::Map(entries) => entries.iter_mut().for_each(|entry| entry.node.hide()),
            Content::List(items) => items.iter_mut().for_each(Self::hide),
            _ => {}
        }
    }

    /// The texts that must not appear in a message about this tree.
    pub(crate) fn hidden_texts<'a>(&'a self, into: &mut Vec<&'a str>) {
        match &self.content {
            Content::Scalar(scalar) if self.hidden && !scalar.text.is_empty() => into.push(&scalar.text),
            Content::Map(entries) => entries.iter().for_each(|entry| entry.node.hidden_texts(into)),
            Content::List(items) => items.iter().for_each(|item| item.hidden_texts(into)),
            _ => {}
        }
    }

    /// What a message says was found here: the kind of value, and its text if that may be shown.
    pub(crate) fn describe(&self) -> String {
        let Content::Scalar(scalar) = &self.content else {
            return match &self.content {
                Content::Null => "nothing",
                Content::List(_) => "a list",
                _ => "a map",
            }
            .to_owned();
        };
        let kind = match scalar.meaning {
            Meaning::Bool(_) => "the boolean",
            Meaning::Integer(_) => "the integer",
            Meaning::Float(_) => "the number",
            Meaning::Text | Meaning::Undecided => "the string",
        };
        if self.hidden {
            "what was given (it is not shown)".to_owned()
        } else {
            format!("{kind} {}", quoted(&scalar.text))
        }
    }
}

/// The dotted path of `steps` below `section`, for people: long or unprintable keys are shortened and escaped.
pub(crate) fn dotted<'a>(section: &str, steps: impl IntoIterator<Item = &'a Step>) -> String {
    let mut path = section.to_owned();
    for step in steps {
        match step {
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(quoted(key).trim_matches('`'));
            }
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Null | Content::Placeholder(_) => f.write_str("~"),
            Content::Scalar(_) if self.hidden => f.write_str("[hidden]"),
            Content::Scalar(Scalar { text, meaning: Meaning::Text | Meaning::Undecided }) => {
                write!(f, "{:?}", quoted(text).trim_matches('`'))
            }
            Content::Scalar(scalar) => f.write_str(&scalar.text),
            Content::List(items) => f.debug_list().entries(items).finish(),
            Content::Map(entries) => {
                f.debug_map().entries(entries.iter().map(|entry| (&entry.key, &entry.node))).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Node, dotted};

    #[test]
    fn a_path_finds_keys_with_dots_and_list_items() {
        let node = Node::from_json(json!({"labels": {"a.b": {"c": [10, 20]}}}));
        let (steps, found) = node.find("labels.a.b.c.1").unwrap();
        assert_eq!(found.describe(), "the integer `20`");
        assert_eq!(dotted("docker", &steps), "docker.labels.a.b.c[1]");
        assert!(node.find("labels.a").is_none());
    }

    #[test]
    fn overlay_merges_maps_and_replaces_the_rest() {
        let mut node = Node::from_json(json!({"a": {"x": 1, "y": 2}, "list": [1, 2]}));
        node.overlay(Node::from_json(json!({"a": {"y": 3}, "list": [9], "b": true})));
        assert_eq!(format!("{node:?}"), r#"{"a": {"x": 1, "y": 3}, "list": [9], "b": true}"#);
    }

    #[test]
    fn debug_hides_everything_below_a_secret_key() {
        let mut node = Node::from_json(json!({"token": {"id": "x", "parts": ["hunter2"]}, "user": "root"}));
        node.hide_secrets();
        assert_eq!(
            format!("{node:?}"),
            r#"{"token": {"id": [hidden], "parts": [[hidden]]}, "user": "root"}"#
        );
    }
}
