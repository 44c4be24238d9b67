//! Typed settings, and all that can be wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::super::{Section, bytes_size, duration, parse_duration, parse_size};
use super::{lines, load, load_with};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: String,
    #[serde(default)]
    password: Option<SecretString>,
    #[serde(default)]
    verify_ssl: bool,
    #[serde(default)]
    port: u16,
    #[serde(default, with = "duration::optional")]
    timeout: Option<Duration>,
    #[serde(default, with = "bytes_size::optional")]
    cache: Option<u64>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    registry: Registry,
    #[serde(default)]
    dns: Vec<std::net::IpAddr>,
    #[serde(default)]
    ports: BTreeMap<u16, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    host: String,
    port: u16,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Plain,
    TlsOnly,
    Custom {
        ca: String,
    },
}

fn parse(text: &str) -> Result<Settings, Vec<String>> {
    let config = load(text).unwrap();
    config.substrate("docker").unwrap().section.parse().map_err(|error| lines(&error))
}

#[test]
fn settings_of_every_kind_are_read() {
    let settings = parse(
        "docker:\n  url: http://x\n  password: 1234\n  verify_ssl: true\n  port: 80\n  timeout: 5m\n  cache: 64MiB\n  \
         mode: {custom: {ca: /x}}\n  registry: {host: h, port: 1}\n  dns: [10.0.0.1, '::1']\n  ports: {8080: web}\n",
    )
    .unwrap();
    assert_eq!(settings.url, "http://x");
    assert_eq!(settings.password.unwrap().expose_secret(), "1234");
    assert!(settings.verify_ssl);
    assert_eq!(settings.port, 80);
    assert_eq!(settings.timeout, Some(Duration::from_secs(300)));
    assert_eq!(settings.cache, Some(64 << 20));
    assert_eq!(settings.mode, Mode::Custom { ca: "/x".to_owned() });
    assert_eq!((settings.registry.host.as_str(), settings.registry.port), ("h", 1));
    assert_eq!(settings.dns.len(), 2);
    assert_eq!(settings.ports[&8080], "web");
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_known_key() {
    assert_eq!(
        parse("docker:\n  url: x\n  passwrod: hunter2\n").unwrap_err(),
        ["substrate.yaml:3:3: unknown key `passwrod` in `docker`: did you mean `password`?"]
    );
}

#[test]
fn an_unknown_key_that_resembles_nothing_lists_the_known_keys() {
    assert_eq!(
        parse("docker: {url: x, registry: {host: h, port: 1, zzzzzz: 1}}").unwrap_err(),
        ["substrate.yaml:1:47: unknown key `zzzzzz` in `docker.registry`: the known keys are `host`, `port`"]
    );
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_document() {
    let text = "docker:\n  verify_ssl: maybe\n  prot: 1\n  port: 99999\n  timeout: 5 parsecs\n  cache: -1\n  \
                mode: tlsonly\n  registry:\n    hots: x\n    port: eighty\n  dns: [10.0.0.1, nowhere, 10.0.0]\n  \
                ports: {web: x}\n";
    assert_eq!(
        parse(text).unwrap_err(),
        [
            "substrate.yaml:1:1: missing key `url` in `docker`",
            "substrate.yaml:2:15: `docker.verify_ssl` must be `true` or `false`, not the string `maybe`",
            "substrate.yaml:3:3: unknown key `prot` in `docker`: did you mean `port`?",
            "substrate.yaml:4:9: `docker.port` must be a whole number from 0 to 65535, not the integer `99999`",
            "substrate.yaml:5:12: `docker.timeout`: `5 parsecs` is not a duration: write it like `30s`, `5m`, \
             `1h 30m` or as a number of seconds",
            "substrate.yaml:6:10: `docker.cache`: a size cannot be negative, not the integer `-1`",
            "substrate.yaml:7:9: `docker.mode` must be one of `plain`, `tls-only`, `custom`, not `tlsonly`: \
             did you mean `tls-only`?",
            "substrate.yaml:8:3: missing key `host` in `docker.registry`",
            "substrate.yaml:9:5: unknown key `hots` in `docker.registry`: did you mean `host`?",
            "substrate.yaml:10:11: `docker.registry.port` must be a whole number from 0 to 65535, \
             not the string `eighty`",
            "substrate.yaml:11:19: `docker.dns[1]`: invalid IP address syntax, not the string `nowhere`",
            "substrate.yaml:11:28: `docker.dns[2]`: invalid IP address syntax, not the string `10.0.0`",
            "substrate.yaml:12:11: the key `web` in `docker.ports` must be a whole number from 0 to 65535",
        ]
    );
}

#[test]
fn a_hundred_unknown_keys_are_a_hundred_problems() {
    let keys: String = (0..100).map(|index| format!("  unknown{index}: 1\n")).collect();
    assert_eq!(parse(&format!("docker:\n  url: x\n{keys}")).unwrap_err().len(), 100);
}

#[test]
fn a_wrong_container_is_named_by_its_kind() {
    assert_eq!(
        parse("docker:\n  url: [1]\n  registry: text\n  dns: 5\n").unwrap_err(),
        [
            "substrate.yaml:2:8: `docker.url` must be a string, not a list",
            "substrate.yaml:3:13: `docker.registry` must be a map, not the string `text`",
            "substrate.yaml:4:8: `docker.dns` must be a list, not the integer `5`",
        ]
    );
}

#[test]
fn nothing_is_no_text() {
    assert_eq!(
        parse("docker: {url: ~}").unwrap_err(),
        ["substrate.yaml:1:15: `docker.url` must be a string, not nothing"]
    );
}

#[test]
fn text_takes_scalars_as_they_were_written() {
    for (written, read) in [("1.10", "1.10"), ("no", "no"), ("0x1F", "0x1F"), ("2026-01-01", "2026-01-01")] {
        assert_eq!(parse(&format!("docker: {{url: {written}}}")).unwrap().url, read);
    }
}

#[test]
fn quoted_numbers_are_no_numbers() {
    assert_eq!(
        parse("docker: {url: x, port: '80'}").unwrap_err(),
        ["substrate.yaml:1:24: `docker.port` must be a whole number from 0 to 65535, not the string `80`"]
    );
}

#[test]
fn a_problem_from_the_environment_names_the_variable_and_not_the_value() {
    let config = load_with(
        "docker: {url: x}",
        [("SUBSTRATE_DOCKER_PORT", "hunter2"), ("SUBSTRATE_DOCKER_PASSWROD", "hunter2")],
    )
    .unwrap();
    let error = config.substrate("docker").unwrap().section.parse::<Settings>().unwrap_err();
    assert_eq!(
        lines(&error),
        [
            "environment variable SUBSTRATE_DOCKER_PASSWROD: unknown key `passwrod` in `docker`: did you mean \
             `password`?",
            "environment variable SUBSTRATE_DOCKER_PORT: `docker.port` must be a whole number from 0 to 65535, \
             not what was given (it is not shown)",
        ]
    );
}

#[test]
fn environment_values_are_typed_by_the_setting_that_reads_them() {
    let config = load_with(
        "docker: {url: x}",
        [
            ("SUBSTRATE_DOCKER_PORT", "80"),
            ("SUBSTRATE_DOCKER_VERIFY_SSL", "true"),
            ("SUBSTRATE_DOCKER_URL", "123"),
            ("SUBSTRATE_DOCKER_TIMEOUT", "30"),
            ("SUBSTRATE_DOCKER_MODE", "tls-only"),
            ("SUBSTRATE_DOCKER_REGISTRY__HOST", "h"),
            ("SUBSTRATE_DOCKER_REGISTRY__PORT", "1"),
        ],
    )
    .unwrap();
    let settings: Settings = config.substrate("docker").unwrap().section.parse().unwrap();
    assert_eq!((settings.port, settings.verify_ssl, settings.url.as_str()), (80, true, "123"));
    assert_eq!((settings.timeout, settings.mode), (Some(Duration::from_secs(30)), Mode::TlsOnly));
    assert_eq!(settings.registry.host, "h");
}

#[test]
fn below_a_tagged_type_the_whole_value_is_named() {
    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Auth {
        #[expect(dead_code, reason = "only its refusal is looked at")]
        Basic { retries: u8 },
    }
    #[derive(Debug, Deserialize)]
    struct Tagged {
        #[expect(dead_code, reason = "only its refusal is looked at")]
        login: Auth,
        #[expect(dead_code, reason = "only its refusal is looked at")]
        port: u16,
    }
    let config = load("docker:\n  login: {kind: basic, retries: many}\n  port: x\n").unwrap();
    let error = config.substrate("docker").unwrap().section.parse::<Tagged>().unwrap_err();
    let found = lines(&error);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("substrate.yaml:2:10: `docker.login` must be a whole number from 0 to 255"));
    assert!(found[1].starts_with("substrate.yaml:3:9: `docker.port`"));
}

#[test]
fn a_placeholder_causes_no_problem_of_its_own() {
    #[derive(Debug)]
    struct Even;
    impl<'de> Deserialize<'de> for Even {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            match String::deserialize(deserializer)?.as_str() {
                "very special" => Ok(Self),
                _ => Err(serde::de::Error::custom("it must be very special")),
            }
        }
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Special {
        #[expect(dead_code, reason = "only its refusal is looked at")]
        one: Even,
        #[expect(dead_code, reason = "only its refusal is looked at")]
        two: u8,
    }
    let section = Section::from_value(json!({"one": "plain", "three": 3})).named("x");
    let error = section.parse::<Special>().unwrap_err();
    assert!(lines(&error).contains(&"`x.one`: it must be very special, not the string `plain`".to_owned()));
    assert!(
        error.problems().iter().all(|problem| problem.path != "x" || problem.message.contains("`two`")),
        "{error}"
    );
}

#[test]
fn a_failing_check_of_the_whole_is_reported_once() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "BTreeMap<String, u8>")]
    struct Checked;
    impl TryFrom<BTreeMap<String, u8>> for Checked {
        type Error = String;
        fn try_from(_: BTreeMap<String, u8>) -> Result<Self, String> {
            Err("never good enough".to_owned())
        }
    }
    let config = load("docker: {a: 1}").unwrap();
    let error = config.substrate("docker").unwrap().section.parse::<Checked>().unwrap_err();
    assert_eq!(lines(&error), ["substrate.yaml:1:9: `docker`: never good enough"]);
}

