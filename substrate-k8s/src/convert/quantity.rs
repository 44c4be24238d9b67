//! Quantities: `500m`, `1Gi`, `1G`, `1e3`.

const MIB: f64 = 1024.0 * 1024.0;

const SUFFIXES: &[(&str, f64)] = &[
    ("Ki", 1024.0),
    ("Mi", MIB),
    ("Gi", MIB * 1024.0),
    ("Ti", MIB * MIB),
    ("Pi", MIB * MIB * 1024.0),
    ("Ei", MIB * MIB * MIB),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// The number that a quantity means; `None` for what is none.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
    // Before the suffixes: `1E3` is a number, `1E` a thousand thousand million million.
    if let Some(value) = number(text) {
        return Some(value);
    }
    SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).and_then(number).map(|value| value * factor))
}

/// Cores as the server writes them: whole thousandths, the next higher.
pub(crate) fn cores(value: f64) -> String {
    format!("{}m", (value * 1000.0).ceil())
}

pub(crate) fn mebibytes(value: u64) -> String {
    format!("{value}Mi")
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes are far below 2^53 and not negative"
)]
pub(crate) fn bytes(text: &str) -> Option<u64> {
    parse(text).filter(|value| *value >= 0.0).map(|value| value.round() as u64)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes are far below 2^53 and not negative"
)]
pub(crate) fn to_mebibytes(text: &str) -> Option<u64> {
    parse(text).filter(|value| *value >= 0.0).map(|value| (value / MIB).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        for (text, value) in [
            ("500m", 0.5),
            ("1", 1.0),
            ("1Gi", 1_073_741_824.0),
            ("1G", 1e9),
            ("1E3", 1000.0),
            ("1E", 1e18),
            ("250000n", 0.000_25),
            ("0", 0.0),
            ("1.5Gi", 1_610_612_736.0),
        ] {
            let read = parse(text).unwrap();
            assert!((read - value).abs() <= value * 1e-9, "{text} is {read}");
        }
        for text in ["", "Gi", "1GiB", "x", "1 m", "inf", "NaN"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn bounds_are_written_and_read_back() {
        assert_eq!(cores(0.5), "500m");
        assert_eq!(cores(1.0), "1000m");
        assert_eq!(to_mebibytes(&mebibytes(96)), Some(96));
        assert_eq!(to_mebibytes("100M"), Some(96));
        assert_eq!(bytes("1Gi"), Some(1 << 30));
    }
}
