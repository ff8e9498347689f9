//! Semantic versions and constraints, by the rules of the Go module Masterminds/semver 3.5: `v` and missing
//! parts are fine, `1.x` is a range, pre-releases match only where the constraint names one.

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use super::{Function, Outcome, Runtime, text};
use crate::chart::error::Failure;
use crate::chart::objects::{Kind, Member, Number, Object};
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] =
    &[Function::exactly("semver", 1, semver), Function::exactly("semverCompare", 2, semver_compare)];

fn semver(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    Ok(Value::object(Object::Version(parsed(text(values, 0)?)?)))
}

fn semver_compare(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let constraint = text(values, 0)?;
    let version = parsed(text(values, 1)?)?;
    satisfies(&version, constraint)
        .map(Value::Bool)
        .ok_or_else(|| Failure::new(format!("improper constraint: {constraint:?}")))
}

fn parsed(text: &str) -> Result<Version, Failure> {
    Version::parse(text).ok_or_else(|| Failure::new(format!("`{text}` is no semantic version")))
}

/// Tells whether a version satisfies a constraint; `None` if either is none.
pub(crate) fn version_matches(constraint: &str, version: &str) -> Option<bool> {
    satisfies(&Version::parse(version)?, constraint)
}

/// A semantic version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    major: u64,
    minor: u64,
    patch: u64,
    prerelease: String,
    metadata: String,
    /// As it was written.
    original: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch, prerelease, metadata, original: _ } = self;
        write!(f, "{major}.{minor}.{patch}")?;
        if !prerelease.is_empty() {
            write!(f, "-{prerelease}")?;
        }
        if metadata.is_empty() { Ok(()) } else { write!(f, "+{metadata}") }
    }
}

/// One to three numbers, a pre-release, metadata.
static VERSION: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$",
    )
    .ok()
});

/// One constraint: operator, three parts that may be wildcards, pre-release, metadata.
const CONSTRAINT: &str = r"(!=|>=|=>|<=|=<|~>|=|>|<|~|\^|)\s*v?([0-9]+|[xX*])(?:\.([0-9]+|[xX*]))?(?:\.([0-9]+|[xX*]))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?";

static ONE_CONSTRAINT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"^[\s,]*{CONSTRAINT}(?:\s+|\s*,|$)")).ok());

/// `1.2 - 2.3`: both ends included.
static HYPHEN_RANGE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\s*([^\s,|]+)\s+-\s+([^\s,|]+)\s*").ok());

impl Version {
    fn parse(whole: &str) -> Option<Self> {
        let captures = VERSION.as_ref()?.captures(whole)?;
        let number =
            |group| captures.get(group).map_or(Some(0), |part: regex::Match<'_>| part.as_str().parse().ok());
        let text = |group| captures.get(group).map_or_else(String::new, |part| part.as_str().to_owned());
        Some(Self {
            major: number(1)?,
            minor: number(2)?,
            patch: number(3)?,
            prerelease: text(4),
            metadata: text(5),
            original: whole.to_owned(),
        })
    }

    /// Calls a method.
    pub(crate) fn member(&self, name: &str, arguments: &[Value]) -> Member {
        match arguments {
            [] => self.field(name),
            [Value::Object(object)] => match &**object {
                Object::Version(other) => self.compared(name, other),
                _ => Member::BadArguments("one version"),
            },
            [_] => Member::BadArguments("one version"),
            _ => Member::Unknown,
        }
    }

    fn field(&self, name: &str) -> Member {
        let number = |number: u64| {
            let value = i64::try_from(number).unwrap_or(i64::MAX);
            Value::object(Object::Number(Number { kind: Kind::Unsigned, value }))
        };
        Member::Found(match name {
            "Major" => number(self.major),
            "Minor" => number(self.minor),
            "Patch" => number(self.patch),
            "Prerelease" => Value::string(&self.prerelease),
            "Metadata" => Value::string(&self.metadata),
            "Original" => Value::string(&self.original),
            "String" => Value::from(self.to_string()),
            "IncMajor" => self.next(self.major.saturating_add(1), 0, 0),
            "IncMinor" => self.next(self.major, self.minor.saturating_add(1), 0),
            // The patch after a pre-release is its release.
            "IncPatch" if !self.prerelease.is_empty() => self.next(self.major, self.minor, self.patch),
            "IncPatch" => self.next(self.major, self.minor, self.patch.saturating_add(1)),
            _ => return Member::Unknown,
        })
    }

    fn next(&self, major: u64, minor: u64, patch: u64) -> Value {
        let prefix = if self.original.starts_with('v') { "v" } else { "" };
        let original = format!("{prefix}{major}.{minor}.{patch}");
        let (prerelease, metadata) = (String::new(), String::new());
        Value::object(Object::Version(Self { major, minor, patch, prerelease, metadata, original }))
    }

    fn compared(&self, name: &str, other: &Self) -> Member {
        let ordering = self.compare(other);
        Member::Found(match name {
            "Compare" => Value::Int(ordering as i64),
            "Equal" => Value::Bool(ordering.is_eq()),
            "LessThan" => Value::Bool(ordering.is_lt()),
            "LessThanEqual" => Value::Bool(ordering.is_le()),
            "GreaterThan" => Value::Bool(ordering.is_gt()),
            "GreaterThanEqual" => Value::Bool(ordering.is_ge()),
            _ => return Member::Unknown,
        })
    }

    fn compare(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| compare_prereleases(&self.prerelease, &other.prerelease))
    }
}

