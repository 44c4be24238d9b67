//! YAML text into a tree. The only file that knows the parser: it publishes a major version every few months.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::environment::Environment;
use super::interpolate::{Expanded, expand, expand_template};
use super::location::Location;
use super::node::{Content, Entry, Meaning, Node, Scalar, Step, dotted};
use super::problem::Problem;
use super::quote::quoted;
use super::scalar::meaning_of;

/// Larger texts are refused unread: no configuration is that long, a log file passed by mistake is.
pub(crate) const LARGEST: usize = 16 * 1024 * 1024;
/// Nodes that aliases may add. Each costs some 200 bytes in the tree, so this bounds what a few lines of text
/// can make us allocate.
const MOST_FROM_ALIASES: usize = 250_000;

/// Stack of the thread that parses. The parser takes some 40 KiB a level in an unoptimised build: the 64 levels that
/// it allows by default would overflow a test's or a runtime's thread of 2 MiB, and that ends the process.
const PARSER_STACK: usize = 16 * 1024 * 1024;

macro_rules! options {
    () => {
        serde_saphyr::options! {
            // The ratio of aliases to anchors says nothing: an anchor that is used 200 times is good style.
            // `max_nodes` bounds documents, the replay limit bounds what aliases make of them.
            budget: serde_saphyr::budget! {
                max_nodes: 5_000_000,
                max_events: 20_000_000,
                enforce_alias_anchor_ratio: false,
            },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_FROM_ALIASES },
            // Refused where a number is wanted, with the path; `1e400` may as well be meant as text.
            non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
            // Snippets would show the neighbouring lines, passwords among them.
            with_snippet: false,
        }
    };
}
/// Reads one document. Variables in its strings are replaced from `environment`.
///
/// An empty text is an empty document. Every problem that is found in the tree is reported; a text that is no
/// YAML has only its first one.
pub(crate) fn read(source: &str, text: &str, environment: &Environment) -> Result<Node, Vec<Problem>> {
    on_the_parser_thread(source, text, |source, text| {
        let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options!())
            .map_err(|error| vec![refused(source, &error)])?;
        let mut conversion = Conversion::new(source, text, environment, expand);
        let node = conversion.node(raw);
        conversion.problems.is_empty().then_some(node).ok_or(conversion.problems)
    })
}

/// Reads every document of a text (`---` between them); empty ones are left out. Their strings stay templates, see
/// [`expand_template`].
pub(crate) fn read_documents(
    source: &str,
    text: &str,
    environment: &Environment,
) -> Result<Vec<Node>, Vec<Problem>> {
    on_the_parser_thread(source, text, |source, text| {
        let raw: Vec<Spanned<Raw>> = serde_saphyr::from_multiple_with_options(text, options!())
            .map_err(|error| vec![refused(source, &error)])?;
        let mut conversion = Conversion::new(source, text, environment, expand_template);
        let nodes = raw.into_iter().map(|document| conversion.node(document)).collect();
        conversion.problems.is_empty().then_some(nodes).ok_or(conversion.problems)
    })
}

fn on_the_parser_thread<T: Send>(
    source: &str,
    text: &str,
    parse: impl FnOnce(&Arc<str>, &str) -> Result<T, Vec<Problem>> + Send,
) -> Result<T, Vec<Problem>> {
    let source: Arc<str> = Arc::from(source);
    if text.len() > LARGEST {
        let message = format!("the text is larger than {} MiB", LARGEST / 1024 / 1024);
        return Err(vec![Problem::new("", message).at(Location::in_source(source, 1, 1))]);
    }
    // A byte order mark would shift the byte offsets that `text_of` relies on.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let failed = |reason: &str| vec![Problem::new("", reason).at(Location::in_source(source.clone(), 1, 1))];
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("substrate-yaml".to_owned())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || {
                // A node that no alias repeats takes a byte of the text or more. The parser counts aliases per
                // document, so a thousand small bombs would pass it one by one.
                NODES_LEFT.set(text.len().saturating_add(MOST_FROM_ALIASES));
                parse(&source, text)
            })
            .map_err(|error| failed(&format!("cannot start a thread to parse the text: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(failed("the YAML parser failed on this text")))
    })
}

thread_local! {
    /// Nodes that this thread's parse may still make. Serde hands a visitor no context to keep it in.
    static NODES_LEFT: Cell<usize> = const { Cell::new(0) };
}

/// What the parser refused, in our words: its own name options of its API and repeat parts of the text.
fn refused(source: &Arc<str>, error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error as Refused;
    let mut cause = error.without_snippet();
    while let Refused::AliasError { error, .. } = cause {
        cause = error;
    }
    let message = match cause {
        Refused::MultipleDocuments { .. } => {
            "a second document starts here: one document is expected".to_owned()
        }
        Refused::AliasReplayLimitExceeded { .. }
        | Refused::AliasExpansionLimitExceeded { .. }
        | Refused::AliasReplayStackDepthExceeded { .. } => "aliases expand to too many nodes".to_owned(),
        Refused::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {} is defined twice", quoted(key))
        }
        Refused::DuplicateMappingKey { .. } => "a key is defined twice".to_owned(),
        Refused::Budget { breach, .. } => match breach {
            serde_saphyr::budget::BudgetBreach::Depth { .. } => "nested too deeply".to_owned(),
            _ => "the document is too large".to_owned(),
        },
        other => {
            let text = other.to_string();
            // The reader of several documents reports depth in words only.
            if text.contains("recursion limit") {
                return Problem::new("", "nested too deeply")
                    .at(error.location().map(|at| place(source, &at)));
            }
            if text.contains(TOO_MANY_NODES) {
                return Problem::new("", TOO_MANY_NODES).at(error.location().map(|at| place(source, &at)));
            }
            let text = text.split(" at line ").next().unwrap_or(&text);
            format!("invalid YAML: {}", quoted(text).trim_matches('`'))
        }
    };
    let location = error
        .location()
        .map_or_else(|| Location::in_source(source.clone(), 1, 1), |location| place(source, &location));
    Problem::new("", message).at(location)
}

