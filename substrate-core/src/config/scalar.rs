//! What unquoted text means. Used for text that did not go through the YAML parser: the environment and
//! `${…}`; the spellings are those of YAML 1.2, plus `yes`/`no`/`on`/`off`, which the parser takes too.

use super::node::Meaning;

/// The type that `text` would have, had it been written without quotes.
pub(crate) fn meaning_of(text: &str) -> Meaning {
    if let Some(value) = as_bool(text) {
        return Meaning::Bool(value);
    }
    if let Some(value) = as_integer(text) {
        return Meaning::Integer(value);
    }
    match as_float(text) {
        Some(value) => Meaning::Float(value),
        None => Meaning::Text,
    }
}

pub(crate) fn as_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

pub(crate) fn as_integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // A second sign would be taken by `from_str_radix`.
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let value = if let Some(digits) = digits.strip_prefix("0x") {
        unsigned(digits, 16)
    } else if let Some(digits) = digits.strip_prefix("0o") {
        unsigned(digits, 8)
    } else if let Some(digits) = digits.strip_prefix("0b") {
        unsigned(digits, 2)
    } else if digits.len() > 1 && digits.starts_with('0') {
        // Ten to some, eight to others: refuse to guess.
        None
    } else {
        unsigned(&digits, 10)
    }?;
    Some(if negative { -value } else { value })
}

fn unsigned(digits: &str, radix: u32) -> Option<i128> {
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok()
}

pub(crate) fn as_float(text: &str) -> Option<f64> {
    // `parse` alone would take `inf`, `nan` and `infinity`, which are words.
    let numeric = text.chars().all(|c| matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'));
    let has_digit = text.chars().any(|c| c.is_ascii_digit());
    if numeric && has_digit { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Meaning, meaning_of};

    #[test]
    fn unquoted_text_is_typed_as_yaml_would() {
        assert!(meaning_of("true") == Meaning::Bool(true));
        assert!(meaning_of("Off") == Meaning::Bool(false));
        assert!(meaning_of("9443") == Meaning::Integer(9443));
        assert!(meaning_of("-0x1F") == Meaning::Integer(-31));
        assert!(meaning_of("1_000") == Meaning::Integer(1000));
        assert!(meaning_of("1.5") == Meaning::Float(1.5));
        assert!(meaning_of("99999999999999999999999999999999999999999") == Meaning::Float(1e41));
    }

    #[test]
    fn words_and_ambiguous_numbers_are_no_integers() {
        for text in ["", "-", "+-5", "--5", "0x", "0x-5", "inf", "nan", "1.2.3", "10.0.0.69", "e", "_1", "5s"]
        {
            assert!(meaning_of(text) == Meaning::Text, "{text}");
        }
        assert!(!matches!(meaning_of("010"), Meaning::Integer(_)));
    }
}
