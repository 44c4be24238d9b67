//! Labels of what has a line of text and no labels: networks, snapshots.
//!
//! One word at the end of the text, of characters that every such field takes. What stands before it is the user's.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use substrate_core::{Error, Labels, Result};

use super::base64;

const BEGIN: &str = "substrate:1:";

/// What is kept with a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LabelMarks {
    #[serde(rename = "l", default)]
    pub(crate) labels: Labels,
}

/// The user's own text, and ours.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> (&str, Option<T>) {
    let marks = || {
        let (own, encoded) = text.rsplit_once(BEGIN)?;
        let marks = serde_json::from_slice(&base64::decode(encoded.trim_end())?).ok()?;
        Some((own.trim_end_matches([' ', '\n']), marks))
    };
    match marks() {
        Some((own, marks)) => (own, Some(marks)),
        None => (text, None),
    }
}

/// The text with the user's own and ours. `longest` is what its place takes.
pub(crate) fn write<T: Serialize>(own: &str, marks: &T, longest: usize) -> Result<String> {
    let json = serde_json::to_vec(marks)
        .map_err(|error| Error::internal(format!("the labels cannot be written: {error}")))?;
    let separator = if own.is_empty() { "" } else { "\n" };
    let text = format!("{own}{separator}{BEGIN}{}", base64::encode(&json));
    if text.len() > longest {
        return Err(Error::invalid_input(format!(
            "name, labels and description need {} bytes together; Proxmox VE keeps {longest} here",
            text.len()
        ))
        .with_hint("use fewer or shorter labels"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_the_users_text_come_back_exactly() {
        let marks = LabelMarks { labels: [("a", "größe ☃ \n\"x\"")].into_iter().collect() };
        for own in ["", "hello\nworld é", "substrate:1:no"] {
            let text = write(own, &marks, 1_000).unwrap();
            assert_eq!(read(&text), (own, Some(marks.clone())), "{text}");
            // Comments of interfaces and notes of containers get a line end more.
            assert_eq!(read(&format!("{text}\n")), (own, Some(marks.clone())));
        }
        assert!(write("", &marks, 20).unwrap_err().is_invalid_input());
    }

    #[test]
    fn what_is_not_ours_is_the_users() {
        for text in ["", "x\n", "substrate:1:garbage", "substrate:1:"] {
            assert_eq!(read::<LabelMarks>(text), (text, None));
        }
    }
}
