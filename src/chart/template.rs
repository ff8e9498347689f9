//! Parses template text and checks it, so that a chart that loads has no unknown function or variable left.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use gotmpl::TemplateError as ParseError;
use gotmpl::parse::{
    BranchNode, CommandNode, DefineNode, Expr, ListNode, Node, Parser, PipeNode, Pos, TextNode,
};

use super::error::{Place, Snippet, TemplateError};
use super::functions;

/// How long an `else if` chain may get. The parser recurses for each link without counting.
const ELSE_CHAIN_MAX: usize = 100;

/// A parsed template: a file's own text or one `define` in it.
#[derive(Debug)]
pub(crate) struct Template {
    /// The text it was parsed from.
    pub(crate) source: Arc<Source>,
    /// What to execute.
    pub(crate) body: ListNode,
}

/// A text with templates, kept to tell the column of an error.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path of the file.
    pub(crate) name: String,
    text: String,
}

impl Source {
    /// Tells where a node of this source is.
    pub(crate) fn place(&self, position: Pos) -> Place {
        let before = self.text.get(..position.offset.min(self.text.len())).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            template: self.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Says that something is wrong at a node of this source.
    pub(crate) fn error(&self, position: Pos, message: impl Into<String>) -> TemplateError {
        self.error_at(self.place(position), message.into())
    }

    fn error_at(&self, place: Place, message: String) -> TemplateError {
        let line = self.text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        let snippet = Snippet::new(line, place.column).map(Box::new);
        TemplateError { place, message, snippet, included_from: Vec::new() }
    }

    /// How long the text is, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// The text from a node on.
    pub(crate) fn text_from(&self, position: Pos) -> &str {
        self.text.get(position.offset..).unwrap_or_default()
    }
}

/// Templates by name; later ones replace earlier ones.
pub(crate) type Templates = HashMap<String, Arc<Template>>;

/// What a text parses into: its own body and its defines.
pub(crate) struct Parsed {
    pub(crate) main: Arc<Template>,
    pub(crate) defines: Templates,
}

/// Parses the text of one file or of one `tpl` call.
pub(crate) fn parse(name: &str, text: &str) -> Result<Parsed, TemplateError> {
    let (prepared, opening) = prepare(name, text)?;
    let source = Arc::new(Source { name: name.to_owned(), text: prepared });
    let (mut body, defines) = Parser::new(&source.text, "{{", "}}")
        .and_then(Parser::parse)
        .map_err(|error| parse_error(&source, error))?;
    if let Some(opening) = opening {
        return Err(source.error(opening, "the action is not closed by {{ end }}"));
    }
    Checker::new(&source).check(&body)?;
    join_texts(&mut body);
    let mut templates = Templates::new();
    for mut define in defines {
        Checker::new(&source).check(&define.body)?;
        join_texts(&mut define.body);
        add(&mut templates, define, &source);
    }
    Ok(Parsed { main: Arc::new(Template { source, body }), defines: templates })
}

fn add(templates: &mut Templates, define: DefineNode, source: &Arc<Source>) {
    let template = Arc::new(Template { source: source.clone(), body: define.body });
    insert(templates, define.name.to_string(), template);
}

/// Adds a template. Go lets an empty one (only space and comments) not replace another.
pub(crate) fn insert(templates: &mut Templates, name: String, template: Arc<Template>) {
    if is_empty(&template.body) && templates.contains_key(&name) {
        return;
    }
    templates.insert(name, template);
}

/// Tells whether a body holds only space and comments.
fn is_empty(body: &ListNode) -> bool {
    body.nodes.iter().all(|node| is_comment(node) || gotmpl::parse::is_empty_tree(node))
}

/// Recognises the `{{ "" }}` that [`prepare`] writes for a comment.
pub(crate) fn is_comment(node: &Node) -> bool {
    let Node::Action(action) = node else { return false };
    match action.pipe.commands.as_slice() {
        [CommandNode { args, .. }] => {
            matches!(args.as_slice(), [Expr::String(_, text)] if text.is_empty())
                && action.pipe.decl.is_empty()
        }
        _ => false,
    }
}

/// Makes one text of neighbouring texts and of actions that only print one: charts write `{{ "{{" }}` thousands of times
/// where what they render has braces of its own.
fn join_texts(list: &mut ListNode) {
    let mut joined: Vec<Node> = Vec::with_capacity(list.nodes.len());
    let mut run: Vec<TextNode> = Vec::new();
    for mut node in std::mem::take(&mut list.nodes) {
        if let Some(text) = printed(&node) {
            run.push(text);
            continue;
        }
        joined.extend(one_text(&mut run));
        match &mut node {
            Node::List(list) => join_texts(list),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                join_texts(&mut branch.body);
                branch.else_body.iter_mut().for_each(join_texts);
            }
            _ => {}
        }
        joined.push(node);
    }
    joined.extend(one_text(&mut run));
    list.nodes = joined;
}

