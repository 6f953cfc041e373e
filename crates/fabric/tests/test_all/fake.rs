//! A control plane that misbehaves on demand, and a bare TLS client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{NodeName, Role, SystemClock, Timestamp};
use fabric::api::{EnrolReply, EnrolRequest, SERVER_NAME};
use fabric::envelope::SigningKey;
use fabric::node::Node;
use fabric::pki::Authority;
use fabric::token::EnrolToken;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How a request is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    /// 200 with this body.
    Body(Vec<u8>),
    /// 204.
    Nothing,
    /// 200, chunked, without end, as fast as it goes.
    Endless,
    /// 200 that promises this many bytes and sends none.
    Promise(u64),
    /// 200 whose body is cut by the end of the connection after these bytes.
    Cut(Vec<u8>),
    /// Not HTTP at all.
    Rubbish,
    /// Nothing, ever.
    Silence,
}

/// Method, path, body.
type Seen = (String, String, Vec<u8>);
type Handler = dyn Fn(&str, &str, &[u8]) -> Reply + Send + Sync;

/// The misbehaving control plane.
pub(crate) struct Fake {
    pub(crate) authority: Arc<Authority>,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<Mutex<Vec<Seen>>>,
}

fn now() -> Timestamp {
    base::Clock::now(&SystemClock)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Fake {
    /// Enrols properly; everything else is answered by `handler(method, path, body)`.
    pub(crate) async fn start(
        key: SigningKey,
        handler: impl Fn(&str, &str, &[u8]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (authority, _) = Authority::generate().unwrap();
        let authority = Arc::new(authority);
        let (certificate, secret) = authority.issue_server(now()).unwrap();
        let tls = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate, authority.certificate().clone()], secret)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            authority: authority.clone(),
            key: Arc::new(key),
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
        };
        let public = fake.key.public().to_text();
        let requests = fake.requests.clone();
        let handler: Arc<Handler> = Arc::new(move |method, path, body| {
            if path == "/v1/enrol" {
                let request: EnrolRequest = serde_json::from_slice(body).unwrap();
                return Reply::Body(enrol(&authority, &public, &request));
            }
            handler(method, path, body)
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, handler, requests) =
                    (acceptor.clone(), handler.clone(), requests.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, &*handler, &requests).await;
                    }
                });
            }
        });
        fake
    }

    pub(crate) async fn enrol(&self, dir: &Path) -> Node {
        let token = EnrolToken::generate(self.authority.pin()).unwrap();
        let url = format!("https://{}", self.address);
        Node::enrol(dir, &[url], &token).await.unwrap()
    }

    /// Bodies that were posted to `path`.
    pub(crate) fn posted(&self, path: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests
            .iter()
            .filter(|(method, found, _)| method == "POST" && found == path)
            .map(|(_, _, body)| String::from_utf8_lossy(body).into_owned())
            .collect()
    }
}

fn enrol(authority: &Authority, snapshot_key: &str, request: &EnrolRequest) -> Vec<u8> {
    let node: NodeName = "edge-a".parse().unwrap();
    let issued = authority
        .issue_node(
            &request.csr_pem,
            &node,
            &[Role::Edge],
            now(),
            Duration::from_secs(86_400),
        )
        .unwrap();
    serde_json::to_vec(&EnrolReply {
        node,
        roles: vec![Role::Edge],
        certificate_pem: issued.pem,
        ca_pem: authority.pem().to_owned(),
        snapshot_key: snapshot_key.to_owned(),
    })
    .unwrap()
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: &Handler,
    requests: &Mutex<Vec<Seen>>,
) {
    loop {
        let Some((head, body)) = read_request(&mut stream).await else {
            return;
        };
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        requests
            .lock()
            .unwrap()
            .push((method.to_owned(), path.to_owned(), body.clone()));
        let sent = match handler(method, path, &body) {
            Reply::Body(body) => send(&mut stream, body.len() as u64, &body).await,
            Reply::Nothing => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await,
            Reply::Promise(bytes) => send(&mut stream, bytes, b"").await,
            Reply::Cut(body) => {
                let result = send(&mut stream, body.len() as u64 + 100, &body).await;
                drop(stream.shutdown().await);
                result.and(Err(std::io::ErrorKind::Other.into()))
            }
            Reply::Rubbish => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").await,
            Reply::Silence => {
                std::future::pending::<()>().await;
                Ok(())
            }
            Reply::Endless => endless(&mut stream).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    length: u64,
    body: &[u8],
) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.flush().await
}

async fn endless(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await?;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    loop {
        stream.write_all(&chunk).await?;
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().ok())?
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

/// TLS to a control plane, as the node in `dir` or, with `bare`, as nobody.
pub(crate) async fn dial(
    address: SocketAddr,
    dir: &Path,
    bare: bool,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let identity: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("identity.json")).unwrap()).unwrap();
    let pem = |key: &str| identity[key].as_str().unwrap().as_bytes().to_vec();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem("ca_pem")).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if bare {
        builder.with_no_client_auth()
    } else {
        builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(&pem("certificate_pem")).unwrap()],
                PrivateKeyDer::from_pem_slice(&pem("key_pem")).unwrap(),
            )
            .unwrap()
    };
    let tcp = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(SERVER_NAME).unwrap(), tcp)
        .await
        .unwrap()
}

/// Sends `request` and reads until the peer closes, up to 64 KiB.
pub(crate) async fn exchange(
    stream: &mut tokio_rustls::client::TlsStream<TcpStream>,
    request: &[u8],
) -> String {
    // A peer that has heard enough closes while we still write.
    drop(stream.write_all(request).await);
    drop(stream.flush().await);
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    while answer.len() < 65_536 {
        match tokio::time::timeout(Duration::from_secs(40), stream.read(&mut chunk)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => answer.extend_from_slice(&chunk[..count]),
            Err(_) => panic!("the peer neither answers nor closes"),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
