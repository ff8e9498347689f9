//! `.helmignore`: which files of a chart's folder are no part of the chart.

use regex::Regex;

/// The rules of the root's `.helmignore`; those of subcharts are not looked at, as in Helm.
pub(crate) struct IgnoreRules(Vec<Rule>);

struct Rule {
    pattern: Regex,
    /// The pattern ends with `/`: only folders match.
    folders_only: bool,
    /// The pattern has a `/` elsewhere: it is matched from the root on.
    rooted: bool,
    /// The pattern starts with `!`: Helm then ignores what does *not* match.
    negated: bool,
}

impl IgnoreRules {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        // Hidden files in templates/ are never part of a chart.
        Ok(Self(lines.chain(["templates/.?*"]).map(Rule::parse).collect::<Result<_, _>>()?))
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
    fn parse(line: &str) -> Result<Self, String> {
        if line.contains("**") {
            return Err("** is not supported".to_owned());
        }
        let pattern = line.strip_prefix('!').unwrap_or(line);
        let negated = pattern.len() < line.len();
        let folders_only = pattern.ends_with('/');
        let pattern = pattern.strip_suffix('/').unwrap_or(pattern);
        let rooted = pattern.contains('/');
        let compiled = compiled(pattern.strip_prefix('/').unwrap_or(pattern));
        let pattern = compiled.ok_or_else(|| format!("`{line}` is no pattern"))?;
        Ok(Self { pattern, folders_only, rooted, negated })
    }

    fn matches(&self, path: &str, is_folder: bool) -> bool {
        let name = if self.rooted { path } else { path.rsplit('/').next().unwrap_or(path) };
        let is_wanted_kind = is_folder || !self.folders_only;
        (is_wanted_kind && self.pattern.is_match(name)) != self.negated
    }
}

/// Compiles a pattern of Go's `filepath.Match`: `*` and `?` stay within a folder, `[a-z]` and `[^a-z]` choose, a backslash
/// takes the next character as it is.
fn compiled(pattern: &str) -> Option<Regex> {
    let literal = |character: char| regex::escape(&character.to_string());
    let mut expression = String::from("(?s)^");
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '\\' => expression.push_str(&literal(characters.next()?)),
            '[' => {
                expression.push_str(if characters.next_if_eq(&'^').is_some() { "[^" } else { "[" });
                let mut is_empty = true;
                while is_empty || characters.peek() != Some(&']') {
                    match characters.next()? {
                        '\\' => expression.push_str(&literal(characters.next()?)),
                        ']' | '-' => return None,
                        plain => expression.push_str(&literal(plain)),
                    }
                    if characters.next_if_eq(&'-').is_some() {
                        expression.push('-');
                        match characters.next()? {
                            '\\' => expression.push_str(&literal(characters.next()?)),
                            ']' | '-' => return None,
                            plain => expression.push_str(&literal(plain)),
                        }
                    }
                    is_empty = false;
                }
                characters.next();
                expression.push(']');
            }
            plain => expression.push_str(&literal(plain)),
        }
    }
    expression.push('$');
    Regex::new(&expression).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, paths: &[(&str, bool)]) {
        let rules = IgnoreRules::parse(rules).unwrap();
        for (path, ignored) in paths {
            assert_eq!(rules.ignores(path), *ignored, "{path}");
        }
    }

    #[test]
    fn patterns_match_names_paths_and_folders() {
        ignored(
            "# comment\n*.bak\nci/\n/docs/*.md\n[ab]?\\*.txt\n",
            &[
                ("a.bak", true),
                ("templates/b.bak", true),
                ("ci/x.yaml", true),
                ("charts/sub/ci/x.yaml", true),
                ("docs/a.md", true),
                ("charts/docs/a.md", false),
                ("templates/.hidden", true),
                ("templates/a.yaml", false),
                ("ax*.txt", true),
                ("cx*.txt", false),
            ],
        );
        ignored("/ci\n", &[("ci", true), ("ci/x", true), ("charts/ci", false)]);
    }

    #[test]
    fn a_negation_ignores_all_else_as_in_helm() {
        ignored("!*.yaml\n", &[("a.yaml", false), ("a.txt", true), ("templates/a.yaml", true)]);
        ignored("!templates/\n", &[("templates/a.yaml", true)]);
    }

    #[test]
    fn what_helm_does_not_take_for_a_pattern_is_refused() {
        for rules in ["**/a", "[a", "[]", "a\\", "[a-]"] {
            assert!(IgnoreRules::parse(rules).is_err(), "{rules}");
        }
    }
}
