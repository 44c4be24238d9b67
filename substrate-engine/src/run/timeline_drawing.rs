//! A timeline as a picture.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::time::Duration;

use super::timeline::{Span, Timeline};
use crate::model::ResourceId;

/// Pixels.
const LABELS: f64 = 300.0;
const CHART: f64 = 900.0;
const MARGIN: f64 = 16.0;
const ROW: f64 = 18.0;
const BAR: f64 = 11.0;
const HEADER: f64 = 64.0;
/// Nothing is so short that it cannot be seen.
const THINNEST: f64 = 1.5;
/// More ticks than this run into each other.
const MOST_TICKS: u128 = 10;
/// Longer names are cut in the picture; the whole name is in the title.
const LONGEST_LABEL: usize = 42;
/// After so many rows the axis is drawn again: nobody scrolls up to read it.
const ROWS_PER_AXIS: usize = 50;

const STYLE: &str = "text{font:12px sans-serif;fill:#222}.axis{stroke:#ddd}.tick{fill:#777;text-anchor:middle}\
.facility{font-weight:bold}.waited{fill:#cfd4da}.made{fill:#3b7dd8}.ready{fill:#a9c8f2}.failed{fill:#d03a2f}\
.after{stroke:#9a9a9a;stroke-width:.8;fill:none}.step:hover rect{opacity:.7}.name{text-anchor:end}\
.name.bad{fill:#d03a2f}";

/// What a facility is called where there is none.
const NO_FACILITY: &str = "on no facility";

impl Timeline {
    /// The timeline as one SVG picture that needs nothing else: a row for each step, by facility, with the time that it
    /// waited for a free place, the time of making and the time until it was ready; failures in red; a line from what it
    /// waited for last. What a step is and how long its parts took is its title, shown when it is pointed at. The same
    /// timeline gives the same text.
    #[must_use]
    pub fn to_svg(&self) -> String {
        Drawing::of(self).svg().unwrap_or_default()
    }

    /// The same as a page of its own.
    #[must_use]
    pub fn to_html(&self) -> String {
        let failed = self.spans.iter().filter(|span| span.failure.is_some()).count();
        // Nothing in the page may load or run anything, whatever a name in it says.
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta \
             http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n<title>Who \
             waited for whom</title>\n</head>\n<body>\n<p>{} steps in {}, {failed} failed. Grey: waiting for a free place. \
             Dark blue: being made. Light blue: until ready. Red: failed. A line leads from what a step waited for \
             last.</p>\n{}</body>\n</html>\n",
            self.spans.len(),
            shown(self.total),
            self.to_svg()
        )
    }
}

struct Drawing<'a> {
    timeline: &'a Timeline,
    /// Facilities in order, those without a name last, each with its steps in the order in which they began.
    groups: Vec<(&'a str, Vec<&'a Span>)>,
    /// The middle of each step's row, and its end.
    places: HashMap<&'a ResourceId, (f64, Duration)>,
    height: f64,
    /// All of the time in seconds, more than nothing.
    total: f64,
    /// Milliseconds between two ticks.
    step: u128,
}

impl<'a> Drawing<'a> {
    fn of(timeline: &'a Timeline) -> Self {
        let mut groups: BTreeMap<(bool, &str), Vec<&Span>> = BTreeMap::new();
        for span in &timeline.spans {
            let facility = span.facility.as_deref();
            groups.entry((facility.is_none(), facility.unwrap_or(NO_FACILITY))).or_default().push(span);
        }
        let mut places = HashMap::with_capacity(timeline.spans.len());
        let mut y = HEADER;
        for spans in groups.values_mut() {
            spans.sort_by_key(|span| (span.began, span.ready, span.resource.clone()));
            y += ROW;
            for span in spans.iter() {
                places.insert(&span.resource, (y + ROW / 2.0, span.ended));
                y += ROW;
            }
        }
        let ends = timeline.spans.iter().map(|span| span.ended);
        let total = ends.chain([timeline.total, Duration::from_millis(1)]).max().unwrap_or_default();
        let groups = groups.into_iter().map(|((_, facility), spans)| (facility, spans)).collect();
        let total_ms = total.as_millis().max(1);
        Self {
            timeline,
            groups,
            places,
            height: y + MARGIN,
            total: total.as_secs_f64(),
            step: tick(total_ms),
        }
    }

    fn x(&self, at: Duration) -> f64 {
        LABELS + CHART * at.as_secs_f64() / self.total
    }

