//! TLS: certificate and key, the certificates of clients, and new ones when the files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::config::TlsSection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::auth::certificate;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files of TLS cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be used for TLS: {reason}")]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// What the files say by now. Clones see the same.
#[derive(Clone)]
pub struct Tls {
    section: TlsSection,
    now: Arc<watch::Sender<Arc<ServerConfig>>>,
}

/// The bytes of the files. Holds the key, hence no `Debug`.
#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or does not hold what it should.
    pub fn open(section: &TlsSection) -> Result<Self, TlsError> {
        let config = Files::read(section)?.config(section)?;
        Ok(Self { section: section.clone(), now: Arc::new(watch::Sender::new(Arc::new(config))) })
    }

    /// What the next handshake is made with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.now.borrow()))
    }

    /// Takes new files as they come, until it is dropped. Those that cannot be used change nothing.
    pub(super) async fn keep_fresh(&self) {
        let mut known = Files::read(&self.section).ok();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let section = self.section.clone();
            let read = tokio::task::spawn_blocking(move || Files::read(&section)).await;
            let Ok(Ok(files)) = read else { continue };
            if known.as_ref() == Some(&files) {
                continue;
            }
            match files.config(&self.section) {
                Ok(config) => {
                    self.now.send_replace(Arc::new(config));
                    tracing::info!(cert = %self.section.cert.display(), "new TLS files are used");
                }
                // Certificate and key are two files: between their changes they do not fit.
                Err(error) => {
                    tracing::warn!(reason = %error, "the TLS files have changed and cannot be used")
                }
            }
            known = Some(files);
        }
    }
}

/// The name in the client's certificate, if it has shown one.
pub(super) fn name_of(stream: &TlsStream<TcpStream>) -> Option<String> {
    certificate::name(stream.get_ref().1.peer_certificates()?.first()?)
}

impl Files {
    fn read(section: &TlsSection) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| fail(path, &error));
        Ok(Self {
            cert: read(&section.cert)?,
            key: read(&section.key)?,
            client_ca: section.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn config(&self, section: &TlsSection) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&section.cert, &self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| fail(&section.key, &"there is no key in it"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(&section.cert, &error))?;
        let builder = match (&section.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path, pem)? {
                    roots.add(root).map_err(|error| fail(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| fail(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| fail(&section.cert, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(fail(path, &"there is no certificate in it")),
        Err(error) => Err(fail(path, &error)),
    }
}

fn fail(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError { path: path.to_owned(), reason: reason.to_string() }
}
