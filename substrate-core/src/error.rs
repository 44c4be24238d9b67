//! What went wrong, whether it may have happened all the same, and whether to try again.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::operation::Operation;

/// The result of everything in this crate family.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was: what a program decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing named does not exist, proved by a complete answer.
    NotFound,
    /// A thing of that name exists already.
    AlreadyExists,
    /// The present state forbids it: running, attached, protected, ambiguous, changed meanwhile.
    Conflict,
    /// Locked or in another operation; the same call can succeed later.
    Busy,
    /// The request itself is wrong; repeating it cannot help.
    InvalidInput,
    /// This substrate cannot do that, and refused before any side effect.
    Unsupported,
    /// No credentials, or wrong or expired ones.
    Unauthenticated,
    /// The credentials are good, the right is missing.
    PermissionDenied,
    /// Too many requests; see [`RetryAdvice::After`].
    RateLimited,
    /// No capacity, quota, disk space or address is left.
    Exhausted,
    /// The substrate cannot be reached or is not ready.
    Unavailable,
    /// No answer within the deadline.
    Timeout,
    /// The call was cancelled by its caller.
    Cancelled,
    /// The other side answered what its protocol does not allow.
    Protocol,
    /// A failure inside the substrate or inside this library.
    Internal,
}

impl ErrorKind {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 15] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Busy,
        Self::InvalidInput,
        Self::Unsupported,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::RateLimited,
        Self::Exhausted,
        Self::Unavailable,
        Self::Timeout,
        Self::Cancelled,
        Self::Protocol,
        Self::Internal,
    ];

    /// The kind in `snake_case`, as in JSON and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::InvalidInput => "invalid_input",
            Self::Unsupported => "unsupported",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Protocol => "protocol",
            Self::Internal => "internal",
        }
    }

    /// What is known about the effect when nothing more precise was said: an answer that says "no" is a
    /// rejection, everything else leaves the effect open.
    const fn default_outcome(self) -> Outcome {
        match self {
            Self::InvalidInput | Self::Unsupported => Outcome::NotSent,
            Self::NotFound
            | Self::AlreadyExists
            | Self::Conflict
            | Self::Busy
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::RateLimited
            | Self::Exhausted => Outcome::Rejected,
            Self::Unavailable | Self::Timeout | Self::Cancelled | Self::Protocol | Self::Internal => {
                Outcome::Unknown
            }
        }
    }

    const fn default_retry(self) -> RetryAdvice {
        match self {
            Self::Busy | Self::RateLimited | Self::Unavailable | Self::Timeout => RetryAdvice::Safe,
            _ => RetryAdvice::Never,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Whether the effect of a failed call may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The request never reached the substrate: nothing happened.
    NotSent,
    /// The substrate said no: nothing happened.
    Rejected,
    /// The answer was lost: it may have happened. Look before doing it again.
    Unknown,
}

/// Whether the *failure* is of a passing kind. Whether a repetition is *allowed* also depends on the
/// [`Outcome`] and on the operation's [`Effect`](crate::Effect): the retry layer weighs all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAdvice {
    /// The same call will fail the same way.
    Never,
    /// It may pass later.
    Safe,
    /// The substrate told how long to wait.
    After(Duration),
}

/// The longest message and the longest hint of an error, in bytes. What the other side wrote is quoted in both, and
/// it can write whatever it likes: a page of a proxy, or a value of a megabyte where a number was expected.
const LONGEST_TEXT: usize = 8 * 1024;
/// How much of the end of a longer text is kept. It says how it ended, as its beginning says what it was.
const KEPT_END: usize = 1024;

/// The text, or its beginning and its end where it is too long for a person.
fn bounded(text: String) -> String {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    // Room for what is said in between.
    let beginning = text.floor_char_boundary(LONGEST_TEXT - KEPT_END - 64);
    let end = text.ceil_char_boundary(text.len() - KEPT_END);
    let (beginning, rest) = text.split_at(beginning);
    let (left_out, end) = rest.split_at(end - beginning.len());
    format!("{beginning} … ({} bytes left out) … {end}", left_out.len())
}

