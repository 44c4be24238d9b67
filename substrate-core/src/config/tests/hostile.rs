//! Documents that nobody would write on purpose, and some that somebody would.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{lines, load, refusal};

#[test]
fn malformed_yaml_is_refused_with_its_place() {
    assert_eq!(refusal("docker:\n  a: [1, 2\nb: c\n").len(), 1);
    assert!(refusal("docker: [1, 2\n")[0].starts_with("substrate.yaml:1:9: invalid YAML: unclosed bracket"));
    assert!(refusal("a: b: c\n")[0].starts_with("substrate.yaml:1:5: invalid YAML: "));
}

#[test]
fn tabs_are_refused_with_their_place() {
    assert!(refusal("docker:\n\thost: x\n")[0].starts_with("substrate.yaml:2:"));
}

#[test]
fn a_key_defined_twice_is_refused_with_its_place() {
    assert_eq!(
        refusal("docker:\n  host: a\n  host: b\n"),
        ["substrate.yaml:3:3: the key `host` is defined twice"]
    );
    assert_eq!(refusal("docker: {1: a, '1': b}"), ["substrate.yaml:1:16: the key `1` is defined twice"]);
}

#[test]
fn an_alias_bomb_is_refused_with_its_place() {
    let mut text = "x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(text, "x-{level}: &a{level} [{inner}]").unwrap();
    }
    let found = refusal(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("substrate.yaml:") && found[0].contains("aliases"), "{}", found[0]);
}

#[test]
fn quadratic_aliases_are_refused() {
    let item = vec!["x"; 3000].join(", ");
    let uses = vec!["*a"; 3000].join(", ");
    let found = refusal(&format!("x-a: &a [{item}]\nx-b: [{uses}]\n"));
    assert!(found[0].contains("aliases"), "{}", found[0]);
}

#[test]
fn an_anchor_may_be_used_often() {
    let uses = vec!["*a"; 500].join(", ");
    assert!(load(&format!("x-a: &a [1]\nx-b: [{uses}]\n")).is_ok());
}

#[test]
fn deep_nesting_is_refused_with_its_place() {
    for text in [
        format!("docker: {}{}", "[".repeat(200), "]".repeat(200)),
        "docker: ".to_owned() + &"[".repeat(99_999),
    ] {
        let found = refusal(&text);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("substrate.yaml:1:"), "{}", found[0]);
    }
    let block: String = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(refusal(&block).len(), 1);
}

#[test]
fn the_deepest_document_fits_a_small_stack() {
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let reading = || {
        let text = format!("docker: {}1{}", "{a: ".repeat(60), "}".repeat(60));
        let config = load(&text).unwrap();
        let section = &config.substrate("docker").unwrap().section;
        assert!(section.parse::<serde_json::Value>().is_ok());
        assert!(section.parse::<BTreeMap<String, u8>>().is_err());
        assert!(format!("{:?}", section.overlay(section)).len() > 60);
    };
    small.spawn(reading).unwrap().join().unwrap();
}

#[test]
fn nesting_through_aliases_is_refused_too() {
    let wide = "[".repeat(40) + "*a" + &"]".repeat(40);
    assert!(load(&format!("x-a: &a {}1{}\nx-b: {wide}\n", "[".repeat(40), "]".repeat(40))).is_err());
    let mut chain = "x-0: &a0 [1]\n".to_owned();
    for level in 1..600 {
        writeln!(chain, "x-{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(refusal(&chain).len(), 1);
}

#[test]
fn many_names_are_read_in_linear_time() {
    let names: String = (0..20_000).map(|index| format!("name{index}: {{}}\n")).collect();
    assert_eq!(load(&names).unwrap().substrates().count(), 20_000);
}

#[test]
fn a_huge_text_is_refused_unread() {
    assert_eq!(refusal(&" ".repeat(17 << 20)), ["substrate.yaml:1:1: the text is larger than 16 MiB"]);
}

#[test]
fn an_empty_file_is_an_empty_configuration() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "~", "\u{feff}", "{}"] {
        assert_eq!(load(text).unwrap().substrates().count(), 0, "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_shifts_nothing() {
    let config = load("\u{feff}docker: {version: 1.10}").unwrap();
    assert_eq!(config.get("docker", "version", String::new()).unwrap(), "1.10");
}

#[test]
fn a_list_or_a_word_is_no_configuration() {
    assert!(refusal("- docker\n- lxc\n")[0].ends_with("not a list"));
    assert!(refusal("hunter2")[0].ends_with("not a single value"));
}

#[test]
fn a_second_document_is_refused_with_its_place() {
    assert_eq!(
        refusal("docker: {}\n---\nlxc: {}\n"),
        ["substrate.yaml:3:1: a second document starts here: one document is expected"]
    );
}

#[test]
fn keys_that_are_no_words_are_refused_and_scalars_are_names() {
    assert_eq!(
        refusal("docker:\n  ~: a\n  [1, 2]: b\n"),
        [
            "substrate.yaml:2:3: a key must be a word, not a list, a map or nothing",
            "substrate.yaml:3:3: a key must be a word, not a list, a map or nothing",
        ]
    );
    let config = load("docker: {labels: {8080: a, true: b, on: c, 1.5: d, n: e}}").unwrap();
    let labels: BTreeMap<String, String> = config.get("docker", "labels", BTreeMap::new()).unwrap();
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["1.5", "8080", "n", "on", "true"]);
}

#[test]
fn emoji_keys_keep_their_places() {
    let config = load("🐳: {é😀: 5, x: w}").unwrap();
    assert_eq!(config.get("🐳", "é😀", 0).unwrap(), 5);
    assert_eq!(
        config.get("🐳", "x", 0).unwrap_err().to_string(),
        "substrate.yaml:1:15: `🐳.x` must be a whole number, not the string `w`"
    );
}

#[test]
fn long_keys_are_shortened_in_messages() {
    let key = "k".repeat(300);
    let config = load(&format!("docker: {{{key}: x}}")).unwrap();
    let error = config.get("docker", &key, 0).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
    let long_name = load(&format!("{key}: {{}}")).unwrap();
    assert_eq!(long_name.substrate(&key).unwrap().name.len(), 300);
}

#[test]
fn huge_numbers_are_neither_lost_nor_wrapped() {
    let text =
        "docker: {a: 99999999999999999999999, b: 1e400, c: .nan, d: 18446744073709551615, e: 010, f: -1}";
    let config = load(text).unwrap();
    assert!(config.get("docker", "a", 0_u64).unwrap_err().to_string().contains("`99999999999999999999999`"));
    assert_eq!(config.get("docker", "a", String::new()).unwrap(), "99999999999999999999999");
    for key in ["b", "c"] {
        let error = config.get("docker", key, 0.0).unwrap_err().to_string();
        assert!(error.contains("must be a finite number"), "{error}");
    }
    assert_eq!(config.get("docker", "d", 0_u64).unwrap(), u64::MAX);
    assert!(config.get("docker", "e", 0_u8).is_err());
    assert!(config.get("docker", "f", 0_u8).unwrap_err().to_string().contains("`-1`"));
}

#[test]
fn values_with_control_characters_stay_on_one_line() {
    let config = load("docker: {a: \"x\\ny\\e[31m\"}").unwrap();
    assert_eq!(lines(&config.get("docker", "a", 0).unwrap_err()).len(), 1);
}

#[test]
fn unknown_anchors_and_control_characters_are_refused() {
    assert!(refusal("docker: *nowhere\n")[0].starts_with("substrate.yaml:1:9: "));
    assert!(refusal("docker: {a: \u{1}b}\n")[0].starts_with("substrate.yaml:1:13: "));
}