fn place(source: &Arc<str>, location: &serde_saphyr::Location) -> Location {
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).max(1);
    Location::in_source(source.clone(), number(location.line()), number(location.column()))
}

/// The document as the parser hands it over, each node with its position.
enum Raw {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let left = NODES_LEFT.get().checked_sub(1).ok_or_else(|| D::Error::custom(TOO_MANY_NODES))?;
        NODES_LEFT.set(left);
        deserializer.deserialize_any(RawVisitor)
    }
}

const TOO_MANY_NODES: &str = "aliases expand to too many nodes";

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// The walk from the parser's tree to ours.
struct Conversion<'a> {
    source: Arc<str>,
    text: &'a str,
    environment: &'a Environment,
    expand: Expand,
    problems: Vec<Problem>,
    path: Vec<Step>,
}

type Expand = fn(&str, &Environment) -> Result<Option<Expanded>, String>;

impl<'a> Conversion<'a> {
    fn new(source: &Arc<str>, text: &'a str, environment: &'a Environment, expand: Expand) -> Self {
        Self { source: source.clone(), text, environment, expand, problems: Vec::new(), path: Vec::new() }
    }

    fn node(&mut self, raw: Spanned<Raw>) -> Node {
        // Of an alias we take the place of the definition: that is where the text to mend stands.
        let location = place(&self.source, &raw.defined);
        let written = self.text_of(&raw.defined);
        let scalar = |meaning, shown: String| {
            let text = written.map_or(shown, str::to_owned);
            Node::new(Content::Scalar(Scalar { text, meaning }), Some(location.clone()))
        };
        match raw.value {
            Raw::Null => Node::new(Content::Null, Some(location)),
            Raw::Bool(value) => scalar(Meaning::Bool(value), value.to_string()),
            Raw::Integer(value) => scalar(Meaning::Integer(value), value.to_string()),
            Raw::Float(value) => scalar(Meaning::Float(value), value.to_string()),
            Raw::Text(text) => {
                let quoted = written.is_some_and(|written| written.starts_with(['"', '\'']));
                self.string(text, quoted, location)
            }
            Raw::List(items) => {
                let mut nodes = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    self.path.push(Step::Index(index));
                    nodes.push(self.node(item));
                    self.path.pop();
                }
                Node::new(Content::List(nodes), Some(location))
            }
            Raw::Map(entries) => self.map(entries, location),
        }
    }

    fn map(&mut self, raw: Vec<(Spanned<Raw>, Spanned<Raw>)>, location: Location) -> Node {
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        let mut seen = HashSet::with_capacity(raw.len());
        for (key, value) in raw {
            let key_location = place(&self.source, &key.defined);
            let Some(key) = self.key(key) else {
                self.problem("a key must be a word, not a list, a map or nothing", key_location);
                continue;
            };
            self.path.push(Step::Key(key.clone()));
            // The parser compares keys with their types; to us `1` and `"1"` are the same.
            if !seen.insert(key.clone()) {
                self.problem(&format!("the key {} is defined twice", quoted(&key)), key_location.clone());
            }
            let node = self.node(value);
            self.path.pop();
            entries.push(Entry { key, key_location: Some(key_location), node });
        }
        Node::new(Content::Map(entries), Some(location))
    }

    /// A key as it was written: `on`, `n` and `8080` are good names, whatever YAML takes them for.
    fn key(&self, key: Spanned<Raw>) -> Option<String> {
        let written = self.text_of(&key.defined).map(str::to_owned);
        match key.value {
            Raw::Text(text) => Some(text),
            Raw::Bool(value) => Some(written.unwrap_or_else(|| value.to_string())),
            Raw::Integer(value) => Some(written.unwrap_or_else(|| value.to_string())),
            Raw::Float(value) => Some(written.unwrap_or_else(|| value.to_string())),
            Raw::Null | Raw::List(_) | Raw::Map(_) => None,
        }
    }

    fn string(&mut self, text: String, quoted: bool, location: Location) -> Node {
        let (text, meaning, hidden) = match (self.expand)(&text, self.environment) {
            Ok(None) => (text, Meaning::Text, false),
            Ok(Some(expanded)) => {
                // `port: ${PORT}` is a number if PORT holds one; `"${PORT}"` is text unless a number is wanted.
                let meaning = if quoted { Meaning::Undecided } else { meaning_of(&expanded.text) };
                (expanded.text, meaning, expanded.from_environment)
            }
            Err(message) => {
                let message = format!("`{}`: {message}", dotted("", &self.path));
                self.problem(&message, location.clone());
                (String::new(), Meaning::Text, true)
            }
        };
        let mut node = Node::new(Content::Scalar(Scalar { text, meaning }), Some(location));
        node.hidden = hidden;
        node
    }

    fn problem(&mut self, message: &str, location: Location) {
        self.problems.push(Problem::new(dotted("", &self.path), message).at(location));
    }

    fn text_of(&self, location: &serde_saphyr::Location) -> Option<&'a str> {
        let span = location.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        self.text.get(start..start.checked_add(length)?).map(str::trim).filter(|text| !text.is_empty())
    }
}
