//! What the words on the command line stand for: files, variables, deployments.

use std::io::Read;
use std::path::Path;

use serde_json::Value;
use substrates::Error;
use substrates::config::{Environment, Section};
use substrates::engine::model::{Blueprint, Name, Variables};
use substrates::engine::{Documents, JournalStore, Reader};

use super::arguments::Place;
use crate::ending::Ending;

/// Reads the files; `-` is standard input. What is wrong with them is kept in the documents.
pub(super) fn read(place: &Place) -> Result<Documents, Ending> {
    read_files(place, place.blueprints.iter().map(|path| &**path))
}

/// As [`read`]; a word that is no file may be the name of something that was deployed.
pub(super) async fn read_or_known(place: &Place, journals: &JournalStore) -> Result<Documents, Ending> {
    let deployed = journals.deployments().await?;
    let (names, files): (Vec<_>, Vec<_>) = place.blueprints.iter().map(|path| &**path).partition(|path| {
        !path.exists() && path.to_str().is_some_and(|word| deployed.iter().any(|known| known == word))
    });
    let mut documents = read_files(place, files.into_iter())?;
    for name in names.iter().filter_map(|path| Name::new(path.to_str()?).ok()) {
        if documents.blueprints.iter().all(|one| one.name.value != name) {
            documents.blueprints.push(Blueprint::new(name));
        }
    }
    Ok(documents)
}

fn read_files<'a>(place: &Place, files: impl Iterator<Item = &'a Path>) -> Result<Documents, Ending> {
    let reader = Reader::new().environment(Environment::from_process()).variables(variables(place)?);
    let reader =
        files.map(|path| (path, path.as_os_str() == "-")).try_fold(reader, |reader, (path, stdin)| {
            if !stdin {
                return Ok(reader.file(path));
            }
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            Ok::<_, Ending>(reader.text("-", text))
        })?;
    Ok(reader.read())
}

/// From the files, in their order, and then from the line.
fn variables(place: &Place) -> Result<Variables, Ending> {
    let mut variables = Variables::default();
    for path in &place.variable_files {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::invalid_input(format!("cannot read `{shown}`: {error}")))?;
        for (name, value) in Section::from_yaml(&shown, &text, Environment::from_process())?.into_entries()? {
            variables = variables.with(name, value.to_value()?);
        }
    }
    for given in &place.variables {
        variables = variables.with(&given.key, typed(&given.value));
    }
    Ok(variables)
}

/// A number or a truth value where nothing of what was written is lost: `1.10` is a version and stays a text.
fn typed(text: &str) -> Value {
    let is_as_written = |value: &Value| serde_json::to_string(value).is_ok_and(|written| written == text);
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) if is_as_written(&value) => value,
        _ => text.into(),
    }
}
