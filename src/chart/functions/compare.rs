//! `eq`, `lt` and their kin. Go refuses to compare values of different kinds, and so do we: `eq 1 .Values.x`
//! with a number from values is an error, charts convert with `int`.

use std::cmp::Ordering;

use super::{Function, Outcome, Runtime, argument};
use crate::chart::error::Failure;
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("eq", 1, eq),
    Function::exactly("ne", 2, |_, values| {
        Ok(Value::Bool(!equal(argument(values, 0), argument(values, 1))?))
    }),
    Function::exactly("lt", 2, |_, values| Ok(Value::Bool(order(values)?.is_some_and(Ordering::is_lt)))),
    Function::exactly("le", 2, |_, values| Ok(Value::Bool(order(values)?.is_some_and(Ordering::is_le)))),
    Function::exactly("gt", 2, |_, values| Ok(Value::Bool(order(values)?.is_none_or(Ordering::is_gt)))),
    Function::exactly("ge", 2, |_, values| Ok(Value::Bool(order(values)?.is_none_or(Ordering::is_ge)))),
    Function::exactly("not", 1, |_, values| Ok(Value::Bool(!argument(values, 0).is_true()))),
    Function::exactly("deepEqual", 2, |_, values| {
        Ok(Value::Bool(argument(values, 0).deep_equal(argument(values, 1))?))
    }),
];

/// Compares the first argument with each of the others; one match is enough.
fn eq(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let Some((first, others)) = values.split_first() else { return Err(Failure::new("missing argument")) };
    if others.is_empty() {
        return Err(Failure::new("missing argument for comparison"));
    }
    for other in others {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal(left: &Value, right: &Value) -> Result<bool, Failure> {
    Ok(match (left, right) {
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::String(left), Value::String(right)) => left == right,
        #[expect(clippy::float_cmp, reason = "Go compares exactly")]
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Map(_) | Value::List(_), Value::Map(_) | Value::List(_)) => {
            return Err(Failure::new(format!("non-comparable type {}", left.type_name())));
        }
        _ => match (left.as_bytes(), right.as_bytes(), left.as_whole(), right.as_whole()) {
            (Some(left), Some(right), ..) => left == right,
            (.., Some(left), Some(right)) => left == right,
            _ => match (left, right) {
                // Values of one struct type.
                (Value::Object(one), Value::Object(other)) if one.type_name() == other.type_name() => {
                    left.deep_equal(right)?
                }
                _ => return Err(incompatible(left, right)),
            },
        },
    })
}

/// `None` for floats that have no order: Go's `gt` is what is not `le`, so it holds for them.
fn order(values: &[Value]) -> Result<Option<Ordering>, Failure> {
    let (left, right) = (argument(values, 0), argument(values, 1));
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(Some(left.cmp(right))),
        (Value::Float(left), Value::Float(right)) => Ok(left.partial_cmp(right)),
        (Value::Binary(_) | Value::String(_), Value::Binary(_) | Value::String(_)) => {
            Ok(left.as_bytes().partial_cmp(&right.as_bytes()))
        }
        _ if left.as_whole().is_some() && right.as_whole().is_some() => {
            Ok(left.as_whole().partial_cmp(&right.as_whole()))
        }
        (Value::Nil | Value::Bool(_) | Value::Map(_) | Value::List(_) | Value::Object(_), _) => {
            Err(Failure::new(format!("invalid type for comparison: {}", left.type_name())))
        }
        _ => Err(incompatible(left, right)),
    }
}

fn incompatible(left: &Value, right: &Value) -> Failure {
    Failure::new(format!("incompatible types for comparison: {} and {}", left.type_name(), right.type_name()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn values_of_one_kind_compare() {
        let values = json!({"one": 1, "nil": null, "text": "b"});
        assert_prints(
            &values,
            &[
                ("eq .Values.text \"a\" \"b\"", "true"),
                ("eq .Values.nil nil", "true"),
                ("ne .Values.text nil", "true"),
                ("eq (int .Values.one) 1", "true"),
                ("eq (int64 1) 1", "true"),
                ("lt 1 2", "true"),
                ("ge \"b\" \"a\"", "true"),
                ("not .Values.none", "true"),
                ("deepEqual (list 1 \"a\") (list 1 \"a\")", "true"),
            ],
        );
        assert_refused(
            &values,
            &[
                ("eq 1 .Values.one", "incompatible types for comparison: int and float64"),
                ("lt .Values.nil 1", "invalid type for comparison"),
                ("eq (list) (list)", "non-comparable type"),
                ("eq 1", "missing argument for comparison"),
            ],
        );
    }
}
