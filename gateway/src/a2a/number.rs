//! Numbers as A2A has them: `google.protobuf.Value` knows doubles only, so clients that go by way of protobuf write
//! `1500.0` for 1500. What is whole is made whole again, in every binding: an agent that wants an integer gets one.

use serde_json::{Map, Number, Value};

/// Doubles up to this hold every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A double as JSON: whole if it is. `None` when it is infinite or no number.
#[must_use]
pub fn of_double(double: f64) -> Option<Number> {
    if double.fract() == 0.0 && double.abs() <= EXACT {
        return Some(Number::from(double as i64));
    }
    Number::from_f64(double)
}

/// Makes whole numbers whole, however deep.
pub fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(whole) = number.as_f64().and_then(of_double) {
                *number = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(members) => make_members_whole(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// As [`make_whole`], for the members of an object.
pub fn make_members_whole(members: &mut Map<String, Value>) {
    members.values_mut().for_each(make_whole);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_doubles_are_whole_and_nothing_else_changes() {
        let mut value =
            json!({"a": [1500.0, 1.5, -0.0, 1e300, 7, u64::MAX, {"b": 2.0}], "c": "1.0"});
        make_whole(&mut value);
        let expected = json!({"a": [1500, 1.5, 0, 1e300, 7, u64::MAX, {"b": 2}], "c": "1.0"});
        assert_eq!(value.to_string(), expected.to_string());
        assert_eq!(of_double(f64::NAN), None);
        assert_eq!(of_double(f64::INFINITY), None);
    }
}