    fn svg(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(1024 + self.timeline.spans.len() * 600);
        let (width, height) = (LABELS + CHART + 2.0 * MARGIN, self.height);
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">"
        )?;
        writeln!(out, "<style>{STYLE}</style>")?;
        writeln!(
            out,
            "<defs><marker id=\"head\" viewBox=\"0 0 6 6\" refX=\"6\" refY=\"3\" markerWidth=\"5\" markerHeight=\"5\" \
             orient=\"auto\"><path d=\"M0 0L6 3L0 6z\" fill=\"#9a9a9a\"/></marker></defs>"
        )?;
        writeln!(out, "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>")?;
        writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"24\">{} steps in {}</text>",
            self.timeline.spans.len(),
            shown(self.timeline.total)
        )?;
        self.axis(&mut out)?;
        for (facility, spans) in &self.groups {
            self.group(&mut out, facility, spans)?;
        }
        out.push_str("</svg>\n");
        Ok(out)
    }

    fn axis(&self, out: &mut String) -> fmt::Result {
        let mut at = 0;
        let end = self.height - MARGIN;
        while let Some(time) = u64::try_from(at).ok().map(Duration::from_millis)
            && time.as_secs_f64() <= self.total
        {
            let x = self.x(time);
            writeln!(out, "<path class=\"axis\" d=\"M{x:.1} {HEADER:.0}V{end:.0}\"/>")?;
            let mut y = HEADER - 6.0;
            while y < end {
                writeln!(out, "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.0}\">{}</text>", shown(time))?;
                y += ROW * ROWS_PER_AXIS as f64;
            }
            at += self.step;
        }
        Ok(())
    }

    fn group(&self, out: &mut String, facility: &str, spans: &[&Span]) -> fmt::Result {
        let first = spans.first().and_then(|span| self.places.get(&span.resource));
        let Some((y, _)) = first else { return Ok(()) };
        let (y, name) = (y - ROW + 4.0, escaped(facility));
        writeln!(out, "<text class=\"facility\" x=\"{MARGIN}\" y=\"{y:.0}\">{name}</text>")?;
        spans.iter().try_for_each(|span| self.step(out, span))
    }

    fn step(&self, out: &mut String, span: &Span) -> fmt::Result {
        let Some((y, _)) = self.places.get(&span.resource) else { return Ok(()) };
        let bad = if span.failure.is_some() { " bad" } else { "" };
        writeln!(out, "<g class=\"step\"><title>{}</title>", escaped(&title(span)))?;
        let name = shortened(&span.resource.to_string());
        let (right, base) = (LABELS - 10.0, y + 4.0);
        writeln!(out, "<text class=\"name{bad}\" x=\"{right}\" y=\"{base:.0}\">{}</text>", escaped(&name))?;
        let made = span.made.unwrap_or(span.ended);
        let last = if span.failure.is_some() { "failed" } else { "ready" };
        let making = if span.failure.is_some() && span.made.is_none() { "failed" } else { "made" };
        let parts =
            [("waited", span.ready, span.began), (making, span.began, made), (last, made, span.ended)];
        for (class, from, to) in parts {
            // A step that took no time is still a step; a part that there was not is none.
            if to <= from && !(class == making && from == span.began) {
                continue;
            }
            let (x, top) = (self.x(from), y - BAR / 2.0);
            let width = (self.x(to) - x).max(THINNEST);
            writeln!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>"
            )?;
        }
        if let Some((from_y, ended)) = span.after.as_ref().and_then(|after| self.places.get(after)) {
            let (from, to) = (self.x(*ended), self.x(span.ready));
            let middle = (from + to) / 2.0;
            writeln!(
                out,
                "<path class=\"after\" marker-end=\"url(#head)\" d=\"M{from:.1} {from_y:.1}C{middle:.1} {from_y:.1} \
                 {middle:.1} {y:.1} {to:.1} {y:.1}\"/>"
            )?;
        }
        out.push_str("</g>\n");
        Ok(())
    }
}

/// All that there is to say of a step, one thing on each line.
fn title(span: &Span) -> String {
    let mut lines = vec![format!("{} {}", span.action, span.resource)];
    if let Some(after) = &span.after {
        lines.push(format!("after {after}, which was done at {}", shown(span.ready)));
    }
    let waited = span.began.saturating_sub(span.ready);
    if !waited.is_zero() {
        lines.push(format!("waited {} for a free place", shown(waited)));
    }
    let made = span.made.unwrap_or(span.ended);
    lines.push(format!("began at {}, took {}", shown(span.began), shown(made.saturating_sub(span.began))));
    if span.made.is_some() {
        lines.push(format!("ready after another {}", shown(span.ended.saturating_sub(made))));
    }
    if let Some(failure) = &span.failure {
        lines.push(format!("failed: {failure}"));
    }
    lines.join("\n")
}

/// Milliseconds between two ticks: a number that people count in.
fn tick(total_ms: u128) -> u128 {
    const SECOND: u128 = 1000;
    const MINUTE: u128 = 60 * SECOND;
    const HOUR: u128 = 60 * MINUTE;
    let below_minutes = [1, 2, 5, 10, 20, 50, 100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND];
    let above =
        [10 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 6 * HOUR];
    let fits = |step: &u128| total_ms / step <= MOST_TICKS;
    let days = 24 * HOUR * (total_ms / (24 * HOUR * MOST_TICKS) + 1);
    below_minutes.into_iter().chain(above).find(fits).unwrap_or(days)
}

