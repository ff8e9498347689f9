//! Executes parsed templates: Go's `text/template` semantics over our values.

use std::collections::HashMap;
use std::rc::Rc;

use gotmpl::parse::{
    BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, SmolStr, TemplateNode,
};

use super::error::Failure;
use super::fields::{fields_of, no_field};
use super::format;
use super::functions::{self, Runtime};
use super::items::Items;
use super::lines::next_byte;
use super::objects::Member;
use super::quoted;
use super::template::{self, Parsed, Template, Templates};
use super::value::Value;

/// What a body printed for a missing value. Helm strips it from every file and every `tpl` result.
const NO_VALUE: &str = "<no value>";
/// What most small files and most included templates write, in bytes: room made at once instead of bit by bit. Large files
/// write about what they hold.
const FILE_SIZE: usize = 4096;
const INCLUDE_SIZE: usize = 256;
/// How many variables most templates have at once.
const VARIABLES: usize = 4;

/// Templates visible to a call: those that a `tpl` text defines, then its caller's.
pub(crate) struct Scope<'a> {
    templates: &'a Templates,
    parent: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// Sees only a chart's own templates.
    pub(crate) fn root(templates: &'a Templates) -> Self {
        Self { templates, parent: None }
    }

    fn find(&self, name: &str) -> Option<&'a Template> {
        match self.templates.get(name) {
            Some(template) => Some(template),
            None => self.parent.and_then(|parent| parent.find(name)),
        }
    }
}

/// Runs templates of one render call.
pub(crate) struct Machine<'a> {
    /// What functions need: the budget, the clock, entropy, look-ups.
    pub(crate) runtime: Runtime<'a>,
    /// Parsed `tpl` texts. Charts pass whole dashboards through `tpl`, again and again.
    texts: HashMap<(String, Rc<str>), Rc<Parsed>>,
}

/// How a body ended.
#[derive(PartialEq, Clone, Copy)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One execution of one template.
struct Frame<'f> {
    scope: &'f Scope<'f>,
    template: &'f Template,
    variables: Vec<(SmolStr, Value)>,
}

impl Frame<'_> {
    fn variable(&self, name: &str) -> Result<Value, Failure> {
        let found = self.variables.iter().rev().find(|(declared, _)| declared == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| Failure::new(format!("undefined variable `{name}`")))
    }

    fn assign(&mut self, name: &SmolStr, value: Value) {
        if let Some((_, slot)) = self.variables.iter_mut().rev().find(|(declared, _)| declared == name) {
            *slot = value;
        }
    }

    fn bind(&mut self, name: &SmolStr, value: Value, is_assignment: bool) {
        if is_assignment {
            self.assign(name, value);
        } else {
            self.variables.push((name.clone(), value));
        }
    }

    /// Says where a failure happened, unless a place further below is known.
    fn locate(&self, failure: Failure, position: Pos) -> Failure {
        match failure {
            Failure::Message(message) => {
                Failure::Located(Box::new(self.template.source.error(position, message)))
            }
            located @ Failure::Located(_) => located,
        }
    }

    /// Adds this call to the chain of a failure further below.
    fn called_from(&self, failure: Failure, position: Pos) -> Failure {
        match failure {
            Failure::Located(mut error) => {
                error.included_from.push(self.template.source.place(position));
                Failure::Located(error)
            }
            message @ Failure::Message(_) => message,
        }
    }
}

impl<'a> Machine<'a> {
    /// Prepares a render call.
    pub(crate) fn new(runtime: Runtime<'a>) -> Self {
        Self { runtime, texts: HashMap::new() }
    }

    /// Executes a template by name and returns its output.
    pub(crate) fn execute(&mut self, scope: &Scope<'_>, name: &str, dot: &Value) -> Result<Vec<u8>, Failure> {
        let Some(template) = scope.find(name) else {
            return Err(Failure::new(format!("template `{name}` is not defined")));
        };
        let mut output = Vec::with_capacity(template.source.size().max(FILE_SIZE));
        self.run(scope, template, dot, &mut output)?;
        Ok(strip_no_value(output))
    }

    fn run(
        &mut self,
        scope: &Scope<'_>,
        template: &Template,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        self.runtime.budget.enter()?;
        let mut variables = Vec::with_capacity(VARIABLES);
        variables.push((SmolStr::new_static("$"), dot.clone()));
        let mut frame = Frame { scope, template, variables };
        let result = self.list(&mut frame, &template.body, dot, output);
        self.runtime.budget.leave();
        result.map(|_| ())
    }

    fn list(
        &mut self,
        frame: &mut Frame<'_>,
        list: &ListNode,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        self.runtime.budget.enter()?;
        let mut result = Ok(Flow::Next);
        for node in &list.nodes {
            result = self.node(frame, node, dot, output);
            if !matches!(result, Ok(Flow::Next)) {
                break;
            }
        }
        self.runtime.budget.leave();
        result
    }

