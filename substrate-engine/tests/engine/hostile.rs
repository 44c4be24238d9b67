//! Documents that nobody would write on purpose.

use std::time::{Duration, Instant};

use substrate_engine::Reader;

use super::refusal;

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "name: shop\nmetadata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("  a{level}: &a{level} [{inner}]\n"));
    }
    let found = refusal(&text);
    assert!(found.len() == 1 && found[0].contains("aliases expand to too many nodes"), "{found:?}");
}

#[test]
fn deep_nesting_is_refused() {
    let found = refusal(&format!("name: shop\nmetadata: {}", "[".repeat(100_000)));
    assert!(found.len() == 1 && found[0].contains("nested too deeply"), "{found:?}");
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let path = std::env::temp_dir().join(format!("substrate-engine-huge-{}", std::process::id()));
    std::fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let started = Instant::now();
    let documents = Reader::new().file(&path).read();
    std::fs::remove_file(&path).unwrap();
    assert!(documents.problems()[0].message.ends_with("it is larger than 16 MiB"));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_that_never_ends_is_refused() {
    let documents = Reader::new().file("/dev/zero").read();
    assert!(documents.problems()[0].message.ends_with("it is larger than 16 MiB"));
}

#[test]
fn binary_is_refused_with_its_line() {
    let path = std::env::temp_dir().join(format!("substrate-engine-binary-{}", std::process::id()));
    std::fs::write(&path, b"name: shop\n\xff\xfe\x00").unwrap();
    let documents = Reader::new().file(&path).read();
    std::fs::remove_file(&path).unwrap();
    let problem = documents.problems()[0].to_string();
    assert!(problem.ends_with(":2:1: the text is not UTF-8"), "{problem}");
}

#[test]
fn a_missing_file_is_a_problem() {
    let documents = Reader::new().file("/nowhere/shop.yaml").read();
    assert!(documents.problems()[0].message.starts_with("cannot read `/nowhere/shop.yaml`"));
}

#[test]
fn counts_beyond_reason_are_refused() {
    let found = refusal("name: shop\nresources: [{type: compute, name: a, count: 4294967295}]");
    assert!(found[0].contains("more than 1000000 instances"), "{found:?}");
    let found = refusal("name: shop\nresources: [{type: service, name: a, specs: {replicas: 4294967295}}]");
    assert!(found[0].contains("`replicas` must be at most"), "{found:?}");
}

#[test]
fn documents_of_the_wrong_shape_are_said() {
    assert!(refusal("- a\n- b\n")[0].contains("the document must be a map, not a list"));
    assert!(refusal("hello")[0].contains("must be a map"));
    assert!(refusal("{a: 1}")[0].contains("neither a blueprint"));
    assert!(refusal("name: shop\nresources: {a: 1}")[0].contains("`resources` must be a list"));
    assert!(refusal("name: shop\nresources: [1]")[0].contains("`resources[0]` must be a map"));
    assert!(refusal("kind: [a]\n")[0].contains("`kind` must be a word"));
}

#[test]
fn an_empty_text_holds_no_documents() {
    for text in ["", "---\n---\n", "# nothing\n"] {
        assert_eq!(super::desired(text).resources().len(), 0);
    }
}
