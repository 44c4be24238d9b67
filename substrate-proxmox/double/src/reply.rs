//! Answers, worded as the real daemon words them.

use serde_json::{Map, Value, json};

/// What a call gives.
pub(crate) type Answer = Result<Value, Refusal>;

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) errors: Vec<(String, String)>,
    /// Nothing in the body, as 401 and 596 have it.
    pub(crate) empty: bool,
    /// Text and no JSON.
    pub(crate) plain: bool,
    /// Nothing but `data` in the body.
    pub(crate) terse: bool,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), errors: Vec::new(), empty: false, plain: false, terse: false }
    }

    pub(crate) fn empty(status: u16, message: impl Into<String>) -> Self {
        Self { empty: true, ..Self::new(status, message) }
    }

    pub(crate) fn plain(status: u16, message: impl Into<String>) -> Self {
        Self { plain: true, ..Self::new(status, message) }
    }

    pub(crate) fn terse(status: u16, message: impl Into<String>) -> Self {
        Self { terse: true, ..Self::new(status, message) }
    }

    pub(crate) fn parameters(errors: Vec<(String, String)>) -> Self {
        Self { errors, ..Self::new(400, "Parameter verification failed.") }
    }

    pub(crate) fn parameter(name: &str, problem: impl Into<String>) -> Self {
        Self::parameters(vec![(name.to_owned(), problem.into())])
    }

    pub(crate) fn body(&self) -> String {
        if self.empty {
            return String::new();
        }
        if self.plain {
            return self.message.clone();
        }
        if self.terse {
            return json!({"data": null}).to_string();
        }
        // 501 alone has no line end.
        let end = if self.status == 501 { "" } else { "\n" };
        let mut body = json!({"data": null, "message": format!("{}{end}", self.message)});
        if !self.errors.is_empty() {
            let errors: Map<String, Value> =
                self.errors.iter().map(|(name, problem)| (name.clone(), problem.clone().into())).collect();
            body["errors"] = errors.into();
        }
        body.to_string()
    }
}

/// Data, and what stands beside it in the answer.
pub(crate) fn beside(data: Value, name: &str, value: Value) -> Value {
    json!({ BESIDE: {"data": data, name: value} })
}

/// No answer has a field of this name.
const BESIDE: &str = "\u{0}beside";

pub(crate) fn body_of(data: &Value) -> String {
    match data.get(BESIDE) {
        Some(whole) => whole.to_string(),
        None => json!({ "data": data }).to_string(),
    }
}

/// 500 with these words.
pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(500, message))
}
