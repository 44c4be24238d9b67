//! What one attempt at reading typed settings stumbled over.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use super::node::Step;

/// The error of our deserializer: structured, so that the message can be written where the node is known, and
/// without any value, because here nobody knows yet whether it may be shown.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// Steps from the root to the node, **innermost first**: they are added on the way out.
    pub(crate) steps_outward: Vec<Step>,
    /// Set when the key of an entry is at fault, not its value: the node is then the map that holds the entry.
    pub(crate) key: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum FaultKind {
    UnknownKey {
        key: String,
        known: Vec<&'static str>,
    },
    MissingKey(&'static str),
    /// A value of another type, or of the right type out of its range.
    Mismatch {
        expected: String,
    },
    UnknownVariant {
        variant: String,
        known: Vec<&'static str>,
    },
    RepeatedKey(&'static str),
    /// From a type's own check: may repeat the value.
    Message(String),
}

impl Fault {
    pub(crate) fn new(kind: FaultKind) -> Self {
        Self { kind, steps_outward: Vec::new(), key: None }
    }

    pub(crate) fn mismatch(expected: impl Into<String>) -> Self {
        Self::new(FaultKind::Mismatch { expected: expected.into() })
    }

    /// The same fault, seen from the parent.
    pub(crate) fn below(mut self, step: Step) -> Self {
        self.steps_outward.push(step);
        self
    }

    pub(crate) fn on_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }
}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(FaultKind::Message(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::mismatch(in_plain_words(&expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::mismatch(in_plain_words(&expected.to_string()))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let expected = in_plain_words(&expected.to_string());
        Self::new(FaultKind::Message(format!("{length} items where {expected} was expected")))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(FaultKind::UnknownVariant { variant: variant.to_owned(), known: known.to_vec() })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(FaultKind::UnknownKey { key: key.to_owned(), known: known.to_vec() })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(FaultKind::MissingKey(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(FaultKind::RepeatedKey(key))
    }
}

/// Seen only when a type wraps our error into one of its own; says no value for that reason.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::UnknownKey { key, .. } => write!(f, "unknown key `{key}`"),
            FaultKind::MissingKey(key) => write!(f, "missing key `{key}`"),
            FaultKind::Mismatch { expected } => write!(f, "expected {expected}"),
            FaultKind::UnknownVariant { known, .. } => write!(f, "expected one of {}", known.join(", ")),
            FaultKind::RepeatedKey(key) => write!(f, "the key `{key}` is given twice"),
            FaultKind::Message(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}

/// Serde names Rust types; the reader of the message writes YAML.
fn in_plain_words(expected: &str) -> String {
    let range = |low: i128, high: u128| format!("a whole number from {low} to {high}");
    match expected {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "i8" => range(i8::MIN.into(), 127),
        "i16" => range(i16::MIN.into(), 32_767),
        "u64" | "u128" | "usize" => "a whole number, zero or more".to_owned(),
        "i32" | "i64" | "i128" | "isize" => "a whole number".to_owned(),
        "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number, one or more".to_owned()
        }
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "unit" => "nothing".to_owned(),
        other if other.starts_with("struct ") => "a map".to_owned(),
        other => other.to_owned(),
    }
}
