//! Operations: everything that takes time is one, and is followed to its end.
//!
//! A server forgets an operation five seconds after its end, and all of them when it ends itself. So the record
//! can be gone although the work is done: then whoever asked looks at the thing itself.

use serde::Deserialize;
use serde_json::Value;
use substrate_core::{Error, Result};

/// An operation as the servers describe it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Operation {
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    pub(crate) err: String,
    #[serde(default)]
    pub(crate) metadata: Option<Value>,
}

/// How far an operation is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Running,
    Succeeded,
    Failed,
}

impl Operation {
    pub(crate) fn progress(&self) -> Progress {
        match self.status_code {
            200 => Progress::Succeeded,
            400.. => Progress::Failed,
            _ => Progress::Running,
        }
    }

    /// The id, for a path of our own making: what the server gives as a path is not sent anywhere.
    pub(crate) fn checked(self, attempt: &str) -> Result<Self> {
        if !self.id.is_empty() && self.id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
            return Ok(self);
        }
        Err(Error::protocol(format!("cannot {attempt}: the server began an operation without a usable id")))
    }
}

/// How following an operation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It succeeded.
    Done,
    /// Its record is gone: how it ended only the thing itself can tell.
    Gone,
}

/// Whether a server says that it knows no such operation, in place of what an operation itself failed with.
pub(crate) fn is_gone(status: u16, message: &str) -> bool {
    let message = message.trim().to_ascii_lowercase();
    status == 404 && matches!(message.as_str(), "not found" | "operation not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_how_far_it_is() {
        for (code, progress) in [
            (100, Progress::Running),
            (103, Progress::Running),
            (105, Progress::Running),
            (200, Progress::Succeeded),
            (400, Progress::Failed),
            (401, Progress::Failed),
        ] {
            let operation: Operation =
                serde_json::from_value(serde_json::json!({"id": "a", "status_code": code})).unwrap();
            assert_eq!(operation.progress(), progress, "{code}");
        }
    }

    #[test]
    fn a_missing_record_is_not_the_failure_of_an_operation() {
        assert!(is_gone(404, "Operation not found") && is_gone(404, "not found"));
        assert!(!is_gone(404, "Image alias not found") && !is_gone(500, "not found"));
    }
}
