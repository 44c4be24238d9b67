//! The official schemas: which parameters a call has, and what they may be.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use regex_lite::Regex;
use serde_json::Value;

use crate::params::{Params, text_of};

/// One version's paths, methods and parameters.
pub struct Schema {
    pub name: String,
    /// `VERB /path/{x}` → parameters.
    methods: HashMap<String, BTreeMap<String, Value>>,
    /// By how many parts they have.
    paths: HashMap<usize, Vec<(String, Vec<String>)>>,
}

/// What is wrong with a parameter.
pub(crate) type Problems = Vec<(String, String)>;

impl Schema {
    /// Reads a schema file; nothing when there is none.
    pub fn read(path: &Path) -> Option<Self> {
        let document: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let name = path.file_stem()?.to_string_lossy().into_owned();
        let mut schema = Self { name, methods: HashMap::new(), paths: HashMap::new() };
        for node in document.as_array()? {
            schema.add(node);
        }
        Some(schema)
    }

    fn add(&mut self, node: &Value) {
        if let (Some(path), Some(info)) = (node["path"].as_str(), node["info"].as_object()) {
            let parts: Vec<String> =
                path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            self.paths.entry(parts.len()).or_default().push((path.to_owned(), parts));
            for (verb, method) in info {
                let properties = method["parameters"]["properties"].as_object().cloned().unwrap_or_default();
                self.methods.insert(format!("{verb} {path}"), properties.into_iter().collect());
            }
        }
        for child in node["children"].as_array().into_iter().flatten() {
            self.add(child);
        }
    }

    /// The template that a path fits, with the values in it.
    fn template(&self, segments: &[String]) -> Vec<(&str, Vec<(String, String)>)> {
        let mut found = Vec::new();
        for (path, parts) in self.paths.get(&segments.len()).into_iter().flatten() {
            let mut values = Vec::new();
            let fits = parts.iter().zip(segments).all(|(part, segment)| {
                match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                    Some(name) => {
                        values.push((name.to_owned(), segment.clone()));
                        true
                    }
                    None => part == segment,
                }
            });
            if fits {
                found.push((path.as_str(), values));
            }
        }
        // Literal parts win over placeholders.
        found.sort_by_key(|(_, values)| values.len());
        found
    }

    /// What is wrong with a call: `Err` for a path or method that there is not.
    pub(crate) fn check(&self, verb: &str, segments: &[String], params: &Params) -> Result<Problems, String> {
        let candidates = self.template(segments);
        let found = candidates
            .iter()
            .find_map(|(path, values)| Some((self.methods.get(&format!("{verb} {path}"))?, values)));
        let Some((properties, values)) = found else {
            return Err(format!("Method '{verb} /{}' not implemented", segments.join("/")));
        };
        let mut given: Vec<(String, Value)> =
            values.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
        given.extend(params.0.iter().cloned());
        let mut problems = Problems::new();
        for (name, value) in &given {
            match property(properties, name) {
                None => problems.push((
                    name.clone(),
                    "property is not defined in schema and the schema does not allow additional properties"
                        .to_owned(),
                )),
                Some(rule) => {
                    if let Err(problem) = fits(name, rule, value) {
                        problems.push((name.clone(), problem));
                    }
                }
            }
        }
        for (name, rule) in properties {
            let optional = rule["optional"].as_u64() == Some(1) || rule["optional"].as_bool() == Some(true);
            let there = given.iter().any(|(key, _)| key == name);
            if !optional && !there && !name.ends_with("[n]") {
                problems.push((name.clone(), "property is missing and it is not optional".to_owned()));
            }
        }
        Ok(problems)
    }
}

fn property<'a>(properties: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(rule) = properties.get(name) {
        return Some(rule);
    }
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let stem = name.get(..name.len() - digits).filter(|_| digits > 0)?;
    properties.get(&format!("{stem}[n]"))
}

