//! A section taken apart, piece by piece, each piece with its place: for documents whose shape decides how the
//! rest of them is read.

use serde_json::Value;

use super::environment::Environment;
use super::location::Location;
use super::node::{Content, Entry, Meaning, Node, Scalar, Step, dotted};
use super::problem::{ConfigError, Problem};
use super::section::Section;
use super::yaml;

/// What [`Section::substitute`] puts in the place of a text.
#[derive(Clone, Debug)]
pub enum Substitution {
    /// Leave it as it is.
    Keep,
    /// Another text.
    Text(String),
    /// Another text, which must not be shown.
    HiddenText(String),
    /// A value of any shape. Where it is hidden it stays so.
    Section(Box<Section>),
}

/// A text of a section, and where it stands.
#[derive(Clone, Debug)]
pub struct TextAt<'a> {
    /// The text. It may be a secret: see [`TextAt::hidden`].
    pub text: &'a str,
    /// Its place, when it has one.
    pub location: Option<&'a Location>,
    /// Whether it must not be shown.
    pub hidden: bool,
}

impl Section {
    /// The sections of a YAML text with any number of documents (`---` between them); empty ones are left out.
    ///
    /// Unlike in [`Section::from_yaml`] the texts stay templates: `${NAME}` and `${NAME:-default}` are replaced from
    /// `environment`, anything else in `${…}` stays for the caller, and so does the escape `$${`. A `${` that comes
    /// out of the environment is escaped.
    ///
    /// ```
    /// # use substrate_core::config::{Environment, Section};
    /// let text = "name: ${SITE:-paris}\n---\naddress: ${web.address}";
    /// let documents = Section::from_yaml_documents("x.yaml", text, &Environment::empty())?;
    /// assert_eq!(documents[0].get("name", String::new())?, "paris");
    /// assert_eq!(documents[1].get("address", String::new())?, "${web.address}");
    /// assert_eq!(documents[1].location_of("address").map(|at| at.to_string()).as_deref(), Some("x.yaml:3:10"));
    /// # Ok::<(), substrate_core::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Text that is no YAML (its first mistake), undefined variables (all of them).
    pub fn from_yaml_documents(
        source: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<Vec<Self>, ConfigError> {
        let documents = yaml::read_documents(source, text, environment).map_err(ConfigError::from_iter)?;
        Ok(documents.into_iter().map(|root| Self::new("", root, environment.clone())).collect())
    }

    /// A map of these sections, under new keys; its place and environment are those of `like`.
    ///
    /// Each piece keeps the places of what is in it, so that a problem is shown where it was written.
    #[must_use]
    pub fn from_entries(like: &Self, entries: impl IntoIterator<Item = (String, Self)>) -> Self {
        let entries = entries
            .into_iter()
            .map(|(key, section)| Entry { key, key_location: section.named_at, node: section.root })
            .collect();
        let root = Node::new(Content::Map(entries), like.root.location.clone());
        Self {
            name: like.name.clone(),
            named_at: like.named_at.clone(),
            root,
            environment: like.environment.clone(),
        }
    }

    /// A list of these sections; its name, place and environment are those of `like`.
    #[must_use]
    pub fn from_items(like: &Self, items: Vec<Self>) -> Self {
        let items = items.into_iter().map(|section| section.root).collect();
        like.replaced(Node::new(Content::List(items), like.root.location.clone()))
    }

    /// Another value in the place of this one.
    #[must_use]
    pub fn with_value(&self, value: Value) -> Self {
        let mut root = Node::from_json(value);
        root.location.clone_from(&self.root.location);
        self.replaced(root)
    }

    /// Where the value was written; `None` for values of the program.
    pub fn location(&self) -> Option<&Location> {
        self.root.location.as_ref()
    }

    /// Where the key that holds it was written, or else the value.
    pub fn key_location(&self) -> Option<&Location> {
        self.named_at.as_ref().or(self.root.location.as_ref())
    }

    /// Where the value at a dotted path was written.
    pub fn location_of(&self, path: &str) -> Option<&Location> {
        self.root.find(path).and_then(|(_, node)| node.location.as_ref())
    }

    /// A problem with this value, at its place.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(&self.name, message).at(self.root.location.clone())
    }

    /// Whether it is `~`, or a key with nothing behind it.
    pub fn is_null(&self) -> bool {
        matches!(self.root.content, Content::Null)
    }

