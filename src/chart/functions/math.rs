//! Arithmetic. Whole numbers come out as `int64`; the float functions count in decimals, so that `0.1 + 0.2` is
//! `0.3` as in Sprig.

use super::numbers::{real, whole};
use super::{Function, Outcome, Runtime, argument, integer};
use crate::chart::error::Failure;
use crate::chart::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("add", 0, |_, values| {
        Ok(Value::Int64(values.iter().map(whole).fold(0, i64::wrapping_add)))
    }),
    Function::exactly("add1", 1, |_, values| Ok(Value::Int64(whole(argument(values, 0)).wrapping_add(1)))),
    Function::exactly("sub", 2, |_, values| {
        Ok(Value::Int64(whole(argument(values, 0)).wrapping_sub(whole(argument(values, 1)))))
    }),
    Function::at_least("mul", 1, |_, values| {
        Ok(Value::Int64(values.iter().map(whole).fold(1, i64::wrapping_mul)))
    }),
    Function::exactly("div", 2, |_, values| {
        Ok(Value::Int64(whole(argument(values, 0)).wrapping_div(divisor(values)?)))
    }),
    Function::exactly("mod", 2, |_, values| {
        Ok(Value::Int64(whole(argument(values, 0)).wrapping_rem(divisor(values)?)))
    }),
    Function::at_least("max", 1, |_, values| Ok(Value::Int64(values.iter().map(whole).max().unwrap_or(0)))),
    Function::at_least("biggest", 1, |_, values| {
        Ok(Value::Int64(values.iter().map(whole).max().unwrap_or(0)))
    }),
    Function::at_least("min", 1, |_, values| Ok(Value::Int64(values.iter().map(whole).min().unwrap_or(0)))),
    Function::at_least("maxf", 1, |_, values| {
        Ok(Value::Float(reals(values).fold(f64::NEG_INFINITY, f64::max)))
    }),
    Function::at_least("minf", 1, |_, values| Ok(Value::Float(reals(values).fold(f64::INFINITY, f64::min)))),
    Function::exactly("add1f", 1, |_, values| {
        Ok(Value::Float(decimal(real(argument(values, 0)), 1.0, Decimal::add, |left, right| left + right)))
    }),
    Function::at_least("addf", 0, |_, values| {
        Ok(Value::Float(
            reals(values).fold(0.0, |sum, next| decimal(sum, next, Decimal::add, |left, right| left + right)),
        ))
    }),
    Function::at_least("subf", 1, |_, values| {
        Ok(Value::Float(folded(values, |sum, next| {
            decimal(sum, next, Decimal::sub, |left, right| left - right)
        })))
    }),
    Function::at_least("mulf", 1, |_, values| {
        Ok(Value::Float(folded(values, |sum, next| {
            decimal(sum, next, Decimal::mul, |left, right| left * right)
        })))
    }),
    Function::at_least("divf", 1, divf),
    Function::exactly("floor", 1, |_, values| Ok(Value::Float(real(argument(values, 0)).floor()))),
    Function::exactly("ceil", 1, |_, values| Ok(Value::Float(real(argument(values, 0)).ceil()))),
    Function::between("round", 2, 3, round),
];

fn reals(values: &[Value]) -> impl Iterator<Item = f64> {
    values.iter().map(real)
}

fn folded(values: &[Value], combine: impl Fn(f64, f64) -> f64) -> f64 {
    reals(values).reduce(combine).unwrap_or_default()
}

fn divisor(values: &[Value]) -> Result<i64, Failure> {
    match whole(argument(values, 1)) {
        0 => Err(Failure::new("integer divide by zero")),
        divisor => Ok(divisor),
    }
}

fn divf(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    if reals(values).skip(1).any(|divisor| divisor == 0.0) {
        return Err(Failure::new("decimal division by 0"));
    }
    let quotient =
        folded(values, |left, right| decimal(left, right, Decimal::div, |left, right| left / right));
    Ok(Value::Float(quotient))
}

fn round(_: &mut Runtime<'_>, values: &[Value]) -> Outcome {
    let places = i32::try_from(integer(values, 1)?.clamp(-400, 400)).unwrap_or_default();
    let round_on = values.get(2).map_or(0.5, real);
    let power = 10f64.powi(places);
    let digits = power * real(argument(values, 0));
    let rounded = if digits.fract() >= round_on { digits.ceil() } else { digits.floor() };
    Ok(Value::Float(rounded / power))
}

/// A decimal number: `digits` / 10^`scale`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn from_float(number: f64) -> Option<Self> {
        let text = format!("{number}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    fn to_float(self) -> Option<f64> {
        format!("{}e-{}", self.digits, self.scale).parse().ok()
    }

    fn at_scale(self, scale: u32) -> Option<i128> {
        self.digits.checked_mul(10i128.checked_pow(scale - self.scale)?)
    }

    fn add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        Some(Self { digits: self.at_scale(scale)?.checked_add(other.at_scale(scale)?)?, scale })
    }

    fn sub(self, other: Self) -> Option<Self> {
        self.add(Self { digits: -other.digits, scale: other.scale })
    }

    /// Keeps 16 decimals, as Sprig does.
    fn div(self, other: Self) -> Option<Self> {
        const SCALE: u32 = 16;
        let digits = self.digits.checked_mul(10i128.checked_pow(SCALE + other.scale)?)?;
        let divisor = other.digits.checked_mul(10i128.checked_pow(self.scale)?)?;
        let (quotient, rest) = (digits.checked_div(divisor)?, digits.checked_rem(divisor)?);
        let is_half = rest.checked_abs()? >= divisor.checked_abs()? - rest.checked_abs()?;
        let away = digits.signum() * divisor.signum();
        Some(Self { digits: if is_half { quotient + away } else { quotient }, scale: SCALE })
    }

    fn mul(self, other: Self) -> Option<Self> {
        Some(Self { digits: self.digits.checked_mul(other.digits)?, scale: self.scale + other.scale })
    }
}

/// Computes in decimals where they fit, else in floats.
fn decimal(
    left: f64,
    right: f64,
    exactly: impl Fn(Decimal, Decimal) -> Option<Decimal>,
    roughly: impl Fn(f64, f64) -> f64,
) -> f64 {
    let exact = || exactly(Decimal::from_float(left)?, Decimal::from_float(right)?)?.to_float();
    exact().unwrap_or_else(|| roughly(left, right))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::chart::functions::testing::{assert_prints, assert_refused};

    #[test]
    fn arithmetic() {
        assert_prints(
            &json!({"n": 5}),
            &[
                ("add 1 2 .Values.n", "8"),
                ("add1 .Values.n", "6"),
                ("sub 1 2", "-1"),
                ("mul 2 3 \"4\"", "24"),
                ("div 7 2", "3"),
                ("mod 7 4", "3"),
                ("max 1 9 3", "9"),
                ("min 4 2", "2"),
                ("addf 0.1 0.2", "0.3"),
                ("subf 1 0.9", "0.1"),
                ("mulf 1.1 1.1", "1.21"),
                ("divf 1 4", "0.25"),
                ("floor 1.9", "1"),
                ("ceil 1.1", "2"),
                ("round 123.5555 3", "123.556"),
                ("round 2.5 0", "3"),
                ("maxf 1.5 2.5", "2.5"),
                ("div -9223372036854775807 -1", "9223372036854775807"),
            ],
        );
        assert_refused(&json!({}), &[("div 1 0", "integer divide by zero"), ("mod 1 nil", "divide by zero")]);
    }
}
