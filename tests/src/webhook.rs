//! A receiver of webhooks: notes every call, and answers as the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use futures_util::future::BoxFuture;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::Identity;

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The path and the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Value,
}

impl Call {
    /// The value of a header, empty without it.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An answer: the status and further headers.
pub type Reply = (u16, Vec<(&'static str, String)>);

type Answer = Arc<dyn Fn(usize, Call) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A receiver. It ends with the test's runtime.
#[derive(Clone)]
pub struct Receiver {
    /// Where it listens, as `127.0.0.1:8080`.
    pub address: String,
    calls: Arc<Mutex<Vec<Call>>>,
    answer: Answer,
}

impl Receiver {
    /// A receiver that takes everything.
    pub async fn taking() -> Self {
        Self::answering(|_, _| (200, Vec::new())).await
    }

    /// A receiver that answers its calls, which are numbered from 0, by this.
    pub async fn answering(answer: impl Fn(usize, Call) -> Reply + Send + Sync + 'static) -> Self {
        Self::slowly(move |number, call| {
            let reply = answer(number, call);
            Box::pin(async move { reply })
        })
        .await
    }

    /// A receiver that takes its time.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn slowly(
        answer: impl Fn(usize, Call) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let receiver = Self { address, calls: Arc::default(), answer: Arc::new(answer) };
        receiver.serve(listener);
        receiver
    }

    /// A receiver behind TLS that takes everything.
    ///
    /// # Panics
    /// When there is no port, or the identity is none.
    pub async fn over_tls(identity: &Identity) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let answer: Answer = Arc::new(|_, _| Box::pin(async { (200, Vec::new()) }));
        let receiver = Self { address, calls: Arc::default(), answer };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        receiver.serve(Tls { socket, acceptor: TlsAcceptor::from(Arc::new(config)) });
        receiver
    }

    #[expect(clippy::disallowed_methods, reason = "a receiver is no part of the mesh")]
    fn serve<L: Listener<Addr: std::fmt::Debug>>(&self, listener: L) {
        let router = Router::new().fallback(take).with_state(self.clone());
        drop(tokio::spawn(async move { axum::serve(listener, router).await }));
    }

    /// The address of a path there.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What has come so far.
    ///
    /// # Panics
    /// When the receiver has panicked.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// What has come at a path.
    #[must_use]
    pub fn calls_at(&self, path: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.path == path).collect()
    }
}

struct Tls {
    socket: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.socket.accept().await.unwrap();
            // A client that does not trust the certificate goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.socket.local_addr()
    }
}

async fn take(State(receiver): State<Receiver>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let call = Call {
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap(),
    };
    let number = {
        let mut calls = receiver.calls.lock().unwrap();
        calls.push(call.clone());
        calls.len() - 1
    };
    let (status, headers) = (receiver.answer)(number, call).await;
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