/// A failure, for a program to decide on and for a person to act on.
///
/// One pointer wide, so that `Result<(), Error>` stays small. `Display` is one line:
///
/// ```
/// use substrate_core::{Error, ErrorKind, Operation};
/// let error = Error::new(ErrorKind::Conflict, "the instance is running")
///     .with_operation(Operation::DeleteInstance)
///     .with_substrate("docker-paris")
///     .with_instance("web")
///     .with_hint("stop it first, or delete with force");
/// assert_eq!(
///     error.to_string(),
///     "delete_instance `web` on docker-paris: the instance is running (conflict); stop it first, or delete with force"
/// );
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    retry: RetryAdvice,
    operation: Option<Operation>,
    substrate: Option<Arc<str>>,
    instance: Option<Arc<str>>,
    message: String,
    hint: Option<String>,
    // Shared, so that an error can be handed to everybody who waited for the same call.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`, with the outcome and retry advice that the kind implies. Of a message of more than 8 KiB
    /// the beginning and the end are kept.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome: kind.default_outcome(),
            retry: kind.default_retry(),
            operation: None,
            substrate: None,
            instance: None,
            message: bounded(message.into()),
            hint: None,
            source: None,
        }))
    }

    /// Sets the operation that was attempted. The first one set stays: the provider knows best, and a
    /// layer further out only fills in what is missing.
    #[must_use]
    pub fn with_operation(mut self, operation: Operation) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Sets the substrate's name, unless one is set.
    #[must_use]
    pub fn with_substrate(mut self, name: impl Into<Arc<str>>) -> Self {
        self.0.substrate.get_or_insert_with(|| name.into());
        self
    }

    /// Sets the instance, network, volume or image that it was about, unless one is set.
    #[must_use]
    pub fn with_instance(mut self, name: impl AsRef<str>) -> Self {
        self.0.instance.get_or_insert_with(|| Arc::from(name.as_ref()));
        self
    }

    /// Says what is known about the effect.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// Says whether the failure may pass.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryAdvice) -> Self {
        self.0.retry = retry;
        self
    }

    /// Says what the reader can try. Of more than 8 KiB the beginning and the end are kept.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(bounded(hint.into()));
        self
    }

    /// Keeps the error underneath, for [`std::error::Error::source`].
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the effect may have happened.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Whether the failure may pass.
    #[must_use]
    pub fn retry(&self) -> RetryAdvice {
        self.0.retry
    }

    /// The operation that was attempted, where known.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.0.operation
    }

    /// The substrate's name, where known.
    #[must_use]
    pub fn substrate(&self) -> Option<&str> {
        self.0.substrate.as_deref()
    }

    /// What it was about, where known.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.0.instance.as_deref()
    }

    /// What happened, without the context around it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to try, where something can be said.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

macro_rules! kinds {
    ($($kind:ident, $constructor:ident, $predicate:ident;)*) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
                #[must_use]
                pub fn $constructor(message: impl Into<String>) -> Self {
                    Self::new(ErrorKind::$kind, message)
                }

                #[doc = concat!("Whether the kind is [`ErrorKind::", stringify!($kind), "`].")]
                #[must_use]
                pub fn $predicate(&self) -> bool {
                    self.0.kind == ErrorKind::$kind
                }
            )*
        }
    };
}

