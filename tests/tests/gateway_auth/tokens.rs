//! Tokens of an issuer: which are good, and what becomes of them when its keys change or cannot be had.

use runtime::metric::Metrics;
use runtime::supervisor::Supervisor;
use serde_json::{Value, json};
use weft_tests::guest::get_as;
use weft_tests::issuer::{Issuer, SigningKey, unsigned};
use weft_tests::mesh::Mesh;
use weft_tests::wait::wait_until;
use weft_tests::work::SOON;

use super::{LET_IN, PROGRAM, TASK, entries, settings};

/// In 2001.
const PAST: i64 = 1_000_000_000;
/// The year 2100.
const FUTURE: i64 = 4_102_444_800;

fn section(issuer: &Issuer, more: &str) -> String {
    format!(
        r#"
        [gateway.jwt]
        issuer = "{url}"
        audience = ["weft", "other"]
        owner_claim = "org.team"
        role_claim = "realm_access.roles"
        refresh_min = "50ms"
        {more}
        [gateway.roles.reader]
        operations = ["read"]
        "#,
        url = issuer.url
    )
}

fn claims(issuer: &Issuer) -> Value {
    json!({
        "iss": issuer.url, "aud": "weft", "sub": "tina", "exp": FUTURE,
        "org": {"team": "acme"}, "realm_access": {"roles": ["reader", "unknown"]},
    })
}

fn with(claims: &Value, changes: &Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_that_is_whole_is_good() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (one, stranger) = (SigningKey::new("one"), SigningKey::new("one"));
    let issuer = Issuer::start(vec![one.jwk()], &supervisor).await;
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section(&issuer, ""))).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let good = claims(&issuer);
    let token = |changes: Value| one.token(&with(&good, &changes));
    let header = |header: Value| one.token_with(&header, &good);
    let mut cut = token(json!({}));
    cut.truncate(cut.len() - 4);
    for (what, token, status) in [
        ("good", token(json!({})), LET_IN),
        ("good for several", token(json!({"aud": ["x", "weft"]})), LET_IN),
        ("one role as text", token(json!({"realm_access": {"roles": "reader"}})), LET_IN),
        ("without a type", header(json!({"alg": "ES256", "kid": "one"})), LET_IN),
        ("without a kid", header(json!({"alg": "ES256"})), LET_IN),
        ("an access token", header(json!({"alg": "ES256", "typ": "at+JWT"})), LET_IN),
        ("expired", token(json!({"exp": PAST})), 401),
        ("without an end", token(json!({"exp": null})), 401),
        ("not yet", token(json!({"nbf": FUTURE - 10})), 401),
        ("for somebody else", token(json!({"aud": "bank"})), 401),
        ("for nobody", token(json!({"aud": null})), 401),
        ("of somebody else", token(json!({"iss": "https://evil.example"})), 401),
        ("of nobody", token(json!({"iss": null})), 401),
        ("without a subject", token(json!({"sub": null})), 401),
        ("without an owner", token(json!({"org": null})), 401),
        ("with an owner that is none", token(json!({"org": {"team": "a.>"}})), 401),
        ("unsigned", unsigned(&good), 401),
        ("signed by a stranger", stranger.token(&good), 401),
        ("another algorithm", header(json!({"alg": "HS256", "kid": "one"})), 401),
        ("an algorithm that is not taken", header(json!({"alg": "ES384", "kid": "one"})), 401),
        ("of another sort", header(json!({"alg": "ES256", "typ": "logout+jwt"})), 401),
        ("with an unknown kid", header(json!({"alg": "ES256", "kid": "two"})), 401),
        ("cut", cut, 401),
        ("no token", "wk".repeat(9000), 401),
        ("without a role", token(json!({"realm_access": null})), 403),
        ("with a role that is unknown", token(json!({"realm_access": {"roles": ["king"]}})), 403),
    ] {
        let answer = get_as(&at, TASK, &token).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        assert!(!gateway.said().contains(&token), "{what}: the token is in the log");
    }
    let foreign = get_as(&at, "/other/tasks/s77", &token(json!({}))).await;
    assert_eq!(foreign.status, 403);
    let kept = wait_until("the entries", SOON, || async {
        let all = entries(&mesh).await;
        (all.len() >= 27).then_some(all)
    })
    .await;
    let reasons: Vec<&str> = kept.iter().filter_map(|entry| entry.reason.as_deref()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("ExpiredSignature")), "{reasons:?}");
    assert!(kept.iter().any(|entry| {
        entry.allowed
            && entry.caller.as_deref() == Some("tina")
            && entry.owner.as_ref().is_some_and(|owner| owner.as_str() == "acme")
    }));
    supervisor.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_found_and_old_ones_forgotten() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (one, two) = (SigningKey::new("one"), SigningKey::new("two"));
    let issuer = Issuer::start(vec![one.jwk()], &supervisor).await;
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section(&issuer, ""))).await;
    let mut gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let claims = claims(&issuer);
    assert_eq!(get_as(&at, TASK, &one.token(&claims)).await.status, LET_IN);
    assert_eq!(get_as(&at, TASK, &two.token(&claims)).await.status, 401);
    issuer.change(vec![two.jwk()]);
    wait_until("the new key", SOON, || async {
        (get_as(&at, TASK, &two.token(&claims)).await.status == LET_IN).then_some(())
    })
    .await;
    assert_eq!(get_as(&at, TASK, &one.token(&claims)).await.status, 401);

    // Keys that are known last through a fault of the issuer; a gateway that has none says so, and finds them later.
    issuer.set_down(true);
    assert_eq!(get_as(&at, TASK, &two.token(&claims)).await.status, LET_IN);
    gateway.kill().await;
    assert!(gateway.restart().await);
    let at = gateway.listen.clone().unwrap();
    let answer = get_as(&at, TASK, &two.token(&claims)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.text);
    issuer.set_down(false);
    wait_until("the keys", SOON, || async {
        (get_as(&at, TASK, &two.token(&claims)).await.status == LET_IN).then_some(())
    })
    .await;
    supervisor.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_do_not_make_the_gateway_ask_all_the_time() {
    let supervisor = Supervisor::new(Metrics::new("test"));
    let (one, two) = (SigningKey::new("one"), SigningKey::new("two"));
    let issuer = Issuer::start(vec![one.jwk()], &supervisor).await;
    let section = section(&issuer, "").replace("\"50ms\"", "\"1h\"");
    let (mesh, _coordinator) = Mesh::start(PROGRAM, &settings(&section)).await;
    let gateway = mesh.gateway("g1").await;
    let at = gateway.listen.clone().unwrap();
    let claims = claims(&issuer);
    for _ in 0..20 {
        assert_eq!(get_as(&at, TASK, &two.token(&claims)).await.status, 401);
    }
    assert_eq!(get_as(&at, TASK, &one.token(&claims)).await.status, LET_IN);
    assert_eq!(issuer.asked(), 1);
    supervisor.shutdown();
}

