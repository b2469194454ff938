//! What the gateway's section may say, and what is wrong with others.

use super::*;
use crate::config::Settings;

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn read(text: &str) -> Result<GatewaySection, Vec<String>> {
    Settings::parse(text).map(|settings| settings.gateway)
}

#[test]
fn nobody_comes_in_unless_the_file_says_so() {
    let section = read("").unwrap();
    assert!(!section.open && !section.open_anywhere && !section.access.knows_somebody());
    assert!(section.public_cards);
    assert_eq!(section.limits, DoorLimits::default());
}

#[test]
fn a_full_section_is_read() {
    let text = format!(
        r#"
        [gateway]
        trusted_proxies = ["10.0.0.0/8"]
        audit = "denied"
        [gateway.tls]
        cert = "a.pem"
        key = "/k.pem"
        client_ca = "ca.pem"
        [gateway.limits]
        header_wait = "3s"
        [gateway.cors]
        origins = ["https://app.example", "*"]
        [[gateway.keys]]
        name = "alice"
        sha256 = "{HASH}"
        owner = "acme"
        role = "reader"
        [[gateway.certificates]]
        name = "bob.example"
        owner = "acme"
        [gateway.jwt]
        issuer = "https://id.example"
        audience = ["weft"]
        jwks_file = "jwks.json"
        role_claim = "realm_access.roles"
        algorithms = ["EdDSA"]
        [gateway.roles.reader]
        operations = ["read", "card"]
        skills = ["echo"]
        owners = ["*"]
        rate = 2.5
        burst = 10
        "#
    );
    let mut section = read(&text).unwrap();
    section.start_paths_at(Path::new("/etc/weft"));
    let tls = section.tls.unwrap();
    assert_eq!((tls.cert, tls.key), ("/etc/weft/a.pem".into(), "/k.pem".into()));
    assert_eq!(tls.client_ca, Some("/etc/weft/ca.pem".into()));
    assert_eq!(section.limits.header_wait.as_secs(), 3);
    let access = section.access;
    assert_eq!(access.keys[0].hash.0[..2], [0x9f, 0x86]);
    assert_eq!(access.certificates[0].role, ROLE_CALLER);
    let jwt = access.jwt.clone().unwrap();
    assert_eq!(jwt.source, JwksSource::File("/etc/weft/jwks.json".into()));
    assert_eq!(jwt.owner_claim, "sub");
    let role = &access.roles["reader"];
    assert_eq!((&role.owners, role.burst), (&None, 10));
    assert!(!format!("{access:?}").contains("9f86"), "a hash is shown");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = r#"
        [gateway]
        trusted_proxies = ["10.0.0.0/99"]
        color = "red"
        [gateway.tls]
        cert = "a.pem"
        [gateway.limits]
        streams = 0
        [gateway.cors]
        origins = ["app.example"]
        [[gateway.keys]]
        name = "alice"
        sha256 = "beef"
        owner = "a b"
        role = "king"
        [[gateway.certificates]]
        name = "bob.example"
        owner = "acme"
        [gateway.jwt]
        issuer = "http://id.example"
        algorithms = ["HS256", "none"]
        [gateway.roles.reader]
        operations = ["look"]
        rate = 0.0
    "#;
    let faults = read(text).unwrap_err();
    for (place, told) in [
        ("gateway.color", "unknown field"),
        ("gateway.trusted_proxies", "is no address"),
        ("gateway.tls.key", "is missing"),
        ("gateway.limits.streams", "0 is not between"),
        ("gateway.cors.origins", "is no origin"),
        ("gateway.keys[0].sha256", "64 hex digits"),
        ("gateway.keys[0].owner", "owner holds ' '"),
        ("gateway.keys[0].role", "no section gateway.roles.king"),
        ("gateway.certificates", "client_ca"),
        ("gateway.jwt.audience", "is missing"),
        ("gateway.jwt", "neither role_claim nor role"),
        ("gateway.jwt.issuer", "https://"),
        ("gateway.jwt.algorithms", "\"HS256\" is none of"),
        ("gateway.jwt.algorithms", "\"none\" is none of"),
        ("gateway.roles.reader.operations", "\"look\" is none of"),
        ("gateway.roles.reader.rate", "0 is not between"),
    ] {
        let is_told =
            |fault: &&String| fault.starts_with(&format!("{place}: ")) && fault.contains(told);
        assert_eq!(faults.iter().filter(is_told).count(), 1, "{place} {told}: {faults:#?}");
    }
    assert_eq!(faults.len(), 16, "{faults:#?}");
}
