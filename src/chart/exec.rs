//! Executes parsed templates: Go's `text/template` semantics over our values.

use std::collections::HashMap;
use std::rc::Rc;

use gotmpl::parse::{
    BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos, SmolStr, TemplateNode,
};

use super::error::{Failure, TemplateError};
use super::format;
use super::functions::{self, Runtime};
use super::objects::Member;
use super::template::{self, Parsed, Template, Templates};
use super::value::Value;

/// What a body printed for a missing value. Helm strips it from every file and every `tpl` result.
const NO_VALUE: &str = "<no value>";
/// What most files and most included templates write, in bytes: room made at once instead of bit by bit.
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
            Failure::Message(message) => Failure::Located(Box::new(TemplateError {
                place: self.template.source.place(position),
                message,
                included_from: Vec::new(),
            })),
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
    pub(crate) fn execute(&mut self, scope: &Scope<'_>, name: &str, dot: &Value) -> Result<String, Failure> {
        let Some(template) = scope.find(name) else {
            return Err(Failure::new(format!("template `{name}` is not defined")));
        };
        let mut output = String::with_capacity(FILE_SIZE);
        self.run(scope, template, dot, &mut output)?;
        Ok(strip_no_value(output))
    }

    fn run(
        &mut self,
        scope: &Scope<'_>,
        template: &Template,
        dot: &Value,
        output: &mut String,
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
        output: &mut String,
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
        output: &mut String,
    ) -> Result<Flow, Failure> {
        match node {
            Node::Text(text) => {
                self.runtime
                    .budget
                    .produce(text.text.len())
                    .map_err(|error| frame.locate(error, text.pos))?;
                output.push_str(&text.text);
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
        output: &mut String,
    ) -> Result<(), Failure> {
        let value = self.pipe(frame, pipe, dot)?;
        if !pipe.decl.is_empty() {
            return Ok(());
        }
        match &value {
            Value::Nil => output.push_str(NO_VALUE),
            Value::String(text) => {
                self.runtime.budget.produce(text.len())?;
                output.push_str(text);
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
        output: &mut String,
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
        output: &mut String,
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
        output: &mut String,
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
        output: &mut String,
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
        output: &mut String,
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
            Expr::Chain(_, inner, fields) if matches!(**inner, Expr::Identifier(..)) => {
                let Expr::Identifier(position, name) = &**inner else { return Ok(Value::Nil) };
                let value = self.call(frame, name, arguments, dot, piped, *position)?;
                fields_of(value, fields)
            }
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
        let (base, fields) = match target {
            Expr::Field(_, fields) => (dot.clone(), fields),
            Expr::Variable(_, name, fields) => (frame.variable(name)?, fields),
            Expr::Chain(_, inner, fields) => (self.expression(frame, inner, dot)?, fields),
            _ => return Err(Failure::new("can't give argument to non-function")),
        };
        let Some((name, path)) = fields.split_last() else {
            return Err(Failure::new("can't give argument to non-function"));
        };
        let receiver = fields_of(base, path)?;
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
            Expr::String(_, text) => Ok(Value::string(text)),
            Expr::Number(_, Number::Int(number)) => Ok(Value::Int(*number)),
            Expr::Number(_, Number::Uint(number)) => Err(Failure::new(format!("{number} overflows int"))),
            Expr::Number(_, Number::Float(number)) => Ok(Value::Float(*number)),
            Expr::Field(_, fields) => fields_of(dot.clone(), fields),
            Expr::Variable(_, name, fields) => fields_of(frame.variable(name)?, fields),
            Expr::Identifier(position, name) => self.call(frame, name, &[], dot, None, *position),
            Expr::Pipe(_, pipe) => self.pipe(frame, pipe, dot),
            Expr::Chain(_, inner, fields) => fields_of(self.expression(frame, inner, dot)?, fields),
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
        let [Value::String(name), dot] = values else {
            return Err(Failure::new("wants the name of a template and a value"));
        };
        let Some(template) = frame.scope.find(name) else {
            return Err(Failure::new(format!("template `{name}` is not defined")));
        };
        let mut output = String::with_capacity(INCLUDE_SIZE);
        self.run(frame.scope, template, dot, &mut output)
            .map_err(|error| frame.called_from(error, position))?;
        Ok(Value::from(output))
    }

    fn tpl(&mut self, frame: &mut Frame<'_>, values: &[Value], position: Pos) -> Result<Value, Failure> {
        let [Value::String(text), dot] = values else {
            let found = values.first().map_or("nothing", Value::type_name);
            return Err(Failure::new(format!("wants a text and a value, the text is {found}")));
        };
        if !text.contains("{{") {
            return Ok(Value::from(strip_no_value(text.to_string())));
        }
        let parsed = self.parsed(frame, text)?;
        let scope = Scope { templates: &parsed.defines, parent: Some(frame.scope) };
        let mut output = String::new();
        self.run(&scope, &parsed.main, dot, &mut output)
            .map_err(|error| frame.called_from(error, position))?;
        Ok(Value::from(strip_no_value(output)))
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

/// Follows a chain of fields. A nil receiver gives nil without complaint, a nil further in is an error: so does
/// Go, and charts rely on both.
fn fields_of(mut value: Value, fields: &[SmolStr]) -> Result<Value, Failure> {
    if value.is_nil() {
        return Ok(Value::Nil);
    }
    for field in fields {
        value = match &value {
            Value::Map(map) => map.get(field).unwrap_or(Value::Nil),
            Value::Nil => {
                return Err(Failure::new(format!("nil pointer evaluating interface {{}}.{field}")));
            }
            Value::Object(object) => match object.member(field, &[]) {
                Member::Found(value) => value,
                Member::Unknown => return Err(no_field(field, &value)),
                Member::BadArguments(wanted) => {
                    return Err(Failure::new(format!("method `{field}` takes {wanted}")));
                }
            },
            _ => return Err(no_field(field, &value)),
        };
    }
    Ok(value)
}

fn no_field(field: &str, value: &Value) -> Failure {
    Failure::new(format!("can't evaluate field {field} in type {}", value.type_name()))
}

fn strip_no_value(text: String) -> String {
    if text.contains(NO_VALUE) { text.replace(NO_VALUE, "") } else { text }
}

/// What `range` iterates. A map is copied: the body may change it.
enum Items {
    List(Rc<Vec<Value>>),
    Entries(Vec<(Rc<str>, Value)>),
    Count(i64),
}

impl Items {
    fn of(collection: &Value) -> Result<Items, Failure> {
        Ok(match collection {
            Value::Nil => Items::Count(0),
            Value::List(items) => Items::List(items.clone()),
            Value::Map(map) => Items::Entries(
                map.entries().iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            ),
            Value::Int(count) | Value::Int64(count) => Items::Count(*count),
            Value::Object(object) => match object.as_collection() {
                Some(collection) => return Items::of(&collection),
                None => return Err(cannot_range(collection)),
            },
            Value::Bool(_) | Value::Float(_) | Value::String(_) => return Err(cannot_range(collection)),
        })
    }

    fn get(&self, position: usize) -> Option<(Value, Value)> {
        match self {
            Self::List(items) => items.get(position).map(|item| (Value::count(position), item.clone())),
            Self::Entries(entries) => {
                entries.get(position).map(|(key, value)| (Value::String(key.clone()), value.clone()))
            }
            Self::Count(count) => {
                let index = i64::try_from(position).ok().filter(|index| index < count)?;
                Some((Value::Int(index), Value::Int(index)))
            }
        }
    }
}

fn cannot_range(value: &Value) -> Failure {
    Failure::new(format!("range can't iterate over a value of type {}", value.type_name()))
}
