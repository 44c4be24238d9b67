//! Typed settings from a tree, with **all** problems at once.
//!
//! Serde stops at the first fault. So the fault is reported, the node that caused it is taken out of the way
//! (an unknown key is removed, anything else becomes a placeholder) and the tree is read again, until it can be
//! read or nothing new is learnt. A fault that only a placeholder can have caused is not reported.

use serde::de::DeserializeOwned;

use super::fault::{Fault, FaultKind};
use super::location::Location;
use super::nearest::nearest;
use super::node::{Content, Entry, Node, Step, dotted};
use super::placeholder::GUESSES;
use super::problem::{ConfigError, Problem};
use super::quote::{mask_user_part, on_one_line, quoted};

/// Readings of one tree. A hundred problems are more than anybody reads; each costs a few readings.
const MOST_READINGS: usize = 500;

/// Reads `root` as `T`; `path` and `named_at` (the key that holds it) are for messages.
pub(crate) fn parse<T: DeserializeOwned>(
    root: &Node,
    path: &str,
    named_at: Option<&Location>,
) -> Result<T, ConfigError> {
    match T::deserialize(root) {
        Ok(settings) => Ok(settings),
        Err(fault) => Err(Collection::new(root, path, named_at).collect::<T>(fault)),
    }
}

struct Collection<'a> {
    path: &'a str,
    named_at: Option<&'a Location>,
    working: Node,
    problems: Vec<Problem>,
    /// Entries that were taken out, although they were there: that they are missing now is our doing.
    left_out: Vec<(Vec<Step>, String)>,
}

impl<'a> Collection<'a> {
    fn new(root: &Node, path: &'a str, named_at: Option<&'a Location>) -> Self {
        Self { path, named_at, working: root.clone(), problems: Vec::new(), left_out: Vec::new() }
    }

    fn collect<T: DeserializeOwned>(mut self, first: Fault) -> ConfigError {
        let mut fault = first;
        for _ in 0..MOST_READINGS {
            if !self.take_in(&fault) {
                break;
            }
            match T::deserialize(&self.working) {
                Ok(_) => break,
                Err(next) => fault = next,
            }
        }
        self.problems.into_iter().collect()
    }

    /// Reports a fault if it is genuine and new, and clears its cause away; `false` when there is no way on.
    fn take_in(&mut self, fault: &Fault) -> bool {
        let steps: Vec<Step> = fault.steps_outward.iter().rev().cloned().collect();
        if let Some(placeholder) = self.placeholder_on(&steps) {
            return self.guess_again(&placeholder);
        }
        if let FaultKind::MissingKey(key) = &fault.kind
            && self.left_out.iter().any(|(at, left_out)| *at == steps && left_out == key)
        {
            return self.replace(&steps);
        }
        let about_the_whole_value = fault.key.is_none()
            && !matches!(
                fault.kind,
                FaultKind::UnknownKey { .. } | FaultKind::MissingKey(_) | FaultKind::RepeatedKey(_)
            );
        let node = self.at(&steps);
        if about_the_whole_value && node.is_some_and(|node| self.is_tampered(node, &steps)) {
            return self.replace(&steps);
        }
        let problem = self.describe(fault, &steps);
        if self.problems.contains(&problem) {
            return false;
        }
        self.problems.push(problem);
        self.clear_away(fault, &steps)
    }

    fn clear_away(&mut self, fault: &Fault, steps: &[Step]) -> bool {
        let key = match &fault.kind {
            FaultKind::MissingKey(key) => {
                let Some(node) = self.at_mut(steps) else { return false };
                if !matches!(node.content, Content::Map(_) | Content::Null) {
                    return self.replace(steps);
                }
                let placeholder = Node::new(Content::Placeholder(0), None);
                node.set(Entry { key: (*key).to_owned(), key_location: None, node: placeholder });
                return true;
            }
            FaultKind::UnknownKey { key, .. } => Some(key.as_str()),
            FaultKind::RepeatedKey(key) => Some(*key),
            _ => fault.key.as_deref(),
        };
        match key {
            Some(key) => match self.at_mut(steps).and_then(|node| node.remove(key)) {
                Some(_) => true,
                // Below a tagged or flattened type serde forgets the place: give up the whole value.
                None => self.replace(steps),
            },
            None => self.replace(steps),
        }
    }

