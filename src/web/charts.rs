//! Small pictures in inline SVG, each with its numbers in words for those who do not see it.

use std::fmt::Write as _;

use askama::Template;

use super::pages::draw;
use super::pages::view::{StateView, plural, took};
use super::when::rfc3339;
use crate::report::{Day, Sample, Statistics, StoreState};

/// How wide and how high a picture's area is, in its own units.
const WIDTH: usize = 300;
const HEIGHT: usize = 80;

/// How many points an area has at most: no eye tells more apart.
const POINTS: usize = 150;

#[derive(Template)]
#[template(path = "charts.html")]
struct Charts {
    charts: Vec<Chart>,
}

struct Chart {
    id: &'static str,
    title: &'static str,
    /// What the picture shows, in a sentence.
    words: String,
    shapes: Vec<Shape>,
    /// The highest value, as the axis has it.
    top: String,
    legend: Vec<(&'static str, &'static str)>,
    /// The numbers, for those who want them: a heading and rows.
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    from: String,
    to: String,
}

/// A shape of one class.
struct Shape {
    class: &'static str,
    path: String,
    title: String,
}

/// Draws the pictures of a fleet's last thirty days.
pub(super) fn fleet(statistics: &Statistics) -> String {
    let Statistics { days, samples } = statistics;
    if days.is_empty() {
        return String::new();
    }
    draw(&Charts { charts: vec![provisioning(days), failures(days), states(samples)] })
}

fn date(at: i64) -> String {
    rfc3339(at).chars().take(10).collect()
}

fn ends(days: &[Day]) -> (String, String) {
    let of = |day: Option<&Day>| day.map(|day| date(day.begin)).unwrap_or_default();
    (of(days.first()), of(days.last()))
}

fn provisioning(days: &[Day]) -> Chart {
    let highest = days.iter().filter_map(|day| day.p95_ms).max().unwrap_or(0).max(1);
    let bar = |(at, day): (usize, &Day), value: Option<u64>, class| {
        let path = column(at, days.len(), 0, scaled(value?, highest));
        let title = format!(
            "{}: median {}, 95 of 100 within {}",
            date(day.begin),
            took(day.p50_ms?),
            took(day.p95_ms?)
        );
        Some(Shape { class, path, title })
    };
    let slow = days.iter().enumerate().filter_map(|it| bar(it, it.1.p95_ms, "p95"));
    let usual = days.iter().enumerate().filter_map(|it| bar(it, it.1.p50_ms, "p50"));
    let shapes = slow.chain(usual).collect();
    let all: usize = days.iter().map(|day| day.provisioned).sum();
    let newest = days.iter().rev().find_map(|day| Some((day, day.p50_ms?)));
    let words = match newest {
        None => "No store became READY for the first time in the last 30 days.".to_owned(),
        Some((day, median)) => format!(
            "{} became READY for the first time in the last 30 days; on {} it took {} in the median.",
            plural(all, "store"),
            date(day.begin),
            took(median)
        ),
    };
    let row = |day: &Day| {
        Some(vec![date(day.begin), day.provisioned.to_string(), took(day.p50_ms?), took(day.p95_ms?)])
    };
    let (from, to) = ends(days);
    Chart {
        id: "chart-provisioning",
        title: "Time until READY",
        words,
        shapes,
        top: took(highest),
        legend: vec![("p50", "median"), ("p95", "95th percentile")],
        columns: vec!["Day", "Stores", "Median", "95th percentile"],
        rows: days.iter().filter_map(row).collect(),
        from,
        to,
    }
}

fn failures(days: &[Day]) -> Chart {
    let highest = days.iter().map(|day| day.failed).max().unwrap_or(0).max(1);
    let bars = days.iter().enumerate().filter(|(_, day)| day.failed > 0).map(|(at, day)| Shape {
        class: "failed",
        path: column(at, days.len(), 0, scaled(day.failed as u64, highest as u64)),
        title: format!("{}: {}", date(day.begin), plural(day.failed, "failure")),
    });
    let all: usize = days.iter().map(|day| day.failed).sum();
    let (from, to) = ends(days);
    Chart {
        id: "chart-failures",
        title: "Failures",
        words: match all {
            0 => "No store failed in the last 30 days.".to_owned(),
            all => format!(
                "Stores became FAILED {} in the last 30 days.",
                if all == 1 { "once".to_owned() } else { format!("{all} times") }
            ),
        },
        shapes: bars.collect(),
        top: highest.to_string(),
        legend: Vec::new(),
        columns: vec!["Day", "Failures"],
        rows: days
            .iter()
            .filter(|day| day.failed > 0)
            .map(|day| vec![date(day.begin), day.failed.to_string()])
            .collect(),
        from,
        to,
    }
}

