//! What goes wrong on purpose, and what was asked.

use crate::Shared;
use crate::http::Request;

#[derive(Debug, Clone)]
pub enum Fault {
    /// The request is thrown away and the connection closed: nothing happens.
    LoseRequest,
    /// It is done, and the connection closed before the answer.
    LoseAnswer,
    /// This status and reason in place of the answer, after it was done.
    Refuse(u16, String),
    /// The same, as servers before 2025 say it: the reason is in the status line alone.
    RefuseTersely(u16, String),
    /// The answer comes so much later.
    Stall(std::time::Duration),
}

/// A fault for the next requests that fit.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) method: String,
    pub(crate) part: String,
    pub(crate) fault: Fault,
    pub(crate) times: usize,
}

impl Shared {
    pub(crate) fn fault(&self, request: &Request) -> Option<Fault> {
        let mut planned = self.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = planned
            .iter_mut()
            .find(|one| one.times > 0 && one.method == request.method && request.path.contains(&one.part))?;
        found.times -= 1;
        Some(found.fault.clone())
    }
}