    fn node(
        &mut self,
        frame: &mut Frame<'_>,
        node: &Node,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        match node {
            Node::Text(text) => {
                self.runtime
                    .budget
                    .produce(text.text.len())
                    .map_err(|error| frame.locate(error, text.pos))?;
                output.extend_from_slice(text.text.as_bytes());
            }
            Node::Action(action) => {
                if !template::is_comment(node) {
                    self.action(frame, &action.pipe, dot, output)
                        .map_err(|error| frame.locate(error, action.pos))?;
                }
            }
            Node::List(list) => return self.list(frame, list, dot, output),
            Node::If(branch) => return self.branch(frame, branch, dot, output, false),
            Node::With(branch) => return self.branch(frame, branch, dot, output, true),
            Node::Range(branch) => return self.range(frame, branch, dot, output),
            Node::Template(call) => {
                self.template_call(frame, call, dot, output)
                    .map_err(|error| frame.locate(error, call.pos))?;
            }
            Node::Define(_) => {}
            Node::Break(_) => return Ok(Flow::Break),
            Node::Continue(_) => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn action(
        &mut self,
        frame: &mut Frame<'_>,
        pipe: &PipeNode,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let value = self.pipe(frame, pipe, dot)?;
        if !pipe.decl.is_empty() {
            return Ok(());
        }
        match &value {
            Value::Nil => output.extend_from_slice(NO_VALUE.as_bytes()),
            Value::String(text) => {
                self.runtime.budget.produce(text.len())?;
                output.extend_from_slice(text.as_bytes());
            }
            other => {
                let size = other.deep_size()?;
                self.runtime.budget.produce(size)?;
                format::write_value(output, other)?;
            }
        }
        Ok(())
    }

    fn branch(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &BranchNode,
        dot: &Value,
        output: &mut Vec<u8>,
        moves_dot: bool,
    ) -> Result<Flow, Failure> {
        let declared = frame.variables.len();
        let value = self.pipe(frame, &branch.pipe, dot).map_err(|error| frame.locate(error, branch.pos))?;
        let result = if value.is_true() {
            let dot = if moves_dot { &value } else { dot };
            self.list(frame, &branch.body, dot, output)
        } else if let Some(else_body) = &branch.else_body {
            self.list(frame, else_body, dot, output)
        } else {
            Ok(Flow::Next)
        };
        frame.variables.truncate(declared);
        result.map_err(|error| frame.locate(error, branch.pos))
    }

    fn range(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &BranchNode,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        let declared = frame.variables.len();
        let result = self.range_over(frame, branch, dot, output);
        frame.variables.truncate(declared);
        result.map_err(|error| frame.locate(error, branch.pos))
    }

    fn range_over(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &BranchNode,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        let collection = self.commands(frame, &branch.pipe, dot)?;
        let items = Items::of(&collection)?;
        let mut position = 0;
        while let Some((key, value)) = items.get(position) {
            position += 1;
            if self.iteration(frame, branch, key, &value, output)? == Flow::Break {
                break;
            }
        }
        match &branch.else_body {
            Some(else_body) if position == 0 => self.list(frame, else_body, dot, output),
            _ => Ok(Flow::Next),
        }
    }

    fn iteration(
        &mut self,
        frame: &mut Frame<'_>,
        branch: &BranchNode,
        key: Value,
        value: &Value,
        output: &mut Vec<u8>,
    ) -> Result<Flow, Failure> {
        self.runtime.budget.step()?;
        let declared = frame.variables.len();
        match branch.pipe.decl.as_slice() {
            [item] => frame.bind(item, value.clone(), branch.pipe.is_assign),
            [index, item, ..] => {
                frame.bind(index, key, branch.pipe.is_assign);
                frame.bind(item, value.clone(), branch.pipe.is_assign);
            }
            [] => {}
        }
        let result = self.list(frame, &branch.body, value, output);
        frame.variables.truncate(declared);
        result
    }

    fn template_call(
        &mut self,
        frame: &mut Frame<'_>,
        call: &TemplateNode,
        dot: &Value,
        output: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let dot = match &call.pipe {
            Some(pipe) => self.pipe(frame, pipe, dot)?,
            None => Value::Nil,
        };
        let Some(template) = frame.scope.find(&call.name) else {
            return Err(Failure::new(format!("template `{}` is not defined", call.name)));
        };
        self.run(frame.scope, template, &dot, output).map_err(|error| frame.called_from(error, call.pos))
    }

    /// Evaluates a pipeline and binds the variables it declares.
    fn pipe(&mut self, frame: &mut Frame<'_>, pipe: &PipeNode, dot: &Value) -> Result<Value, Failure> {
        let value = self.commands(frame, pipe, dot)?;
        for name in &pipe.decl {
            frame.bind(name, value.clone(), pipe.is_assign);
        }
        Ok(value)
    }

    fn commands(&mut self, frame: &mut Frame<'_>, pipe: &PipeNode, dot: &Value) -> Result<Value, Failure> {
        self.runtime.budget.enter()?;
        let mut result = Ok(None);
        for command in &pipe.commands {
            let Ok(piped) = result else { break };
            result = self.command(frame, command, dot, piped).map(Some);
        }
        self.runtime.budget.leave();
        Ok(result?.unwrap_or(Value::Nil))
    }

    /// Evaluates one command of a pipeline; `piped` is the result of the command before it.
    fn command(
        &mut self,
        frame: &mut Frame<'_>,
        command: &CommandNode,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Failure> {
        self.runtime.budget.step()?;
        let Some((first, arguments)) = command.args.split_first() else {
            return Err(Failure::new("missing value for command"));
        };
        match first {
            Expr::Identifier(position, name) => self.call(frame, name, arguments, dot, piped, *position),
            _ if arguments.is_empty() && piped.is_none() => self.expression(frame, first, dot),
            _ => self.method(frame, first, arguments, dot, piped),
        }
    }

    /// Evaluates `.Receiver.Method argument …`.
    fn method(
        &mut self,
        frame: &mut Frame<'_>,
        target: &Expr,
        arguments: &[Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Failure> {
        let (base, fields, called) = match target {
            Expr::Field(_, fields) => (dot.clone(), fields, ""),
            Expr::Variable(_, name, fields) => (frame.variable(name)?, fields, name.as_str()),
            Expr::Chain(_, inner, fields) => (self.expression(frame, inner, dot)?, fields, PARENTHESES),
            _ => return Err(Failure::new("can't give argument to non-function")),
        };
        let Some((name, path)) = fields.split_last() else {
            return Err(Failure::new("can't give argument to non-function"));
        };
        let receiver = fields_of(&base, path, called)?;
        let values = self.arguments(frame, arguments, dot, piped)?;
        let Value::Object(object) = &receiver else {
            return Err(Failure::new(format!("`{name}` is not a method but has arguments")));
        };
        match object.member(name, &values) {
            Member::Found(value) => Ok(value),
            Member::Unknown => Err(no_field(name, &receiver)),
            Member::BadArguments(wanted) => Err(Failure::new(format!("method `{name}` takes {wanted}"))),
        }
    }

    fn arguments(
        &mut self,
        frame: &mut Frame<'_>,
        arguments: &[Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Vec<Value>, Failure> {
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.expression(frame, argument, dot)?);
        }
        values.extend(piped);
        Ok(values)
    }

    fn expression(
        &mut self,
        frame: &mut Frame<'_>,
        expression: &Expr,
        dot: &Value,
    ) -> Result<Value, Failure> {
        match expression {
            Expr::Dot(_) => Ok(dot.clone()),
            Expr::Nil(_) => Ok(Value::Nil),
            Expr::Bool(_, flag) => Ok(Value::Bool(*flag)),
            Expr::String(position, text) => Ok(literal(frame, *position, text)),
            Expr::Number(_, Number::Int(number)) => Ok(Value::Int(*number)),
            Expr::Number(_, Number::Uint(number)) => Err(Failure::new(format!("{number} overflows int"))),
            Expr::Number(_, Number::Float(number)) => Ok(Value::Float(*number)),
            Expr::Field(_, fields) => fields_of(dot, fields, ""),
            Expr::Variable(_, name, fields) => fields_of(&frame.variable(name)?, fields, name),
            Expr::Identifier(position, name) => self.call(frame, name, &[], dot, None, *position),
            Expr::Pipe(_, pipe) => self.pipe(frame, pipe, dot),
            Expr::Chain(_, inner, fields) => {
                fields_of(&self.expression(frame, inner, dot)?, fields, PARENTHESES)
            }
        }
    }

    fn call(
        &mut self,
        frame: &mut Frame<'_>,
        name: &SmolStr,
        arguments: &[Expr],
        dot: &Value,
        piped: Option<Value>,
        position: Pos,
    ) -> Result<Value, Failure> {
        if name == "and" || name == "or" {
            return self.and_or(frame, name == "or", arguments, dot, piped);
        }
        let values = self.arguments(frame, arguments, dot, piped)?;
        let result = match name.as_str() {
            "include" => self.include(frame, &values, position),
            "tpl" => self.tpl(frame, &values, position),
            _ => self.function(name, &values),
        };
        result.map_err(|error| frame.locate(error.calling(name), position))
    }

    /// `and` and `or` evaluate only as many arguments as they need.
    fn and_or(
        &mut self,
        frame: &mut Frame<'_>,
        stops_at: bool,
        arguments: &[Expr],
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut last = None;
        for argument in arguments {
            let value = self.expression(frame, argument, dot)?;
            if value.is_true() == stops_at {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| Failure::new("wrong number of arguments: want at least 1, got 0"))
    }

    fn function(&mut self, name: &str, values: &[Value]) -> Result<Value, Failure> {
        let Some(function) = functions::find(name) else {
            return Err(Failure::new("the function is not defined"));
        };
        function.check_count(values.len())?;
        let read: usize = values.iter().map(Value::shallow_size).sum();
        self.runtime.budget.read(read)?;
        let result = (function.run)(&mut self.runtime, values)?;
        self.runtime.budget.produce(result.shallow_size())?;
        Ok(result)
    }

    fn include(&mut self, frame: &mut Frame<'_>, values: &[Value], position: Pos) -> Result<Value, Failure> {
        let [name, dot] = values else {
            return Err(Failure::new("wants the name of a template and a value"));
        };
        let Some(name) = name.as_str() else {
            return Err(Failure::new("wants the name of a template and a value"));
        };
        let Some(template) = frame.scope.find(name) else {
            return Err(Failure::new(format!("template `{name}` is not defined")));
        };
        let mut output = Vec::with_capacity(INCLUDE_SIZE);
        self.run(frame.scope, template, dot, &mut output)
            .map_err(|error| frame.called_from(error, position))?;
        Ok(Value::bytes(output))
    }

    fn tpl(&mut self, frame: &mut Frame<'_>, values: &[Value], position: Pos) -> Result<Value, Failure> {
        let (text, dot) = match values {
            [Value::String(text), dot] => (text.clone(), dot),
            [Value::Binary(binary), dot] => (Rc::from(binary.text()), dot),
            _ => {
                let found = values.first().map_or("nothing", Value::type_name);
                return Err(Failure::new(format!("wants a text and a value, the text is {found}")));
            }
        };
        if !text.contains("{{") {
            return Ok(Value::bytes(strip_no_value(text.as_bytes().to_vec())));
        }
        let parsed = self.parsed(frame, &text)?;
        let scope = Scope { templates: &parsed.defines, parent: Some(frame.scope) };
        let mut output = Vec::new();
        self.run(&scope, &parsed.main, dot, &mut output)
            .map_err(|error| frame.called_from(error, position))?;
        Ok(Value::bytes(strip_no_value(output)))
    }

    fn parsed(&mut self, frame: &Frame<'_>, text: &Rc<str>) -> Result<Rc<Parsed>, Failure> {
        let caller = &frame.template.source.name;
        let name = if caller.ends_with(" (tpl)") { caller.clone() } else { format!("{caller} (tpl)") };
        let key = (name, text.clone());
        if let Some(parsed) = self.texts.get(&key) {
            return Ok(parsed.clone());
        }
        // A parsed text takes a few hundred bytes for each action of a few bytes.
        self.runtime.budget.produce(text.len().saturating_mul(16))?;
        let parsed = template::parse(&key.0, text).map_err(|error| Failure::Located(Box::new(error)))?;
        let parsed = Rc::new(parsed);
        self.texts.insert(key, parsed.clone());
        Ok(parsed)
    }
}

/// What stands for an expression in parentheses where a path is told.
const PARENTHESES: &str = "(…)";

/// A string in the template. `"\xff"` is a byte and no character, which the parser cannot say: a literal that may hold
/// one is read again from the source.
fn literal(frame: &Frame<'_>, position: Pos, text: &str) -> Value {
    // The parser takes such bytes for the characters up to U+00FF; these two begin all of them.
    if !text.bytes().any(|byte| matches!(byte, 0xc2 | 0xc3)) {
        return Value::string(text);
    }
    match quoted::unquoted(frame.template.source.text_from(position)) {
        Some(bytes) => Value::bytes(bytes),
        None => Value::string(text),
    }
}

fn strip_no_value(output: Vec<u8>) -> Vec<u8> {
    let marker = NO_VALUE.as_bytes();
    let mut stripped = Vec::new();
    let mut kept = 0;
    let mut at = 0;
    // Markers are rare: whatever has none is returned as it is.
    while let Some(found) = next_byte(&output, b'<', at) {
        if output[found..].starts_with(marker) {
            stripped.extend_from_slice(&output[kept..found]);
            kept = found + marker.len();
            at = kept;
        } else {
            at = found + 1;
        }
    }
    if kept == 0 {
        return output;
    }
    stripped.extend_from_slice(&output[kept..]);
    stripped
}
