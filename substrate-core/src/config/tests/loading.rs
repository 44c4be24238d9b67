//! Sources, forms, overrides, look-ups.

use std::path::Path;

use super::super::{Config, Environment};
use super::{lines, load, load_with, refusal};

const FIXTURE: &str = include_str!("../../../tests/fixtures/substrate_config.yaml");

fn check_sample(config: &Config) {
    let names: Vec<&str> = config.substrates().map(|substrate| substrate.name.as_str()).collect();
    assert_eq!(names, ["docker", "proxmox", "lxc", "libvirt", "supervisor"]);
    assert_eq!(config.get("docker", "registry.host", String::new()).unwrap(), "10.0.0.69");
    assert_eq!(config.get("docker", "registry.port", 0_u16).unwrap(), 9443);
    assert_eq!(config.get("docker", "default_resources.memory_mb", 0_u64).unwrap(), 512);
    assert_eq!(config.get("docker", "default_resources.cpu_cores", 0.0).unwrap(), 1.0);
    assert!(!config.get("proxmox", "verify_ssl", true).unwrap());
    assert_eq!(config.get("lxc", "default_image", String::new()).unwrap(), "ubuntu/22.04");
    assert!(config.global().get("enable_metrics", false).unwrap());
    assert!(config.get("global", "enable_caching", false).unwrap());
}

#[test]
fn the_sample_loads_as_it_stands() {
    check_sample(&load(FIXTURE).unwrap());
}

#[test]
fn the_shared_sample_loads_from_its_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/samples/substrate_config.yaml");
    if path.exists() {
        check_sample(&Config::from_file_with(path, Environment::empty()).unwrap());
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::from_file_with("/nowhere/substrate.yaml", Environment::empty()).unwrap_err();
    assert!(
        error.to_string().contains("cannot read the configuration file `/nowhere/substrate.yaml`"),
        "{error}"
    );
}

#[test]
fn nothing_at_all_is_a_configuration() {
    assert_eq!(Config::default().substrates().count(), 0);
    assert!(Config::default().global().is_empty());
}

#[test]
fn named_substrates_have_a_type_that_is_no_setting() {
    let config = load("substrates:\n  pve-paris: {type: proxmox, url: x}\n").unwrap();
    let paris = config.substrate("pve-paris").unwrap();
    assert_eq!((paris.name.as_str(), paris.provider_type.as_str()), ("pve-paris", "proxmox"));
    assert_eq!(paris.section.keys().collect::<Vec<_>>(), ["url"]);
}

#[test]
fn both_forms_stand_side_by_side() {
    let config = load("docker: {a: 1}\nsubstrates: {pve: {type: proxmox}}\nglobal: {b: 2}").unwrap();
    let pairs: Vec<_> =
        config.substrates().map(|one| (one.name.as_str(), one.provider_type.as_str())).collect();
    assert_eq!(pairs, [("docker", "docker"), ("pve", "proxmox")]);
    assert_eq!(config.get("global", "b", 0).unwrap(), 2);
}

#[test]
fn a_name_defined_in_both_forms_is_refused_with_both_places() {
    assert_eq!(
        refusal("docker: {}\nsubstrates:\n  docker: {type: lxc}\n"),
        ["substrate.yaml:3:3: the substrate `docker` is defined twice, first at substrate.yaml:1:1"]
    );
}

#[test]
fn a_named_substrate_without_a_type_is_refused() {
    assert_eq!(
        refusal("substrates:\n  a: {}\n  b: {type: ~}\n  c: {type: [x]}\n"),
        [
            "substrate.yaml:2:3: `a` has no `type`: name its technology, such as `type: docker`",
            "substrate.yaml:3:13: the `type` of `b` must be a word, not nothing",
            "substrate.yaml:4:13: the `type` of `c` must be a word, not a list",
        ]
    );
}