    /// Whether it is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.root.content, Content::Map(_))
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.root.content, Content::List(_))
    }

    /// What is at a dotted path, as a section of its own whose name is the whole path to it.
    pub fn child(&self, path: &str) -> Option<Self> {
        let (steps, node) = self.root.find(path)?;
        let key_location = match steps.split_last() {
            Some((Step::Key(key), parents)) => parents
                .iter()
                .try_fold(&self.root, |node, step| node.child(step))
                .and_then(|parent| parent.entry(key))
                .and_then(|entry| entry.key_location.clone()),
            _ => None,
        };
        Some(self.piece(&steps, key_location, node.clone()))
    }

    /// The items of a list, each named by its path; `~` is an empty list.
    ///
    /// # Errors
    /// One problem when it is neither.
    pub fn into_items(mut self) -> Result<Vec<Self>, ConfigError> {
        match std::mem::replace(&mut self.root.content, Content::Null) {
            Content::List(items) => Ok(items
                .into_iter()
                .enumerate()
                .map(|(index, node)| self.piece(&[Step::Index(index)], None, node))
                .collect()),
            Content::Null => Ok(Vec::new()),
            other => Err(self.wrong_shape("a list", other)),
        }
    }

    /// The entries of a map in the order of the document, each named by its path; `~` is an empty map.
    ///
    /// # Errors
    /// One problem when it is neither.
    pub fn into_entries(mut self) -> Result<Vec<(String, Self)>, ConfigError> {
        match std::mem::replace(&mut self.root.content, Content::Null) {
            Content::Map(entries) => Ok(entries
                .into_iter()
                .map(|entry| {
                    let piece = self.piece(&[Step::Key(entry.key.clone())], entry.key_location, entry.node);
                    (entry.key, piece)
                })
                .collect()),
            Content::Null => Ok(Vec::new()),
            other => Err(self.wrong_shape("a map", other)),
        }
    }

    /// The value as JSON, without places and with the secrets in it.
    ///
    /// # Errors
    /// A number that JSON cannot hold, such as `.inf`.
    pub fn to_value(&self) -> Result<Value, ConfigError> {
        self.parse()
    }

    /// Whether `text` shows something that this section hides: a value from the environment, or one under a key
    /// that looks like a secret. For texts that were made from the settings, such as a plan's.
    pub fn hides(&self, text: &str) -> bool {
        /// Shorter values stand in any text by accident; they count only when they are all of it.
        const LONG_ENOUGH_TO_SEARCH: usize = 4;
        let mut hidden = Vec::new();
        self.root.hidden_texts(&mut hidden);
        hidden
            .iter()
            .any(|secret| *secret == text || (secret.len() >= LONG_ENOUGH_TO_SEARCH && text.contains(secret)))
    }

    /// Calls `look` with every text in it, in the order of the document. Keys are not texts.
    pub fn for_each_text(&self, mut look: impl FnMut(TextAt<'_>)) {
        self.root.for_each_text(&mut look);
    }

    /// The same section with texts replaced. What was replaced keeps the place of the text that it replaces.
    ///
    /// # Errors
    /// All messages of `replacement`, each as a problem at the place of its text.
    pub fn substitute(
        &self,
        mut replacement: impl FnMut(TextAt<'_>) -> Result<Substitution, String>,
    ) -> Result<Self, ConfigError> {
        let mut substituted = self.clone();
        let mut problems = Vec::new();
        substituted.root.substitute(&mut replacement, &mut |message, location| {
            problems.push(Problem::new(&self.name, message).at(location));
        });
        if problems.is_empty() {
            substituted.root.hide_secrets();
            Ok(substituted)
        } else {
            Err(problems.into_iter().collect())
        }
    }

    fn replaced(&self, root: Node) -> Self {
        Self {
            name: self.name.clone(),
            named_at: self.named_at.clone(),
            root,
            environment: self.environment.clone(),
        }
    }

    fn piece(&self, steps: &[Step], named_at: Option<Location>, root: Node) -> Self {
        Self { name: dotted(&self.name, steps), named_at, root, environment: self.environment.clone() }
    }

    fn wrong_shape(mut self, wanted: &str, content: Content) -> ConfigError {
        self.root.content = content;
        let subject =
            if self.name.is_empty() { "the document".to_owned() } else { format!("`{}`", self.name) };
        self.problem(format!("{subject} must be {wanted}, not {}", self.root.describe())).into()
    }
}

impl Node {
    fn for_each_text(&self, look: &mut dyn FnMut(TextAt<'_>)) {
        match &self.content {
            Content::Scalar(Scalar { text, meaning: Meaning::Text | Meaning::Undecided }) => {
                look(TextAt { text, location: self.location.as_ref(), hidden: self.hidden });
            }
            Content::List(items) => items.iter().for_each(|item| item.for_each_text(look)),
            Content::Map(entries) => entries.iter().for_each(|entry| entry.node.for_each_text(look)),
            _ => {}
        }
    }

    fn substitute(
        &mut self,
        replacement: &mut dyn FnMut(TextAt<'_>) -> Result<Substitution, String>,
        report: &mut dyn FnMut(String, Option<Location>),
    ) {
        match &mut self.content {
            Content::Scalar(Scalar { text, meaning: Meaning::Text | Meaning::Undecided }) => {
                let found = TextAt { text, location: self.location.as_ref(), hidden: self.hidden };
                match replacement(found) {
                    Ok(Substitution::Keep) => {}
                    Ok(Substitution::Text(new)) => *text = new,
                    Ok(Substitution::HiddenText(new)) => {
                        *text = new;
                        self.hidden = true;
                    }
                    Ok(Substitution::Section(section)) => {
                        self.content = section.root.content;
                        self.hidden |= section.root.hidden;
                    }
                    Err(message) => report(message, self.location.clone()),
                }
            }
            Content::List(items) => items.iter_mut().for_each(|item| item.substitute(replacement, report)),
            Content::Map(entries) => {
                entries.iter_mut().for_each(|entry| entry.node.substitute(replacement, report));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, Section, Substitution};

    fn documents(text: &str) -> Vec<Section> {
        Section::from_yaml_documents("x.yaml", text, &Environment::empty()).unwrap()
    }

    #[test]
    fn documents_are_read_with_places_of_the_whole_text() {
        let documents = documents("a: 1\n---\n# nothing\n---\nb: {c: x}\n");
        assert_eq!(documents.len(), 2);
        let piece = documents[1].child("b.c").unwrap();
        assert_eq!(piece.name(), "b.c");
        assert_eq!(piece.location().unwrap().to_string(), "x.yaml:5:8");
        assert_eq!(piece.key_location().unwrap().to_string(), "x.yaml:5:5");
        assert_eq!(piece.parse::<u8>().unwrap_err().problems()[0].path, "b.c");
    }

    #[test]
    fn pieces_are_named_by_their_path_and_report_their_place() {
        let list = documents("items:\n  - {n: 1}\n  - {n: x}\n").remove(0).child("items").unwrap();
        let items = list.into_items().unwrap();
        assert_eq!(items[0].get("n", 0).unwrap(), 1);
        assert_eq!(
            items[1].get("n", 0).unwrap_err().to_string(),
            "x.yaml:3:9: `items[1].n` must be a whole number, not the string `x`"
        );
        let error = items[0].clone().into_items().unwrap_err();
        assert_eq!(error.to_string(), "x.yaml:2:5: `items[0]` must be a list, not a map");
    }

    #[test]
    fn a_substituted_value_keeps_the_place_of_the_text_and_hides_what_was_hidden() {
        let section = documents("size: ${var.size}\nname: a-${var.b}\nbad: ${x.y}\n").remove(0);
        let result = section.substitute(|at| match at.text {
            "${var.size}" => Ok(Substitution::Section(Box::new(Section::from_value(7.into())))),
            "a-${var.b}" => Ok(Substitution::Text("a-b".to_owned())),
            _ => Ok(Substitution::Keep),
        });
        let section = result.unwrap();
        assert_eq!(section.get("size", 0).unwrap(), 7);
        assert_eq!(section.get("name", String::new()).unwrap(), "a-b");
        assert_eq!(section.location_of("size").unwrap().to_string(), "x.yaml:1:7");
        let error = section.substitute(|at| match at.text.contains('$') {
            true => Err("no".to_owned()),
            false => Ok(Substitution::Keep),
        });
        assert_eq!(error.unwrap_err().to_string(), "x.yaml:3:6: no");
    }

    #[test]
    fn what_a_section_hides_is_recognised_in_other_texts() {
        let environment = Environment::from_iter([("IMAGE", "registry/private")]);
        let text = "image: ${IMAGE}\ntoken: abcd\nname: web\n";
        let section = Section::from_yaml_documents("x.yaml", text, &environment).unwrap().remove(0);
        assert!(section.hides("registry/private:1") && section.hides("abcd"));
        assert!(!section.hides("web"));
    }

    #[test]
    fn rearranged_pieces_keep_their_places() {
        let section = documents("spec: {cpu: x}\n").remove(0);
        let rearranged =
            Section::from_entries(&section, [("specs".to_owned(), section.child("spec").unwrap())]);
        assert_eq!(
            rearranged.get("specs.cpu", 0).unwrap_err().to_string(),
            "x.yaml:1:13: `specs.cpu` must be a whole number, not the string `x`"
        );
    }

    #[test]
    fn bombs_in_many_documents_share_one_budget() {
        let item = vec!["x"; 3000].join(", ");
        let uses = vec!["*a"; 60].join(", ");
        let bomb = format!("---\na: &a [{item}]\nb: [{uses}]\n");
        assert!(Section::from_yaml_documents("x.yaml", &bomb, &Environment::empty()).is_ok());
        let error = Section::from_yaml_documents("x.yaml", &bomb.repeat(50), &Environment::empty());
        assert!(error.unwrap_err().to_string().contains("aliases expand to too many nodes"));
    }
}
