//! Texts with `${…}` in them.

use serde_json::Value;
use substrate_core::config::{ConfigError, Section, Substitution};

use super::address::Reference;

/// A text in parts. Environment variables (`${NAME}`) are no longer in it: reading the document replaced them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text, with `$${` already turned into `${`.
    Text(String),
    /// `${var.NAME}`, or `${var.NAME.KEY}` for a part of a map.
    Variable(String),
    /// `${count.index}`: which of several this instance is, from 0.
    CountIndex,
    /// `${web.address}`
    Reference(Reference),
}

impl Template {
    /// Takes a text apart; `None` when there is no `${` in it.
    ///
    /// # Errors
    /// One line that says what is wrong inside some `${…}`.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        if !text.contains("${") {
            return Ok(None);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                rest = after;
                continue;
            }
            literal.push_str(before);
            let (inside, after) = after.split_once('}').ok_or("`${` without a closing `}`")?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(match inside.strip_prefix("var.") {
                Some(name) => Part::Variable(name.to_owned()),
                None if inside == "count.index" => Part::CountIndex,
                None => Part::Reference(Reference::parse(inside)?),
            });
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Some(Self { parts }))
    }

    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The only part, when there is one and it is no text: then a value of any type can take the text's place.
    #[must_use]
    pub fn single(&self) -> Option<&Part> {
        match self.parts.as_slice() {
            [part] if !matches!(part, Part::Text(_)) => Some(part),
            _ => None,
        }
    }
}

/// The text of a value inside a longer text.
pub(crate) fn text_of(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(items) => Ok(items.iter().map(text_of).collect::<Result<Vec<_>, _>>()?.join(",")),
        Value::Null => Err("has no value".to_owned()),
        Value::Object(_) => Err("is a map, which cannot stand inside a text".to_owned()),
    }
}

/// Replaces every reference of a section by what `output` knows of it, and undoes the escape `$${`: the last step
/// before specs are used. A text that is nothing but one reference becomes the output itself, whatever its type.
///
/// ```
/// use serde_json::json;
/// use substrate_core::config::Section;
/// use substrate_engine::model::resolve_templates;
/// let specs = Section::from_value(json!({"environment": {"DB": "${db.address}:5432", "RAW": "$${x}"}}));
/// let resolved = resolve_templates(&specs, |reference| match reference.output.as_str() {
///     "address" => Some(json!("10.0.0.7")),
///     _ => None,
/// })?;
/// assert_eq!(resolved.get("environment.DB", String::new())?, "10.0.0.7:5432");
/// assert_eq!(resolved.get("environment.RAW", String::new())?, "${x}");
/// # Ok::<(), substrate_core::config::ConfigError>(())
/// ```
///
/// # Errors
/// All references at once that `output` has no value for.
pub fn resolve_templates(
    section: &Section,
    mut output: impl FnMut(&Reference) -> Option<Value>,
) -> Result<Section, ConfigError> {
    section.substitute(|at| {
        let Some(template) = Template::parse(at.text)? else { return Ok(Substitution::Keep) };
        let mut value_of = |reference: &Reference| {
            output(reference).ok_or_else(|| format!("`${{{reference}}}` has no value"))
        };
        if let Some(Part::Reference(reference)) = template.single() {
            return Ok(Substitution::Section(Box::new(Section::from_value(value_of(reference)?))));
        }
        let mut text = String::new();
        for part in template.parts() {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Reference(reference) => text.push_str(
                    &text_of(&value_of(reference)?)
                        .map_err(|reason| format!("`${{{reference}}}` {reason}"))?,
                ),
                Part::Variable(name) => return Err(format!("`${{var.{name}}}` was not replaced")),
                Part::CountIndex => return Err("`${count.index}` was not replaced".to_owned()),
            }
        }
        Ok(Substitution::Text(text))
    })
}

#[cfg(test)]
mod tests {
    use super::{Part, Template};

    fn parts(text: &str) -> Vec<Part> {
        Template::parse(text).unwrap().unwrap().parts().to_vec()
    }

    #[test]
    fn a_text_without_templates_is_none() {
        assert_eq!(Template::parse("plain $x {y}"), Ok(None));
    }

    #[test]
    fn parts_keep_their_order_and_the_escape_is_undone() {
        let parts = parts("a$${b}${var.size.cpu}-${count.index}");
        assert_eq!(parts[0], Part::Text("a${b}".to_owned()));
        assert_eq!(parts[1], Part::Variable("size.cpu".to_owned()));
        assert_eq!(parts[2], Part::Text("-".to_owned()));
        assert_eq!(parts[3], Part::CountIndex);
    }

    #[test]
    fn only_a_template_that_is_all_of_the_text_is_single() {
        assert!(Template::parse("${web.address}").unwrap().unwrap().single().is_some());
        assert!(Template::parse("${web.address}:80").unwrap().unwrap().single().is_none());
        assert!(Template::parse("$${x}").unwrap().unwrap().single().is_none());
    }

    #[test]
    fn what_is_no_reference_is_said() {
        assert!(Template::parse("${web}").unwrap_err().contains("not a reference"));
        assert!(Template::parse("${web.address").unwrap_err().contains("closing"));
    }
}