    /// Puts a placeholder where `steps` lead; never at the root, where nothing more could be learnt.
    fn replace(&mut self, steps: &[Step]) -> bool {
        if steps.is_empty() {
            return false;
        }
        match self.at_mut(steps) {
            Some(node) => {
                node.content = Content::Placeholder(0);
                true
            }
            None => false,
        }
    }

    /// The steps to the placeholder that `steps` end in or pass through.
    fn placeholder_on(&self, steps: &[Step]) -> Option<Vec<Step>> {
        let mut node = &self.working;
        let mut walked = Vec::new();
        for step in steps {
            node = node.child(step)?;
            walked.push(step.clone());
            if matches!(node.content, Content::Placeholder(_)) {
                return Some(walked);
            }
        }
        None
    }

    fn guess_again(&mut self, steps: &[Step]) -> bool {
        let Some(node) = self.at_mut(steps) else { return false };
        if let Content::Placeholder(guess) = &mut node.content {
            *guess += 1;
            if *guess < GUESSES {
                return true;
            }
        }
        // No guess fits: leave it out, in the hope that it has a default.
        let Some((last, parents)) = steps.split_last() else { return false };
        match last {
            Step::Key(key) => {
                self.left_out.push((parents.to_vec(), key.clone()));
                self.at_mut(parents).and_then(|parent| parent.remove(key)).is_some()
            }
            Step::Index(index) => match self.at_mut(parents).map(|parent| &mut parent.content) {
                Some(Content::List(items)) if *index < items.len() => {
                    items.remove(*index);
                    true
                }
                _ => false,
            },
        }
    }

    /// Whether something inside was replaced or left out, so that a fault of the whole may be our doing.
    fn is_tampered(&self, node: &Node, steps: &[Step]) -> bool {
        fn holds_placeholder(node: &Node) -> bool {
            match &node.content {
                Content::Placeholder(_) => true,
                Content::List(items) => items.iter().any(holds_placeholder),
                Content::Map(entries) => entries.iter().any(|entry| holds_placeholder(&entry.node)),
                _ => false,
            }
        }
        holds_placeholder(node) || self.left_out.iter().any(|(at, _)| at.starts_with(steps))
    }

    fn at(&self, steps: &[Step]) -> Option<&Node> {
        steps.iter().try_fold(&self.working, |node, step| node.child(step))
    }

    fn at_mut(&mut self, steps: &[Step]) -> Option<&mut Node> {
        steps.iter().try_fold(&mut self.working, |node, step| node.child_mut(step))
    }

