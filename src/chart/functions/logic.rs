//! Defaults and choices, types and kinds.

use super::{Function, Outcome, Runtime, argument, boolean, text};
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("default", 1, default),
    Function::exactly("empty", 1, |_, values| Ok(Value::Bool(!argument(values, 0).is_true()))),
    Function::at_least("coalesce", 0, |_, values| {
        Ok(values.iter().find(|value| value.is_true()).cloned().unwrap_or(Value::Nil))
    }),
    Function::at_least("all", 0, |_, values| Ok(Value::Bool(values.iter().all(Value::is_true)))),
    Function::at_least("any", 0, |_, values| Ok(Value::Bool(values.iter().any(Value::is_true)))),
    Function::exactly("ternary", 3, ternary),
    Function::exactly("typeOf", 1, |_, values| Ok(Value::from(argument(values, 0).type_name()))),
    Function::exactly("kindOf", 1, |_, values| Ok(Value::from(argument(values, 0).kind_name()))),
    Function::exactly("typeIs", 2, |_, values| {
        Ok(Value::Bool(argument(values, 1).type_name() == text(values, 0)?))
    }),
    Function::exactly("typeIsLike", 2, |_, values| {
        let name = argument(values, 1).type_name();
        let wanted = text(values, 0)?;
        Ok(Value::Bool(name == wanted || format!("*{wanted}") == name))
    }),
    Function::exactly("kindIs", 2, |_, values| {
        Ok(Value::Bool(argument(values, 1).kind_name() == text(values, 0)?))
    }),
    Function::exactly("hello", 0, |_, _| Ok(Value::from("Hello!"))),
];

#[expect(clippy::unnecessary_wraps, reason = "the table wants this type")]
fn default(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let fallback = argument(values, 0);
    Ok(match values.get(1) {
        Some(given) if given.is_true() => given.clone(),
        _ => fallback.clone(),
    })
}

fn ternary(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let chosen = usize::from(!boolean(values, 2)?);
    Ok(argument(values, chosen).clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn defaults_and_choices() {
        let values = json!({"zero": 0, "text": "x", "map": {}, "off": false});
        assert_prints(
            &values,
            &[
                ("default \"d\" .Values.zero", "d"),
                (".Values.text | default \"d\"", "x"),
                ("default \"d\" .Values.none", "d"),
                ("coalesce .Values.zero .Values.map .Values.text", "x"),
                ("coalesce nil", ""),
                ("empty .Values.map", "true"),
                ("ternary \"yes\" \"no\" .Values.off", "no"),
                ("true | ternary \"yes\" \"no\"", "yes"),
                ("all 1 \"\"", "false"),
                ("any 1 \"\"", "true"),
                ("or .Values.zero .Values.text", "x"),
                ("and .Values.text .Values.zero", "0"),
                ("or true (fail \"not reached\")", "true"),
                ("and false (fail \"not reached\")", "false"),
            ],
        );
        assert_refused(&values, &[("ternary 1 2 \"x\"", "expected bool; got string")]);
    }

    #[test]
    fn kinds_are_gos() {
        let values = json!({"number": 1, "list": [], "map": {}, "nil": null});
        assert_prints(
            &values,
            &[
                ("kindOf .Values.number", "float64"),
                ("kindOf 1", "int"),
                ("typeOf (add 1 2)", "int64"),
                ("typeOf .Values.map", "map[string]interface {}"),
                ("kindOf .Values.list", "slice"),
                ("kindOf .Values.nil", "invalid"),
                ("typeOf .Values.nil", "<nil>"),
                ("kindIs \"map\" .Values", "true"),
                ("typeIs \"string\" \"a\"", "true"),
            ],
        );
    }
}
