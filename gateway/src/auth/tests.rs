//! Who is let in by what they show, and what a gate refuses to open for.

use super::*;
use runtime::config::Settings;

const NEAR: &str = "127.0.0.1:8080";

fn gate(text: &str, address: &str) -> Result<Gate, GateError> {
    let section = Settings::parse(text).unwrap().gateway;
    Gate::new(&section, address.parse().unwrap())
}

fn file() -> String {
    let hash = key::hex(key::hash_of(&key::key_of([7; 32])));
    format!(
        r#"
        [gateway.tls]
        cert = "c"
        key = "k"
        client_ca = "a"
        [[gateway.keys]]
        name = "alice"
        sha256 = "{hash}"
        owner = "acme"
        [[gateway.certificates]]
        name = "bob.example"
        owner = "bobs"
        "#
    )
}

#[test]
fn a_gate_opens_only_where_it_is_safe() {
    for (text, address, told) in [
        ("", NEAR, Some("nobody could come in")),
        ("[gateway]\nopen = true", NEAR, None),
        ("[gateway]\nopen = true", "[::1]:8080", None),
        ("[gateway]\nopen = true", "0.0.0.0:8080", Some("gateway.open lets everybody in")),
        ("[gateway]\nopen = true", "10.0.0.7:8080", Some("0.0.7:8080 can be reached")),
        ("[gateway]\nopen = true\nopen_anywhere = true", "0.0.0.0:8080", None),
        ("[gateway]\nopen_anywhere = true", NEAR, Some("nobody could come in")),
        (&file(), "0.0.0.0:8080", None),
    ] {
        let error = gate(text, address).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), told.is_some(), "{text} {address}: {error:?}");
        let error = error.unwrap_or_default();
        assert!(error.contains(told.unwrap_or_default()), "{error}");
    }
}

#[tokio::test]
async fn what_is_shown_decides_alone() {
    let key = key::key_of([7; 32]);
    let closed = gate(&file(), NEAR).unwrap();
    let open = gate(&file().replacen("\n", "\n[gateway]\nopen = true\n", 1), NEAR).unwrap();
    let bearer = format!("Bearer {key}");
    let low = format!("bearer  {key}");
    let wrong = format!("Bearer {}", key::key_of([8; 32]));
    let other = format!("Basic {key}");
    for (header, certificate, closed_in, open_in) in [
        (None, None, None, Some("anybody default")),
        (Some(("x-api-key", key.as_str())), None, Some("alice acme"), Some("alice acme")),
        (Some(("authorization", &bearer)), None, Some("alice acme"), Some("alice acme")),
        (Some(("authorization", &low)), None, Some("alice acme"), Some("alice acme")),
        (Some(("x-api-key", "")), None, None, None),
        (Some(("x-api-key", "wk_x")), Some("bob.example"), None, None),
        (Some(("authorization", &wrong)), Some("bob.example"), None, None),
        (Some(("authorization", &other)), None, None, None),
        (Some(("authorization", "Bearer a.b.c")), None, None, None),
        (None, Some("bob.example"), Some("bob.example bobs"), Some("bob.example bobs")),
        (None, Some("eve.example"), None, Some("anybody default")),
    ] {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        let certificate = certificate.map(str::to_owned);
        let peer = Peer { address: NEAR.parse().unwrap(), certificate };
        for (gate, expected) in [(&closed, closed_in), (&open, open_in)] {
            match gate.admit(&headers, &peer).await {
                Ok(admitted) => {
                    let shown = format!("{} {}", admitted.caller.name, admitted.caller.owner);
                    assert_eq!(Some(shown.as_str()), expected, "{header:?} {peer:?}");
                }
                Err(refused) => {
                    assert_eq!(expected, None, "{header:?} {peer:?}: {}", refused.reason);
                    let said = refused.error.to_string();
                    assert!(said.starts_with("credentials are missing or not good"), "{said}");
                }
            }
        }
    }
}
