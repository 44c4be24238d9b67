//! "Did you mean": the known word that is closest to a mistyped one.

/// Words longer than this are no slips of the finger, and comparing them costs the square of their length.
const LONGEST: usize = 64;

/// The candidate closest to `word`, if one is close enough to be a slip: at most a third of its letters differ,
/// or it differs only in case and separators (`verifySsl` for `verify_ssl`).
///
/// ```
/// # use substrate_core::config::nearest;
/// assert_eq!(nearest("web-sever", ["web-server", "db-server"]), Some("web-server"));
/// assert_eq!(nearest("cache", ["web-server", "db-server"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bare_word = bare(word);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let bare_candidate = bare(candidate);
            let allowed = (bare_candidate.chars().count() / 3).max(1);
            let distance = distance(&bare_word, &bare_candidate)?;
            (distance <= allowed && distance < bare_candidate.chars().count())
                .then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `candidates` with the closest to `word` first; the rest keep their order.
pub(crate) fn sorted_by_nearness<'a>(word: &str, mut candidates: Vec<&'a str>) -> Vec<&'a str> {
    let bare_word = bare(word);
    candidates.sort_by_key(|candidate| distance(&bare_word, &bare(candidate)).unwrap_or(usize::MAX));
    candidates
}

/// Number of letters to insert, remove, replace or swap with their neighbour; `None` for absurdly long words.
pub(crate) fn distance(left: &str, right: &str) -> Option<usize> {
    let left: Vec<char> = left.chars().take(LONGEST + 1).collect();
    let right: Vec<char> = right.chars().take(LONGEST + 1).collect();
    if left.len() > LONGEST || right.len() > LONGEST {
        return None;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_left = None;
    for (row, &a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(last.len());
        current.push(row + 1);
        let mut previous_right = None;
        for (column, &b) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, column) + usize::from(a != b))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if previous_left == Some(b) && previous_right == Some(a) {
                best = best.min(at(&before_last, column.saturating_sub(1)) + 1);
            }
            current.push(best);
            previous_right = Some(b);
        }
        previous_left = Some(a);
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied()
}

fn bare(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest, sorted_by_nearness};

    #[test]
    fn a_swapped_pair_of_letters_is_one_slip() {
        assert_eq!(distance("passwrod", "password"), Some(1));
        assert_eq!(distance("", "abc"), Some(3));
        assert_eq!(distance("kitten", "sitting"), Some(3));
    }

    #[test]
    fn the_nearest_word_is_found_across_case_and_separators() {
        assert_eq!(nearest("verifySsl", ["verify", "verify_ssl", "url"]), Some("verify_ssl"));
        assert_eq!(nearest("hots", ["port", "host"]), Some("host"));
    }

    #[test]
    fn nothing_is_suggested_for_an_unrelated_word() {
        assert_eq!(nearest("colour", ["host", "port", "x"]), None);
        assert_eq!(nearest(&"a".repeat(300), ["host"]), None);
    }

    #[test]
    fn sorting_puts_the_nearest_first() {
        assert_eq!(sorted_by_nearness("doker", vec!["lxc", "docker", "proxmox"])[0], "docker");
    }
}