kinds! {
    NotFound, not_found, is_not_found;
    AlreadyExists, already_exists, is_already_exists;
    Conflict, conflict, is_conflict;
    Busy, busy, is_busy;
    InvalidInput, invalid_input, is_invalid_input;
    Unsupported, unsupported, is_unsupported;
    Unauthenticated, unauthenticated, is_unauthenticated;
    PermissionDenied, permission_denied, is_permission_denied;
    RateLimited, rate_limited, is_rate_limited;
    Exhausted, exhausted, is_exhausted;
    Unavailable, unavailable, is_unavailable;
    Timeout, timeout, is_timeout;
    Cancelled, cancelled, is_cancelled;
    Protocol, protocol, is_protocol;
    Internal, internal, is_internal;
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(operation) = inner.operation {
            write!(formatter, "{operation}")?;
            if let Some(instance) = &inner.instance {
                write!(formatter, " `{instance}`")?;
            }
            if let Some(substrate) = &inner.substrate {
                write!(formatter, " on {substrate}")?;
            }
            formatter.write_str(": ")?;
        } else if let Some(substrate) = &inner.substrate {
            write!(formatter, "{substrate}: ")?;
        }
        // One line, whatever the other side wrote.
        for (index, line) in inner.message.lines().enumerate() {
            let separator = if index == 0 { "" } else { " | " };
            write!(formatter, "{separator}{}", line.trim_end())?;
        }
        write!(formatter, " ({}", inner.kind)?;
        // Said only where it is news: for these kinds "nothing happened" is what a reader assumes.
        if inner.outcome == Outcome::Unknown && inner.operation.is_some_and(|operation| !operation.is_read())
        {
            formatter.write_str(", it may have happened")?;
        }
        formatter.write_str(")")?;
        if let Some(hint) = &inner.hint {
            write!(formatter, "; {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        formatter
            .debug_struct("Error")
            .field("kind", &inner.kind)
            .field("outcome", &inner.outcome)
            .field("retry", &inner.retry)
            .field("operation", &inner.operation)
            .field("substrate", &inner.substrate)
            .field("instance", &inner.instance)
            .field("message", &inner.message)
            .field("hint", &inner.hint)
            .field("source", &inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = &*self.0;
        let mut document = serializer.serialize_struct("Error", 7)?;
        document.serialize_field("kind", &inner.kind)?;
        document.serialize_field("operation", &inner.operation)?;
        document.serialize_field("substrate", &inner.substrate)?;
        document.serialize_field("instance", &inner.instance)?;
        document.serialize_field("outcome", &inner.outcome)?;
        document.serialize_field("message", &inner.message)?;
        document.serialize_field("hint", &inner.hint)?;
        document.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_says_no_is_a_rejection_and_a_lost_answer_is_unknown() {
        assert_eq!(Error::conflict("x").outcome(), Outcome::Rejected);
        assert_eq!(Error::unsupported("x").outcome(), Outcome::NotSent);
        assert_eq!(Error::timeout("x").outcome(), Outcome::Unknown);
        assert_eq!(Error::unavailable("x").outcome(), Outcome::Unknown);
    }

    #[test]
    fn display_is_one_line_and_says_that_the_effect_may_have_happened() {
        let error = Error::timeout("no answer\nwithin 3 s").with_operation(Operation::CreateInstance);
        assert_eq!(
            error.to_string(),
            "create_instance: no answer | within 3 s (timeout, it may have happened)"
        );
    }

    #[test]
    fn a_text_that_nobody_can_read_keeps_its_beginning_and_its_end() {
        for filler in ["x", "☃"] {
            let error = Error::protocol(format!("first {} last", filler.repeat(1 << 20)));
            let message = error.message();
            assert!(message.len() <= LONGEST_TEXT && message.len() > LONGEST_TEXT / 2, "{}", message.len());
            assert!(
                message.starts_with("first ") && message.ends_with(" last") && message.contains("left out")
            );
            let error = Error::busy("x").with_hint(message.repeat(9));
            assert!(error.hint().unwrap().len() <= LONGEST_TEXT);
        }
        let whole = "x".repeat(LONGEST_TEXT);
        assert_eq!(Error::protocol(&whole).message(), whole);
    }

    #[test]
    fn the_innermost_context_stays() {
        let error = Error::busy("locked").with_instance("a").with_instance("b");
        assert_eq!(error.instance(), Some("a"));
    }

    #[test]
    fn a_result_of_nothing_is_one_pointer() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn every_kind_has_its_predicate_and_name() {
        assert_eq!(ErrorKind::ALL.len(), 15);
        for kind in ErrorKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert!(Error::protocol("x").is_protocol());
    }
}
