//! An issuer of tokens in this process: keys that sign, and the address where their public halves are.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use runtime::supervisor::{Kind, Supervisor};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A key that signs with ES256.
pub struct SigningKey {
    /// Its name in tokens.
    pub kid: String,
    pair: EcdsaKeyPair,
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// A new key.
    #[must_use]
    pub fn new(kid: &str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { kid: kid.to_owned(), pair }
    }

    /// Its public half.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref().split_at(1).1.split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "x": text(x), "y": text(y)})
    }

    /// A token of these claims.
    #[must_use]
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": "ES256", "typ": "JWT", "kid": self.kid}), claims)
    }

    /// A token with a header of one's own; its signature is that of ES256 all the same.
    #[must_use]
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", text(signature))
    }
}

/// A token that nobody has signed.
#[must_use]
pub fn unsigned(claims: &Value) -> String {
    format!("{}.{}.", text(r#"{"alg":"none","typ":"JWT"}"#), text(claims.to_string()))
}

/// The address of public keys.
#[derive(Clone)]
pub struct Issuer {
    /// Its name, and where its description is.
    pub url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicUsize>,
    is_down: Arc<AtomicBool>,
}

impl Issuer {
    /// Serves these keys until `supervisor` shuts down.
    pub async fn start(keys: Vec<Value>, supervisor: &Supervisor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self {
            url,
            keys: Arc::new(Mutex::new(keys)),
            asked: Arc::default(),
            is_down: Arc::default(),
        };
        let (about, jwks) = (issuer.clone(), issuer.clone());
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || async move {
                    let jwks = format!("{}/jwks.json", about.url);
                    Json(json!({"issuer": about.url, "jwks_uri": jwks}))
                }),
            )
            .route("/jwks.json", get(move || async move { jwks.answer() }));
        supervisor.spawn("issuer", Kind::Work, async { axum::serve(listener, router).await });
        issuer
    }

    fn answer(&self) -> Result<Json<Value>, StatusCode> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Ok(Json(json!({"keys": *self.keys.lock().unwrap()})))
    }

    /// Serves other keys from now on.
    pub fn change(&self, keys: Vec<Value>) {
        *self.keys.lock().unwrap() = keys;
    }

    /// Answers with an error from now on, or no longer.
    pub fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// How often somebody has asked for the keys.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}
