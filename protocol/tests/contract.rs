//! Holds the published schemas against the types that Weft reads with: both judge every example alike,
//! and every small change to an example too.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail the test"
)]

mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use judge::Form;
use serde_json::{Map, Value, json};
use weft_protocol::codec;
use weft_protocol::contract::{self, Contract};
use weft_protocol::entry::Kind;
use weft_protocol::fault::code;
use weft_protocol::schema::Schema;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

/// The files of a directory with this ending, by what stands before it.
fn files(directory: &Path, ending: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(stem) = name.strip_suffix(ending) {
            found.insert(stem.to_owned(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// One example: the schema it is for, the case it shows, its text.
struct Example {
    schema: String,
    case: String,
    text: Vec<u8>,
}

impl Example {
    fn value(&self) -> Value {
        serde_json::from_slice(&self.text).unwrap()
    }
}

fn examples(verdict: &str) -> Vec<Example> {
    files(&schemas().join("examples").join(verdict), ".json")
        .into_iter()
        .map(|(stem, text)| {
            let (schema, case) = stem.split_once('.').unwrap();
            Example { schema: schema.to_owned(), case: case.to_owned(), text }
        })
        .collect()
}

fn compiled() -> BTreeMap<&'static str, Schema> {
    contract::ALL.iter().map(|contract| (contract.name, contract.compile().unwrap())).collect()
}

fn source(contract: &Contract) -> Value {
    serde_json::from_str(contract.text).unwrap()
}

#[test]
fn the_list_and_the_directory_hold_the_same_schemas() {
    let on_disk = files(&schemas(), ".v1.json");
    let listed: BTreeSet<_> = contract::ALL.iter().map(|c| c.name.to_owned()).collect();
    assert_eq!(on_disk.keys().cloned().collect::<BTreeSet<_>>(), listed);
    for contract in &contract::ALL {
        assert_eq!(on_disk[contract.name], contract.text.as_bytes(), "{}", contract.name);
        let source = source(contract);
        assert_eq!(source["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(source["$id"], format!("urn:weft:schema:{}:v1", contract.name));
        assert_eq!(source["title"], contract.title);
        jsonschema::meta::validate(&source).unwrap();
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                found.insert(target.clone());
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn schemas_carry_all_they_refer_to_and_mean_the_same_by_the_same_name() {
    let mut shared: BTreeMap<String, Value> = BTreeMap::new();
    for contract in &contract::ALL {
        let source = source(contract);
        let mut used = BTreeSet::new();
        references(&source, &mut used);
        let definitions = source["$defs"].as_object().unwrap();
        let defined = definitions.keys().map(|name| format!("#/$defs/{name}")).collect();
        assert_eq!(used, defined, "{}: what is used and what is defined", contract.name);
        for (name, definition) in definitions {
            let first = shared.entry(name.clone()).or_insert_with(|| definition.clone());
            assert_eq!(first, definition, "{}: {name}", contract.name);
        }
    }
}

/// Every place of a schema that an example can show: a member by its name, a word of a list by itself.
fn places(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for (name, inner) in members {
                let path = format!("{path}/{name}");
                match name.as_str() {
                    "if" | "not" => {}
                    "enum" => {
                        let words = inner.as_array().unwrap();
                        found.extend(words.iter().map(|word| format!("{path}/{word}")));
                    }
                    "properties" => {
                        for (member, inner) in inner.as_object().unwrap() {
                            found.insert(format!("{path}/{member}"));
                            places(inner, &format!("{path}/{member}"), found);
                        }
                    }
                    _ => places(inner, &path, found),
                }
            }
        }
        Value::Array(items) => {
            for (at, inner) in items.iter().enumerate() {
                places(inner, &format!("{path}/{at}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The places of a schema that a document shows.
fn shown(root: &Value, schema: &Value, path: &str, value: &Value, found: &mut BTreeSet<String>) {
    let Some(members) = schema.as_object() else { return };
    for (name, inner) in members {
        let path = format!("{path}/{name}");
        match (name.as_str(), inner) {
            ("$ref", Value::String(target)) => {
                let definition = root.pointer(&target[1..]).unwrap();
                shown(root, definition, &target[1..], value, found);
            }
            ("enum", _) => {
                found.insert(format!("{path}/{value}"));
            }
            ("properties", Value::Object(properties)) => {
                for (member, inner) in properties {
                    if let Some(value) = value.get(member) {
                        let path = format!("{path}/{member}");
                        found.insert(path.clone());
                        shown(root, inner, &path, value, found);
                    }
                }
            }
            ("items", _) => {
                let items = value.as_array().into_iter().flatten();
                items.for_each(|item| shown(root, inner, &path, item, found));
            }
            ("additionalProperties", Value::Object(_)) => {
                let others = value.as_object().into_iter().flat_map(Map::values);
                others.for_each(|other| shown(root, inner, &path, other, found));
            }
            ("then" | "else", _) => {
                let tags = members["if"]["properties"].as_object().unwrap();
                let holds = tags.iter().all(|(tag, it)| value.get(tag) == Some(&it["const"]));
                if holds == (name == "then") {
                    shown(root, inner, &path, value, found);
                }
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(cases)) => {
                for (at, inner) in cases.iter().enumerate() {
                    shown(root, inner, &format!("{path}/{at}"), value, found);
                }
            }
            _ => {}
        }
    }
}

/// The place within what schemas share, if it is there.
fn shared(place: &str) -> &str {
    place.find("/$defs/").map_or(place, |at| &place[at..])
}

#[test]
fn nothing_is_without_an_example() {
    for verdict in ["valid", "invalid"] {
        let examples = examples(verdict);
        let shown: BTreeSet<_> = examples.iter().map(|example| example.schema.as_str()).collect();
        let listed: BTreeSet<_> = contract::ALL.iter().map(|contract| contract.name).collect();
        assert_eq!(shown, listed, "{verdict}");
    }
    let examples = examples("valid");
    let (mut all, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for contract in &contract::ALL {
        let source = source(contract);
        places(&source, contract.name, &mut all);
        for example in examples.iter().filter(|example| example.schema == contract.name) {
            shown(&source, &source, contract.name, &example.value(), &mut seen);
        }
    }
    // What is defined under one name means the same everywhere: it is enough to show it once.
    let all: BTreeSet<_> = all.iter().map(|place| shared(place)).collect();
    let seen: BTreeSet<_> = seen.iter().map(|place| shared(place)).collect();
    let missing: Vec<_> = all.difference(&seen).collect();
    assert!(missing.is_empty(), "no valid example shows {missing:#?}");
}

#[test]
fn the_schema_of_an_entry_lists_every_type() {
    let source = source(contract::find("entry").unwrap());
    let listed: BTreeSet<_> = source["$defs"]["event"]["properties"]["type"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(listed, Kind::ALL.iter().map(|kind| kind.name()).collect());
}

#[test]
fn valid_examples_are_taken_by_both_and_survive_both_codecs() {
    let schemas = compiled();
    for example in examples("valid") {
        let (name, what) =
            (example.schema.as_str(), format!("{}.{}", example.schema, example.case));
        let schema = &schemas[name];
        let value = example.value();
        assert_eq!(schema.faults(&value, code::SCHEMA_MISMATCH), [], "{what}");
        let read = judge::read(name, Form::Json, &example.text).expect(&what);
        assert_eq!(schema.faults(&read, code::SCHEMA_MISMATCH), [], "{what}, as Weft writes it");
        let again = judge::read(name, Form::Json, read.to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(&read), "{what}, written and read again");
        for origin in [&value, &read] {
            let packed = codec::to_msgpack(origin).unwrap();
            let unpacked = judge::read(name, Form::Msgpack, &packed);
            assert_eq!(unpacked.as_ref(), Ok(&read), "{what}, as MessagePack");
        }
    }
}

#[test]
fn invalid_examples_are_refused_by_both_and_the_refusal_has_a_place() {
    let schemas = compiled();
    for example in examples("invalid") {
        let (name, what) =
            (example.schema.as_str(), format!("{}.{}", example.schema, example.case));
        let faults = schemas[name].faults(&example.value(), code::SCHEMA_MISMATCH);
        assert!(!faults.is_empty(), "{what} is taken by the schema");
        assert!(faults.iter().all(|fault| fault.place.is_some()), "{what}: {faults:?}");
        let packed = codec::to_msgpack(&example.value()).unwrap();
        for (form, bytes) in [(Form::Json, &example.text), (Form::Msgpack, &packed)] {
            let fault = judge::read(name, form, bytes).expect_err(&what);
            assert!(fault.place.is_some(), "{what}, {form:?}: {fault:?}");
        }
    }
}

/// What every value in an example is replaced by, in turn.
fn replacements() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(2),
        json!(4_294_967_296_u64),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!(" "),
        json!("x"),
        json!("a.b"),
        json!("*"),
        json!("a".repeat(65)),
        json!("k".repeat(257)),
        json!("line\nbreak"),
        json!("2026-11-21T12:36:58+01:00"),
        json!("2026-11-21T12:36:58"),
        json!("9s"),
        json!("aGk="),
        json!("ROLE_AGENT"),
        json!("TASK_STATE_WORKING"),
        json!("completed"),
        json!("step"),
        json!("lost"),
        json!("run"),
        json!({}),
        json!({"text": "x"}),
        json!({"parts": []}),
        json!({"code": "c", "message": "m"}),
        json!([]),
        json!([null]),
        json!([{"data": 1}]),
    ]
}

/// Every value that differs from `value` in one place: a member or item gone, or replaced.
fn changes(value: &Value, replacements: &[Value]) -> Vec<Value> {
    let mut changed: Vec<Value> = replacements
        .iter()
        // An array where an object belongs is read by position: a leniency that the schemas do not state.
        .filter(|new| !(value.is_object() && new.is_array()))
        .cloned()
        .collect();
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let mut without = members.clone();
                without.remove(name);
                changed.push(Value::Object(without));
                for inner in changes(member, replacements) {
                    // A tag inside of another tagged object may be its number: not stated either.
                    if name == "kind" && inner.is_number() {
                        continue;
                    }
                    let mut with = members.clone();
                    with.insert(name.clone(), inner);
                    changed.push(Value::Object(with));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let mut without = items.clone();
                without.remove(index);
                changed.push(Value::Array(without));
                for inner in changes(item, replacements) {
                    let mut with = items.clone();
                    with[index] = inner;
                    changed.push(Value::Array(with));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    changed
}

#[test]
fn every_single_change_to_an_example_is_judged_alike() {
    let schemas = compiled();
    let replacements = replacements();
    let (mut taken, mut refused) = (0, 0);
    for example in examples("valid").iter().chain(&examples("invalid")) {
        for changed in changes(&example.value(), &replacements) {
            let faults = schemas[example.schema.as_str()].faults(&changed, code::SCHEMA_MISMATCH);
            let read = judge::read(&example.schema, Form::Json, changed.to_string().as_bytes());
            assert_eq!(
                faults.is_empty(),
                read.is_ok(),
                "{}.{} changed to {changed}\nthe schema says {faults:?}\nthe type says {read:?}",
                example.schema,
                example.case
            );
            if read.is_ok() { taken += 1 } else { refused += 1 }
        }
    }
    assert!(
        taken > 5_000 && refused > 5_000,
        "{taken} taken, {refused} refused: too few to mean much"
    );
}

/// The names of A2A's fields in `snake_case`, but not what a user put into `data` and `metadata`.
fn snake_case(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| {
                let mut snake = String::new();
                for letter in name.chars() {
                    if letter.is_ascii_uppercase() {
                        snake.push('_');
                    }
                    snake.push(letter.to_ascii_lowercase());
                }
                let free = matches!(name.as_str(), "data" | "metadata");
                (snake, if free { member.clone() } else { snake_case(member) })
            })
            .collect(),
        Value::Array(items) => items.iter().map(snake_case).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn a2a_types_are_read_in_snake_case_as_well() {
    let mut differ = BTreeSet::new();
    for example in examples("valid") {
        let value = example.value();
        let snake = match example.schema.as_str() {
            "message" | "task" => snake_case(&value),
            "registration" => {
                let mut snake = value.clone();
                snake["card"] = snake_case(&value["card"]);
                snake
            }
            _ => continue,
        };
        if snake != value {
            differ.insert(example.schema.clone());
        }
        let read =
            |value: &Value| judge::read(&example.schema, Form::Json, value.to_string().as_bytes());
        assert_eq!(read(&snake), read(&value), "{}.{}", example.schema, example.case);
    }
    assert_eq!(differ.into_iter().collect::<Vec<_>>(), ["message", "registration", "task"]);
}
