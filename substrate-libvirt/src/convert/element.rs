//! XML as a tree, written and read by `quick-xml`: no document is ever pasted together from text, so no
//! name or label can break out of its place.

use quick_xml::Reader;
use quick_xml::events::Event;
use substrate_core::{Error, Result};

/// How deep a document may be nested. libvirt's own end at some ten levels.
const DEEPEST: usize = 64;

/// One element with everything in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
    /// The text directly inside; libvirt's documents never mix text and elements.
    text: String,
}

impl Element {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// An element that holds nothing but text.
    pub(crate) fn of_text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), ..Self::default() }
    }

    // ---- writing ----------------------------------------------------------------------------------

    /// Sets an attribute.
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set(key, value);
        self
    }

    /// Adds an element at the end.
    pub(crate) fn and(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// Adds an element at the end, if there is one.
    pub(crate) fn and_maybe(mut self, child: Option<Self>) -> Self {
        self.children.extend(child);
        self
    }

    /// Adds elements at the end.
    pub(crate) fn and_all(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((key.to_owned(), value)),
        }
    }

    pub(crate) fn push(&mut self, child: Self) {
        self.children.push(child);
    }

    /// Puts an element in the place of the first one of its name, or at the end.
    pub(crate) fn replace(&mut self, child: Self) {
        match self.children.iter_mut().find(|known| known.name == child.name) {
            Some(place) => *place = child,
            None => self.children.push(child),
        }
    }

    /// Keeps the elements for which this holds.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Self) -> bool) {
        self.children.retain(keep);
    }

    /// The document as text.
    pub(crate) fn to_xml(&self) -> String {
        let mut xml = String::with_capacity(512);
        self.write(&mut xml);
        xml
    }

    fn write(&self, xml: &mut String) {
        xml.push('<');
        xml.push_str(&self.name);
        for (key, value) in &self.attributes {
            xml.push(' ');
            xml.push_str(key);
            xml.push_str("=\"");
            xml.push_str(&escaped(value));
            xml.push('"');
        }
        if self.children.is_empty() && self.text.is_empty() {
            xml.push_str("/>");
            return;
        }
        xml.push('>');
        xml.push_str(&escaped(&self.text));
        for child in &self.children {
            child.write(xml);
        }
        xml.push_str("</");
        xml.push_str(&self.name);
        xml.push('>');
    }

    // ---- reading ----------------------------------------------------------------------------------

    /// Reads a document.
    ///
    /// # Errors
    /// `Protocol` for what is no XML.
    pub(crate) fn parse(xml: &str) -> Result<Self> {
        let wrong = |why: String| Error::protocol(format!("libvirt described something unreadably: {why}"));
        let mut reader = Reader::from_str(xml);
        let mut open: Vec<Self> = Vec::new();
        loop {
            let event = reader.read_event().map_err(|error| wrong(error.to_string()))?;
            let (started, is_empty) = match event {
                Event::Start(start) => (Some(start), false),
                Event::Empty(start) => (Some(start), true),
                Event::End(_) => {
                    let mut done =
                        open.pop().ok_or_else(|| wrong("an end without a beginning".to_owned()))?;
                    if !done.children.is_empty() {
                        // Only the indentation between the elements.
                        done.text.clear();
                    }
                    match open.last_mut() {
                        Some(parent) => parent.children.push(done),
                        None => return Ok(done),
                    }
                    continue;
                }
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                    continue;
                }
                Event::CData(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                    continue;
                }
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|error| wrong(error.to_string()))?;
                    let text = match character {
                        Some(character) => character.to_string(),
                        None => {
                            let name = reference.xml10_content();
                            quick_xml::escape::resolve_predefined_entity(&name)
                                .ok_or_else(|| wrong(format!("an unknown entity `{name}`")))?
                                .to_owned()
                        }
                    };
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text);
                    }
                    continue;
                }
                Event::Eof => return Err(wrong("it ends too early".to_owned())),
                _ => continue,
            };
            let Some(started) = started else { continue };
            let mut element = Self::new(started.name().into_inner());
            for attribute in started.attributes() {
                let attribute = attribute.map_err(|error| wrong(error.to_string()))?;
                let value = attribute
                    .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                    .map_err(|error| wrong(error.to_string()))?;
                element.attributes.push((attribute.key.into_inner().to_owned(), value.into_owned()));
            }
            if !is_empty {
                if open.len() >= DEEPEST {
                    return Err(wrong(format!("it is nested more than {DEEPEST} deep")));
                }
                open.push(element);
                continue;
            }
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether a namespace of this name is declared here.
    pub(crate) fn declares(&self, namespace: &str) -> bool {
        self.attributes.iter().any(|(key, value)| key.starts_with("xmlns") && value == namespace)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn children(&self) -> &[Self] {
        &self.children
    }

    /// The elements of this name directly inside.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element at a path such as `devices/disk`.
    pub(crate) fn find(&self, path: &str) -> Option<&Self> {
        path.split('/')
            .try_fold(self, |element, name| element.children.iter().find(|child| child.name == name))
    }

    /// The same, to be changed.
    pub(crate) fn find_mut(&mut self, path: &str) -> Option<&mut Self> {
        path.split('/')
            .try_fold(self, |element, name| element.children.iter_mut().find(|child| child.name == name))
    }

    pub(crate) fn children_mut(&mut self) -> &mut [Self] {
        &mut self.children
    }

    /// The text at a path, without space around it.
    pub(crate) fn text_at(&self, path: &str) -> Option<&str> {
        self.find(path).map(|element| element.text.trim())
    }

    /// An attribute of the first element at a path.
    pub(crate) fn attribute_at(&self, path: &str, key: &str) -> Option<&str> {
        self.find(path)?.attribute(key)
    }
}

/// Escapes what XML means something by, and leaves out what it cannot hold at all.
fn escaped(text: &str) -> String {
    let allowed = |character: &char| matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let kept: String = text.chars().filter(allowed).collect();
    quick_xml::escape::escape(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_whatever_the_text() {
        let hostile = "]]> <x a=\"1\"/> & ' \" größe ☃ 🦀";
        let element = Element::new("domain")
            .with("type", hostile)
            .and(Element::of_text("name", hostile))
            .and(Element::new("devices").and(Element::new("disk").with("file", "a&b")));
        assert_eq!(Element::parse(&element.to_xml()).unwrap(), element);
    }

    #[test]
    fn indentation_is_no_text() {
        let parsed = Element::parse("<?xml version='1.0'?>\n<a>\n  <b> x </b>\n  <!-- c -->\n</a>").unwrap();
        assert_eq!(parsed.text(), "");
        assert_eq!(parsed.text_at("b"), Some("x"));
    }

    #[test]
    fn references_are_resolved() {
        let parsed = Element::parse("<a b='&lt;&#x41;'>&amp;&#65;</a>").unwrap();
        assert_eq!((parsed.attribute("b"), parsed.text()), (Some("<A"), "&A"));
    }

    #[test]
    fn a_character_that_xml_cannot_hold_is_left_out() {
        let element = Element::of_text("a", "x\u{1}\u{ffff}y");
        assert_eq!(element.to_xml(), "<a>xy</a>");
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for xml in ["", "text", "<a>", "<a></b>", "<a b=></a>", "<a>&nope;</a>", &"<a>".repeat(10_000)] {
            assert!(Element::parse(xml).unwrap_err().is_protocol(), "{xml:.20}");
        }
    }
}
