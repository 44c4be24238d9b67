//! Requests to the cluster's own servers, as few as starting it needs.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::certificates::{ADMIN, AUTHORITY};
use crate::command::{command, output};

/// An API server, asked as its administrator.
pub struct Endpoint<'a> {
    pub address: String,
    pub certificates: &'a Path,
}

impl Endpoint<'_> {
    pub fn get(&self, path: &str) -> Result<String> {
        self.ask(path, None)
    }

    pub fn get_json(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.get(path)?).with_context(|| format!("the answer to {path} is no JSON"))
    }

    /// Makes a thing; one that is there already is no error.
    pub fn create(&self, path: &str, thing: &Value) -> Result<()> {
        let name = thing.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if self.get(&format!("{path}/{name}")).is_ok() {
            return Ok(());
        }
        self.ask(path, Some(thing)).map(drop)
    }

    fn ask(&self, path: &str, body: Option<&Value>) -> Result<String> {
        let file = |name: &str| self.certificates.join(name).display().to_string();
        let mut curl = command("curl");
        curl.args(["--fail", "--silent", "--show-error", "--noproxy", "*", "--max-time", "5"])
            .args(["--cacert", &file(&format!("{AUTHORITY}.crt"))])
            .args(["--cert", &file(&format!("{ADMIN}.crt")), "--key", &file(&format!("{ADMIN}.key"))]);
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json", "--data", &body.to_string()]);
        }
        output(curl.arg(format!("{}{path}", self.address)))
    }
}