#[test]
fn programmatic_problems_have_a_path_and_no_place() {
    let section = Section::from_value(json!({"url": "x", "registry": {"host": 1, "prot": 2, "port": 3}}));
    let error = section.named("docker").parse::<Settings>().unwrap_err();
    assert_eq!(error.problems().len(), 1);
    assert_eq!(error.problems()[0].location, None);
    assert_eq!(error.problems()[0].path, "docker.registry.prot");
    assert_eq!(error.problems()[0].suggestion.as_deref(), Some("port"));
}

#[test]
fn a_program_may_pass_no_map() {
    let error = Section::from_value(json!([1])).named("docker").parse::<Settings>().unwrap_err();
    assert_eq!(error.to_string(), "`docker` must be a map, not a list");
}

#[test]
fn sizes_and_durations_are_read_exactly_or_refused() {
    assert_eq!(parse_size("8GB").unwrap(), 8_000_000_000);
    assert_eq!(parse_size("1.5 GiB").unwrap(), 3 << 29);
    assert_eq!(parse_size("512").unwrap(), 512);
    assert!(parse_size("20 EiB").unwrap_err().to_string().contains("too large"));
    for text in ["", "-1", "MiB", "1 parsec"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
    assert_eq!(parse_duration("1h 30m").unwrap(), Duration::from_secs(5400));
    assert_eq!(parse_duration("1.5").unwrap(), Duration::from_millis(1500));
    for text in
        ["", "-1s", "-5", "1e400", "99999999999999999999999", "NaN", "inf", ".", "1..2", "99999999999999y"]
    {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn durations_and_sizes_survive_a_round_trip() {
    #[derive(serde::Serialize, Deserialize, PartialEq, Debug)]
    struct Both {
        #[serde(with = "duration")]
        time: Duration,
        #[serde(with = "bytes_size")]
        size: u64,
        #[serde(with = "duration::optional", default)]
        more: Option<Duration>,
    }
    let both = Both { time: Duration::from_nanos(3_600_000_000_001), size: u64::MAX, more: None };
    assert_eq!(serde_json::from_str::<Both>(&serde_json::to_string(&both).unwrap()).unwrap(), both);
}
