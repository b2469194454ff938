//! What the settings may say, and that everything wrong with them is said at once.

use serde_json::json;

use super::*;

fn read(value: serde_json::Value) -> Result<ProcessSettings, serde_json::Error> {
    serde_json::from_value(value)
}

fn own() -> Vec<(OsString, OsString)> {
    vec![("PATH".into(), "/nowhere:/usr/bin:/bin".into())]
}

#[test]
fn a_command_is_enough_and_every_setting_is_known() {
    assert_eq!(read(json!({"command": ["sh"]})).unwrap(), ProcessSettings::new(["sh"]));
    let full = read(json!({"command": ["sh", "-c", "true"], "mode": "once", "cwd": "/", "env": {"A": "b"},
        "pass_env": ["TOKEN"], "line_bytes_max": 2048, "start_timeout": "10s",
        "write_timeout": "1m 30s", "stop_grace": "500ms", "name": "n", "description": "d", "version": "1",
        "tags": ["t"], "examples": ["e"], "input_modes": ["text/plain"], "output_modes": ["*/*"], "input_schema": {"type": "string"}, "output_schema": "out.json"}))
    .unwrap();
    assert_eq!((full.mode, full.start_timeout), (Mode::Once, Some(Duration::from_secs(10))));
    assert_eq!(full.write_timeout, Duration::from_secs(90));
    assert_eq!(full.output_schema, Some(SchemaSource::Path("out.json".into())));
    for (wrong, text) in [
        (json!({}), "missing field `command`"),
        (json!({"command": "sh"}), "expected a sequence"),
        (json!({"command": ["sh"], "enviroment": {}}), "unknown field `enviroment`"),
        (json!({"command": ["sh"], "mode": "often"}), "unknown variant `often`"),
        (json!({"command": ["sh"], "stop_grace": "soon"}), "\"soon\" is no duration such as"),
        (json!({"command": ["sh"], "stop_grace": "-1s"}), "\"-1s\" is no duration such as"),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn programs_are_found_by_path_or_by_name() {
    let directory = tempfile::TempDir::new().unwrap();
    let base = directory.path();
    std::fs::create_dir(base.join("bin")).unwrap();
    std::fs::copy("/bin/sh", base.join("bin/agent")).unwrap();
    std::fs::write(base.join("plain"), "").unwrap();
    let plain = base.join("plain").display().to_string();
    let missing = base.join("bin/none").display().to_string();
    for (command, expected) in [
        ("bin/agent", Ok(base.join("bin/agent"))),
        ("/bin/sh", Ok("/bin/sh".into())),
        ("./plain", Err(format!("{plain} is not executable"))),
        ("bin/none", Err(format!("there is no program {missing}"))),
        ("bin/", Err("there is no program".to_owned())),
        (
            "no-such-program",
            Err("there is no program \"no-such-program\" on PATH (/nowhere:".to_owned()),
        ),
        ("", Err("command is empty".to_owned())),
    ] {
        let checked = check("a", &ProcessSettings::new([command]), base, &own());
        match (checked, expected) {
            (Ok(checked), Ok(path)) => assert_eq!(checked.launch.program, path),
            (Err(error), Err(text)) => {
                // The path may be joined as `base/./plain`.
                let error = error.to_string().replace("/./", "/");
                assert!(error.contains(&text), "{error}");
            }
            (checked, expected) => {
                panic!("{command}: {:?}, not {expected:?}", checked.map(|c| c.launch.program));
            }
        }
    }
}

#[test]
fn all_faults_are_reported_together() {
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::write(directory.path().join("bad.json"), "{").unwrap();
    let settings =
        read(json!({"command": [], "cwd": "none", "env": {"A=B": "secret"}, "pass_env": [""],
        "line_bytes_max": 10, "output_modes": ["text"], "input_schema": "bad.json", "output_schema": {"type": "nonsense"}}))
        .unwrap();
    let Err(error) = check("counter", &settings, directory.path(), &own()) else {
        panic!("nothing wrong")
    };
    let text = error.to_string();
    assert_eq!(error.faults.len(), 8, "{text}");
    for part in [
        "agent \"counter\": ",
        "env: \"A=B\" cannot be the name",
        "pass_env: \"\" cannot be the name",
        "line_bytes_max is 10",
        "output_modes: \"text\" is no media type",
        "cwd: there is no directory",
        "command is empty",
        "input_schema: cannot read",
        "EOF while parsing",
        "output_schema cannot be used: not a valid JSON Schema",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!format!("{text} {settings:?}").contains("secret"));
}

#[test]
fn schemas_come_from_files_or_inline() {
    let directory = tempfile::TempDir::new().unwrap();
    std::fs::write(directory.path().join("in.json"), r#"{"type": "string"}"#).unwrap();
    let settings = read(
        json!({"command": ["sh"], "input_schema": "in.json", "output_schema": {"type": "array"}}),
    );
    let checked = check("a", &settings.unwrap(), directory.path(), &own()).ok().unwrap();
    assert_eq!(checked.input_schema, Some(json!({"type": "string"})));
    assert_eq!(checked.output_schema, Some(json!({"type": "array"})));
}
