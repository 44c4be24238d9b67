//! How a command ended, from the status that comes last on its websocket.

use kube::core::Status;
use kube::core::response::StatusSummary;
use substrate_core::{Error, ExitStatus, Outcome, Result};

/// What a runtime writes as the command's own output when it could not start it.
const RUNTIME_REFUSAL: &str = "OCI runtime exec failed";
/// What runtimes say about a program that cannot be executed.
const NOT_STARTED: &[&str] = &[
    "executable file not found",
    "no such file or directory",
    "permission denied",
    "exec format error",
    "not a directory",
    RUNTIME_REFUSAL,
    "unable to find user",
];

/// Whether output may be the beginning of a runtime's refusal: then it is held back until the status decides.
pub(crate) fn may_be_refusal(output: &[u8]) -> bool {
    let refusal = RUNTIME_REFUSAL.as_bytes();
    let length = output.len().min(refusal.len());
    !output.is_empty() && output.get(..length) == refusal.get(..length)
}

/// The end that a status tells. `held` is output that may be a runtime's refusal.
///
/// # Errors
/// `InvalidInput` when the program could not be started; `Protocol` for a status that tells nothing.
pub(crate) fn of_status(content: &[u8], held: &[u8]) -> Result<ExitStatus> {
    let status: Status = serde_json::from_slice(content)
        .map_err(|cause| Error::protocol(format!("the status of the command cannot be read: {cause}")))?;
    if status.status == Some(StatusSummary::Success) {
        return Ok(ExitStatus::Code(0));
    }
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let code = causes
        .iter()
        .find(|cause| cause.reason == "ExitCode")
        .and_then(|cause| cause.message.parse::<i32>().ok());
    match code {
        // The runtime's own codes; a program may return them too, but does not write this.
        Some(126 | 127) if held.starts_with(RUNTIME_REFUSAL.as_bytes()) => {
            Err(not_started(&String::from_utf8_lossy(held)))
        }
        Some(code) => Ok(ExitStatus::Code(code)),
        None if NOT_STARTED.iter().any(|words| status.message.contains(words)) => {
            Err(not_started(&status.message))
        }
        None if status.message.contains("container not found")
            || status.message.contains("is not running") =>
        {
            Err(Error::conflict(format!("the instance does not run: {}", status.message)))
        }
        None => Err(Error::protocol(format!("the command ended without an exit code: {}", status.message))
            .with_outcome(Outcome::Unknown)),
    }
}

fn not_started(message: &str) -> Error {
    Error::invalid_input(format!("the command could not be started: {}", message.trim()))
        .with_outcome(Outcome::Rejected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: &str) -> Vec<u8> {
        format!(
            r#"{{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",
                "details":{{"causes":[{{"reason":"ExitCode","message":"{code}"}}]}}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn the_exit_code_is_in_the_causes() {
        assert_eq!(of_status(&failed("7"), b"").unwrap(), ExitStatus::Code(7));
        assert_eq!(of_status(&failed("126"), b"words").unwrap(), ExitStatus::Code(126));
        assert_eq!(of_status(br#"{"metadata":{},"status":"Success"}"#, b"").unwrap(), ExitStatus::Code(0));
    }

    #[test]
    fn a_missing_program_is_no_exit_code_in_either_form() {
        let words =
            b"OCI runtime exec failed: exec failed: \"x\": executable file not found in $PATH: unknown\r\n";
        assert!(of_status(&failed("126"), words).unwrap_err().is_invalid_input());
        let status =
            br#"{"status":"Failure","message":"error executing command: \"x\": executable file not found"}"#;
        assert!(of_status(status, b"").unwrap_err().is_invalid_input());
    }

    #[test]
    fn a_status_without_a_code_is_no_success() {
        let error = of_status(br#"{"status":"Failure","message":"connection reset"}"#, b"").unwrap_err();
        assert!(error.is_protocol() && error.outcome() == Outcome::Unknown);
        assert!(of_status(b"x", b"").unwrap_err().is_protocol());
    }

    #[test]
    fn only_what_may_be_a_refusal_is_held_back() {
        assert!(may_be_refusal(b"OCI run") && may_be_refusal(b"OCI runtime exec failed: x"));
        assert!(!may_be_refusal(b"") && !may_be_refusal(b"hello"));
    }
}