/// Returns the text that a node prints whatever the values are. Space in an action counts as more than space where Go asks
/// whether a template is empty, and bytes that are no characters are read anew when they are printed: these stay actions.
fn printed(node: &Node) -> Option<TextNode> {
    match node {
        Node::Text(text) => Some(TextNode { pos: text.pos, text: Arc::clone(&text.text) }),
        Node::Action(action) if action.pipe.decl.is_empty() => match action.pipe.commands.as_slice() {
            [CommandNode { args, .. }] => match args.as_slice() {
                [Expr::String(_, text)] if text.is_ascii() && !text.trim().is_empty() => {
                    Some(TextNode { pos: action.pos, text: Arc::clone(text) })
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Joins texts, if there are any.
fn one_text(run: &mut Vec<TextNode>) -> Option<Node> {
    let first = run.first()?;
    let (pos, text) = match run.as_slice() {
        [only] => (only.pos, Arc::clone(&only.text)),
        all => (first.pos, all.iter().map(|part| &*part.text).collect::<String>().into()),
    };
    run.clear();
    Some(Node::Text(TextNode { pos, text }))
}

fn parse_error(source: &Source, error: ParseError) -> TemplateError {
    let (line, column, message) = match error {
        ParseError::Parse { line, col, message, .. } | ParseError::Lex { line, col, message, .. } => {
            (line.max(1), col.max(1), message)
        }
        other => (1, 1, other.to_string()),
    };
    source.error_at(Place { template: source.name.clone(), line, column }, message)
}

/// Rewrites comments and counts blocks before the parser sees the text.
///
/// gotmpl 0.6.1 trims the text after `{{- /* comment */}}` although only the text before it may be trimmed. A
/// comment becomes `""` padded with spaces to the same length, its line breaks kept: an empty string prints
/// nothing, the trim markers keep their meaning and every position stays.
///
/// The second result is the position of a block that no `end` closes: the parser accepts that.
fn prepare(name: &str, text: &str) -> Result<(String, Option<Pos>), TemplateError> {
    let mut output = String::with_capacity(text.len());
    let mut blocks: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    let position = |offset: usize| Pos::new(offset, 0);
    while let Some(found) = text[at..].find("{{") {
        let start = at + found;
        output.push_str(&text[at..start]);
        let inside = start + 2 + trim_marker(&text[start + 2..]);
        if let Some(comment) = comment_length(&text[inside..]) {
            output.push_str(&text[start..inside]);
            blank(&mut output, &text[inside..inside + comment]);
            at = inside + comment;
            continue;
        }
        let end = action_end(text, inside);
        match keyword(&text[inside..end]) {
            Keyword::Open => blocks.push((start, 0)),
            Keyword::ElseIf => {
                if let Some((_, chain)) = blocks.last_mut() {
                    *chain += 1;
                    if *chain > ELSE_CHAIN_MAX {
                        let source = Source { name: name.to_owned(), text: text.to_owned() };
                        let message = format!("an else-if chain has more than {ELSE_CHAIN_MAX} links");
                        return Err(source.error(position(start), message));
                    }
                }
            }
            Keyword::End => {
                if blocks.pop().is_none() {
                    let source = Source { name: name.to_owned(), text: text.to_owned() };
                    return Err(source.error(position(start), "unexpected {{ end }}"));
                }
            }
            Keyword::None => {}
        }
        output.push_str(&text[start..end]);
        at = end;
    }
    output.push_str(&text[at..]);
    Ok((output, blocks.last().map(|(start, _)| position(*start))))
}

/// The length of `- ` after an opening `{{`, if the white space before it is to be trimmed.
fn trim_marker(text: &str) -> usize {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'-') && bytes.get(1).is_some_and(u8::is_ascii_whitespace) {
        2 + bytes[2..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
    } else {
        0
    }
}

/// The length of the comment that a text starts with.
fn comment_length(text: &str) -> Option<usize> {
    if !text.starts_with("/*") {
        return None;
    }
    text[2..].find("*/").map(|end| end + 4)
}

fn blank(output: &mut String, comment: &str) {
    output.push_str("\"\"");
    for byte in comment.bytes().skip(2) {
        output.push(if byte == b'\n' { '\n' } else { ' ' });
    }
}

/// Finds where an action ends, behind its `}}`; strings may hold braces.
fn action_end(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'}' if bytes.get(at + 1) == Some(&b'}') => return at + 2,
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote && bytes[at] != b'\n' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'`' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'`' {
                    at += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

enum Keyword {
    Open,
    ElseIf,
    End,
    None,
}

fn keyword(action: &str) -> Keyword {
    let words: Vec<&str> = action
        .split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
        .take(2)
        .collect();
    let action = action.trim_start();
    if !action.starts_with(|first: char| first.is_alphabetic()) {
        return Keyword::None;
    }
    match words.as_slice() {
        ["if" | "with" | "range" | "define" | "block", ..] => Keyword::Open,
        ["else", "if" | "with"] => Keyword::ElseIf,
        ["end", ..] => Keyword::End,
        _ => Keyword::None,
    }
}

/// Checks what Go checks when it parses: functions exist, variables are declared, `break` is in a loop.
struct Checker<'a> {
    source: &'a Source,
    variables: Vec<String>,
    loops: usize,
}

/// Names that the executor handles itself, beside the table of functions.
static EXECUTED: LazyLock<[&str; 4]> = LazyLock::new(|| ["and", "or", "include", "tpl"]);

impl<'a> Checker<'a> {
    fn new(source: &'a Source) -> Self {
        Self { source, variables: vec!["$".to_owned()], loops: 0 }
    }

    fn check(mut self, body: &ListNode) -> Result<(), TemplateError> {
        self.list(body)
    }

    fn list(&mut self, list: &ListNode) -> Result<(), TemplateError> {
        for node in &list.nodes {
            self.node(node)?;
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), TemplateError> {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => self.pipe(&action.pipe),
            Node::If(branch) | Node::With(branch) => self.branch(branch),
            Node::Range(branch) => {
                self.loops += 1;
                let result = self.branch(branch);
                self.loops -= 1;
                result
            }
            Node::Template(call) => call.pipe.as_ref().map_or(Ok(()), |pipe| self.pipe(pipe)),
            Node::Break(position) | Node::Continue(position) if self.loops == 0 => {
                Err(self.source.error(*position, "{{ break }} or {{ continue }} outside {{ range }}"))
            }
            Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn branch(&mut self, branch: &BranchNode) -> Result<(), TemplateError> {
        let declared = self.variables.len();
        self.pipe(&branch.pipe)?;
        self.list(&branch.body)?;
        // What the body declares counts as declared in the `else` too, as in Go: using it there fails when it runs.
        if let Some(else_body) = &branch.else_body {
            self.list(else_body)?;
        }
        self.variables.truncate(declared);
        Ok(())
    }

    fn pipe(&mut self, pipe: &PipeNode) -> Result<(), TemplateError> {
        if pipe.is_assign {
            for name in &pipe.decl {
                self.variable(pipe.pos, name)?;
            }
        }
        for command in &pipe.commands {
            for argument in &command.args {
                self.expression(argument)?;
            }
            if command.args.is_empty() {
                return Err(self.source.error(command.pos, "missing value for command"));
            }
        }
        if !pipe.is_assign {
            self.variables.extend(pipe.decl.iter().map(ToString::to_string));
        }
        Ok(())
    }

    fn expression(&mut self, expression: &Expr) -> Result<(), TemplateError> {
        match expression {
            Expr::Identifier(position, name) => {
                if functions::exists(name) || EXECUTED.contains(&name.as_str()) {
                    Ok(())
                } else {
                    Err(self.source.error(*position, format!("function `{name}` is not defined")))
                }
            }
            Expr::Variable(position, name, _) => self.variable(*position, name),
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expression(inner),
            _ => Ok(()),
        }
    }

    fn variable(&self, position: Pos, name: &str) -> Result<(), TemplateError> {
        if self.variables.iter().any(|declared| declared == name) {
            Ok(())
        } else {
            Err(self.source.error(position, format!("variable `{name}` is not defined")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> String {
        parse("templates/x.yaml", text).err().expect("must be refused").to_string()
    }

    #[test]
    fn mistakes_are_named_with_line_and_column() {
        assert_eq!(failure("a\n  {{ nope 1 }}"), "templates/x.yaml:2:6: function `nope` is not defined");
        assert_eq!(failure("{{ $x }}"), "templates/x.yaml:1:4: variable `$x` is not defined");
        assert_eq!(
            failure("{{ if .a }}{{ $x := 1 }}{{ end }}\n{{ $x }}"),
            "templates/x.yaml:2:4: variable `$x` is not defined"
        );
        assert_eq!(failure("\n{{ if .a }}"), "templates/x.yaml:2:1: the action is not closed by {{ end }}");
        assert_eq!(failure("{{ end }}"), "templates/x.yaml:1:1: unexpected {{ end }}");
        assert!(failure("{{ break }}").contains("outside {{ range }}"));
        assert!(failure("{{ .a").starts_with("templates/x.yaml:1:"));
        assert!(failure("{{ env \"HOME\" }}").contains("function `env` is not defined"));
    }

    #[test]
    fn comments_keep_lines_columns_and_braces_in_strings() {
        let (text, _) = prepare("x", "a {{- /* é }} \n x */}} b {{ \"{{/* no */}}\" }}").unwrap();
        assert_eq!(text, "a {{- \"\"       \n     }} b {{ \"{{/* no */}}\" }}");
        assert_eq!(
            failure("{{/* one\ntwo */}}{{ nope }}"),
            "templates/x.yaml:2:12: function `nope` is not defined"
        );
    }

    #[test]
    fn a_hostile_text_is_refused_before_the_parser_recurses() {
        let chain = "{{ if .a }}".to_owned() + &"{{ else if .b }}".repeat(50_000) + "{{ end }}";
        assert!(failure(&chain).contains("more than 100 links"));
        assert!(
            failure(&format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000))).contains("depth")
        );
        assert!(failure(&"{{ if 1 }}".repeat(50_000)).contains("depth"));
    }

    #[test]
    fn what_prints_the_same_each_time_is_one_text() {
        let nodes = |text: &str| parse("x", text).unwrap().main.body.nodes.len();
        assert_eq!(nodes("a {{ `{{` }} b {{ \"}}\" }}{{/* c */}} d"), 3, "a comment stays a node");
        assert_eq!(nodes("a{{ if .x }}b{{ \"c\" }}d{{ end }}e"), 3);
        assert_eq!(nodes("a{{ $x := \"b\" }}c"), 3);
        assert_eq!(nodes("a{{ \" \" }}{{ \"é\" }}b"), 4, "what is space or no ASCII stays an action");
        let parsed = parse("x", "{{ if .x }}b{{ \"c\" }}{{ end }}").unwrap();
        let Node::If(branch) = &parsed.main.body.nodes[0] else { panic!("no if") };
        assert_eq!(branch.body.nodes.len(), 1);
    }

    #[test]
    fn a_body_of_comments_is_empty() {
        let parsed = parse("x", "{{/* c */}}\n{{- define \"a\" }} {{/* d */}} {{ end }}").unwrap();
        assert!(is_empty(&parsed.main.body));
        assert!(is_empty(&parsed.defines["a"].body));
    }
}
