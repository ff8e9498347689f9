//! A plan line by line, as terminals and comments show it alike.

use super::{FieldChange, Lost, LostKind, ObjectAction, ObjectChange, StoreAction, StorePlanReport};

/// How long a line of a sentence gets before it is broken.
const WIDTH: usize = 100;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What it is about: `+`, `~`, `-`, `±`, `!`, or a space for what only explains.
    pub(super) sign: char,
    /// How deep it stands.
    pub(super) depth: usize,
    /// What it says; printable characters only.
    pub(super) text: String,
    /// Whether it may be broken.
    pub(super) is_sentence: bool,
}

impl Line {
    fn new(sign: char, depth: usize, text: impl AsRef<str>) -> Self {
        Self { sign, depth, text: printable(text.as_ref()), is_sentence: false }
    }
}

impl StoreAction {
    /// Returns the sign that stands before it.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
            Self::Keep | Self::Wrong => '!',
        }
    }
}

impl ObjectAction {
    /// Returns the sign that stands before it.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
            Self::Recreate => '±',
            Self::Refused => '!',
        }
    }
}

/// Writes everything about a store but its name.
pub(super) fn of_store(store: &StorePlanReport) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(trouble) = &store.trouble {
        sentence(&mut lines, '!', 0, trouble);
    }
    for warning in &store.warnings {
        sentence(&mut lines, '!', 0, warning);
    }
    if let Some(when) = &store.when {
        sentence(&mut lines, ' ', 0, when);
    }
    for object in &store.objects {
        of_object(&mut lines, object);
    }
    if !store.lost.is_empty() {
        lines.push(Line::new(' ', 0, "lost for good:"));
        of_lost(&mut lines, &store.lost);
    }
    lines
}

fn of_object(lines: &mut Vec<Line>, object: &ObjectChange) {
    let ObjectChange { action, kind, name, fields, note } = object;
    lines.push(Line::new(action.sign(), 0, format!("{kind}/{name}")));
    if let Some(note) = note {
        sentence(lines, ' ', 1, note);
    }
    for field in fields {
        of_field(lines, field);
    }
}

fn of_field(lines: &mut Vec<Line>, field: &FieldChange) {
    let FieldChange { path, before, after } = field;
    if before == after {
        // Both are hidden.
        let word = before.as_deref().unwrap_or_default();
        return lines.push(Line::new('~', 1, format!("{path}: {word} (another value)")));
    }
    for (sign, value) in [('-', before), ('+', after)] {
        match value {
            Some(value) if value.contains('\n') => {
                lines.push(Line::new(sign, 1, format!("{path}:")));
                lines.extend(value.split('\n').map(|text| Line::new(sign, 2, text)));
            }
            Some(value) => lines.push(Line::new(sign, 1, format!("{path}: {value}"))),
            None => {}
        }
    }
}

/// Writes what is lost in columns.
fn of_lost(lines: &mut Vec<Line>, lost: &[Lost]) {
    let widest = |of: fn(&Lost) -> usize| lost.iter().map(of).max().unwrap_or(0);
    let name = widest(|it| it.name.chars().count());
    let size = widest(|it| it.size.as_ref().map_or(0, |size| size.chars().count()));
    for it in lost {
        let what = match it.what {
            LostKind::Namespace => "namespace",
            LostKind::Volume => "volume",
        };
        let amount = it.size.as_deref().unwrap_or_default();
        let made = match (&it.created, &it.age) {
            (Some(created), Some(age)) => format!("made {created}, {age} ago"),
            _ => String::new(),
        };
        let text = format!("{what:9} {:name$} {amount:>size$} {made}", it.name);
        lines.push(Line::new('-', 1, text.trim_end()));
        if let Some(note) = &it.note {
            sentence(lines, ' ', 2, note);
        }
    }
}

/// Writes a sentence.
pub(super) fn sentence(lines: &mut Vec<Line>, sign: char, depth: usize, text: &str) {
    lines.push(Line { is_sentence: true, ..Line::new(sign, depth, text.replace('\n', " ")) });
}

/// Breaks a sentence where it gets long: comments don't break lines of code.
pub(super) fn broken(line: &Line) -> Vec<Line> {
    let mut lines = vec![Line { text: String::new(), ..line.clone() }];
    let mut length = 0;
    for word in line.text.split(' ') {
        let more = word.chars().count();
        if line.is_sentence && length > 0 && length + 1 + more > WIDTH {
            // What goes on is the same sentence, not another change.
            let sign = if line.sign == '!' { '!' } else { ' ' };
            lines.push(Line { sign, text: String::new(), ..line.clone() });
            length = 0;
        }
        let Some(last) = lines.last_mut() else { continue };
        if !last.text.is_empty() || length > 0 {
            last.text.push(' ');
        }
        last.text.push_str(word);
        length += more + 1;
    }
    lines
}

/// Escapes what moves a cursor, ends a line, turns the reading direction or can't be seen.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unprintable(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

pub(super) fn is_unprintable(character: char) -> bool {
    let hidden =
        ['\u{ad}', '\u{61c}', '\u{180e}', '\u{feff}', '\u{3164}', '\u{ffa0}', '\u{115f}', '\u{1160}'];
    character.is_control()
        || hidden.contains(&character)
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(character, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Cuts a text to so many characters and says so.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|it| format!("{}{}{}", it.sign, "  ".repeat(it.depth), it.text)).collect()
    }

    #[test]
    fn sentences_are_broken_and_words_are_not_nor_what_is_no_sentence() {
        let mut lines = Vec::new();
        sentence(&mut lines, '!', 0, &format!("{} end", "word ".repeat(20).trim_end()));
        sentence(&mut lines, '+', 1, &format!("a {} b", "x".repeat(300)));
        lines.push(Line::new('+', 0, "  y ".repeat(100)));
        let parts: Vec<_> = lines.iter().map(|line| texts(&broken(line))).collect();
        let lengths: Vec<Vec<_>> = parts.iter().map(|part| part.iter().map(String::len).collect()).collect();
        assert_eq!(lengths, [vec![100, 4], vec![4, 303, 4], vec![401]]);
        assert!(parts[0][1] == "!end" && parts[1][2] == "   b", "{parts:?}");
    }

    #[test]
    fn nothing_in_a_line_moves_a_cursor_or_hides() {
        let field = FieldChange {
            path: "a\u{1b}[31m".to_owned(),
            before: None,
            after: Some("x\r\u{202e}\ny\u{200b}z\t".to_owned()),
        };
        let mut lines = Vec::new();
        of_field(&mut lines, &field);
        let expected = ["+  a\\u{1b}[31m:", "+    x\\u{d}\\u{202e}", "+    y\\u{200b}z\\u{9}"];
        assert_eq!(texts(&lines), expected);
    }

    #[test]
    fn what_is_hidden_on_both_sides_is_one_line() {
        let hidden = || Some("***".to_owned());
        let mut lines = Vec::new();
        of_field(&mut lines, &FieldChange { path: "data.p".to_owned(), before: hidden(), after: hidden() });
        assert_eq!(texts(&lines), ["~  data.p: *** (another value)"]);
    }
}
