//! `cloud-init`: data that an instance configures itself with at its first boot.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use substrate_core::config::{ConfigError, Section};

use super::{Action, CheckedDirective, Directive};

/// Hands cloud-init data to the provider, as the options of the create call that its technology has for it.
///
/// ```yaml
/// - cloud-init:
///     user_data: {package_update: true, packages: [nginx]}
/// ```
///
/// `user_data`, `meta_data` and `network_config` are maps, or the finished text.
#[derive(Debug, Clone, Copy)]
pub struct CloudInit;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    user_data: Option<Data>,
    #[serde(default)]
    meta_data: Option<Data>,
    #[serde(default)]
    network_config: Option<Data>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a map or a text")]
enum Data {
    Map(Map<String, Value>),
    Text(String),
}

impl Data {
    fn value(self) -> Value {
        match self {
            Self::Map(map) => Value::Object(map),
            Self::Text(text) => Value::String(text),
        }
    }
}

impl Directive for CloudInit {
    fn name(&self) -> &str {
        "cloud-init"
    }

    fn check(&self, settings: &Section) -> Result<CheckedDirective, ConfigError> {
        let typed: Settings = settings.parse()?;
        if typed.user_data.is_none() && typed.meta_data.is_none() && typed.network_config.is_none() {
            let message = "`cloud-init` is empty: give `user_data`, `meta_data` or `network_config`";
            return Err(settings.problem(message).into());
        }
        // A text is read by cloud-init only if its first line says what it is.
        if let Some(Data::Text(text)) = &typed.user_data
            && !text.starts_with('#')
            && !text.starts_with("Content-Type:")
        {
            let place = settings.child("user_data").unwrap_or_else(|| settings.clone());
            let message = "`user_data` must begin with a line such as `#cloud-config` or `#!/bin/sh`";
            return Err(place.problem(message).into());
        }
        let properties = json!({
            "user_data": typed.user_data.map(Data::value),
            "meta_data": typed.meta_data.map(Data::value),
            "network_config": typed.network_config.map(Data::value),
        });
        Ok(CheckedDirective::new("cloud-init", [Action::Deploy], properties))
    }
}
