//! How text from a document is shown in a message: short, on one line, without credentials.

/// Longest text that a message repeats, in characters: enough to recognise it, short enough for one line.
const LONGEST: usize = 60;

/// Longest message of a foreign type that is repeated, in characters.
const LONGEST_MESSAGE: usize = 300;

/// `text` between back-ticks, shortened, with control characters escaped and the user part of a URL masked.
///
/// ```
/// # use substrate_core::config::quoted;
/// assert_eq!(quoted("a\nb"), "`a\\nb`");
/// ```
pub fn quoted(text: &str) -> String {
    format!("`{}`", shortened(&mask_user_part(text), LONGEST))
}

/// A message that a type wrote, shortened and with control characters escaped.
pub(crate) fn on_one_line(message: &str) -> String {
    shortened(message, LONGEST_MESSAGE)
}

fn shortened(text: &str, longest: usize) -> String {
    let mut shown = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(longest) {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// `https://user:password@host` without `user:password`: such text stands under keys that no rule of names
/// recognises as secret.
pub(crate) fn mask_user_part(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    // A password may contain an unescaped `/`, so a later `@` counts too when the authority has none.
    let at = authority.rfind('@').or_else(|| rest.rfind('@'));
    match at.and_then(|at| rest.get(at..)) {
        Some(host) => format!("{scheme}://[hidden]{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn control_characters_are_escaped_so_that_a_message_stays_on_one_line() {
        assert_eq!(quoted("a\nb\u{1b}[31m"), "`a\\nb\\u{1b}[31m`");
    }

    #[test]
    fn long_text_is_shortened() {
        assert_eq!(quoted(&"é".repeat(300)), format!("`{}…`", "é".repeat(60)));
    }

    #[test]
    fn the_user_part_of_a_url_is_masked() {
        assert_eq!(quoted("https://root:hunter2@pve:8006/x"), "`https://[hidden]@pve:8006/x`");
        assert_eq!(quoted("https://root:hun/ter2@pve"), "`https://[hidden]@pve`");
        assert_eq!(quoted("https://pve:8006/x"), "`https://pve:8006/x`");
    }
}
