//! `.helmignore`: which files of a chart's folder are no part of the chart.

use super::functions::glob::Glob;

/// The rules of the root's `.helmignore`; those of subcharts are not looked at, as in Helm.
pub(crate) struct IgnoreRules(Vec<Rule>);

struct Rule {
    glob: Glob,
    /// The pattern ends with `/`: only folders match.
    folders_only: bool,
    /// The pattern has a `/` elsewhere: it is matched from the root on.
    rooted: bool,
    /// The pattern starts with `!`: Helm then ignores what does *not* match.
    negated: bool,
}

impl IgnoreRules {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        // Hidden files in templates/ are never part of a chart.
        Self(lines.chain(["templates/.?*"]).map(Rule::parse).collect())
    }

    /// Tells whether a file is ignored, itself or by one of the folders it lies in.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        folders.into_iter().any(|folder| self.matches(folder, true)) || self.matches(path, false)
    }

    fn matches(&self, path: &str, is_folder: bool) -> bool {
        self.0.iter().any(|rule| rule.matches(path, is_folder))
    }
}

impl Rule {
    fn parse(line: &str) -> Self {
        let negated = line.starts_with('!');
        let pattern = line.trim_start_matches('!');
        let folders_only = pattern.ends_with('/');
        let pattern = pattern.trim_end_matches('/');
        let rooted = pattern.contains('/');
        Self { glob: Glob::new(pattern.trim_start_matches('/')), folders_only, rooted, negated }
    }

    fn matches(&self, path: &str, is_folder: bool) -> bool {
        let name = if self.rooted { path } else { path.rsplit('/').next().unwrap_or(path) };
        let found = self.glob.matches(name);
        if self.negated {
            return !is_folder && !found;
        }
        found && (is_folder || !self.folders_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_paths_and_folders() {
        let rules = IgnoreRules::parse("# comment\n*.bak\nci/\n/docs/*.md\n");
        for (path, ignored) in [
            ("a.bak", true),
            ("templates/b.bak", true),
            ("ci/x.yaml", true),
            ("charts/sub/ci/x.yaml", true),
            ("docs/a.md", true),
            ("charts/docs/a.md", false),
            ("templates/.hidden", true),
            ("templates/a.yaml", false),
        ] {
            assert_eq!(rules.ignores(path), ignored, "{path}");
        }
    }
}
