//! Queries per second over recall, as SVG: further up and to the right is better.

use super::record::SearchRecord;

/// The area of the curves, in pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 96.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 64.0;
/// A letter of the legend, about.
const LETTER: f64 = 7.0;
/// Told apart by people who see few colors, too (Okabe and Ito).
const COLORS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
/// More curves than this, and the sizes of the candidate list at their points would hide each other.
const NOTED_CURVES_MAX: usize = 3;
/// The steps of the linear axis, finest first.
const STEPS: [f64; 10] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
const TICKS_MAX: f64 = 8.0;
/// What is so near to a whole number is one.
const ROUNDING: f64 = 1e-9;

struct Curve {
    name: String,
    /// From the lowest recall to the highest.
    points: Vec<Point>,
}

struct Point {
    recall: f64,
    queries_per_s: f64,
    /// The size of the candidate list, if one was asked for.
    note: Option<u64>,
}

/// One curve per record and number of callers. `None` when no recall was measured.
pub(super) fn svg(records: &[SearchRecord], title: Option<&str>) -> Option<String> {
    let curves: Vec<Curve> = records.iter().flat_map(|record| curves(record, records.len() > 1)).collect();
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let across = Axis::linear(points().map(|point| point.recall))?;
    let up = Axis::logarithmic(points().map(|point| point.queries_per_s))?;
    let longest = curves.iter().map(|curve| curve.name.chars().count()).max().unwrap_or(0);
    let (width, height) = (LEFT + WIDTH + 64.0 + longest as f64 * LETTER, TOP + HEIGHT + BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#333\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let title = title.map_or_else(|| usual_title(records), str::to_owned);
    svg += &text(LEFT + WIDTH / 2.0, 32.0, "middle\" font-size=\"17\" font-weight=\"600", &title);
    svg += &grid(&across, &up);
    let limit = records.first().map_or(0, |record| record.limit);
    svg += &text(LEFT + WIDTH / 2.0, TOP + HEIGHT + 46.0, "middle\" font-size=\"14", &format!("recall@{limit}"));
    svg += &format!("<g transform=\"translate(24 {}) rotate(-90)\">", TOP + HEIGHT / 2.0);
    svg += &text(0.0, 0.0, "middle\" font-size=\"14", "queries per second");
    svg += "</g>\n";
    for (number, curve) in curves.iter().enumerate() {
        svg += &drawn(curve, number, &across, &up, curves.len() <= NOTED_CURVES_MAX);
    }
    svg += "</svg>\n";
    Some(svg)
}

fn usual_title(records: &[SearchRecord]) -> String {
    match records {
        [record] => format!("{}: recall and speed", record.label),
        _ => "Recall and speed".to_owned(),
    }
}

fn curves(record: &SearchRecord, is_labelled: bool) -> Vec<Curve> {
    let mut numbers: Vec<usize> = Vec::new();
    for cell in &record.cells {
        if !numbers.contains(&cell.pace.in_flight) {
            numbers.push(cell.pace.in_flight);
        }
    }
    let curve = |in_flight: usize| {
        let cells =
            record.cells.iter().filter(|cell| cell.pace.in_flight == in_flight && cell.pace.queries_per_s > 0.0);
        let point = |recall, queries_per_s, note| Point { recall, queries_per_s, note };
        let points = cells.filter_map(|cell| Some(point(cell.recall?, cell.pace.queries_per_s, cell.ef)));
        let mut points: Vec<Point> = points.collect();
        points.sort_by(|a, b| a.recall.total_cmp(&b.recall).then(b.queries_per_s.total_cmp(&a.queries_per_s)));
        let label = if is_labelled { format!("{}, ", record.label) } else { String::new() };
        Curve { name: format!("{label}{in_flight} in flight"), points }
    };
    numbers.into_iter().map(curve).filter(|curve| !curve.points.is_empty()).collect()
}

/// From values to places.
struct Axis {
    low: f64,
    high: f64,
    is_logarithmic: bool,
    ticks: Vec<f64>,
    /// Of the ticks' labels.
    decimals: usize,
}

impl Axis {
    /// For shares: it ends at 1 at the latest. `None` without values.
    fn linear(values: impl Iterator<Item = f64>) -> Option<Axis> {
        let (low, high) = range(values)?;
        // A single point gets some room on both sides.
        let (low, high) = if high - low < STEPS[0] { (low - 0.01, high + 0.01) } else { (low, high) };
        let step = STEPS.into_iter().find(|step| (high - low) / step <= TICKS_MAX).unwrap_or(STEPS[STEPS.len() - 1]);
        // A value on a tick stays there, whatever its last bit says.
        let low = ((low / step + ROUNDING).floor() * step).max(0.0);
        let high = ((high / step - ROUNDING).ceil() * step).min(1.0);
        let count = ((high - low) / step).round() as usize;
        let ticks = (0..=count).map(|tick| low + tick as f64 * step).collect();
        let decimals = (0..4).find(|&digits| is_whole(step * 10_f64.powi(digits))).unwrap_or(4) as usize;
        Some(Axis { low, high, is_logarithmic: false, ticks, decimals })
    }

    /// `None` without values; all are above zero.
    fn logarithmic(values: impl Iterator<Item = f64>) -> Option<Axis> {
        let (low, high) = range(values)?;
        let decades = low.log10().floor() as i32 - 1..=high.log10().ceil() as i32;
        let marks: Vec<f64> =
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(decade))).collect();
        let first = marks.iter().rposition(|&mark| mark < low)?;
        let last = marks.iter().position(|&mark| mark >= high).unwrap_or(marks.len() - 1);
        let ticks: Vec<f64> = marks[first..=last.max(first + 1).min(marks.len() - 1)].to_vec();
        Some(Axis { low: ticks[0], high: ticks[ticks.len() - 1], is_logarithmic: true, ticks, decimals: 0 })
    }

    /// Between 0 and 1.
    fn place(&self, value: f64) -> f64 {
        if self.is_logarithmic {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < ROUNDING
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((f64::min(low, value), f64::max(high, value))),
    })
}

