//! The patterns of `.Files.Glob`: `*` and `?` stay within a folder, `**` does not, `{a,b}` and `[a-z]` choose.

use regex::Regex;

/// A compiled pattern.
pub(crate) struct Glob(Option<Regex>);

impl Glob {
    /// Compiles a pattern. What is no pattern matches everything, as in Helm.
    pub(crate) fn new(pattern: &str) -> Self {
        Self(compiled(pattern))
    }

    /// Tells whether a path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(path))
    }
}

fn compiled(pattern: &str) -> Option<Regex> {
    let mut expression = String::from("^");
    let mut characters = pattern.chars().peekable();
    let mut alternatives = 0;
    while let Some(character) = characters.next() {
        match character {
            '*' if characters.next_if_eq(&'*').is_some() => expression.push_str(".*"),
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '{' => {
                alternatives += 1;
                expression.push_str("(?:");
            }
            '}' if alternatives > 0 => {
                alternatives -= 1;
                expression.push(')');
            }
            ',' if alternatives > 0 => expression.push('|'),
            '[' => expression.push_str(if characters.next_if_eq(&'!').is_some() { "[^" } else { "[" }),
            ']' => expression.push(']'),
            '-' => expression.push('-'),
            '\\' => expression.push_str(&regex::escape(&characters.next()?.to_string())),
            other => expression.push_str(&regex::escape(&other.to_string())),
        }
    }
    expression.push('$');
    Regex::new(&expression).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_in_their_folder_unless_told() {
        for (pattern, path, expected) in [
            ("config/*", "config/a.txt", true),
            ("config/*", "config/sub/a.txt", false),
            ("config/**", "config/sub/a.txt", true),
            ("**.txt", "a/b.txt", true),
            ("{a,b}/?.yaml", "b/x.yaml", true),
            ("[a-c].txt", "b.txt", true),
            ("[!a-c].txt", "b.txt", false),
            ("a-b.txt", "a-b.txt", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern} {path}");
        }
    }
}
