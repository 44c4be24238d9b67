//! The main command of a container: what runs as its first process in place of the image's init.
//!
//! The container library takes it as one line and splits that at white space, with no way to quote. So a command
//! whose words are plain goes there as it is. Any other is carried by the guest's own shell: each word is encoded
//! without white space, and a short script, itself encoded, brings the words back and becomes the command.

use std::fmt::Write;

/// Brings each word back, byte for byte, and becomes the command. A `=` keeps empty words, a dot keeps line ends,
/// which a shell would strip.
const DECODE: &str = r#"for a; do shift; a=$(printf %b. "${a#=}"); set -- "$@" "${a%.}"; done; exec "$@""#;
/// Runs the script that is its first argument, encoded, without a single blank of its own.
const START: &str = "sh -c eval${IFS}$(printf${IFS}%b${IFS}$0)";
/// An ordinary program ends on SIGTERM; what the servers send otherwise only an init knows.
const HALT: &str = "lxc.signal.halt = SIGTERM";

/// The lines of low-level configuration that make `argv` the main command.
pub(crate) fn lines(argv: &[String]) -> String {
    let command = if argv.iter().all(|word| is_plain(word)) {
        argv.join(" ")
    } else {
        let mut command = format!("{START} {}", encoded(DECODE));
        for word in argv {
            command.push_str(" =");
            command.push_str(&encoded(word));
        }
        command
    };
    format!("lxc.init.cmd = {command}\n{HALT}")
}

/// Whether a word is the same after it was split off, whether or not a version knows quotes.
fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\'))
}

fn encoded(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b'=' | b'-' | b',' | b':') {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\0{byte:03o}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn plain_words_need_no_shell() {
        let text = lines(&argv(&["/usr/bin/nginx", "-c", "/etc/nginx.conf"]));
        assert_eq!(text, "lxc.init.cmd = /usr/bin/nginx -c /etc/nginx.conf\nlxc.signal.halt = SIGTERM");
    }

    #[test]
    fn any_other_word_is_one_word_of_one_line() {
        let words = ["sh", "-c", "trap \"\" TERM;\n echo 'a b'", "", "☃"];
        let text = lines(&argv(&words));
        let command = text.lines().next().unwrap();
        assert_eq!(text.lines().count(), 2);
        // sh, -c, the script's start, the script, and every word.
        let split: Vec<&str> = command.trim_start_matches("lxc.init.cmd = ").split_whitespace().collect();
        assert_eq!(split.len(), 4 + words.len());
        assert!(!command.contains(['"', '\'']));
    }

    #[test]
    fn a_real_shell_brings_the_words_back() {
        let words = ["printf", "<%s>", "", " a  b ", "q\"'*?[x]\\n$HOME", "line\nend\n", "☃"];
        let text = lines(&argv(&words));
        let command = text.lines().next().unwrap().trim_start_matches("lxc.init.cmd = ").to_owned();
        let mut split = command.split(' ');
        let output = std::process::Command::new(split.next().unwrap()).args(split).output().unwrap();
        let expected: String = words[2..].iter().map(|word| format!("<{word}>")).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}
