//! Which keys hold secrets, judged by their name.
//!
//! A guess on the safe side: a value that is hidden without need costs a look into the file, a value that is
//! shown by mistake costs a password.

use super::nearest::distance;

/// Parts that make a key secret wherever they stand in it.
const PARTS: [&str; 7] = ["password", "passwd", "passphrase", "secret", "token", "credential", "apikey"];
/// Words that make a key secret only when they stand alone between separators (`tls_key`, not `keyboard`).
const WORDS: [&str; 10] =
    ["key", "keys", "pass", "pwd", "private", "auth", "authorization", "cookie", "bearer", "pin"];

/// Whether the value under `key` must never be shown. Mistyped names count too: the value of `passwrod` is a
/// password all the same.
///
/// ```
/// # use substrate_core::config::looks_secret;
/// assert!(looks_secret("api_token") && looks_secret("passwrod") && !looks_secret("host"));
/// ```
pub fn looks_secret(key: &str) -> bool {
    let words = words(key);
    let joined: String = words.concat();
    PARTS.iter().any(|part| joined.contains(part))
        || words.iter().any(|word| {
            WORDS.contains(&word.as_str())
                || PARTS.iter().any(|part| {
                    let slips = if part.len() >= 8 { 2 } else { 1 };
                    // Every key of every document comes by here: lengths and letters alone rule most words out.
                    word.chars().count().abs_diff(part.len()) <= slips
                        && is_mostly_of(word, part, slips)
                        && distance(word, part).is_some_and(|distance| distance <= slips)
                })
        })
}

/// Whether at most so many letters of `word` are not in `part`: each slip brings one stranger at most.
fn is_mostly_of(word: &str, part: &str, slips: usize) -> bool {
    let strangers = word.chars().filter(|letter| !part.contains(*letter));
    strangers.take(slips + 1).count() <= slips
}

/// The lower-case words of a key: split at everything that is no letter or digit, and at `camelCase` humps.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for character in key.chars() {
        let hump = after_lower && character.is_uppercase();
        if hump || !character.is_alphanumeric() {
            words.push(String::new());
        }
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        after_lower = character.is_lowercase() || character.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn names_of_secrets_are_recognised() {
        for key in [
            "password",
            "PASSWORD",
            "root_password",
            "passwords",
            "clientSecret",
            "api-token",
            "api_key",
            "apiKey",
            "key",
            "tls.key",
            "pass",
            "private-key",
            "passphrase",
            "credentials",
        ] {
            assert!(looks_secret(key), "{key}");
        }
    }

    #[test]
    fn a_mistyped_secret_is_a_secret() {
        for key in ["passwrod", "pasword", "pssword", "secrte", "tokn", "passwort"] {
            assert!(looks_secret(key), "{key}");
        }
    }

    #[test]
    fn ordinary_names_are_shown() {
        for key in ["host", "port", "keyboard", "monkey", "url", "user", "verify_ssl", "passthrough", "path"]
        {
            assert!(!looks_secret(key), "{key}");
        }
    }
}
