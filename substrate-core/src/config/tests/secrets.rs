//! What must not be shown is not shown.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::super::{ConfigError, Section};
use super::{load, load_with, refusal};

const SECRET: &str = "hunter2";

fn assert_hidden(error: &ConfigError) {
    assert!(!format!("{error} {error:?} {}", error.summary()).contains(SECRET), "{error}");
}

/// Refuses whatever it gets, and says what that was.
#[derive(Debug)]
struct Tattler;

impl<'de> Deserialize<'de> for Tattler {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = serde_json::Value::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("cannot take {given}")))
    }
}

#[test]
fn debug_shows_neither_secrets_nor_the_environment() {
    let text =
        "docker: {user: root, password: hunter2, tls: {key: hunter2}, note: 'x${NOTE}', passwrod: hunter2}";
    let config = load_with(text, [("NOTE", SECRET), ("SUBSTRATE_DOCKER_PORT", SECRET)]).unwrap();
    let shown = format!("{config:?} {:#?}", config.substrate("docker").unwrap());
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("root"));
}

#[test]
fn the_default_of_a_variable_is_no_secret() {
    let config = load("docker: {note: '${NOTE:-plain}'}").unwrap();
    assert!(format!("{config:?}").contains("plain"));
}

#[test]
fn a_wrong_type_under_a_secret_key_shows_no_value() {
    let config = load("docker:\n  password: hunter2\n  keys: [hunter2]\n").unwrap();
    let error = config.get("docker", "password", 0).unwrap_err();
    assert_hidden(&error);
    assert_eq!(
        error.to_string(),
        "substrate.yaml:2:13: `docker.password` must be a whole number, not what was given (it is not shown)"
    );
    assert_hidden(&config.get("docker", "keys.0", 0).unwrap_err());
}

#[test]
fn a_wrong_type_of_an_interpolated_value_shows_no_value() {
    let config = load_with("docker: {port: '${PORT}'}", [("PORT", SECRET)]).unwrap();
    assert_hidden(&config.get("docker", "port", 0).unwrap_err());
}

#[test]
fn a_type_that_repeats_its_value_in_its_message_is_silenced() {
    let config = load("docker: {password: hunter2}").unwrap();
    assert_hidden(
        &config.substrate("docker").unwrap().section.parse::<BTreeMap<String, Tattler>>().unwrap_err(),
    );
    let error = config.substrate("docker").unwrap().section.parse::<Tattler>().unwrap_err();
    assert_hidden(&error);
    assert!(error.to_string().contains("[hidden]"), "{error}");
}

#[test]
fn the_user_part_of_a_url_is_masked_in_foreign_messages() {
    let section = Section::from_value(json!({"url": "https://root:hunter2@pve:8006"}));
    assert_hidden(&section.parse::<BTreeMap<String, Tattler>>().unwrap_err());
    assert!(!format!("{section:?}").contains(SECRET));
}

#[test]
fn escaped_secrets_are_silenced_too() {
    let section = Section::from_value(json!({"token": "hunter2\"x\n"}));
    assert_hidden(&section.parse::<Tattler>().unwrap_err());
}

#[test]
fn an_unknown_variant_under_a_secret_key_is_not_repeated() {
    #[derive(Debug, Deserialize)]
    enum Kind {
        A,
    }
    let section = Section::from_value(json!({"key": SECRET}));
    let error = section.parse::<BTreeMap<String, Kind>>().unwrap_err();
    assert_hidden(&error);
    assert!(error.to_string().contains("must be one of `A`"));
    assert!(matches!(Section::from_value(json!("A")).parse::<Kind>(), Ok(Kind::A)));
}

#[test]
fn an_unknown_key_never_shows_its_value() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[expect(dead_code, reason = "only the refusal is looked at")]
        password: Option<SecretString>,
    }
    let config = load("docker: {psswd: hunter2, whatever: hunter2}").unwrap();
    let error = config.substrate("docker").unwrap().section.parse::<Settings>().unwrap_err();
    assert_eq!(error.problems().len(), 2);
    assert_hidden(&error);
}

#[test]
fn untagged_and_flattened_types_show_no_secret() {
    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind")]
    enum Login {
        #[expect(dead_code, reason = "only the refusal is looked at")]
        Token { token: u8 },
    }
    #[derive(Debug, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        #[expect(dead_code, reason = "only the refusal is looked at")]
        login: Login,
    }
    let section = Section::from_value(json!({"kind": "Token", "token": SECRET}));
    assert_hidden(&section.parse::<Login>().unwrap_err());
    assert_hidden(&section.parse::<Flat>().unwrap_err());
}

#[test]
fn broken_yaml_around_a_secret_shows_no_line() {
    for text in
        ["docker: {password: \"hunter2}\n", "docker:\n  password: hunter2: x\n", "password: hunter2\n\tx\n"]
    {
        assert!(!refusal(text).concat().contains(SECRET));
    }
}

#[test]
fn secrets_stay_hidden_under_an_overlay() {
    let file = Section::from_value(json!({"auth": {"user": "u"}}));
    let merged = file.overlay(&Section::from_value(json!({"auth": {"extra": SECRET}})));
    assert!(!format!("{merged:?}").contains(SECRET));
}
