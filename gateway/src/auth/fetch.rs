//! Fetches a small document from an address that the operator chose: the keys of an issuer.
//!
//! One GET, no redirects, a limit on time and on size. Addresses that callers choose never come here.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Uri};
use bytes::Bytes;
use futures_util::future::join;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long it may take, all in all.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of the document.
const BYTES_MAX: usize = 512 * 1024;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
#[error("cannot fetch {url}: {reason}")]
pub struct FetchError {
    /// Its address.
    pub url: String,
    /// What went wrong.
    pub reason: String,
}

/// Fetches documents. The root certificates are those of the machine.
#[derive(Clone)]
pub(super) struct Fetch(TlsConnector);

impl Fetch {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        // Those that cannot be read are missed when a server shows one signed by them.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// The document at an `http` or `https` address.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) async fn get(&self, url: &str) -> Result<Bytes, FetchError> {
        let got = tokio::time::timeout(TIME_MAX, self.try_get(url)).await;
        let fail = |reason: String| FetchError { url: url.to_owned(), reason };
        match got {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Err(_) => Err(fail(format!("no answer within {TIME_MAX:?}"))),
        }
    }

    async fn try_get(&self, url: &str) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let uri: Uri = url.parse()?;
        let safe = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or("the address names no host")?.to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if safe { 443 } else { 80 });
        let stream = TcpStream::connect((bare.as_str(), port)).await?;
        if safe {
            let stream = self.0.connect(ServerName::try_from(bare)?, stream).await?;
            exchange(stream, &uri, &host).await
        } else {
            exchange(stream, &uri, &host).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    uri: &Uri,
    host: &str,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let request = Request::get(path)
        .header("host", host)
        .header("accept", "application/json")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        if response.status() != 200 {
            return Err(format!("the server says {}", response.status()).into());
        }
        Ok(Limited::new(response.into_body(), BYTES_MAX).collect().await?.to_bytes())
    };
    // What the connection has to say against it, the answer says too.
    let (answer, _) = join(answer, connection).await;
    answer
}
