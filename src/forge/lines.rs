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

/// Reads a diff of several files, as git writes it. A file whose name git quotes is left out.
pub(super) fn files(diff: &str) -> BTreeMap<String, Shown> {
    let mut files = BTreeMap::new();
    // Lines of contents begin with a sign, so these begin files.
    for file in format!("\n{diff}").split("\ndiff --git ").skip(1) {
        let Some((head, hunks)) = file.split_once("\n@@ ") else { continue };
        let name = head.lines().find_map(|line| line.strip_prefix("+++ b/"));
        if let Some(name) = name {
            files.insert(name.trim_end_matches('\t').to_owned(), Shown::read(&format!("@@ {hunks}")));
        }
    }
    files
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
    fn the_diff_of_several_files_is_read_file_by_file() {
        let diff = "diff --git a/stores/a.yaml b/stores/a.yaml\nnew file mode 100644\nindex 0000000..1\n--- /dev/null\n\
            +++ b/stores/a.yaml\n@@ -0,0 +1,2 @@\n+one\n+++ b/none\ndiff --git a/x b/x\ndeleted file mode 100644\n\
            --- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\ndiff --git a/img b/img\nBinary files differ\n\
            diff --git \"a/\\303\" \"b/\\303\"\n--- \"a/\\303\"\n+++ \"b/\\303\"\n@@ -1 +1 @@\n-x\n+y\n\
            diff --git a/b b/b\n--- a/b\n+++ b/b\n@@ -5 +5 @@\n-x\n+y\n";
        let files = files(diff);
        assert_eq!(files.keys().collect::<Vec<_>>(), ["b", "stores/a.yaml"]);
        assert_eq!((files["b"].line(5), files["b"].line(1)), (Some(Added), None));
        assert_eq!((files["stores/a.yaml"].line(2), files["stores/a.yaml"].line(3)), (Some(Added), None));
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
