//! Values in supervisord's configuration files, so that they arrive as they were.
//!
//! A value goes through five hands: Python's `ConfigParser` cuts it at a `;` or `#` behind white space, strips
//! each of its lines, and knows no escape; `%(here)s` is replaced as mere text, even in `%%(here)s`; `%` formats
//! are expanded; and a command is at last split as a shell would, an environment in a way of its own. Each
//! of these can be got round with one thing: a piece that stands for nothing, put where two characters must not
//! meet. In a command that is `''`, in an environment a format that expands to nothing.

use substrate_core::{Error, Result};

/// Stands for nothing inside single quotes of a command: ends them, and begins them anew.
const NOTHING_IN_QUOTES: &str = "''";
/// Stands for nothing in any expanded value.
const NOTHING_IN_FORMATS: &str = "%(program_name).0s";

/// An argument vector as the value of `command`.
///
/// # Errors
/// `InvalidInput` for control characters except tab and line feed: reading a file turns a carriage return into a
/// line feed, and the others cannot stand in XML, so that `getAllConfigInfo` would be broken for everybody.
pub(crate) fn command(argv: &[String]) -> Result<String> {
    let mut text = String::new();
    for (position, argument) in argv.iter().enumerate() {
        let is_bad = |letter: char| {
            letter.is_ascii_control() && !"\n\t".contains(letter) || matches!(letter, '\u{fffe}' | '\u{ffff}')
        };
        if argument.contains(is_bad) {
            return Err(Error::invalid_input(format!(
                "argument {position} of the command has a control character that supervisord's files or answers cannot hold"
            )));
        }
        if position > 0 {
            text.push(' ');
        }
        if is_plain(argument) {
            text.push_str(argument);
        } else {
            text.push('\'');
            escape(argument, NOTHING_IN_QUOTES, &mut text, |letter, text| match letter {
                '\'' => text.push_str(r"'\''"),
                other => text.push(other),
            });
            text.push('\'');
        }
    }
    Ok(text)
}

/// Variables as the value of `environment`.
///
/// # Errors
/// `InvalidInput`, naming the variable and never its value, for what the format cannot hold.
pub(crate) fn environment<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> Result<String> {
    let mut pieces = Vec::new();
    for (key, value) in variables {
        let refuse = |why: &str| {
            Err(Error::invalid_input(format!(
                "environment variable `{}` cannot be given to a program of supervisord: {why}",
                key.escape_debug()
            )))
        };
        if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
            return refuse("its name must be of letters, digits, `_`, `.` and `-`");
        }
        if value.contains('\r') {
            return refuse("its value has a carriage return");
        }
        // Stripped from both ends, any number of them.
        if value.starts_with(['"', '\'']) || value.ends_with(['"', '\'']) {
            return refuse("its value begins or ends with a quotation mark");
        }
        let quote = match (value.contains('"'), value.contains('\'')) {
            (true, true) => return refuse("its value has both kinds of quotation marks"),
            (true, false) => '\'',
            _ => '"',
        };
        let mut piece = format!("{key}={quote}");
        escape(value, NOTHING_IN_FORMATS, &mut piece, |letter, piece| piece.push(letter));
        piece.push(quote);
        pieces.push(piece);
    }
    Ok(pieces.join(","))
}

/// A plain value: a path, a user. Refuses what would have to be escaped.
pub(crate) fn plain<'a>(what: &str, value: &'a str) -> Result<&'a str> {
    let harmless = !value.is_empty()
        && value.trim() == value
        && !value.chars().any(|letter| letter.is_control() || "%;#".contains(letter));
    if harmless {
        return Ok(value);
    }
    Err(Error::invalid_input(format!(
        "`{what}` is empty, begins or ends with white space, or has a control character, `%`, `;` or `#`"
    )))
}

/// Whether a word of a command can stand as it is.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+=.,:/@".contains(&byte))
}

/// Writes a text between quotes. `nothing` is what is put between characters that must not meet.
fn escape(value: &str, nothing: &str, text: &mut String, mut push: impl FnMut(char, &mut String)) {
    let mut previous = None;
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // A comment, where it stands behind white space.
            ';' | '#' if previous.is_some_and(is_white) => {
                text.push_str(nothing);
                text.push(letter);
            }
            '%' => {
                text.push_str("%%");
                // `%(here)s` is replaced before `%%` is understood.
                if letters.peek() == Some(&'(') {
                    text.push_str(nothing);
                }
            }
            // The line goes on in the next one, if that is indented. Both ends are stripped of white space.
            '\n' => {
                text.push_str(nothing);
                text.push_str("\n ");
                text.push_str(nothing);
            }
            other => push(other, text),
        }
        previous = Some(letter);
    }
}

/// What Python counts as white space, and a little more.
fn is_white(letter: char) -> bool {
    letter.is_whitespace() || letter.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
        words.map(str::to_owned).to_vec()
    }

    #[test]
    fn plain_words_stand_as_they_are() {
        assert_eq!(command(&words(["/usr/bin/env", "A=b", "-x"])).unwrap(), "/usr/bin/env A=b -x");
    }

    #[test]
    fn what_would_be_cut_or_expanded_is_broken_up() {
        for (argument, expected) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("a;b", "'a;b'"),
            ("a ; b", "'a ''; b'"),
            ("a #b", "'a ''#b'"),
            ("100%", "'100%%'"),
            ("%(here)s", "'%%''(here)s'"),
            ("one\n  two", "'one''\n ''  two'"),
        ] {
            assert_eq!(command(&words([argument])).unwrap(), expected, "{argument:?}");
        }
    }

    #[test]
    fn what_a_file_cannot_hold_is_refused() {
        for argument in ["a\rb", "\u{1b}[1m", "\u{7f}", "\u{ffff}"] {
            assert!(command(&words([argument])).unwrap_err().is_invalid_input(), "{argument:?}");
        }
        for (key, value) in [("A B", "x"), ("A", "\"x\""), ("A", "'x"), ("A", "a'b\"c"), ("A", "a\rb")] {
            let error = environment([(key, value)].into_iter()).unwrap_err();
            assert!(error.is_invalid_input(), "{key}={value}");
            assert!(value == "x" || !error.to_string().contains(value), "a value is shown: {error}");
        }
    }

    #[test]
    fn variables_are_quoted_with_the_mark_that_they_lack() {
        let variables = [("A", r#"{"a": 1}"#), ("B", "it's ;"), ("C", ""), ("D", "5% (x)")];
        assert_eq!(
            environment(variables.into_iter()).unwrap(),
            "A='{\"a\": 1}',B=\"it's %(program_name).0s;\",C=\"\",D=\"5%% (x)\""
        );
    }

    #[test]
    fn a_plain_value_is_plain_or_refused() {
        assert_eq!(plain("directory", "/srv/a b").unwrap(), "/srv/a b");
        for wrong in ["", " a", "a ", "a\nb", "%(here)s", "a ;b", "a#b"] {
            assert!(plain("directory", wrong).is_err(), "{wrong:?}");
        }
    }
}