/// A time as people read it: the two largest units, or a fraction of the smallest.
fn shown(time: Duration) -> String {
    let (seconds, ms) = (time.as_secs(), time.subsec_millis());
    match seconds {
        0 if ms == 0 && !time.is_zero() => format!("{} µs", time.subsec_micros()),
        0 if time.is_zero() => "0".to_owned(),
        0 => format!("{ms} ms"),
        1..60 if ms == 0 => format!("{seconds} s"),
        1..60 => format!("{seconds}.{:02} s", ms / 10),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= LONGEST_LABEL {
        return text.to_owned();
    }
    // The end tells instances of a count apart.
    let end: String = text.chars().skip(count - LONGEST_LABEL + 1).collect();
    format!("…{end}")
}

/// Text inside an element or an attribute. Control characters have no place in XML, not even as references.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}')
            }
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Span, Timeline};
    use crate::plan::StepAction;

    const HOSTILE: &str = "</title><script>alert('1')</script> & \u{1b}[31m \"x\"";

    fn span(number: u64, facility: Option<&str>) -> Span {
        let at = |ms: u64| Duration::from_millis(number * 10 + ms);
        Span {
            resource: format!("shop/web-{number}").parse().unwrap(),
            action: StepAction::Create,
            facility: facility.map(str::to_owned),
            after: number.checked_sub(1).map(|before| format!("shop/web-{before}").parse().unwrap()),
            ready: at(0),
            began: at(2),
            made: number.is_multiple_of(2).then(|| at(5)),
            ended: at(10),
            failure: None,
        }
    }

    fn timeline(count: u64) -> Timeline {
        let spans: Vec<Span> =
            (0..count).map(|number| span(number, ["a", "b"].get(number as usize % 3).copied())).collect();
        Timeline { total: Duration::from_millis(count * 10), spans }
    }

    /// Every element that is opened is closed in its turn, and no text holds what would open another.
    fn assert_well_formed(text: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            assert!(!before.contains('>'), "a stray `>` in {before:?}");
            let references = before.split('&').skip(1);
            references.for_each(|one| {
                assert!(one.split_once(';').is_some_and(|(name, _)| name.len() <= 5), "{one:?}")
            });
            let (tag, after) = after.split_once('>').expect("a tag that never ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.split_whitespace().next().unwrap_or_default();
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') || tag.starts_with('!') => {}
                None => open.push(name),
            }
            rest = after;
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn every_step_has_a_row_with_its_parts_and_a_line_from_what_it_waited_for() {
        for count in [1, 4, 2_000] {
            let svg = timeline(count).to_svg();
            assert_well_formed(&svg);
            let of = |class: &str| svg.matches(&format!("class=\"{class}\"")).count() as u64;
            assert_eq!((of("step"), of("waited"), of("made")), (count, count, count));
            assert_eq!((of("ready"), of("after"), of("failed")), (count.div_ceil(2), count - 1, 0));
            assert!((0..count).all(|number| svg.contains(&format!("create shop/web-{number}\n"))));
            assert!(of("tick") >= 2 && of("axis") <= 12, "{} {}", of("tick"), of("axis"));
            assert_eq!(of("facility"), count.min(3));
            assert_eq!(svg, timeline(count).to_svg());
        }
    }

    #[test]
    fn failures_are_red_and_hostile_texts_are_only_texts() {
        let mut timeline = timeline(3);
        timeline.spans[1].failure = Some(HOSTILE.to_owned());
        timeline.spans[1].facility = Some(HOSTILE.to_owned());
        for text in [timeline.to_svg(), timeline.to_html()] {
            assert_well_formed(&text);
            assert!(!text.contains("<script") && !text.contains('\u{1b}'));
            assert!(text.contains("failed: &lt;/title&gt;&lt;script&gt;"));
            assert_eq!(text.matches("class=\"failed\"").count(), 1);
            assert!(!text.contains("href") && !text.contains("@import") && !text.contains("src=\""));
        }
    }

    #[test]
    fn an_empty_run_and_one_without_any_time_are_pictures_too() {
        let mut instant = timeline(2);
        instant.total = Duration::ZERO;
        for span in &mut instant.spans {
            (span.ready, span.began, span.made, span.ended) =
                (Duration::ZERO, Duration::ZERO, None, Duration::ZERO);
        }
        for timeline in [Timeline::default(), instant] {
            assert_well_formed(&timeline.to_html());
            assert!(!timeline.to_svg().contains("NaN"));
            assert_eq!(timeline.to_svg().matches("class=\"made\"").count(), timeline.spans.len());
        }
    }

    #[test]
    fn ticks_are_numbers_that_people_count_in() {
        for (total, tick) in
            [(1, 1), (95, 10), (1_000, 100), (45_000, 5_000), (60_000, 10_000), (3_600_000, 600_000)]
        {
            assert_eq!(super::tick(total), tick, "{total}");
        }
        assert_eq!(super::shown(Duration::from_millis(61_500)), "1 min 01 s");
        assert_eq!(super::shown(Duration::from_millis(2_500)), "2.50 s");
    }
}
