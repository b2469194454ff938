//! TLS: both versions of HTTP over it, certificates of clients, and new files while the gateway runs.

use std::path::Path;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use weft_tests::guest::{Answer, over};
use weft_tests::mesh::{AGENTS, Mesh};
use weft_tests::pki::{Authority, Identity};
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

use super::{LET_IN, PROGRAM, TASK, key_lines, key_of, settings};

fn section(folder: &Path) -> String {
    format!(
        r#"
        [gateway.tls]
        cert = "{folder}/cert.pem"
        key = "{folder}/key.pem"
        client_ca = "{folder}/ca.pem"
        [[gateway.certificates]]
        name = "bob.example"
        owner = "bobs"
        [[gateway.certificates]]
        name = "spiffe://mesh/carol"
        owner = "carols"
        [[gateway.certificates]]
        name = "dora"
        owner = "doras"
        {key}"#,
        folder = folder.display(),
        key = key_lines("alice", "acme", "caller"),
    )
}

async fn connect(
    at: &str,
    authority: &Authority,
    identity: Option<&Identity>,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(at).await?;
    let name = "localhost".try_into().unwrap();
    authority.connector(identity, protocols).connect(name, stream).await
}

async fn get(
    at: &str,
    authority: &Authority,
    identity: Option<&Identity>,
    headers: &[(&str, &str)],
) -> std::io::Result<Answer> {
    let stream = connect(at, authority, identity, &["http/1.1"]).await?;
    over(stream, "GET", TASK, headers, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_opens_for_whom_it_names() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let (authority, strangers) = (Authority::new("ours"), Authority::new("ours"));
    authority.sign("server", &["dns:localhost"]).write(mesh.folder());
    std::fs::write(mesh.folder().join("ca.pem"), authority.pem()).unwrap();
    let gateway = mesh.gateway_with("g1", &settings(&section(mesh.folder()))).await;
    let at = gateway.listen.clone().unwrap();
    let key = key_of("alice");
    for (what, identity, headers, status) in [
        ("nothing", None, &[][..], 401),
        ("a key", None, &[("X-API-Key", key.as_str())], LET_IN),
        ("a DNS name", Some(authority.sign("x", &["dns:bob.example"])), &[], LET_IN),
        (
            "a URI",
            Some(authority.sign("x", &["ip:10.0.0.1", "uri:spiffe://mesh/carol"])),
            &[],
            LET_IN,
        ),
        ("a common name", Some(authority.sign("dora", &[])), &[], LET_IN),
        ("a common name behind another name", Some(authority.sign("dora", &["dns:eve"])), &[], 401),
        ("a second name", Some(authority.sign("x", &["dns:eve", "dns:bob.example"])), &[], 401),
        ("an unknown name", Some(authority.sign("eve", &[])), &[], 401),
        (
            "a good one and a wrong key",
            Some(authority.sign("dora", &[])),
            &[("X-API-Key", "wk_x")],
            401,
        ),
    ] {
        let answer = get(&at, &authority, identity.as_ref(), headers).await.unwrap();
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
    }
    let forged = strangers.sign("dora", &[]);
    assert!(get(&at, &authority, Some(&forged), &[]).await.is_err(), "a stranger's signature");
    assert!(get(&at, &strangers, None, &[]).await.is_err(), "the client checks too");
    let h2 = connect(&at, &authority, None, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_used_without_a_restart_and_broken_ones_are_not() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, AGENTS).await;
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    old.sign("server", &["dns:localhost"]).write(mesh.folder());
    std::fs::write(mesh.folder().join("ca.pem"), old.pem()).unwrap();
    let gateway = mesh.gateway_with("g1", &settings(&section(mesh.folder()))).await;
    let at = gateway.listen.clone().unwrap();
    assert_eq!(get(&at, &old, None, &[]).await.unwrap().status, 401);
    assert!(get(&at, &new, None, &[]).await.is_err());
    std::fs::write(mesh.folder().join("key.pem"), "no key").unwrap();
    wait_until("the fault is told", SOON, || async {
        gateway.said().contains("cannot be used").then_some(())
    })
    .await;
    assert_eq!(get(&at, &old, None, &[]).await.unwrap().status, 401, "the old ones stay");
    new.sign("server", &["dns:localhost"]).write(mesh.folder());
    wait_until("the new certificate", SOON, || async {
        get(&at, &new, None, &[]).await.ok().filter(|answer| answer.status == 401)
    })
    .await;
    assert!(get(&at, &old, None, &[]).await.is_err());
}
