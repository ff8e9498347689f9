//! Which lines of a file a diff shows.

use std::collections::BTreeMap;

/// A line that a diff shows of a file's newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The older version does not have it.
    Added,
    /// The older version has it too, with this number.
    Kept(u32),
}

/// What a diff shows of a file's newer version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shown(BTreeMap<u32, Line>);

impl Shown {
    /// Reads the hunks of one file's unified diff. What is not understood shows nothing.
    pub(super) fn read(diff: &str) -> Self {
        let mut shown = BTreeMap::new();
        let mut at = None;
        for line in diff.lines() {
            if let Some(header) = line.strip_prefix("@@ ") {
                at = hunk(header);
                continue;
            }
            let Some((old, new)) = at else { continue };
            at = match line.as_bytes().first() {
                Some(b'+') => {
                    shown.insert(new, Line::Added);
                    Some((old, new.saturating_add(1)))
                }
                Some(b'-') => Some((old.saturating_add(1), new)),
                // Some writers leave an empty line without its space.
                Some(b' ') | None => {
                    shown.insert(new, Line::Kept(old));
                    Some((old.saturating_add(1), new.saturating_add(1)))
                }
                // `\ No newline at end of file`
                Some(_) => Some((old, new)),
            };
        }
        Self(shown)
    }

    /// Returns a line of the newer version, if it is shown.
    pub(super) fn line(&self, line: u32) -> Option<Line> {
        self.0.get(&line).copied()
    }
}

/// Reads `-1,4 +1,6 @@ …` as where the older and the newer lines begin.
fn hunk(header: &str) -> Option<(u32, u32)> {
    let (old, rest) = header.strip_prefix('-')?.split_once(" +")?;
    let new = rest.split_once(" @@")?.0;
    let start = |range: &str| range.split(',').next()?.parse().ok();
    Some((start(old)?, start(new)?))
}

#[cfg(test)]
mod tests {
    use super::Line::{Added, Kept};
    use super::*;

    const DIFF: &str =
        "@@ -1,3 +1,4 @@ spec:\n a\n-b\n+B\n+c\n d\n@@ -10 +11,2 @@\n x\n+y\n\\ No newline at end of file";

    #[test]
    fn added_and_kept_lines_are_shown_and_others_are_not() {
        let shown = Shown::read(DIFF);
        let lines: Vec<_> = (0..15).filter_map(|number| Some((number, shown.line(number)?))).collect();
        assert_eq!(lines, [(1, Kept(1)), (2, Added), (3, Added), (4, Kept(3)), (11, Kept(10)), (12, Added)]);
    }

    #[test]
    fn what_is_no_diff_shows_nothing() {
        for text in
            ["", "+a", "@@ -x +y @@\n+a", "@@ -1,2 @@\n+a", "@@@ -1 -1 +1 @@@\n+a", "Binary files differ"]
        {
            assert_eq!(Shown::read(text), Shown::default(), "{text}");
        }
        let end = format!("@@ -{0} +{0} @@\n+a\n+b", u32::MAX);
        assert_eq!(Shown::read(&end).line(u32::MAX), Some(Added));
    }
}
