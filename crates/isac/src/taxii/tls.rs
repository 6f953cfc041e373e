//! TAXII over TLS with client certificates: a listener that asks for one of a configured
//! authority, looks at revocation lists, and hands the certificate on with the request.
//!
//! Without a certificate a client is served as well, and needs a token. Files that
//! change are read again, so that a revocation list counts without a restart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use runtime::CancellationToken;
use runtime::config::{Check, Checker};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 2_048;
/// Time for a handshake, and for a request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
/// Time for open requests to end when the service stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// TAXII over TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Where TAXII is served over TLS.
    pub listen: Vec<SocketAddr>,
    /// PEM file with the server's certificate and those that lead to its authority.
    pub certificate_file: String,
    /// PEM file with its key.
    pub key_file: String,
    /// PEM file with the authorities of client certificates; empty: none are asked for.
    #[serde(default)]
    pub client_ca_file: String,
    /// PEM file with revocation lists of these authorities; empty: none.
    #[serde(default)]
    pub client_crl_file: String,
}

impl Check for TlsConfig {
    fn check(&self, at: &mut Checker) {
        at.require(
            !self.certificate_file.is_empty(),
            "certificate_file",
            "must not be empty",
        );
        at.require(!self.key_file.is_empty(), "key_file", "must not be empty");
        at.require(
            self.client_crl_file.is_empty() || !self.client_ca_file.is_empty(),
            "client_crl_file",
            "needs client_ca_file",
        );
    }
}

/// Files that make no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM of the expected kind.
    #[error("could not read {what} from {path}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Chain, key, authorities or lists do not fit.
    #[error("the TLS files of TAXII are of no use: {0}")]
    Unusable(String),
    /// The listener.
    #[error("the listener of TAXII")]
    Io(#[from] std::io::Error),
}

/// The certificate that a client proved to have, in DER.
#[derive(Debug, Clone)]
pub struct ClientCertificate(pub Arc<Vec<u8>>);

impl TlsConfig {
    fn files(&self) -> [&str; 4] {
        [
            &self.certificate_file,
            &self.key_file,
            &self.client_ca_file,
            &self.client_crl_file,
        ]
    }

    fn changed_at(&self) -> Vec<Option<SystemTime>> {
        self.files()
            .into_iter()
            .map(|path| {
                std::fs::metadata(path)
                    .and_then(|meta| meta.modified())
                    .ok()
            })
            .collect()
    }

    /// The server's configuration from the files as they are.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn read(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        runtime::crypto::install_provider();
        let failed = |what, path: &str| {
            let path = PathBuf::from(path);
            move |source| TlsError::Pem { what, path, source }
        };
        let chain = |path: &str| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(failed("certificates", path))
        };
        let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
        let key = PrivateKeyDer::from_pem_file(&self.key_file)
            .map_err(failed("a key", &self.key_file))?;
        let builder = rustls::ServerConfig::builder();
        let builder = match self.client_ca_file.as_str() {
            "" => builder.with_no_client_auth(),
            path => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in chain(path)? {
                    roots.add(certificate).map_err(|e| unusable(&e))?;
                }
                let mut verifier =
                    WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
                if !self.client_crl_file.is_empty() {
                    let path = &self.client_crl_file;
                    let lists: Vec<CertificateRevocationListDer<'static>> =
                        CertificateRevocationListDer::pem_file_iter(path)
                            .and_then(Iterator::collect)
                            .map_err(failed("revocation lists", path))?;
                    verifier = verifier.with_crls(lists).only_check_end_entity_revocation();
                }
                builder.with_client_cert_verifier(verifier.build().map_err(|e| unusable(&e))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain(&self.certificate_file)?, key)
            .map_err(|e| unusable(&e))?;
        // A resumed session would not look at revocation lists again.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Serves `router` over TLS on `listener` until `stop`.
///
/// # Errors
/// When the files make no TLS at the start, or the listener is not usable.
pub async fn serve(
    router: Router,
    listener: std::net::TcpListener,
    config: TlsConfig,
    stop: CancellationToken,
) -> Result<(), TlsError> {
    let mut acceptor = TlsAcceptor::from(config.read()?);
    let (mut looked, mut files) = (Instant::now(), config.changed_at());
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = TaskTracker::new();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            let found = config.changed_at();
            if found != files {
                match config.read() {
                    Ok(read) => {
                        acceptor = TlsAcceptor::from(read);
                        files = found;
                        tracing::info!("TLS files of TAXII were read again");
                    }
                    // What is in force stays until the files are good.
                    Err(error) => {
                        tracing::error!(error = %runtime::error_chain(&error), "TLS files of TAXII changed and are of no use");
                    }
                }
            }
        }
        let (router, acceptor, stop) = (router.clone(), acceptor.clone(), stop.clone());
        open.spawn(async move {
            let _held = slot;
            match tokio::time::timeout(HEAD_TIME_MAX, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => connection(router, stream, peer, stop).await,
                Ok(Err(error)) => tracing::debug!(%error, %peer, "a handshake failed"),
                Err(_) => tracing::debug!(%peer, "a handshake took too long"),
            }
        });
    }
    drop(listener);
    open.close();
    if tokio::time::timeout(STOP_TIME_MAX, open.wait())
        .await
        .is_err()
    {
        tracing::warn!("connections were cut because they did not end in time");
    }
    Ok(())
}

async fn connection(
    router: Router,
    stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| ClientCertificate(Arc::new(certificate.to_vec())));
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        request.map(axum::body::Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder.http2().timer(TokioTimer::new());
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(STOP_TIME_MAX, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended early");
    }
}
