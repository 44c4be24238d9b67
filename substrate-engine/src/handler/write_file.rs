//! `kind: WriteFile`: a file on the machine of the engine.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use substrate_core::config::{ConfigError, Section};
use substrate_core::{Error, Labels, Result};

use super::interpretation::{ChangeEffect, Interpretation, Subject};
use super::registry::ResourceHandler;
use super::site::{Found, Site};
use crate::directive::files::is_mode;
use crate::document::references_of;
use crate::plan::{Property, RecordedResource, digest_of};

/// Writes a file on this machine.
///
/// ```yaml
/// kind: WriteFile
/// metadata: {name: hosts}
/// spec: {path: /etc/shop/hosts, content: "${shop/web.address} web\n", mode: "0644"}
/// ```
///
/// It is written beside its place, synchronised and renamed, so that nobody ever reads half of it. When it is missing,
/// or its content or mode is another, it is written again. A file that is there and was not written by this deployment
/// is refused, and one that somebody changed since is not deleted. The folder must be there: nobody would remove one
/// that is made here. `path` is absolute and uses no outputs of others; `mode` is `0644` unless it is given.
#[derive(Debug, Clone, Copy)]
pub struct WriteFileHandler;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Specs {
    path: String,
    content: String,
    #[serde(default = "default_mode")]
    mode: String,
}

fn default_mode() -> String {
    "0644".to_owned()
}

#[async_trait]
impl ResourceHandler for WriteFileHandler {
    fn kind(&self) -> &str {
        "WriteFile"
    }

    fn needs_facility(&self) -> bool {
        false
    }

    fn interpret(&self, subject: Subject<'_>) -> std::result::Result<Interpretation, ConfigError> {
        let specs = subject.specs;
        let mut typed: Specs = specs.parse()?;
        let place = |key: &str| specs.child(key).unwrap_or_else(|| specs.clone());
        let mut problems = Vec::new();
        let path = &typed.path;
        let is_plain =
            Path::new(path).components().all(|part| !matches!(part, std::path::Component::ParentDir));
        if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') || !is_plain {
            problems.push(place("path").problem("`path` must be the absolute path of a file, without `..`"));
        }
        if !references_of(&place("path")).0.is_empty() {
            let message = "`path` cannot use outputs of other resources: before anything is done it must be known which \
                           file it is";
            problems.push(place("path").problem(message));
        }
        if !is_mode(&typed.mode) {
            let message = "`mode` must be three or four octal digits, such as `\"0644\"`";
            problems.push(place("mode").problem(message));
        }
        if !problems.is_empty() {
            return Err(problems.into_iter().collect());
        }
        typed.mode = format!("{:0>4}", typed.mode);
        Ok(Interpretation::new(serde_json::to_value(&typed).unwrap_or_default()))
    }

    fn effect_of(&self, property: &str) -> ChangeEffect {
        if property == "path" { ChangeEffect::Replace } else { ChangeEffect::Update }
    }

    async fn read(&self, site: &Site<'_>) -> Result<Option<Found>> {
        for path in paths(site) {
            if let Some(seen) = blocking(move || look(&path)).await? {
                return Ok(Some(found(site, &seen)));
            }
        }
        Ok(None)
    }

    async fn create(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        self.write(site, properties, Existing::Refuse).await
    }

    async fn update(&self, site: &Site<'_>, properties: &Value) -> Result<Found> {
        self.write(site, properties, Existing::Overwrite).await
    }

    async fn delete(&self, site: &Site<'_>) -> Result<()> {
        for path in paths(site) {
            let Some(seen) = blocking(move || look(&path)).await? else { continue };
            if !is_as_written(site, &seen) {
                return Err(Error::conflict(format!(
                    "`{}` is not removed: somebody has changed it since it was written",
                    seen.path.display()
                ))
                .with_hint("move it away if it is worth keeping, or remove it, and run the same again"));
            }
            blocking(move || remove(&seen.path)).await?;
        }
        Ok(())
    }
}

impl WriteFileHandler {
    async fn write(&self, site: &Site<'_>, properties: &Value, existing: Existing) -> Result<Found> {
        let mut fields = properties.as_object().cloned().unwrap_or_default();
        fields.remove("resource");
        // As documents are read: where a text belongs, an output that is a number is one.
        let specs: Specs = Section::from_value(Value::Object(fields)).parse().map_err(|error| {
            Error::invalid_input(format!("the file of `{}` cannot be read: {error}", site.id))
                .with_hint("what is a secret is not in the journal: give the documents that it was made from")
        })?;
        // Of a replacement that was interrupted, the new file may be there already.
        let may_be_there = site.recorded.is_some();
        let written = blocking(move || {
            let path = PathBuf::from(&specs.path);
            match write(&path, &specs, existing) {
                Err(error) if error.is_already_exists() && may_be_there => match look(&path)? {
                    Some(seen) if seen.content == specs.content.as_bytes() && seen.mode == specs.mode => {}
                    _ => return Err(error),
                },
                other => other?,
            }
            look(&path)
        });
        let seen =
            written.await?.ok_or_else(|| Error::conflict("the file was removed while it was written"))?;
        let mut found = found(site, &seen);
        found.labels = Some(site.marks.clone());
        Ok(found)
    }
}

/// What becomes of a file that is in the place already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refuse,
    Overwrite,
}

