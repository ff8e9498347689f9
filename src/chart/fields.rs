//! Chains of fields such as `.Values.a.b`, and what is said where one of them is nil.

use std::rc::Rc;

use gotmpl::parse::SmolStr;

use super::error::Failure;
use super::objects::Member;
use super::value::{MapCell, Value};
use super::yaml;

/// Follows a chain of fields. A nil receiver gives nil without complaint, a nil further in is an error: so does
/// Go, and charts rely on both. `called` is how the template calls the receiver; empty for the dot.
pub(crate) fn fields_of(receiver: &Value, fields: &[SmolStr], called: &str) -> Result<Value, Failure> {
    if receiver.is_nil() {
        return Ok(Value::Nil);
    }
    let mut value = receiver.clone();
    for (position, field) in fields.iter().enumerate() {
        value = match &value {
            Value::Map(map) => match fields[..position].last() {
                Some(before) if before == "Values" => of_values(map, field)?,
                _ => map.get(field).unwrap_or(Value::Nil),
            },
            Value::Nil => return Err(not_set(receiver, called, &fields[..position], field)),
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

/// `.Values` is a map with methods in Helm; those without arguments come here.
fn of_values(map: &Rc<MapCell>, field: &str) -> Result<Value, Failure> {
    Ok(match field {
        "AsMap" => Value::Map(map.clone()),
        "YAML" => Value::from(yaml::to_text(&Value::Map(map.clone()).to_json()?)),
        _ => map.get(field).unwrap_or(Value::Nil),
    })
}

/// Says what is nil, and where a value is to be set: a subchart's values are below its name.
fn not_set(receiver: &Value, called: &str, path: &[SmolStr], field: &str) -> Failure {
    let nil = format!("nil pointer evaluating interface {{}}.{field}");
    let missing = format!("`{called}.{}` is not set", path.join("."));
    let (Some((first, below)), Value::Map(context)) = (path.split_first(), receiver) else {
        return Failure::new(format!("{nil}: {missing}"));
    };
    if first != "Values" || below.is_empty() {
        return Failure::new(format!("{nil}: {missing}"));
    }
    let subchart = subchart(context);
    let whole: Vec<&str> =
        subchart.iter().map(String::as_str).chain(below.iter().map(SmolStr::as_str)).collect();
    let advice =
        format!("nothing below it (`.{field}`) can be read; set `{}` in the values", whole.join("."));
    Failure::new(format!("{nil}: {missing}, so {advice}"))
}

/// The names of the subcharts that lead to the chart of a context; none for the root chart.
fn subchart(context: &MapCell) -> Vec<String> {
    let Some(Value::Map(template)) = context.get("Template") else { return Vec::new() };
    let Some(path) = template.get("BasePath") else { return Vec::new() };
    let path = path.as_str().unwrap_or_default();
    let charts = path.strip_suffix("/templates").unwrap_or(path).split("/charts/");
    charts.skip(1).map(ToOwned::to_owned).collect()
}

pub(crate) fn no_field(field: &str, value: &Value) -> Failure {
    Failure::new(format!("can't evaluate field {field} in type {}", value.type_name()))
}
