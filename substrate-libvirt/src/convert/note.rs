//! What we keep with a domain, in its `<metadata>` under our namespace: labels, free data, and what libvirt has no
//! place for. It travels inside the define call, and libvirt hands it back untouched.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use substrate_core::Labels;

use super::element::Element;

/// The namespace of our metadata.
pub(crate) const NAMESPACE: &str = "urn:substrates:instance:1";
/// The prefix that it is written with.
const PREFIX: &str = "substrate";

/// Our note on a domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Note {
    pub(crate) labels: Labels,
    pub(crate) metadata: BTreeMap<String, serde_json::Value>,
    /// Milliseconds since 1970.
    pub(crate) created: Option<u64>,
    pub(crate) image: Option<String>,
    /// The pool that holds what the machine owns.
    pub(crate) pool: Option<String>,
    pub(crate) disk_gb: Option<u64>,
    /// Fixed addresses by hardware address.
    pub(crate) addresses: BTreeMap<String, String>,
}

impl Note {
    pub(crate) fn created_at(&self) -> Option<SystemTime> {
        // Behind the year 9999 no document can write it.
        let created = self.created.filter(|milliseconds| *milliseconds < 253_402_300_800_000)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(created))
    }

    pub(crate) fn created_now(&mut self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.created = u64::try_from(now.as_millis()).ok();
    }

    /// As an element for `<metadata>`. The text is JSON in plain ASCII: it survives every writer and reader of XML.
    pub(crate) fn to_element(&self) -> Element {
        let json = serde_json::to_string(self).unwrap_or_default();
        Element::of_text(format!("{PREFIX}:instance"), ascii(&json))
            .with(&format!("xmlns:{PREFIX}"), NAMESPACE)
    }

    /// The note on a domain; an empty one where there is none, or none that we can read.
    pub(crate) fn of(domain: &Element) -> Self {
        let metadata = domain.find("metadata").map(Element::children).unwrap_or_default();
        metadata
            .iter()
            .find(|element| element.declares(NAMESPACE))
            .and_then(|element| serde_json::from_str(element.text().trim()).ok())
            .unwrap_or_default()
    }

    /// Writes the note into a domain, leaving other people's metadata alone.
    pub(crate) fn put(&self, domain: &mut Element) {
        if let Some(metadata) = domain.find_mut("metadata") {
            metadata.retain(|element| !element.declares(NAMESPACE));
            metadata.push(self.to_element());
            return;
        }
        domain.push(Element::new("metadata").and(self.to_element()));
    }
}

/// JSON text with everything beyond printable ASCII as escapes.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            text.push(character);
            continue;
        }
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        let mut note =
            Note { image: Some("busybox".into()), created: Some(1_700_000_000_123), ..Note::default() };
        for (key, value) in
            [("plain", "web"), ("odd", "  <b>&amp;]]> \"'\n\t größe ☃ 🦀 \u{7f}\u{ffff} "), ("empty", "")]
        {
            note.labels.insert(key, value);
        }
        note.metadata.insert("nested".into(), serde_json::json!({"list": [1, 2.5, null, true]}));
        note
    }

    #[test]
    fn a_note_comes_back_exactly_through_xml() {
        let mut domain = Element::new("domain");
        note().put(&mut domain);
        let read = Element::parse(&domain.to_xml()).unwrap();
        assert_eq!(Note::of(&read), note());
    }

    #[test]
    fn other_peoples_metadata_stays() {
        let xml = "<domain><metadata><x:y xmlns:x='urn:x'>z</x:y></metadata></domain>";
        let mut domain = Element::parse(xml).unwrap();
        note().put(&mut domain);
        note().put(&mut domain);
        assert_eq!(domain.find("metadata").unwrap().children().len(), 2);
        assert_eq!(domain.text_at("metadata/x:y"), Some("z"));
    }

    #[test]
    fn a_domain_of_somebody_else_has_an_empty_note() {
        assert_eq!(Note::of(&Element::new("domain")), Note::default());
        let torn = format!("<domain><metadata><s:i xmlns:s='{NAMESPACE}'>{{</s:i></metadata></domain>");
        assert_eq!(Note::of(&Element::parse(&torn).unwrap()), Note::default());
    }
}
