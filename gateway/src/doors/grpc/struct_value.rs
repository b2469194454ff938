//! JSON as `google.protobuf.Value` and back.
//!
//! Protobuf knows one kind of number, a double: beyond 2^53 whole numbers lose digits, which the binding cannot help.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Wire};
use protocol::limits::DEPTH_MAX;
use serde_json::{Map, Value};

use super::read::Reader;
use crate::a2a::number;

/// A JSON object on the wire.
pub(super) fn to_struct(map: Map<String, Value>) -> Struct {
    Struct { fields: map.into_iter().map(|(key, value)| (key, to_wire(value))).collect() }
}

/// A JSON value on the wire.
pub(super) fn to_wire(value: Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(to_wire).collect() })
        }
        Value::Object(map) => Kind::StructValue(to_struct(map)),
    };
    Wire { kind: Some(kind) }
}

/// How deep a value may nest, so that the message around it keeps to the limit of what comes from outside.
const DEPTH: usize = DEPTH_MAX - 4;

impl Reader {
    /// A JSON object off the wire.
    pub(super) fn map(&mut self, at: &str, wire: Struct) -> Map<String, Value> {
        self.map_within(at, wire, DEPTH)
    }

    /// A JSON value off the wire. `at` names the field it is in, for what cannot be JSON.
    pub(super) fn value(&mut self, at: &str, wire: Wire) -> Value {
        self.value_within(at, wire, DEPTH)
    }

    fn map_within(&mut self, at: &str, wire: Struct, levels: usize) -> Map<String, Value> {
        let Some(within) = levels.checked_sub(1) else {
            self.fault(at, format!("nests deeper than {DEPTH} levels"));
            return Map::new();
        };
        let fields = wire.fields.into_iter();
        fields.map(|(key, value)| (key, self.value_within(at, value, within))).collect()
    }

    fn list_within(&mut self, at: &str, wire: ListValue, levels: usize) -> Vec<Value> {
        let Some(within) = levels.checked_sub(1) else {
            self.fault(at, format!("nests deeper than {DEPTH} levels"));
            return Vec::new();
        };
        wire.values.into_iter().map(|value| self.value_within(at, value, within)).collect()
    }

    fn value_within(&mut self, at: &str, wire: Wire, levels: usize) -> Value {
        match wire.kind {
            None => {
                self.fault(at, "holds a google.protobuf.Value without a kind");
                Value::Null
            }
            Some(Kind::NullValue(_)) => Value::Null,
            Some(Kind::BoolValue(value)) => Value::Bool(value),
            Some(Kind::NumberValue(double)) => self.number(at, double),
            Some(Kind::StringValue(text)) => Value::String(text),
            Some(Kind::ListValue(list)) => Value::Array(self.list_within(at, list, levels)),
            Some(Kind::StructValue(map)) => Value::Object(self.map_within(at, map, levels)),
        }
    }

    fn number(&mut self, at: &str, double: f64) -> Value {
        number::of_double(double).map_or_else(
            || {
                self.fault(at, format!("{double} is no JSON number"));
                Value::Null
            },
            Value::Number,
        )
    }
}
