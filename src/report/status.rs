//! What is said on a forge about a commit and about a line of a file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest description of a commit status in characters: GitHub refuses longer ones.
pub const DESCRIPTION_MAX: usize = 140;

/// How far a commit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// It is being worked on.
    Pending,
    /// All that it asks for is done.
    Success,
    /// Something of it failed, or is refused.
    Failure,
}

impl CommitState {
    /// Returns the state as it is serialized.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// One verdict on a commit, under a context that a branch protection can require.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommitStatus {
    /// The name of the verdict, such as `storekeeper/acme`. The newest status of a context counts.
    pub context: String,
    /// The verdict.
    pub state: CommitState,
    /// Why, in one line of at most [`DESCRIPTION_MAX`] characters.
    pub description: String,
    /// The page that tells more.
    pub url: Option<String>,
}

impl CommitStatus {
    /// Makes a status. The description may be any text; see [`one_line`].
    pub fn new(context: &str, state: CommitState, description: &str, url: Option<&str>) -> Self {
        Self {
            context: context.to_owned(),
            state,
            description: one_line(description, DESCRIPTION_MAX),
            url: url.map(str::to_owned),
        }
    }
}

/// Something to say about a line of a file in a pull request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Annotation {
    /// The file, relative to the repository's root.
    pub path: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: Option<u32>,
    /// Plain text; markup in it means nothing.
    pub message: String,
}

/// Makes one line of at most `max` characters of a text: white space is joined, control characters and those that
/// turn or hide their neighbours go, and `…` stands where it was cut.
pub fn one_line(text: &str, max: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = words.collect::<Vec<_>>().join(" ");
    line.retain(|c| !turns_or_hides(c));
    let line = line.trim();
    if line.chars().count() <= max {
        return line.to_owned();
    }
    let kept: String = line.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

fn turns_or_hides(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{061c}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_line_of_at_most_140_characters() {
        let status =
            CommitStatus::new("storekeeper/acme", CommitState::Failure, "a\r\n\tb \u{1b}[31mc\0", None);
        assert_eq!(status.description, "a b [31mc");
        let status = CommitStatus::new("c", CommitState::Success, &"ä".repeat(141), None);
        assert_eq!(status.description.chars().count(), 140);
        assert!(status.description.ends_with("ä…"));
        let status = CommitStatus::new("c", CommitState::Success, &"ä".repeat(140), None);
        assert_eq!(status.description, "ä".repeat(140));
    }

    #[test]
    fn a_cut_leaves_no_space_before_its_mark() {
        assert_eq!(one_line("one two three", 5), "one…");
        assert_eq!(one_line("one two three", 6), "one t…");
        assert_eq!(one_line("x", 0), "…");
        assert_eq!(one_line("", 0), "");
        assert_eq!(one_line(" \u{202e} x\u{200b}", 9), "x");
    }

    #[test]
    fn a_status_is_written_in_lower_case_and_read_again() {
        let status =
            CommitStatus::new("storekeeper/all", CommitState::Pending, "2 of 3", Some("https://x/y"));
        let json = serde_json::to_string(&status).unwrap();
        assert!(json.contains(r#""state":"pending""#), "{json}");
        assert_eq!(serde_json::from_str::<CommitStatus>(&json).unwrap(), status);
    }
}
