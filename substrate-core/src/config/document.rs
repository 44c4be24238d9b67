//! The forms of a document: named substrates, one per type at the top level, and `global`.

use std::collections::HashMap;

use super::location::Location;
use super::node::{Content, Entry, Meaning, Node, Scalar};
use super::problem::Problem;
use super::quote::quoted;
use super::secret_keys::looks_secret;

/// The name that stands for what concerns all substrates.
pub(crate) const GLOBAL: &str = "global";
const SUBSTRATES: &str = "substrates";
const TYPE: &str = "type";

/// A substrate as documents and environment describe it, its type still among the settings.
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) settings: Node,
    pub(crate) named_at: Option<Location>,
}

/// What the documents say together.
#[derive(Default)]
pub(crate) struct Drafts {
    pub(crate) substrates: Vec<Draft>,
    pub(crate) global: Option<Node>,
}

impl Drafts {
    /// Lays one more document over those before.
    pub(crate) fn add(&mut self, document: Node) -> Vec<Problem> {
        let mut reading = Reading::default();
        reading.document(document);
        let known: HashMap<String, usize> =
            self.substrates.iter().enumerate().map(|(index, known)| (known.name.clone(), index)).collect();
        for draft in reading.substrates {
            match known.get(&draft.name).and_then(|index| self.substrates.get_mut(*index)) {
                Some(known) => known.settings.overlay(draft.settings),
                None => self.substrates.push(draft),
            }
        }
        match (&mut self.global, reading.global) {
            (Some(known), Some(global)) => known.overlay(global),
            (known @ None, global) => *known = global,
            (Some(_), None) => {}
        }
        reading.problems
    }
}

impl Draft {
    /// Takes the type out of the settings.
    pub(crate) fn take_type(&mut self) -> Result<String, Problem> {
        let path = format!("{}.{TYPE}", self.name);
        let name = quoted(&self.name);
        let Some(entry) = self.settings.remove(TYPE) else {
            let message = format!("{name} has no `{TYPE}`: name its technology, such as `{TYPE}: docker`");
            return Err(Problem::new(path, message).at(self.named_at.clone()));
        };
        match &entry.node.content {
            Content::Scalar(scalar) if !scalar.text.trim().is_empty() => Ok(scalar.text.trim().to_owned()),
            _ => {
                let message = format!("the `{TYPE}` of {name} must be a word, not {}", entry.node.describe());
                Err(Problem::new(path, message).at(entry.node.location))
            }
        }
    }
}

/// One document while it is taken apart.
#[derive(Default)]
struct Reading {
    substrates: Vec<Draft>,
    global: Option<Node>,
    problems: Vec<Problem>,
    /// The names so far: a list would make a document of many names cost their square.
    named_at: HashMap<String, Option<Location>>,
}

impl Reading {
    fn document(&mut self, document: Node) {
        let entries = match document.content {
            Content::Map(entries) => entries,
            Content::Null => return,
            _ => {
                let message = format!(
                    "a configuration must be a map of substrates (`docker:`, `{SUBSTRATES}:`, `{GLOBAL}:`), not {}",
                    kind_only(&document)
                );
                self.problems.push(Problem::new("", message).at(document.location));
                return;
            }
        };
        for entry in entries {
            match entry.key.as_str() {
                SUBSTRATES => self.named(entry),
                GLOBAL => self.global = self.settings(&entry.key, entry.node),
                // Room for anchors that several sections share.
                key if key.starts_with("x-") => {}
                _ => self.by_type(entry),
            }
        }
    }

    fn named(&mut self, substrates: Entry) {
        let Some(settings) = self.settings(SUBSTRATES, substrates.node) else { return };
        let Content::Map(entries) = settings.content else { return };
        for entry in entries {
            if entry.key == GLOBAL || entry.key.trim().is_empty() {
                let message = format!("{} cannot be the name of a substrate", quoted(&entry.key));
                self.problems.push(Problem::new(SUBSTRATES, message).at(entry.key_location));
                continue;
            }
            if let Some(settings) = self.settings(&entry.key, entry.node) {
                self.define(Draft { name: entry.key, settings, named_at: entry.key_location });
            }
        }
    }

    /// `docker: {…}`: the key is both name and type.
    fn by_type(&mut self, entry: Entry) {
        let Some(mut settings) = self.settings(&entry.key, entry.node) else { return };
        match settings.entry(TYPE).map(|given| &given.node) {
            None => {
                let scalar = Scalar { text: entry.key.clone(), meaning: Meaning::Text };
                let node = Node::new(Content::Scalar(scalar), entry.key_location.clone());
                settings.set(Entry { key: TYPE.to_owned(), key_location: entry.key_location.clone(), node });
            }
            Some(Node { content: Content::Scalar(scalar), .. }) if scalar.text == entry.key => {}
            Some(given) => {
                let message = format!(
                    "{} is a type by itself, but its `{TYPE}` is {}: name it under `{SUBSTRATES}:`",
                    quoted(&entry.key),
                    given.describe()
                );
                let path = format!("{}.{TYPE}", entry.key);
                self.problems.push(Problem::new(path, message).at(given.location.clone()));
            }
        }
        self.define(Draft { name: entry.key, settings, named_at: entry.key_location });
    }

    fn define(&mut self, draft: Draft) {
        let Some(first) = self.named_at.get(&draft.name) else {
            self.named_at.insert(draft.name.clone(), draft.named_at.clone());
            self.substrates.push(draft);
            return;
        };
        let first = first.as_ref().map(|at| format!(", first at {at}")).unwrap_or_default();
        let message = format!("the substrate {} is defined twice{first}", quoted(&draft.name));
        self.problems.push(Problem::new(draft.name, message).at(draft.named_at));
    }

    /// The settings under a key: a map, or nothing, which is an empty one.
    fn settings(&mut self, key: &str, mut node: Node) -> Option<Node> {
        match node.content {
            Content::Map(_) => Some(node),
            Content::Null => {
                node.content = Content::Map(Vec::new());
                Some(node)
            }
            _ => {
                let found = if looks_secret(key) { kind_only(&node) } else { node.describe() };
                let message = format!("{} must be a map of settings, not {found}", quoted(key));
                self.problems.push(Problem::new(key, message).at(node.location));
                None
            }
        }
    }
}

/// What was found, without its text: that of a whole document may be anything.
fn kind_only(node: &Node) -> String {
    match &node.content {
        Content::Scalar(_) => "a single value".to_owned(),
        _ => node.describe(),
    }
}
