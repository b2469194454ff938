//! Makes one call to a webhook: to an address that was judged, without redirects and proxies, and bounded in time and
//! size.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::guard::{Refused, Target};
use crate::limits::{PUSH_ANSWER_BYTES_MAX, PUSH_CONNECT_MAX};

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The endpoint answered with this status, and may have said when to come again.
    Status(StatusCode, Option<String>),
    /// It did not answer.
    Silent(String),
    /// It may not be called.
    Refused(Refused),
}

/// Makes calls.
pub(super) struct Post {
    tls: TlsConnector,
    limit: Duration,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Post {
    /// Calls end after `limit`. Certificates are judged by the roots that this machine trusts.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(super) fn new(limit: Duration) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            tracing::warn!(reason = "this machine trusts no certificates", "webhooks fail");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), limit })
    }

    /// Posts a body.
    pub(super) async fn send(&self, target: &Target, headers: HeaderMap, body: Bytes) -> Answer {
        let call = async {
            let stream = match self.connect(target).await {
                Ok(stream) => stream,
                Err(ConnectError::Refused(refused)) if !refused.may_pass() => {
                    return Answer::Refused(refused);
                }
                Err(error) => return Answer::Silent(error.to_string()),
            };
            exchange(stream, target, headers, body)
                .await
                .unwrap_or_else(|error| Answer::Silent(format!("no answer: {error}")))
        };
        timeout(self.limit, call)
            .await
            .unwrap_or_else(|_| Answer::Silent(format!("no answer within {:?}", self.limit)))
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
        let addresses = target.resolve().await?;
        let socket = async {
            let mut last = ConnectError::TimedOut;
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(socket) => return Ok(socket),
                    Err(error) => last = ConnectError::Io(error),
                }
            }
            Err(last)
        };
        let made = async {
            let socket = socket.await?;
            // One small message goes out and one comes back.
            socket.set_nodelay(true)?;
            if !target.is_tls() {
                return Ok(Box::new(socket) as Box<dyn Stream>);
            }
            let host = target.url().host_str().unwrap_or_default();
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|error| ConnectError::Io(io::Error::other(error)))?;
            Ok(Box::new(self.tls.connect(name, socket).await?) as Box<dyn Stream>)
        };
        timeout(PUSH_CONNECT_MAX, made).await.unwrap_or(Err(ConnectError::TimedOut))
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("no connection: {0}")]
    Io(#[from] io::Error),
    #[error("no connection within {PUSH_CONNECT_MAX:?}")]
    TimedOut,
}

async fn exchange(
    stream: Box<dyn Stream>,
    target: &Target,
    headers: HeaderMap,
    body: Bytes,
) -> hyper::Result<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let url = target.url();
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = axum::http::Method::POST;
    *request.uri_mut() = path.parse().unwrap_or_default();
    *request.headers_mut() = headers;
    let host = url.port().map_or_else(
        || url.host_str().unwrap_or_default().to_owned(),
        |port| format!("{}:{port}", url.host_str().unwrap_or_default()),
    );
    if let Ok(host) = host.parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    let answer = async {
        let answer = sender.send_request(request).await?;
        let again = answer.headers().get(header::RETRY_AFTER);
        let again = again.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        let mut body = answer.into_body();
        let mut read = 0;
        while read < PUSH_ANSWER_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        Ok(Answer::Status(status, again))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // What had come before the connection ended is still there to be read.
        _ = connection => answer.await,
    }
}
