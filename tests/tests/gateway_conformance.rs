//! What A2A 1.0 demands of a server, demand by demand, with an agent that plays what each of them needs.

use serde_json::json;
use weft_tests::mesh::Mesh;
use weft_tests::python::{A2A_SDK, Python};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mesh-process");
/// Demands that there are at least: a script that checks nothing keeps them all.
const DEMANDS_MIN: u64 = 59;

const CONFIG: &str = r#"
[bus]
lease = "2s"
[node]
drain_grace = "5s"
http = "127.0.0.1:0"
[coordinator]
http = "127.0.0.1:0"
[gateway]
http = "127.0.0.1:0"
listen = "127.0.0.1:0"
open = true
default_skill = "conform"
[[agents]]
skill = "conform"
kind = "conform"
concurrency = 16
[[agents]]
skill = "echo"
kind = "echo"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_specification_demands_is_kept() {
    let python = Python::with(env!("CARGO_TARGET_TMPDIR"), A2A_SDK).await;
    let folder = tempfile::tempdir().unwrap();
    let read_model = format!("[coordinator]\nread_model = {:?}", folder.path().join("tasks"));
    let config = CONFIG.replace("[coordinator]", &read_model);
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &config).await;
    let _node = mesh.node("n1").await;
    let gateway = mesh.gateway("g1").await;
    let door = gateway.listen.clone().unwrap();
    let seen = python.run("a2a_conformance.py", &[&door]).await;
    assert!(seen["checked"].as_u64() >= Some(DEMANDS_MIN), "{seen}");
    assert_eq!(seen["broken"], json!({}), "{}", gateway.said());
}
