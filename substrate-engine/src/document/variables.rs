//! `${var.…}`: replaced while a document is read, so that everything behind sees final types.

use std::collections::HashSet;

use serde_json::{Map, Value};
use substrate_core::config::{ConfigError, Location, Problem, Section, Substitution, nearest, quoted};

use crate::model::{Part, Reference, Template, Variables};

/// The variables that one document may use.
pub(super) struct Scope {
    values: Section,
}

impl Scope {
    /// What the caller gave, over what the document declares.
    pub(super) fn new(declared: Option<Section>, given: &Variables, problems: &mut Vec<Problem>) -> Self {
        let mut values = Section::empty("var");
        if let Some(declared) = declared {
            if declared.is_map() || declared.is_null() {
                let (uses, wrong) = templates_of(&declared);
                problems.extend(wrong);
                problems.extend(uses.into_iter().map(|place| {
                    place.because("a variable cannot use variables or references: its value must be plain")
                }));
                values = declared;
            } else {
                problems.extend(
                    declared.into_entries().err().map(ConfigError::into_problems).unwrap_or_default(),
                );
            }
        }
        let given: Map<String, Value> =
            given.names().filter_map(|name| Some((name.to_owned(), escaped(given.get(name)?)))).collect();
        Self { values: values.overlay(&Section::from_value(Value::Object(given))).named("var") }
    }

    /// The section with its variables replaced. References stay.
    pub(super) fn apply(&self, section: Section) -> Result<Section, Box<(Section, ConfigError)>> {
        let mut needed = false;
        section.for_each_text(|at| needed |= at.text.contains("${var."));
        if !needed {
            return Ok(section);
        }
        section
            .substitute(|at| {
                if !at.text.contains("${var.") {
                    return Ok(Substitution::Keep);
                }
                let Some(template) = Template::parse(at.text)? else { return Ok(Substitution::Keep) };
                if let Some(Part::Variable(path)) = template.single() {
                    return Ok(Substitution::Section(Box::new(self.value(path)?)));
                }
                self.text(&template)
            })
            .map_err(|error| Box::new((section, error)))
    }

    fn text(&self, template: &Template) -> Result<Substitution, String> {
        let mut text = String::new();
        let mut hidden = false;
        for part in template.parts() {
            match part {
                Part::Text(literal) => text.push_str(&literal.replace("${", "$${")),
                Part::Variable(path) => {
                    let value = self.value(path)?;
                    value.for_each_text(|at| hidden |= at.hidden);
                    // Scalars read as text are as they were written: `1.10` stays `1.10`.
                    let written: String = value.parse().map_err(|_| {
                        format!("`${{var.{path}}}` is no single value and cannot stand inside a text")
                    })?;
                    text.push_str(&written);
                }
                Part::CountIndex => text.push_str("${count.index}"),
                Part::Reference(reference) => text.push_str(&format!("${{{reference}}}")),
            }
        }
        Ok(if hidden { Substitution::HiddenText(text) } else { Substitution::Text(text) })
    }

    fn value(&self, path: &str) -> Result<Section, String> {
        match self.values.child(path) {
            Some(value) if value.is_null() => {
                Err(format!("the variable {} has no value: give it one", quoted(path)))
            }
            Some(value) => Ok(value),
            None => {
                let message = format!("there is no variable {}", quoted(path));
                Err(match nearest(path, self.values.keys()) {
                    Some(known) => format!("{message}: did you mean {}?", quoted(known)),
                    None => message,
                })
            }
        }
    }
}

/// Problems without those about texts whose variables could not be replaced: these were reported, and whatever else a
/// reader says of them is about the template and not about the value.
pub(crate) fn without_consequences(
    section: &Section,
    problems: Vec<Problem>,
) -> impl Iterator<Item = Problem> {
    let mut unreplaced: HashSet<Option<Location>> = HashSet::new();
    section.for_each_text(|at| {
        if at.text.contains("${var.") {
            unreplaced.insert(at.location.cloned());
        }
    });
    problems.into_iter().filter(move |problem| !unreplaced.contains(&problem.location))
}

/// A value whose texts are no templates, whatever is in them.
fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${", "$${")),
        Value::Array(items) => Value::Array(items.iter().map(escaped).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), escaped(value))).collect())
        }
        other => other.clone(),
    }
}

struct Place(Problem);

impl Place {
    fn because(self, message: &str) -> Problem {
        Problem { message: message.to_owned(), ..self.0 }
    }
}

fn templates_of(section: &Section) -> (Vec<Place>, Vec<Problem>) {
    let mut places = Vec::new();
    let mut wrong = Vec::new();
    section.for_each_text(|at| {
        let place = || Problem::new(section.name(), "").at(at.location.cloned());
        match Template::parse(at.text) {
            Ok(Some(template)) if template.parts().iter().any(|part| !matches!(part, Part::Text(_))) => {
                places.push(Place(place()));
            }
            Ok(_) => {}
            Err(message) => wrong.push(Place(place()).because(&message)),
        }
    });
    (places, wrong)
}

/// The references in the texts of a section, and the texts that are no proper templates.
pub(crate) fn references_of(section: &Section) -> (Vec<Reference>, Vec<Problem>) {
    let mut references = Vec::new();
    let mut wrong = Vec::new();
    section.for_each_text(|at| match Template::parse(at.text) {
        Ok(template) => {
            for part in template.iter().flat_map(Template::parts) {
                if let Part::Reference(reference) = part {
                    references.push(Reference { location: at.location.cloned(), ..reference.clone() });
                }
            }
        }
        Err(message) => wrong.push(Problem::new(section.name(), message).at(at.location.cloned())),
    });
    (references, wrong)
}
