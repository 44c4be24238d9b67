//! From files and texts to documents.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use substrate_core::config::{Environment, Location, Problem, Section, quoted};

use super::Documents;
use super::blueprint::read_blueprint;
use super::kind_form::{BLUEPRINT, resource_type, rewrite_blueprint, rewrite_resource};
use super::manifest::read_manifest;
use super::variables::Scope;
use crate::model::{Blueprint, Name, Resource, Variables};

/// Larger files are refused unread, as the core refuses larger texts.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Gathers the sources of one reading: several files, each with any number of documents.
///
/// Nothing can fail while it gathers, and reading reports every mistake in [`Documents::problems`] instead of
/// stopping at the first: what is sound is checked further, so that one run shows all there is to mend.
///
/// ```
/// use substrate_engine::document::Reader;
/// let text = "name: shop\nvariables: {size: 4}\nresources: [{type: compute, name: web, specs: {cpu: '${var.size}'}}]";
/// let documents = Reader::new().text("shop.yaml", text).read();
/// assert!(documents.problems().is_empty());
/// assert_eq!(documents.blueprints[0].resources[0].specs.get("cpu", 0)?, 4);
/// # Ok::<(), substrate_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is read before `read`"]
pub struct Reader {
    sources: Vec<Source>,
    environment: Environment,
    variables: Variables,
}

#[derive(Debug, Clone)]
enum Source {
    Text { name: String, text: String },
    File(PathBuf),
}

impl Reader {
    /// A reader of nothing, in an empty environment.
    pub fn new() -> Self {
        Self::default()
    }

    /// A YAML text; `name` stands for the file in messages.
    pub fn text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.sources.push(Source::Text { name: name.into(), text: text.into() });
        self
    }

    /// A YAML file; it must exist.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.push(Source::File(path.into()));
        self
    }

    /// The environment that `${NAME}` is taken from; empty unless given. Values from it count as secrets.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Values for `${var.NAME}`, over the defaults of the documents.
    pub fn variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// Reads all sources. Blocks for the time of reading the files.
    #[must_use]
    pub fn read(self) -> Documents {
        let mut documents = Documents::default();
        for source in &self.sources {
            let (name, text) = match source {
                Source::Text { name, text } => (name.clone(), Ok(text.clone())),
                Source::File(path) => (path.display().to_string(), read_file(path)),
            };
            let sections = text.map_err(|problem| vec![problem]).and_then(|text| {
                Section::from_yaml_documents(&name, &text, &self.environment)
                    .map_err(substrate_core::config::ConfigError::into_problems)
            });
            match sections {
                Ok(sections) => self.read_source(&name, sections, &mut documents),
                Err(problems) => documents.problems.extend(problems),
            }
        }
        report_repeated_names(&mut documents);
        documents
    }

    fn read_source(&self, source: &str, sections: Vec<Section>, documents: &mut Documents) {
        let file_name = name_of_source(source);
        let mut single_resources = Vec::new();
        let mut manifests = Vec::new();
        let problems = &mut documents.problems;
        let first = documents.blueprints.len();
        for section in sections {
            if !section.is_map() {
                problems.extend(
                    section.into_entries().err().map(|error| error.into_problems()).unwrap_or_default(),
                );
                continue;
            }
            let kind = section.get_optional::<String>("kind").ok().flatten();
            let blueprint = match kind.as_deref() {
                Some(BLUEPRINT) => rewrite_blueprint(&section, problems),
                Some(kind) => {
                    match resource_type(kind) {
                        Some(kind) => single_resources.push(rewrite_resource(&section, kind, problems)),
                        None => {
                            let scope = Scope::new(None, &self.variables, problems);
                            manifests.extend(read_manifest(section, &scope, problems));
                        }
                    }
                    continue;
                }
                None if section.contains("kind") => {
                    problems.push(section.problem("`kind` must be a word"));
                    continue;
                }
                None if section.contains("resources") || section.contains("name") => section,
                None => {
                    problems.push(section.problem(
                        "this is neither a blueprint (`name`, `resources`) nor a document of a kind (`kind`)",
                    ));
                    continue;
                }
            };
            documents.blueprints.push(read_blueprint(blueprint, &self.variables, &file_name, problems));
        }
        self.add_single_resources(first, &file_name, single_resources, documents);
        add_manifests(manifests, documents);
    }

    /// Resources that stand alone belong to the blueprint of their file, and if it has none, to one that is named
    /// after the file.
    fn add_single_resources(
        &self,
        first: usize,
        file_name: &Name,
        single: Vec<Section>,
        documents: &mut Documents,
    ) {
        let Some(like) = single.first() else { return };
        let blueprint = Section::from_entries(
            &like.clone().named(""),
            [
                ("name".to_owned(), like.with_value(file_name.as_str().into())),
                ("resources".to_owned(), Section::from_items(&like.clone().named("resources"), single)),
            ],
        );
        let single = read_blueprint(blueprint, &self.variables, file_name, &mut documents.problems);
        match documents.blueprints.get_mut(first..) {
            Some([only]) => only.resources.extend(single.resources),
            _ => documents.blueprints.push(single),
        }
    }
}

/// All manifests of a reading are one blueprint: they name none, and depend on each other across files.
fn add_manifests(manifests: Vec<Resource>, documents: &mut Documents) {
    if manifests.is_empty() {
        return;
    }
    let manifests = manifests.into_iter().map(Arc::new);
    match documents.blueprints.iter_mut().find(|one| one.name.value == Name::manifests()) {
        Some(blueprint) => blueprint.resources.extend(manifests),
        None => {
            let mut blueprint = Blueprint::new(Name::manifests());
            blueprint.resources.extend(manifests);
            documents.blueprints.push(blueprint);
        }
    }
}

fn report_repeated_names(documents: &mut Documents) {
    let mut seen = std::collections::HashMap::new();
    let mut problems = Vec::new();
    for name in documents.blueprints.iter().map(|one| &one.name) {
        if let Some(first) = seen.insert(&name.value, name.location.as_ref()) {
            let first = first.map(|at| format!(", first at {at}")).unwrap_or_default();
            let message = format!("the blueprint {} is defined twice{first}", quoted(name.value.as_str()));
            problems.push(Problem::new("blueprint", message).at(name.location.clone()));
        }
    }
    documents.problems.extend(problems);
}

/// A name made of a file's: `shop/web.prod.yaml` gives `web-prod`.
fn name_of_source(source: &str) -> Name {
    let stem =
        Path::new(source).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(80)
        .collect();
    Name::new(&name).unwrap_or_else(|_| Name::unnamed())
}

fn read_file(path: &Path) -> Result<String, Problem> {
    let shown = path.display();
    let cannot = |reason: String| Problem::new("", format!("cannot read `{shown}`: {reason}"));
    let mut bytes = Vec::new();
    // The size that a file claims is not asked: a device or a pipe has none and still never ends.
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(cannot("it is larger than 16 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        Problem::new("", "the text is not UTF-8").at(Location::in_source(shown.to_string(), line, 1))
    })
}
