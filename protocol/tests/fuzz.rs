//! Runs every fuzz target over mutated examples, seeded and bounded.
//!
//! It finds in seconds what a change has broken; `fuzz/README.md` says how to search for longer. A failure
//! prints the input as a Rust byte string: add it to `REGRESSIONS`.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod fuzz_targets;
mod judge;
mod mutate;

use std::panic::catch_unwind;
use std::path::Path;

use fuzz_targets::{ALL, CONTENT_TYPES, Target, Verdict};
use judge::Form;
use mutate::{Random, Seed};
use serde_json::{Value, json};

/// Inputs that once made a target fail.
const REGRESSIONS: &[(&str, &[u8])] = &[];

fn examples(prefix: &str) -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/examples");
    let mut paths: Vec<_> = ["valid", "invalid"]
        .iter()
        .flat_map(|verdict| std::fs::read_dir(directory.join(verdict)).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect()
}

fn documents(prefix: &str, forms: &[Form]) -> Vec<Seed> {
    let each = |form: &Form| {
        let form = *form;
        examples(prefix).into_iter().map(move |value| Seed {
            before: Vec::new(),
            document: Some((value, form)),
            after: Vec::new(),
        })
    };
    forms.iter().flat_map(each).collect()
}

/// Messages behind the byte that stands for their content type, and behind the others' too.
fn bodies() -> Vec<Seed> {
    let choice = |content_type: &str| {
        CONTENT_TYPES.iter().position(|known| *known == Some(content_type)).unwrap()
    };
    let mut seeds = documents("message.", &[Form::Json, Form::Msgpack]);
    for (index, seed) in seeds.iter_mut().enumerate() {
        let right = match &seed.document {
            Some((_, Form::Msgpack)) => choice(weft_protocol::codec::MSGPACK),
            Some((_, Form::Json)) | None => choice(weft_protocol::codec::A2A_JSON),
        };
        let chosen = if index % 4 == 0 { index % CONTENT_TYPES.len() } else { right };
        seed.before = vec![u8::try_from(chosen).unwrap()];
    }
    seeds
}

fn envelopes() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for headers in examples("submission-headers.") {
        let lines: String = headers
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("\n{name}:{}", value.as_str().unwrap_or("17")))
            .collect();
        for start in [
            "weft.task.echo.acme",
            "weft.task.echo.acme.case-812",
            "weft.run.echo\nWeft-Task-Id:s4\nWeft-Owner:acme\nWeft-Generation:3",
        ] {
            let before = format!("{start}{lines}").into_bytes();
            seeds.push(Seed { before, document: None, after: Vec::new() });
        }
    }
    seeds
}

fn schemas() -> Vec<Seed> {
    let sources = [
        json!({"type": "object", "required": ["files"], "properties": {"files": {
            "type": "array", "items": {"type": "string", "pattern": "^[a-z]+$"}}}}),
        json!({"$defs": {"n": {"type": ["integer", "null"], "minimum": 0}},
            "anyOf": [{"$ref": "#/$defs/n"}, {"enum": ["a"]}]}),
        json!({"if": {"const": 1}, "then": false, "else": {"multipleOf": 0.5}, "maxLength": 3,
            "unevaluatedProperties": false}),
    ];
    let values = ["\0{\"files\":[\"a\",1]}", "\0 7", "\0 null"];
    let each = |source: Value| {
        values.map(|value| Seed {
            before: Vec::new(),
            document: Some((source.clone(), Form::Json)),
            after: value.into(),
        })
    };
    sources.into_iter().flat_map(each).collect()
}

/// Headers of what is said to a task, in front of a body that suits them.
fn inputs() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let bodies = [("message.", ""), ("decision.", "Weft-Input:decision\n")];
    for (prefix, lines) in bodies {
        for document in examples(prefix) {
            for more in ["", "Weft-Input:signal\nWeft-Name:paid\n"] {
                let before = format!("{more}{lines}Content-Type:application/a2a+json\n\0");
                let document = Some((document.clone(), Form::Json));
                seeds.push(Seed { before: before.into_bytes(), document, after: Vec::new() });
            }
        }
    }
    seeds
}

/// Requests, each before decisions about it.
fn approvals() -> Vec<Seed> {
    let requests: Vec<_> = examples("entry.")
        .into_iter()
        .filter_map(|entry| {
            entry.pointer("/event/waitingFor/request").filter(|it| it.is_object()).cloned()
        })
        .collect();
    let mut seeds = Vec::new();
    for request in requests {
        for decision in examples("decision.") {
            let mut after = vec![0];
            after.extend(decision.to_string().into_bytes());
            let document = Some((request.clone(), Form::Json));
            seeds.push(Seed { before: Vec::new(), document, after });
        }
    }
    seeds
}

/// Inputs of a target that reach far into its decoder.
fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "body" => bodies(),
        "entry" => documents("entry.", &[Form::Json]),
        "envelope" => envelopes(),
        "input" => inputs(),
        "approval" => approvals(),
        "msgpack" => documents("message.", &[Form::Msgpack]),
        "contract" => documents("", &[Form::Json, Form::Msgpack]),
        "schema" => schemas(),
        other => unreachable!("no seeds for {other}"),
    }
}

/// Runs one target on one input and says which input it was when it fails.
fn run(target: &Target, data: &[u8]) -> Verdict {
    let Ok(verdict) = catch_unwind(|| (target.run)(data)) else {
        unreachable!("{} failed on b\"{}\"", target.name, data.escape_ascii());
    };
    verdict
}

fn bounded(name: &str, inputs: usize) {
    let target = ALL.iter().find(|target| target.name == name).unwrap();
    let seeds = seeds(name);
    for seed in &seeds {
        run(target, &seed.bytes());
    }
    for (_, data) in REGRESSIONS.iter().filter(|(target, _)| *target == name) {
        run(target, data);
    }
    let mut random = Random(0x77_65_66_74);
    let mut read = 0;
    for _ in 0..inputs {
        let data = random.pick(&seeds).mutated(&mut random, &seeds);
        read += usize::from(run(target, &data) == Verdict::Read);
    }
    assert!(
        read > inputs / 20,
        "only {read} of {inputs} got through {name}: nothing was tried behind it"
    );
}

#[test]
fn body_holds_for_20000_inputs() {
    bounded("body", 20_000);
}

#[test]
fn entry_holds_for_20000_inputs() {
    bounded("entry", 20_000);
}

#[test]
fn envelope_holds_for_20000_inputs() {
    bounded("envelope", 20_000);
}

#[test]
fn input_holds_for_20000_inputs() {
    bounded("input", 20_000);
}

#[test]
fn approval_holds_for_20000_inputs() {
    bounded("approval", 20_000);
}

#[test]
fn msgpack_holds_for_20000_inputs() {
    bounded("msgpack", 20_000);
}

#[test]
fn contract_holds_for_5000_inputs() {
    bounded("contract", 5_000);
}

#[test]
fn schema_holds_for_5000_inputs() {
    bounded("schema", 5_000);
}

#[test]
fn every_target_is_run_here_and_has_its_program() {
    let source = include_str!("fuzz.rs");
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    for target in &ALL {
        assert!(source.contains(&format!("bounded(\"{}\"", target.name)), "{}", target.name);
        let program =
            std::fs::read_to_string(programs.join(format!("{}.rs", target.name))).unwrap();
        assert!(program.contains(&format!("run(\"{}\"", target.name)), "{}", target.name);
    }
    assert_eq!(std::fs::read_dir(programs).unwrap().count(), ALL.len());
}