/// A file as it is.
struct Seen {
    path: PathBuf,
    content: Vec<u8>,
    mode: String,
}

/// Where it is: as it was deployed, as it was about to be, or, before both, as it shall be.
fn paths(site: &Site<'_>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::with_capacity(2);
    for record in [site.recorded, site.begun].into_iter().flatten() {
        if let Some(Property::Value(Value::String(path))) = record.canonical.get("path") {
            paths.push(path.into());
        }
    }
    if paths.is_empty() {
        let properties = site.desired.map(|desired| &desired.interpreted.interpretation.properties);
        paths.extend(properties.and_then(|properties| properties.get("path")?.as_str()).map(PathBuf::from));
    }
    paths.dedup();
    paths
}

fn found(site: &Site<'_>, seen: &Seen) -> Found {
    let mut found = Found::new(json!({ "digest": digest(site, &seen.content), "mode": seen.mode }));
    found.identity = Some(seen.path.display().to_string());
    // There is no place for marks in a file. One that was deployed is known by its path, whatever is in it now; of one
    // that was only begun, its content must say that it was written here.
    found.labels = Some(if is_as_written(site, seen) { site.marks.clone() } else { Labels::new() });
    found.with_output("path", seen.path.display().to_string())
}

/// Salted: an equal content elsewhere has another digest, as with all that must not be shown.
fn digest(site: &Site<'_>, content: &[u8]) -> String {
    digest_of(&json!([site.id.to_string(), String::from_utf8_lossy(content)]))
}

/// Whether the content is one that was written here: what was deployed, or what was begun.
fn is_as_written(site: &Site<'_>, seen: &Seen) -> bool {
    let now = digest(site, &seen.content);
    let is_from = |record: &RecordedResource| match &record.reported {
        Some(reported) => reported.get("digest") == Some(&Property::Value(now.clone().into())),
        None => {
            let (properties, _) = site.properties_of(record);
            let content = properties.get("content").and_then(Value::as_str);
            content.is_some_and(|content| content.replace("$${", "${").as_bytes() == seen.content)
        }
    };
    [site.recorded, site.begun].into_iter().flatten().any(is_from)
}

/// Files are read and written on a thread for what blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("work on a file was broken off: {error}"))),
    }
}

fn look(path: &Path) -> Result<Option<Seen>> {
    /// No file that is written from a document is as large; one that is larger is another one.
    const LARGEST: u64 = 32 * 1024 * 1024;
    let failed = |error: &io::Error| failed("read", path, error);
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let mut content = Vec::new();
    // A folder, a link or a device is in the place of the file: there, and nothing that was written here.
    if meta.is_file() {
        let file = fs::File::open(path).map_err(|error| failed(&error))?;
        file.take(LARGEST).read_to_end(&mut content).map_err(|error| failed(&error))?;
    }
    let mode = if meta.is_file() { mode_of(&meta) } else { "no file".to_owned() };
    Ok(Some(Seen { path: path.to_owned(), content, mode }))
}

fn write(path: &Path, specs: &Specs, existing: Existing) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::invalid_input(format!("`{}` is not the path of a file", path.display())));
    };
    let unfinished = folder.join(format!(".{}.substrate-new", name.to_string_lossy()));
    let written = write_beside(&unfinished, specs).and_then(|()| match existing {
        Existing::Overwrite => fs::rename(&unfinished, path),
        // A rename would take the place of what is there; a link does not.
        Existing::Refuse => fs::hard_link(&unfinished, path).and_then(|()| fs::remove_file(&unfinished)),
    });
    let written = written.and_then(|()| fs::File::open(folder)?.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        match error.kind() {
            io::ErrorKind::AlreadyExists => Error::already_exists(format!(
                "`{}` is there and was not written by this deployment",
                path.display()
            ))
            .with_hint("choose another path, or remove what is there"),
            io::ErrorKind::NotFound => {
                Error::not_found(format!("the folder `{}` is not there", folder.display()))
                    .with_hint("make it first: it would stay behind when the file is removed")
            }
            _ => failed("write", path, &error),
        }
    })
}

fn write_beside(unfinished: &Path, specs: &Specs) -> io::Result<()> {
    // Left behind by a run that was killed; never followed, should it be a link.
    match fs::remove_file(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    owner_only(&mut options);
    let mut file = options.open(unfinished)?;
    file.write_all(specs.content.as_bytes())?;
    set_mode(&file, &specs.mode)?;
    file.sync_all()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    let message = format!("cannot {what} `{}`: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::permission_denied(message),
        _ => Error::internal(message),
    }
}

#[cfg(unix)]
fn mode_of(meta: &fs::Metadata) -> String {
    use std::os::unix::fs::PermissionsExt;
    format!("{:04o}", meta.permissions().mode() & 0o7777)
}

#[cfg(unix)]
fn owner_only(options: &mut fs::OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(unix)]
fn set_mode(file: &fs::File, mode: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = u32::from_str_radix(mode, 8).map_err(io::Error::other)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Where there are no modes, every file has the default one.
#[cfg(not(unix))]
fn mode_of(_meta: &fs::Metadata) -> String {
    default_mode()
}

#[cfg(not(unix))]
fn owner_only(_options: &mut fs::OpenOptions) {}

#[cfg(not(unix))]
fn set_mode(_file: &fs::File, _mode: &str) -> io::Result<()> {
    Ok(())
}