fn x(across: &Axis, value: f64) -> f64 {
    LEFT + across.place(value) * WIDTH
}

fn y(up: &Axis, value: f64) -> f64 {
    TOP + (1.0 - up.place(value)) * HEIGHT
}

fn grid(across: &Axis, up: &Axis) -> String {
    let mut svg = String::new();
    let (right, bottom) = (LEFT + WIDTH, TOP + HEIGHT);
    for &tick in &across.ticks {
        let x = x(across, tick);
        svg += &line((x, TOP), (x, bottom), "#e3e3e3");
        svg += &text(x, bottom + 20.0, "middle", &format!("{tick:.*}", across.decimals));
    }
    for &tick in &up.ticks {
        let y = y(up, tick);
        svg += &line((LEFT, y), (right, y), "#e3e3e3");
        svg += &text(LEFT - 10.0, y + 4.0, "end", &grouped(tick));
    }
    svg + &line((LEFT, bottom), (right, bottom), "#333") + &line((LEFT, TOP), (LEFT, bottom), "#333")
}

/// A curve with its points and its line of the legend.
fn drawn(curve: &Curve, number: usize, across: &Axis, up: &Axis, is_noted: bool) -> String {
    let color = COLORS[number % COLORS.len()];
    let dashes = if number / COLORS.len() % 2 == 1 { " stroke-dasharray=\"6 4\"" } else { "" };
    let place = |point: &Point| (x(across, point.recall), y(up, point.queries_per_s));
    let path: Vec<String> = curve.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut svg = format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>\n",
        path.join(" ")
    );
    for point in &curve.points {
        let (x, y) = place(point);
        svg += &dot(x, y, color);
        if let Some(note) = point.note.filter(|_| is_noted) {
            let anchor = format!("end\" font-size=\"10\" fill=\"{color}");
            svg += &text(x - 6.0, y + 13.0, &anchor, &format!("ef {note}"));
        }
    }
    let (legend, at) = (LEFT + WIDTH + 16.0, TOP + 8.0 + number as f64 * 22.0);
    svg += &format!(
        "<line x1=\"{legend}\" y1=\"{at}\" x2=\"{}\" y2=\"{at}\" stroke=\"{color}\" stroke-width=\"2\"{dashes}/>\n",
        legend + 28.0
    );
    svg += &dot(legend + 14.0, at, color);
    svg + &text(legend + 36.0, at + 4.0, "start", &curve.name)
}

fn dot(x: f64, y: f64, color: &str) -> String {
    format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{color}\"/>\n")
}

fn line(from: (f64, f64), to: (f64, f64), color: &str) -> String {
    let ((x1, y1), (x2, y2)) = (from, to);
    format!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\"/>\n")
}

/// `anchor` may go on with further attributes.
fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>\n", escaped(words))
}

fn escaped(words: &str) -> String {
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Characters that XML cannot hold at all.
    escaped.chars().filter(|c| !c.is_control()).collect()
}