fn states(samples: &[Sample]) -> Chart {
    let step = samples.len().div_ceil(POINTS).max(1);
    let newest = samples.last();
    let shown: Vec<_> = samples.iter().rev().step_by(step).collect::<Vec<_>>().into_iter().rev().collect();
    let total = |sample: &Sample| sample.stores.values().sum::<usize>();
    let highest = shown.iter().map(|sample| total(sample)).max().unwrap_or(0).max(1);
    let count = |sample: &Sample, state: StoreState| sample.stores.get(&state).copied().unwrap_or(0);
    let mut below: Vec<usize> = vec![0; shown.len()];
    let mut shapes = Vec::new();
    for state in STACK {
        let above: Vec<_> =
            shown.iter().zip(&below).map(|(sample, below)| below + count(sample, state)).collect();
        if above != below {
            let StateView { word, class, .. } = StateView::of(state);
            let now = newest.map_or(0, |sample| count(sample, state));
            shapes.push(Shape {
                class,
                path: band(&below, &above, highest),
                title: format!("{word}: {now} now"),
            });
        }
        below = above;
    }
    let words = match newest {
        None => "Nothing was counted yet; the first count comes with the first pass.".to_owned(),
        Some(sample) => {
            let counted = STACK.iter().filter(|state| count(sample, **state) > 0);
            let counts: Vec<_> = counted
                .map(|state| format!("{} {state}", count(sample, *state), state = state.as_str()))
                .collect();
            format!("{} at the newest count: {}.", plural(total(sample), "store"), counts.join(", "))
        }
    };
    let row = |sample: &&Sample| {
        let counts = STACK.iter().map(|state| count(sample, *state).to_string());
        std::iter::once(rfc3339(sample.at)).chain(counts).collect()
    };
    let legend = shapes.iter().map(|shape| (shape.class, shape.class)).collect();
    let at = |sample: Option<&Sample>| sample.map(|sample| date(sample.at)).unwrap_or_default();
    Chart {
        id: "chart-states",
        title: "States",
        words,
        shapes,
        top: highest.to_string(),
        legend,
        columns: std::iter::once("Time").chain(STACK.map(StoreState::as_str)).collect(),
        rows: shown.iter().rev().step_by(shown.len().div_ceil(30).max(1)).map(row).collect(),
        from: at(samples.first()),
        to: at(samples.last()),
    }
}

/// The states from the bottom of the picture to its top: what is well lies below.
const STACK: [StoreState; 7] = [
    StoreState::Ready,
    StoreState::Provisioning,
    StoreState::Requested,
    StoreState::Paused,
    StoreState::Deleting,
    StoreState::Degraded,
    StoreState::Failed,
];

/// Scales a value to the height of a picture; what is not nothing can be seen.
fn scaled(value: u64, highest: u64) -> usize {
    let height = value.saturating_mul(HEIGHT as u64).div_ceil(highest.max(1));
    usize::try_from(height).unwrap_or(HEIGHT).clamp(usize::from(value > 0), HEIGHT)
}

/// Outlines a column among so many.
fn column(at: usize, of: usize, bottom: usize, top: usize) -> String {
    let (left, right) = (at * WIDTH / of + 1, (at + 1) * WIDTH / of - 1);
    let (low, high) = (HEIGHT - bottom, HEIGHT - top);
    format!("M{left} {low}V{high}H{right}V{low}Z")
}

/// Outlines what lies between two lines.
fn band(below: &[usize], above: &[usize], highest: usize) -> String {
    let last = above.len().saturating_sub(1).max(1);
    let y = |value: usize| HEIGHT - scaled(value as u64, highest as u64).min(HEIGHT);
    let mut path = String::new();
    for (at, value) in above.iter().enumerate() {
        let _ = write!(path, "{}{} {}", if at == 0 { 'M' } else { 'L' }, at * WIDTH / last, y(*value));
    }
    if above.len() == 1 {
        let _ = write!(path, "H{WIDTH}");
    }
    for (at, value) in below.iter().enumerate().rev() {
        let x = if below.len() == 1 { WIDTH } else { at * WIDTH / last };
        let _ = write!(path, "L{x} {}", y(*value));
    }
    if below.len() == 1 {
        path.push_str("H0");
    }
    path.push('Z');
    path
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn shapes_stay_within_their_picture() {
        assert_eq!(column(0, 30, 0, 80), "M1 80V0H9V80Z");
        assert_eq!((scaled(0, 9), scaled(1, 9_999), scaled(9, 9)), (0, 1, 80));
        assert_eq!(band(&[0, 0], &[5, 10], 10), "M0 40L300 0L300 80L0 80Z");
        assert_eq!(band(&[0], &[10], 10), "M0 0H300L300 80H0Z");
    }

    #[test]
    fn a_picture_says_in_words_what_it_shows() {
        let day = Day {
            begin: 1_760_054_400,
            provisioned: 2,
            p50_ms: Some(1_500),
            p95_ms: Some(61_000),
            failed: 1,
        };
        let stores = BTreeMap::from([(StoreState::Ready, 3), (StoreState::Failed, 1)]);
        let samples = vec![Sample { at: 1_760_054_400, stores }];
        let html = fleet(&Statistics { days: vec![day], samples });
        for words in [
            "2 stores became READY for the first time in the last 30 days; on 2025-10-10 it took 1.5 s in the median.",
            "Stores became FAILED once in the last 30 days.",
            "4 stores at the newest count: 3 READY, 1 FAILED.",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
        assert_eq!(html.matches("role=\"img\"").count(), 3);
    }
}