fn fits(name: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let kind = rule["type"].as_str().unwrap_or("string");
    if kind == "array" {
        return Ok(());
    }
    let text = match value {
        // Found out later, and said otherwise.
        Value::Null => return Ok(()),
        Value::Object(_) => return Err(format!("type check ('{kind}') failed - got HASH")),
        // A list is joined by the real one, where the format is one of lists.
        Value::Array(items) => items.iter().filter_map(text_of).collect::<Vec<_>>().join(","),
        value => text_of(value).unwrap_or_default(),
    };
    let wrong_type = || Err(format!("type check ('{kind}') failed - got '{text}'"));
    match kind {
        "integer" if !regex(r"^[+-]?\d+$", &text) => return wrong_type(),
        "number" if text.parse::<f64>().is_err() => return wrong_type(),
        "boolean"
            if !regex(r"(?i)^(1|on|yes|true|0|off|no|false)$", &text)
                || regex(r"(?i)^(true|false)$", &text) =>
        {
            return wrong_type();
        }
        _ => {}
    }
    if let Some(format) = rule["format"].as_str() {
        format_fits(name, format, &text)?;
    }
    if let Some(format) = rule["format"].as_object() {
        property_string_fits(name, format, &text)?;
    }
    if let Some(pattern) = rule["pattern"].as_str()
        && !regex(&format!("^(?:{})$", pattern.replace("(?^:", "(?:")), &text)
    {
        return Err("value does not match the regex pattern".to_owned());
    }
    if let Some(allowed) = rule["enum"].as_array() {
        let words: Vec<String> = allowed.iter().filter_map(text_of).collect();
        if !words.contains(&text) {
            return Err(format!(
                "value '{text}' does not have a value in the enumeration '{}'",
                words.join(", ")
            ));
        }
    }
    if let Some(most) = rule["maxLength"].as_u64()
        && text.chars().count() as u64 > most
    {
        return Err(format!("value may only be {most} characters long"));
    }
    if let Ok(number) = text.parse::<f64>() {
        if let Some(least) = rule["minimum"].as_f64().filter(|least| number < *least) {
            return Err(format!("value must have a minimum value of {least}"));
        }
        if let Some(most) = rule["maximum"].as_f64().filter(|most| number > *most) {
            return Err(format!("value must have a maximum value of {most}"));
        }
    }
    Ok(())
}

fn format_fits(name: &str, format: &str, text: &str) -> Result<(), String> {
    let dns = r"^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)$";
    let problem = match format {
        "pve-vmid" if !regex(r"^[1-9][0-9]{2,8}$", text) => "value does not look like a valid VM ID",
        "dns-name" if !regex(dns, text) => "value does not look like a valid DNS name",
        "pve-configid" if !regex(r"(?i)^[a-z][a-z0-9_-]+$", text) => {
            return Err(format!("invalid format - invalid configuration ID '{text}'\n"));
        }
        "pve-node" if !regex(r"(?i)^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", text) => {
            "value does not look like a valid node name"
        }
        "pve-storage-id" if !regex(r"(?i)^[a-z][a-z0-9\-_.]*[a-z0-9]$", text) => {
            "storage ID contains illegal characters"
        }
        "pve-tag-list" => {
            let tags = text.split([';', ',', ' ']).filter(|tag| !tag.is_empty());
            let bad = tags.into_iter().find(|tag| !regex(r"(?i)^[a-z0-9_][a-z0-9_\-+.]*$", tag));
            match bad {
                Some(_) => "invalid characters in tag",
                None => return Ok(()),
            }
        }
        "pve-qm-boot" => {
            let known = r"^((ide|sata|scsi|virtio|net|usb|hostpci)\d+)?$";
            let order = text.strip_prefix("order=").unwrap_or_default();
            return match order.split(';').find(|device| !regex(known, device)) {
                Some(device) => Err(format!(
                    "invalid format - format error\n{name}.order: invalid format - invalid boot device '{device}'\n\n"
                )),
                None => Ok(()),
            };
        }
        "urlencoded" if !regex(r"^[-%a-zA-Z0-9_.!~*'()]*$", text) => "not a valid urlencoded string",
        _ => return Ok(()),
    };
    Err(format!("invalid format - {problem}\n"))
}

fn property_string_fits(
    name: &str,
    format: &serde_json::Map<String, Value>,
    text: &str,
) -> Result<(), String> {
    let default =
        format.iter().find(|(_, rule)| rule["default_key"].as_u64() == Some(1)).map(|(key, _)| key.clone());
    let mut seen: Vec<String> = Vec::new();
    let wrong = |problem: String| Err(format!("invalid format - format error\n{problem}\n"));
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key.to_owned(), value),
            None => match &default {
                Some(key) => (key.clone(), part),
                None => {
                    return Err("invalid format - missing key in comma-separated list property\n".to_owned());
                }
            },
        };
        let Some(rule) = format.get(&key) else {
            return wrong(format!(
                "{name}.{key}: property is not defined in schema and the schema does not allow additional properties"
            ));
        };
        // Short forms: `virtio=MAC` is `model=virtio,macaddr=MAC`.
        let real = rule["keyAlias"].as_str().or(rule["alias"].as_str()).unwrap_or(&key).to_owned();
        if seen.contains(&real) {
            return Err(format!("invalid format - duplicate key in comma-separated list property: {real}\n"));
        }
        seen.push(real);
        if rule["alias"].is_null()
            && rule["format"].as_object().is_none()
            && let Err(problem) = fits(&key, rule, &Value::from(value))
        {
            return wrong(format!("{name}.{key}: {}", problem.trim_end()));
        }
    }
    Ok(())
}

fn regex(pattern: &str, text: &str) -> bool {
    thread_local! {
        static KNOWN: std::cell::RefCell<HashMap<String, Option<Regex>>> = std::cell::RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        if !known.contains_key(pattern) {
            known.insert(pattern.to_owned(), Regex::new(pattern).ok());
        }
        // A pattern that this engine does not know proves nothing.
        known[pattern].as_ref().is_none_or(|regex| regex.is_match(text))
    })
}