/// `20000` as `20,000`.
fn grouped(number: f64) -> String {
    if number < 1.0 {
        return number.to_string();
    }
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A record with cells of (ef, in flight, recall, queries per second).
    fn record(label: &str, cells: &[(u64, usize, Option<f64>, f64)]) -> SearchRecord {
        let cells: Vec<_> = cells
            .iter()
            .map(|&(ef, in_flight, recall, queries_per_s)| {
                json!({"ef": ef, "exact": false, "recall": recall, "pace": {
                    "in_flight": in_flight, "requests": 1, "queries": 1, "elapsed_s": 1.0,
                    "queries_per_s": queries_per_s, "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "max_ms": 1.0,
                }})
            })
            .collect();
        let setting = json!({"version": "0", "started_unix_s": 0, "cores": 1, "parameters": {}});
        let server = json!({"title": "t", "version": "1"});
        serde_json::from_value(json!({
            "label": label, "setting": setting, "server": server, "queries": 1, "limit": 10, "batch": 1,
            "recall_against": "file", "cells": cells,
        }))
        .unwrap()
    }

    /// Every tag that is opened is closed, in order; attributes are quoted and texts hold no bare `<` or `&`.
    fn check_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some((words, behind)) = rest.split_once('<') {
            assert!(words.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").find('&').is_none(), "{words}");
            let (tag, behind) = behind.split_once('>').expect("a tag that ends");
            assert!(tag.matches('"').count().is_multiple_of(2) && !tag.contains('<'), "{tag}");
            let name = |tag: &str| tag.split_whitespace().next().unwrap().to_owned();
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(name(closed))),
                None if tag.ends_with('/') => {}
                None => open.push(name(tag)),
            }
            rest = behind;
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    }

    #[test]
    fn a_picture_is_well_formed_and_holds_its_labels() {
        let one = record(
            "a & <b>",
            &[(16, 1, Some(0.81), 4_000.0), (64, 1, Some(0.97), 1_900.0), (16, 8, Some(0.81), 21_000.0)],
        );
        let picture = svg(std::slice::from_ref(&one), None).unwrap();
        check_well_formed(&picture);
        for words in [
            "a &amp; &lt;b&gt;: recall and speed",
            "recall@10",
            "queries per second",
            "1 in flight",
            "8 in flight",
            "ef 64",
            "20,000",
            "0.90",
        ] {
            assert!(picture.contains(&format!(">{words}</text>")), "{words} is not in {picture}");
        }
        let two = record("other", &[(16, 1, Some(0.9), 3_000.0)]);
        let picture = svg(&[one, two], Some("Both")).unwrap();
        check_well_formed(&picture);
        for words in ["Both", "a &amp; &lt;b&gt;, 8 in flight", "other, 1 in flight"] {
            assert!(picture.contains(&format!(">{words}</text>")), "{words} is not in {picture}");
        }
    }

    #[test]
    fn points_lie_inside_whatever_was_measured() {
        for (recall, queries_per_s) in [(1.0, 1.0), (0.0, 0.3), (0.9999, 1_000_000.0), (0.5, 999.9), (0.2, 1_000.0)] {
            let picture = svg(&[record("a", &[(1, 1, Some(recall), queries_per_s)])], None).unwrap();
            check_well_formed(&picture);
            let across = Axis::linear([recall].into_iter()).unwrap();
            let up = Axis::logarithmic([queries_per_s].into_iter()).unwrap();
            assert!((0.0..=1.0).contains(&across.place(recall)), "{recall}");
            assert!((0.0..=1.0).contains(&up.place(queries_per_s)), "{queries_per_s}");
            assert!(across.ticks.len() >= 2 && up.ticks.len() >= 2);
        }
    }

    #[test]
    fn without_recall_there_is_no_picture() {
        assert_eq!(svg(&[record("a", &[(16, 1, None, 100.0)])], None), None);
        assert_eq!(svg(&[], None), None);
    }

    #[test]
    fn ticks_cover_the_values_in_round_numbers() {
        let ticks = |low: f64, high: f64| Axis::linear([low, high].into_iter()).unwrap().ticks;
        let near = |ticks: Vec<f64>, want: &[f64]| {
            assert_eq!(ticks.len(), want.len(), "{ticks:?}");
            assert!(ticks.iter().zip(want).all(|(tick, want)| (tick - want).abs() < 1e-9), "{ticks:?}");
        };
        near(ticks(0.81, 0.97), &[0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92, 0.94, 0.96, 0.98]);
        near(ticks(0.3, 1.0), &[0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
        let up = Axis::logarithmic([1_900.0, 21_000.0].into_iter()).unwrap();
        near(up.ticks, &[1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0]);
        assert_eq!(["20,000", "500", "1,000,000"], [20_000.0, 500.0, 1_000_000.0].map(grouped));
    }
}
