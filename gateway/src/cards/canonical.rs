//! The canonical form of JSON (RFC 8785), over which cards are signed.
//!
//! A2A 1.0, section 8.4.1 leaves fields with default values out, but for required ones; cards here never hold others. The
//! reference SDK and the conformance kit leave out required ones too when they are empty, and the SDK whatever is empty
//! at any depth. [`readings`] tells both forms of a card, and they are the same for nearly every card.

use serde_json::{Map, Number, Value};

/// What verifiers may compute over: the form that the specification describes and, where it is another one, the form
/// without anything empty.
#[must_use]
pub(super) fn readings(card: &Value) -> Vec<String> {
    let mut card = card.clone();
    if let Some(fields) = card.as_object_mut() {
        fields.remove("signatures");
    }
    let specified = canonical(&card);
    let cleaned = canonical(&without_empty(&card).unwrap_or(Value::Null));
    if specified == cleaned { vec![specified] } else { vec![specified, cleaned] }
}

/// A value without strings, lists, objects and nulls that are empty; `None` when nothing is left of it.
fn without_empty(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| value.clone()),
        Value::Array(items) => {
            let items: Vec<Value> = items.iter().filter_map(without_empty).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(fields) => {
            let keep = |(name, value): (&String, &Value)| {
                without_empty(value).map(|value| (name.clone(), value))
            };
            let fields: Map<String, Value> = fields.iter().filter_map(keep).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        Value::Bool(_) | Value::Number(_) => Some(value.clone()),
    }
}

/// The canonical form.
#[must_use]
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => text.push_str(&written(number)),
        Value::String(string) => quote(string, text),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            // RFC 8785 orders by UTF-16 code units, which differs from the order of characters beyond U+FFFF.
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                quote(name, text);
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
    }
}

fn quote(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            control if control < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => text.push(other),
        }
    }
    text.push('"');
}

/// A number as ECMAScript writes it: the shortest digits that read back as the same double.
fn written(number: &Number) -> String {
    let double = number.as_f64().unwrap_or_default();
    if double == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{double:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(-6..=20) | Err(_) => format!("{double}"),
        Ok(exponent) if exponent > 0 => format!("{mantissa}e+{exponent}"),
        Ok(exponent) => format!("{mantissa}e{exponent}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_what_the_rfc_writes() {
        let table = [
            // The example of RFC 8785, section 3.2.2, and the order of section 3.2.3.
            (
                "{\"numbers\":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],\
                 \"string\":\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\",\"literals\":[null,true,false]}",
                "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
                 \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
            ),
            (
                "{\"\\u20ac\":1,\"\\r\":2,\"\\ufb33\":3,\"1\":4,\"\\ud83d\\ude00\":5,\"\\u0080\":6,\"\\u00f6\":7}",
                "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}",
            ),
            ("[-0.0, 0, -0, 1e21, 1e20, 1e-6, 1e-7, 123456789012345680000]", {
                "[0,0,0,1e+21,100000000000000000000,0.000001,1e-7,123456789012345680000]"
            }),
            ("[9007199254740993, 18446744073709551615, -1.5]", {
                "[9007199254740992,18446744073709552000,-1.5]"
            }),
        ];
        for (text, expected) in table {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(canonical(&value), expected);
        }
    }

    #[test]
    fn tells_both_readings_only_where_they_differ() {
        let full = json!({"name": "a", "skills": [{"id": "b"}], "streaming": false, "n": 0});
        assert_eq!(readings(&full).len(), 1);
        let signed = json!({"name": "a", "signatures": [{"protected": ""}]});
        assert_eq!(readings(&signed), ["{\"name\":\"a\"}"]);
        let empty = json!({"name": "a", "skills": [], "x": {"y": {"z": ""}, "w": [null]}});
        assert_eq!(
            readings(&empty),
            [
                "{\"name\":\"a\",\"skills\":[],\"x\":{\"w\":[null],\"y\":{\"z\":\"\"}}}",
                "{\"name\":\"a\"}"
            ]
        );
    }
}