/// Signed with RS256, for an issuer whose keys are in a file. Its end is in the year 2100; its key is gone.
const RSA_KEY: &str = r#"{"keys": [{"kty": "RSA", "kid": "r1", "e": "AQAB", "n": "r28VWb2ZX49IDp3PvuQ8W7NhgnM5SWEVYpA-7NroRK2tjvDq9qdMmbKd-FJX_n3PCMIXwTuhD3ns0MJlMfD6qTyAJf43XQKyrAHocD1D9HPqRIGGLwR4gq8sCELGssXQ1H98PXZ4vXcRlF9Fe8wBaNUzynC7leFh6MOoKr3OCh2W4Fkum1BVlvkBP9dqP5dm1IuSGAG96l4zG1U_lBJpdmDwD6bH7o1Tmto1dUzG6BHnMR_xMEMhTD5hGhFFQMvgAo6EG-PTikAJ7CZSpma_jHd9UJ60DOFZLK-dvw20r62rC3czRf7Jasg04hJv3fg3v58nsu8qnFiNEQ6EDCKb0w"}]}"#;
const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJ3ZWZ0Iiwic3ViIjoicml0YSIsImV4cCI6NDEwMjQ0NDgwMCwidGVhbSI6ImFjbWUiLCJyb2xlcyI6WyJyZWFkZXIiXX0.P9PL2jn1cg2F029LIjzFgTbxt9ZghcaqQUTS9oYkUFD7_n-RqIOwdyBCKXfZtTzScxR_aohJzYdi4UKNenWsnKm551KnRIj60zZnTSNsADFjNgJUbaz9_kybLNpKY9auvo6KAjPhX-yUwamQ29Sw-J6-0B4TKCdibZkwYxBMOEbNB0voXTp-pbnRQN324Jx0cdPFb79dPSIWZhd2HC8jgLk0Nfs7Ix9nYJSbOi1dgnJVkmuQTi5nTCGvdf--9X89d94bODFEjshXd50O_GCnDcR5lc9sALtQScUvxX9UK6YI08jRPPZZNcKCDmOVR5j9z0kOYFS2N_4Wufo-YEao-g";

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_be_in_a_file_and_be_of_rsa() {
    let (mesh, _coordinator) = Mesh::start(PROGRAM, weft_tests::mesh::AGENTS).await;
    let file = mesh.folder().join("jwks.json");
    std::fs::write(&file, RSA_KEY).unwrap();
    let section = format!(
        r#"
        [gateway.jwt]
        issuer = "https://id.example"
        audience = ["weft"]
        jwks_file = "{}"
        owner_claim = "team"
        role_claim = "roles"
        [gateway.roles.reader]
        operations = ["read"]
        "#,
        file.display()
    );
    let gateway = mesh.gateway_with("g1", &settings(&section)).await;
    let at = gateway.listen.clone().unwrap();
    assert_eq!(get_as(&at, TASK, RSA_TOKEN).await.status, LET_IN);
    let (rest, last) = RSA_TOKEN.split_at(RSA_TOKEN.len() - 12);
    let bent: String = last.chars().rev().collect();
    assert_eq!(get_as(&at, TASK, &format!("{rest}{bent}")).await.status, 401);
}
