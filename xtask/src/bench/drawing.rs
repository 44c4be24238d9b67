//! The ratios as a picture: a bar each on a logarithmic scale, with the line where both are alike.

use std::fmt::Write;

use super::Ratio;

const WIDTH: f64 = 960.0;
const TEXT: f64 = 560.0;
const ROW: f64 = 22.0;
const TOP: f64 = 30.0;

pub fn svg(ratios: &[Ratio]) -> String {
    let height = TOP + ROW * ratios.len() as f64 + 10.0;
    // From a hundredth to ten, and further where something is.
    let least = ratios.iter().map(|one| one.ratio).fold(0.1, f64::min).max(0.001).log10().floor();
    let most = ratios.iter().map(|one| one.ratio).fold(2.0, f64::max).log10().ceil();
    let x = |ratio: f64| TEXT + (ratio.max(0.001).log10() - least) / (most - least) * (WIDTH - TEXT - 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let one = x(1.0);
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"{TOP}\" x2=\"{one:.1}\" y2=\"{height}\" stroke=\"#888888\"/>\n<text x=\"{one:.1}\" \
         y=\"20\" text-anchor=\"middle\" fill=\"#444444\">as much as theirs</text>"
    );
    for (row, ratio) in ratios.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let end = x(ratio.ratio);
        let (from, length) = (one.min(end), (end - one).abs().max(1.0));
        let color = if ratio.ratio <= 1.0 { "#2a7f62" } else { "#b5563c" };
        let label = format!("{} – {}", ratio.what, ratio.beside);
        let label: String =
            if label.chars().count() > 92 { label.chars().take(91).chain(['…']).collect() } else { label };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"11\">{}</text>\n<rect x=\"{from:.1}\" \
             y=\"{:.1}\" width=\"{length:.1}\" height=\"14\" fill=\"{color}\"/>\n<text x=\"{:.1}\" \
             y=\"{:.1}\">{:.2}</text>",
            TEXT - 8.0,
            y + 15.0,
            escaped(&label),
            y + 4.0,
            from + length + 5.0,
            y + 15.0,
            ratio.ratio
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_has_its_bar_and_words_are_escaped() {
        let of = |what: &str, ratio| Ratio { what: what.into(), beside: "x".into(), ratio, at_most: None };
        let svg = svg(&[of("a <b>", 0.5), of("c", 3.0)]);
        assert_eq!(svg.matches("<rect").count(), 3, "the ground and two bars");
        assert!(svg.contains("a &lt;b&gt; – x") && svg.contains(">0.50<") && svg.contains(">3.00<"));
    }
}