    fn describe(&self, fault: &Fault, steps: &[Step]) -> Problem {
        let path = dotted(self.path, steps);
        let node = self.at(steps).unwrap_or(&self.working);
        match &fault.kind {
            FaultKind::UnknownKey { key, known } => {
                let location = self.key_location(steps, Some(key));
                self.unknown_key(&path, key, known).at(location)
            }
            FaultKind::MissingKey(key) => {
                let of = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
                Problem::new(path, format!("missing key `{key}`{of}")).at(self.key_location(steps, None))
            }
            FaultKind::RepeatedKey(key) => {
                let message = format!("`{}` is given twice, under two of its names", below(&path, key));
                Problem::new(below(&path, key), message).at(self.key_location(steps, Some(key)))
            }
            _ if fault.key.is_some() => {
                let key = fault.key.as_deref().unwrap_or_default();
                let message = match &fault.kind {
                    FaultKind::Mismatch { expected } => format!("must be {expected}"),
                    FaultKind::UnknownVariant { known, .. } => format!("must be one of {}", listed(known)),
                    _ => "is not valid".to_owned(),
                };
                let location = self.key_location(steps, Some(key));
                let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
                Problem::new(below(&path, key), format!("the key {}{place} {message}", quoted(key)))
                    .at(location)
            }
            FaultKind::UnknownVariant { variant, known } => {
                let shown = self.scrubbed(node, variant);
                let found = if node.hidden { "the value that was given".to_owned() } else { quoted(&shown) };
                let message = format!("{} must be one of {}, not {found}", subject(&path), listed(known));
                let suggestion = if node.hidden { None } else { nearest(variant, known.iter().copied()) };
                Problem::new(path, message).at(node.location.clone()).suggest(suggestion)
            }
            FaultKind::Mismatch { expected } => {
                let message = format!("{} must be {expected}, not {}", subject(&path), node.describe());
                Problem::new(path, message).at(node.location.clone())
            }
            FaultKind::Message(message) => {
                let message = self.scrubbed(node, message);
                let message = match &node.content {
                    _ if node.hidden => format!("{} is not valid (its value is not shown)", subject(&path)),
                    Content::Scalar(scalar) if !message.contains(scalar.text.as_str()) => {
                        format!("{}: {message}, not {}", subject(&path), node.describe())
                    }
                    _ => format!("{}: {message}", subject(&path)),
                };
                Problem::new(path, message)
                    .at(node.location.clone().or_else(|| self.key_location(steps, None)))
            }
        }
    }

    fn unknown_key(&self, path: &str, key: &str, known: &[&'static str]) -> Problem {
        let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
        let message = format!("unknown key {}{place}", quoted(key));
        match nearest(key, known.iter().copied()) {
            Some(suggestion) => Problem::new(below(path, key), message).suggest(suggestion),
            None if known.is_empty() => {
                Problem::new(below(path, key), format!("{message}: it takes no keys"))
            }
            None => {
                Problem::new(below(path, key), format!("{message}: the known keys are {}", listed(known)))
            }
        }
    }

    /// Where the key was written: `key` of the map at `steps`, or else the key that holds the map itself.
    fn key_location(&self, steps: &[Step], key: Option<&str>) -> Option<Location> {
        let node = self.at(steps)?;
        if let Some(entry) = key.and_then(|key| node.entry(key)) {
            return entry.key_location.clone().or_else(|| entry.node.location.clone());
        }
        let holder = match steps.split_last() {
            Some((Step::Key(key), parents)) => self
                .at(parents)
                .and_then(|parent| parent.entry(key))
                .and_then(|entry| entry.key_location.clone()),
            Some((Step::Index(_), _)) => None,
            None => self.named_at.cloned(),
        };
        holder.or_else(|| node.location.clone())
    }

    /// `message` without the hidden values of `node`: a type's own check may well repeat what it was given.
    fn scrubbed(&self, node: &Node, message: &str) -> String {
        let mut hidden = Vec::new();
        node.hidden_texts(&mut hidden);
        // The longest first, so that no part of it survives the replacement of a shorter one.
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let mut scrubbed = message.to_owned();
        for text in hidden {
            let escaped = format!("{text:?}");
            let escaped = escaped.trim_matches('"');
            scrubbed = scrubbed.replace(text, "[hidden]").replace(escaped, "[hidden]");
        }
        if let Content::Scalar(scalar) = &node.content
            && !scalar.text.is_empty()
        {
            scrubbed = scrubbed.replace(scalar.text.as_str(), &mask_user_part(&scalar.text));
        }
        on_one_line(&scrubbed)
    }
}

fn below(path: &str, key: &str) -> String {
    dotted(path, [&Step::Key(key.to_owned())])
}

fn subject(path: &str) -> String {
    if path.is_empty() { "the value".to_owned() } else { format!("`{path}`") }
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