fn compare_prereleases(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (left.parse::<u64>(), right.parse::<u64>()) {
                (Ok(left), Ok(right)) => left.cmp(&right),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => left.cmp(right),
            },
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

struct Constraint {
    operator: String,
    version: Version,
    /// `1` or `1.x`: the minor part is open.
    open_minor: bool,
    /// `1.2` or `1.2.x`: the patch part is open.
    open_patch: bool,
    /// Some part is open, `*` included.
    open: bool,
}

fn satisfies(version: &Version, constraints: &str) -> Option<bool> {
    let rewritten = HYPHEN_RANGE.as_ref()?.replace_all(constraints, ">= $1, <= $2 ").into_owned();
    let mut any = false;
    for group in rewritten.split("||") {
        let constraints = group_of(group)?;
        let with_prereleases = constraints.iter().any(|constraint| !constraint.version.prerelease.is_empty());
        let allowed = version.prerelease.is_empty() || with_prereleases;
        any |= allowed && constraints.iter().all(|constraint| constraint.allows(version));
    }
    Some(any)
}

fn group_of(group: &str) -> Option<Vec<Constraint>> {
    let mut constraints = Vec::new();
    let mut rest = group.trim();
    if rest.is_empty() {
        rest = "*";
    }
    while !rest.is_empty() {
        let captures = ONE_CONSTRAINT.as_ref()?.captures(rest)?;
        let part = |group| captures.get(group).map(|part| part.as_str());
        let number = |group| part(group).and_then(|text| text.parse::<u64>().ok());
        let (major, minor, patch) = (number(2), number(3), number(4));
        // Whatever follows an open part is open too.
        let minor = major.and(minor);
        let patch = minor.and(patch);
        constraints.push(Constraint {
            operator: part(1).unwrap_or_default().to_owned(),
            version: Version {
                major: major.unwrap_or(0),
                minor: minor.unwrap_or(0),
                patch: patch.unwrap_or(0),
                prerelease: part(5).unwrap_or_default().to_owned(),
                metadata: String::new(),
                original: String::new(),
            },
            open_minor: major.is_some() && minor.is_none(),
            open_patch: minor.is_some() && patch.is_none(),
            open: patch.is_none(),
        });
        rest = &rest[captures.get(0).map_or(rest.len(), |whole| whole.end())..];
    }
    Some(constraints)
}

impl Constraint {
    fn allows(&self, version: &Version) -> bool {
        let ordering = version.compare(&self.version);
        match self.operator.as_str() {
            "!=" => !self.equals(version, ordering),
            ">" => self.is_below(version, ordering),
            "<" => ordering.is_lt(),
            ">=" | "=>" => ordering.is_ge(),
            "<=" | "=<" => self.is_not_below(version, ordering),
            "~" | "~>" => self.tilde(version, ordering),
            "^" => self.caret(version, ordering),
            _ if self.open => self.tilde(version, ordering),
            _ => ordering.is_eq(),
        }
    }

    fn equals(&self, version: &Version, ordering: Ordering) -> bool {
        if !self.open {
            return ordering.is_eq();
        }
        if version.major != self.version.major {
            return false;
        }
        if self.open_minor {
            return true;
        }
        if version.minor != self.version.minor {
            return false;
        }
        if self.open_patch { version.prerelease == self.version.prerelease } else { ordering.is_eq() }
    }

    /// `>`: more than the whole range that an open constraint names.
    fn is_below(&self, version: &Version, ordering: Ordering) -> bool {
        if !self.open || version.major != self.version.major {
            return ordering.is_gt();
        }
        match (self.open_minor, self.open_patch) {
            (true, _) => false,
            (_, true) => version.minor > self.version.minor,
            _ => ordering.is_gt(),
        }
    }

    /// `<=`: up to the end of the range that an open constraint names.
    fn is_not_below(&self, version: &Version, ordering: Ordering) -> bool {
        if !self.open {
            return ordering.is_le();
        }
        version.major < self.version.major
            || (version.major == self.version.major
                && (version.minor <= self.version.minor || self.open_minor))
    }

    fn tilde(&self, version: &Version, ordering: Ordering) -> bool {
        let wanted = &self.version;
        if ordering.is_lt() {
            return false;
        }
        let is_zero = (wanted.major, wanted.minor, wanted.patch) == (0, 0, 0);
        if is_zero && !self.open_minor && !self.open_patch {
            return true;
        }
        version.major == wanted.major && (version.minor == wanted.minor || self.open_minor)
    }

    fn caret(&self, version: &Version, ordering: Ordering) -> bool {
        let wanted = &self.version;
        if ordering.is_lt() {
            return false;
        }
        if wanted.major > 0 || self.open_minor {
            return version.major == wanted.major;
        }
        if version.major > 0 {
            return false;
        }
        if wanted.minor > 0 || self.open_patch {
            return version.minor == wanted.minor;
        }
        version.minor == 0 && version.patch == wanted.patch
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn constraints_follow_masterminds() {
        for (constraint, version, expected) in [
            (">=1.19-0", "1.19.0-rc.1", true),
            (">=1.19-0", "v1.37.0", true),
            (">=1.19", "1.19.0-rc.1", false),
            (">=1.21.0 <1.25", "1.24.9", true),
            (">=1.21, <1.25", "1.25.0", false),
            ("^1.2", "1.9.0", true),
            ("^0.2.3", "0.3.0", false),
            ("^0.0", "0.0.9", true),
            ("~1.2.3", "1.2.9", true),
            ("~1.2.3", "1.3.0", false),
            ("~1", "1.9.0", true),
            ("1.x", "1.5.0", true),
            ("*", "3.0.0", true),
            ("1.2.3", "v1.2.3", true),
            ("!=1.x", "1.5.0", false),
            (">1", "1.5.0", false),
            ("> 1.2", "1.2.5", false),
            ("<=1.2", "1.2.5", true),
            ("1.0 - 2.0", "1.5.0", true),
            ("<1 || >2.1", "2.5.0", true),
            ("", "1.0.0", true),
        ] {
            assert_eq!(version_matches(constraint, version), Some(expected), "{constraint} {version}");
        }
        assert_eq!(version_matches("nonsense", "1.0.0"), None);
    }

    #[test]
    fn versions_have_parts() {
        assert_prints(
            &json!({}),
            &[
                ("(semver \"v1.2.3-rc.1+m\").Prerelease", "rc.1"),
                ("(semver \"1.2\").Major", "1"),
                ("semverCompare \">=1.30-0\" .Capabilities.KubeVersion.Version", "true"),
            ],
        );
        assert_refused(
            &json!({}),
            &[("semver \"x\"", "no semantic version"), ("semverCompare \"%\" \"1\"", "improper constraint")],
        );
    }
}
