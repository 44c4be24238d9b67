//! Labels and metadata in the one place that every call can set at creation: the description.
//!
//! A clone takes no tags, and copies its source's description unless it is given another. So the mark is in the
//! description, always given, and names the id that it is for: on a guest with another id it is a copy that somebody
//! else made, and means nothing. It is a comment at the end, which the web interface does not show; what stands
//! above it is the user's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use substrate_core::{Error, Labels, Result};

use super::base64;

const BEGIN: &str = "<!-- substrate:1:";
const END: &str = " -->";
/// The longest description that the API takes.
const LONGEST: usize = 8192;

/// What this crate keeps with a guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// The id that it was written for.
    #[serde(rename = "i")]
    pub(crate) vmid: u64,
    /// Made anew for each creation: what tells this guest from another that got its id later.
    #[serde(rename = "n")]
    pub(crate) nonce: String,
    /// When it was made, in seconds on the server's clock.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<u64>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    #[serde(rename = "l", default, skip_serializing_if = "Labels::is_empty")]
    pub(crate) labels: Labels,
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, Value>,
    /// What could not be set by the call that made it, and is not set yet.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(crate) unfinished: Option<Unfinished>,
}

/// What is left to do before a guest is as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    /// A disk to grow.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) disk: Option<(String, u64)>,
    /// Settings to change.
    #[serde(rename = "s", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) settings: BTreeMap<String, String>,
    /// Whether there were more that must not stand in a description: then nobody else can finish it.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) secret: bool,
}

impl Unfinished {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The user's own text of a description, and ours.
pub(crate) fn read(description: &str) -> (&str, Option<Marks>) {
    let Some(start) = description.rfind(BEGIN) else { return (description, None) };
    let marks = || {
        let (_, rest) = description.split_at_checked(start + BEGIN.len())?;
        let (encoded, _) = rest.split_once(END)?;
        serde_json::from_slice(&base64::decode(encoded)?).ok()
    };
    let own = description.get(..start).unwrap_or_default().trim_end_matches('\n');
    match marks() {
        Some(marks) => (own, Some(marks)),
        None => (description, None),
    }
}

/// The description with the user's text and ours.
pub(crate) fn write(own: &str, marks: &Marks) -> Result<String> {
    let json = serde_json::to_vec(marks)
        .map_err(|error| Error::internal(format!("the labels cannot be written: {error}")))?;
    let separator = if own.is_empty() { "" } else { "\n\n" };
    let text = format!("{own}{separator}{BEGIN}{}{END}", base64::encode(&json));
    if text.len() > LONGEST {
        return Err(Error::invalid_input(format!(
            "labels, metadata and description need {} bytes together; Proxmox VE keeps {LONGEST}",
            text.len()
        ))
        .with_hint("keep large metadata elsewhere, and a reference to it here"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        let labels = [("a", "--> größe ☃ \n\"x\""), ("empty", "")].into_iter().collect();
        Marks { vmid: 7, nonce: "ab".into(), labels, ..Marks::default() }
    }

    #[test]
    fn marks_and_the_users_text_come_back_exactly() {
        for own in ["", "hello\nworld é", "with <!-- a comment -->"] {
            let text = write(own, &marks()).unwrap();
            assert_eq!(read(&text), (own, Some(marks())), "{text}");
            // Containers get a line end more.
            assert_eq!(read(&format!("{text}\n")), (own, Some(marks())));
        }
    }

    #[test]
    fn what_is_not_ours_is_the_users() {
        for text in ["", "x\n", "<!-- substrate:1:garbage -->", "<!-- substrate:1:"] {
            assert_eq!(read(text), (text, None));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut marks = marks();
        marks.labels.insert("long", "x".repeat(9_000));
        assert!(write("", &marks).unwrap_err().is_invalid_input());
    }
}
