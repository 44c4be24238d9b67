//! What to put in the place of a number, a text, or a value.

use std::borrow::Cow;

/// Numbers that do not fit, that lose digits, or that are none.
pub(super) const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "-0",
    "1e400",
    "1.5",
    "-9223372036854775808",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "4294967296",
    "99999999999999999999999999999999999999999999",
    "1e-400",
    "NaN",
    "inf",
    "0x10",
    "",
    "00000000000000000000001",
    "9999-99-99T99:99:99Z",
];

/// Values of every type that JSON has.
pub(super) const VALUES: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"text\"",
    "-1",
    "18446744073709551615",
    "1e308",
    "[[[[]]]]",
    "{\"\":{\"\":null}}",
    "[null,0,\"x\",{},[]]",
];

/// What opens and what closes a level, in one of the languages that are read.
pub(super) const LEVELS: &[(&str, &str)] = &[
    ("[", "]"),
    ("{\"a\":", "}"),
    ("<a>", "</a>"),
    ("<value><array><data>", "</data></array></value>"),
    ("- ", ""),
    ("(", ")"),
    ("${", "}"),
    ("&a [*a, ", "]"),
];

/// Texts that end a path, a document, a line, a name or a buffer early.
pub fn words() -> Vec<Cow<'static, str>> {
    let mut words: Vec<Cow<'static, str>> = [
        "",
        " ",
        "../x",
        "/",
        "..",
        "a/b",
        "]]>",
        "<!--",
        " -->",
        "&amp;&lt;&#0;&#xfffffff;&unknown;",
        "<!DOCTYPE a [<!ENTITY b \"c\">]>",
        "\"'`",
        "a\"b\\c",
        "\\u0000",
        "\0",
        "a\0b",
        "\r\n",
        "line\nline",
        "\t",
        "\u{1b}[31m",
        "\u{feff}",
        "\u{202e}abc",
        "😀",
        "größe ☃",
        "e\u{301}",
        "\u{10ffff}",
        "%s%n%00",
        "%2e%2e%2f",
        "$(id)",
        "${",
        "${a}",
        "$",
        ",",
        "=",
        "a=b,c=d",
        ":",
        "::",
        ";",
        "-",
        "--help",
        "*",
        "*a",
        "&a",
        "!!binary",
        "|",
        ">",
        "#",
        "~",
        "null",
        "true",
        "0",
        "-1",
        "1e999",
    ]
    .into_iter()
    .map(Cow::Borrowed)
    .collect();
    words.push(Cow::Owned("x".repeat(300)));
    words.push(Cow::Owned("☃".repeat(300)));
    words.push(Cow::Owned("9".repeat(400)));
    words.push(Cow::Owned("a.".repeat(2_000)));
    words
}