#[test]
fn a_top_level_type_that_says_otherwise_is_refused() {
    let found = refusal("docker: {type: lxc}\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("substrate.yaml:1:16: `docker` is a type by itself"), "{}", found[0]);
    assert!(load("docker: {type: docker}\n").unwrap().substrate("docker").unwrap().section.is_empty());
}

#[test]
fn a_section_must_be_a_map() {
    assert_eq!(
        refusal("docker: yes please\nlxc: [1]\nglobal: 5\nsubstrates: x\npassword: hunter2\n"),
        [
            "substrate.yaml:1:9: `docker` must be a map of settings, not the string `yes please`",
            "substrate.yaml:2:6: `lxc` must be a map of settings, not a list",
            "substrate.yaml:3:9: `global` must be a map of settings, not the integer `5`",
            "substrate.yaml:4:13: `substrates` must be a map of settings, not the string `x`",
            "substrate.yaml:5:11: `password` must be a map of settings, not a single value",
        ]
    );
}

#[test]
fn a_key_with_nothing_behind_it_is_an_empty_section() {
    assert!(load("docker:\nglobal:\nsubstrates:\n").unwrap().substrate("docker").unwrap().section.is_empty());
}

#[test]
fn keys_for_shared_anchors_are_left_alone() {
    let config = load("x-base: &base {url: a, retries: 3}\ndocker:\n  <<: *base\n  url: b\n").unwrap();
    assert_eq!(config.substrates().count(), 1);
    assert_eq!(config.get("docker", "retries", 0).unwrap(), 3);
    assert_eq!(config.get("docker", "url", String::new()).unwrap(), "b");
}

#[test]
fn later_sources_are_laid_over_earlier_ones() {
    let config = Config::builder()
        .text("a.yaml", "docker: {registry: {host: a, port: 1}}\nsubstrates: {pve: {type: proxmox, user: u}}")
        .text("b.yaml", "docker: {registry: {host: b}}\nsubstrates: {pve: {user: v}}\nglobal: {x: 1}")
        .load()
        .unwrap();
    assert_eq!(config.get("docker", "registry.host", String::new()).unwrap(), "b");
    assert_eq!(config.get("docker", "registry.port", 0).unwrap(), 1);
    assert_eq!(config.get("pve", "user", String::new()).unwrap(), "v");
    assert_eq!(config.substrate("proxmox").unwrap().name, "pve");
    assert_eq!(config.get("global", "x", 0).unwrap(), 1);
}

#[test]
fn problems_of_all_sources_come_together() {
    let error = Config::builder().text("b.yaml", "docker: 1").text("a.yaml", "lxc: 2").load().unwrap_err();
    assert_eq!(
        lines(&error),
        [
            "b.yaml:1:9: `docker` must be a map of settings, not the integer `1`",
            "a.yaml:1:6: `lxc` must be a map of settings, not the integer `2`",
        ]
    );
    assert!(error.summary().ends_with("(and 1 more problem)"));
    assert!(!error.summary().contains('\n'));
}

#[test]
fn a_substrate_is_found_by_name_before_type() {
    let config = load("docker: {n: 1}\nsubstrates: {b: {type: docker, n: 2}}").unwrap();
    assert_eq!(config.substrate("docker").unwrap().section.get("n", 0).unwrap(), 1);
    assert_eq!(config.substrate("b").unwrap().section.get("n", 0).unwrap(), 2);
}

#[test]
fn a_type_that_several_have_lists_their_names() {
    let config = load("substrates: {a: {type: lxc}, b: {type: lxc}}").unwrap();
    let message = "several substrates have the type `lxc`: choose one of `a`, `b`";
    assert_eq!(config.substrate("lxc").unwrap_err().to_string(), message);
    assert_eq!(config.get("lxc", "x", 1).unwrap_err().to_string(), message);
}

#[test]
fn an_unknown_substrate_lists_the_known_nearest_first() {
    let config = load("proxmox: {}\ndocker: {}\nsubstrates: {site: {type: lxc}}").unwrap();
    assert_eq!(
        config.substrate("dokcer").unwrap_err().to_string(),
        "there is no substrate `dokcer` in the configuration, which has `docker`, `site`, `lxc`, `proxmox`: \
         did you mean `docker`?"
    );
    assert!(Config::default().substrate("x").unwrap_err().to_string().contains("has none"));
}

#[test]
fn an_override_beats_the_file() {
    let text = "substrates: {pve-paris: {type: proxmox, verify_ssl: true, port: 1}}";
    let config = load_with(
        text,
        [
            ("SUBSTRATE_PVE_PARIS_VERIFY_SSL", "false"),
            ("SUBSTRATE_PVE_PARIS_PORT", "8006"),
            ("SUBSTRATE_PVE_PARIS_PASSWORD", "12345"),
            ("SUBSTRATE_GLOBAL_RETRY__ATTEMPTS", "5"),
        ],
    )
    .unwrap();
    assert!(!config.get("pve-paris", "verify_ssl", true).unwrap());
    assert_eq!(config.get("pve-paris", "port", 0_u16).unwrap(), 8006);
    assert_eq!(config.get("pve-paris", "password", String::new()).unwrap(), "12345");
    assert_eq!(config.get("global", "retry.attempts", 0).unwrap(), 5);
}

#[test]
fn an_override_can_give_the_type() {
    let config = load_with("substrates: {a: {}}", [("SUBSTRATE_A_TYPE", "docker")]).unwrap();
    assert_eq!(config.substrate("a").unwrap().provider_type, "docker");
}

#[test]
fn a_type_that_no_source_mentions_takes_its_overrides() {
    let environment = Environment::from_iter([("SUBSTRATE_DOCKER_HOST", "tcp://x"), ("DOCKER_HOST", "y")]);
    let config = Config::from_environment(environment);
    let docker = config.substrate_or_default("docker").unwrap();
    assert_eq!(docker.provider_type, "docker");
    assert_eq!(docker.section.get("host", String::new()).unwrap(), "tcp://x");
    assert_eq!(docker.section.environment().get("DOCKER_HOST"), Some("y"));
    assert!(config.substrate("docker").is_err());
}

#[test]
fn interpolated_text_is_typed_like_the_text_it_stands_in() {
    let text =
        "docker: {port: '${PORT}', list: [\"${PORT}\"], plain: x}\nlxc:\n  port: ${PORT}\n  s: a${PORT}\n";
    let config = load_with(text, [("PORT", "22")]).unwrap();
    assert_eq!(config.get("docker", "port", 0_u16).unwrap(), 22);
    assert_eq!(config.get("docker", "port", serde_json::Value::Null).unwrap(), serde_json::json!("22"));
    assert_eq!(config.get("lxc", "port", serde_json::Value::Null).unwrap(), serde_json::json!(22));
    assert_eq!(config.get("lxc", "s", String::new()).unwrap(), "a22");
}

#[test]
fn all_undefined_variables_are_reported_with_their_places() {
    let found = refusal("docker:\n  a: ${ONE}\n  b: [x, \"${TWO}\"]\n");
    assert_eq!(found.len(), 2);
    assert!(
        found[0].starts_with("substrate.yaml:2:6: `docker.a`: the environment variable `ONE` is not set")
    );
    assert!(
        found[1].starts_with("substrate.yaml:3:10: `docker.b[1]`: the environment variable `TWO` is not set")
    );
}

#[test]
fn dotted_access_falls_back_only_on_what_is_absent() {
    let config = load("docker: {a: ~, b: text, list: [{x: 1}, {x: 2}]}").unwrap();
    assert_eq!(config.get("docker", "a", 7).unwrap(), 7);
    assert_eq!(config.get("docker", "none.such", 7).unwrap(), 7);
    assert_eq!(config.get("none", "a", 7).unwrap(), 7);
    assert_eq!(config.get("docker", "list.1.x", 7).unwrap(), 2);
    assert_eq!(
        config.get("docker", "b", 7).unwrap_err().to_string(),
        "substrate.yaml:1:19: `docker.b` must be a whole number, not the string `text`"
    );
    assert_eq!(config.get_optional::<String>("docker", "b").unwrap().as_deref(), Some("text"));
}
