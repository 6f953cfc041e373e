//! Client certificates and tokens of an OpenID provider at the TAXII server.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Json;
use axum::routing::get;
use base::UserId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, header};
use isac::cert::By;
use isac::taxii::oidc::OidcConfig;
use isac::taxii::proofs::{self, Kind};
use isac::taxii::tls::{self, TlsConfig};
use isac::taxii::{Taxii, TaxiiConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use runtime::CancellationToken;
use serde_json::{Value, json};

use super::server::{House, house};

const TAXII: &str = "application/taxii+json;version=2.1";

fn by() -> By {
    By {
        user: UserId::generate(),
        request: None,
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "Test authority");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

struct Issued {
    certificate: String,
    key: String,
    der: Vec<u8>,
}

fn issue(by: &CertifiedIssuer<'static, KeyPair>, serial: u64, name: &str) -> Issued {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &**by).expect("a certificate");
    Issued {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}

fn revoked(by: &CertifiedIssuer<'static, KeyPair>, serials: &[u64], number: u64) -> String {
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2020, 1, 1),
        next_update: date_time_ymd(2090, 1, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: serials
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&**by).expect("a list").pem().expect("PEM")
}

async fn user_of(house: &House, who: &str) -> UserId {
    let found = house
        .accounts()
        .user_by_email(&format!("{who}@test.example"))
        .await;
    found.expect("read").expect("a person")
}

fn client(authority: &str, identity: Option<&Issued>) -> reqwest::Client {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    runtime::crypto::install_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM"))
        .expect("an authority");
    let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(issued) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM"),
            )
            .expect("a certificate"),
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .build()
        .expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_as_good_as_a_token_until_it_is_revoked() {
    let house = house().await;
    let ca = authority();
    let (server, good, bad, unknown) = (
        issue(&ca, 1, "localhost"),
        issue(&ca, 2, "plant"),
        issue(&ca, 3, "lost"),
        issue(&ca, 4, "nobody"),
    );
    let dir = house.db.dir();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let config = TlsConfig {
        listen: Vec::new(),
        certificate_file: file("server.pem", &server.certificate),
        key_file: file("server.key", &server.key),
        client_ca_file: file("ca.pem", &ca.pem()),
        client_crl_file: file("ca.crl", &revoked(&ca, &[3], 1)),
    };
    let taxii = Taxii::with_policy(
        house.objects.clone(),
        house.sharing.clone(),
        house.accounts(),
        TaxiiConfig::default(),
        house.policy(),
    )
    .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let stop = CancellationToken::new();
    tokio::spawn(tls::serve(taxii.router(), listener, config, stop.clone()));

    let editor = user_of(&house, "editor").await;
    let name = |issued: &Issued| {
        hex::encode(ring::digest::digest(&ring::digest::SHA256, &issued.der).as_ref())
    };
    for issued in [&good, &bad] {
        proofs::keep(
            &house.db,
            &by(),
            Kind::Certificate,
            &name(issued),
            editor,
            Some(house.orgs[0]),
            false,
            30,
        )
        .await
        .expect("kept");
    }
    let url = format!("https://localhost:{port}/civic/collections/");
    let ask = async |identity: Option<&Issued>, token: Option<&str>| {
        let mut request = client(&ca.pem(), identity)
            .get(&url)
            .header(header::ACCEPT, TAXII);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.map(|answer| answer.status())
    };
    let status = |answer: Result<StatusCode, reqwest::Error>| answer.expect("an answer");
    assert_eq!(status(ask(Some(&good), None).await), StatusCode::OK);
    assert_eq!(
        status(ask(Some(&unknown), None).await),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(status(ask(None, None).await), StatusCode::UNAUTHORIZED);
    let token = house.tokens["editor"].clone();
    assert_eq!(status(ask(None, Some(&token)).await), StatusCode::OK);
    // A token that is no good is not mended by a certificate.
    assert_eq!(
        status(ask(Some(&good), Some("cnt_wrong")).await),
        StatusCode::UNAUTHORIZED
    );
    assert!(ask(Some(&bad), None).await.is_err(), "it is on the list");
    let stranger = issue(&authority(), 9, "stranger");
    assert!(
        ask(Some(&stranger), None).await.is_err(),
        "another authority"
    );
    // It reads, it does not write: its proof says so.
    let body = json!({ "objects": [super::server::indicator(1, isac::stix::Tlp::Clear)] });
    let answer = client(&ca.pem(), Some(&good))
        .post(format!("{url}open/objects/"))
        .header(header::ACCEPT, TAXII)
        .header(header::CONTENT_TYPE, TAXII)
        .body(body.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    // A list that names it counts without a restart; so does a proof that is gone.
    let proof = proofs::find(&house.db, Kind::Certificate, &name(&good))
        .await
        .expect("read")
        .expect("there");
    assert!(
        proofs::revoke(&house.db, &by(), &proof.id)
            .await
            .expect("done")
    );
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ask(Some(&good), None)
        .await
        .is_ok_and(|status| status == StatusCode::OK)
    {
        assert!(std::time::Instant::now() < end, "still believed");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    file("ca.crl", &revoked(&ca, &[2, 3], 2));
    while ask(Some(&good), None).await.is_ok() {
        assert!(
            std::time::Instant::now() < end,
            "the list is not read again"
        );
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    stop.cancel();
}

/// A provider with one key, and what it issues.
async fn provider(stop: &CancellationToken) -> (SocketAddr, Arc<Ed25519KeyPair>) {
    let pair = Arc::new(Ed25519KeyPair::from_seed_unchecked(&[5; 32]).expect("a key"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let about = json!({"issuer": format!("http://{at}"), "jwks_uri": format!("http://{at}/keys")});
    let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x}]});
    let router = axum::Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(move || std::future::ready(Json(about))),
        )
        .route("/keys", get(move || std::future::ready(Json(keys))));
    tokio::spawn(web::serve_router(router, listener, stop.clone()));
    (at, pair)
}

fn token(pair: &Ed25519KeyPair, body: &Value) -> String {
    let head = json!({"alg": "EdDSA", "kid": "a", "typ": "at+jwt"});
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(head.to_string()),
        URL_SAFE_NO_PAD.encode(body.to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes()).as_ref());
    format!("{text}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_provider_speaks_for_whom_its_proof_says() {
    let house = house().await;
    let stop = CancellationToken::new();
    let (at, pair) = provider(&stop).await;
    let config = TaxiiConfig {
        oidc: Some(OidcConfig {
            issuer: format!("http://{at}"),
            audience: "taxii".to_owned(),
        }),
        ..TaxiiConfig::default()
    };
    let taxii = Taxii::with_policy(
        house.objects.clone(),
        house.sharing.clone(),
        house.accounts(),
        config,
        house.policy(),
    )
    .expect("a server");
    let now = house.db.clock().now().seconds();
    let body = json!({"iss": format!("http://{at}"), "aud": "taxii", "sub": "machine-7", "iat": now, "exp": now + 300});
    let ask = async |token: String| {
        use tower::ServiceExt as _;
        let request = http::Request::builder()
            .uri("/civic/collections/")
            .header(header::ACCEPT, TAXII)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(axum::body::Body::empty())
            .expect("a request");
        taxii
            .router()
            .oneshot(request)
            .await
            .expect("infallible")
            .status()
    };
    let good = token(&pair, &body);
    assert_eq!(
        ask(good.clone()).await,
        StatusCode::UNAUTHORIZED,
        "nobody vouches for it"
    );
    let viewer = user_of(&house, "viewer").await;
    let keep = async |name: &str, org| {
        proofs::keep(&house.db, &by(), Kind::Subject, name, viewer, org, true, 30).await
    };
    keep(&format!("http://{at}|machine-7"), Some(house.orgs[0]))
        .await
        .expect("kept");
    assert_eq!(ask(good).await, StatusCode::OK);
    let mut other = body.clone();
    other["aud"] = "somebody else".into();
    assert_eq!(ask(token(&pair, &other)).await, StatusCode::UNAUTHORIZED);
    let mut over = body.clone();
    over["exp"] = (now - 120).into();
    assert_eq!(ask(token(&pair, &over)).await, StatusCode::UNAUTHORIZED);
    // Bound to an organisation that the person does not belong to, it opens nothing.
    let mut elsewhere = body;
    elsewhere["sub"] = "machine-8".into();
    keep(&format!("http://{at}|machine-8"), Some(house.orgs[1]))
        .await
        .expect("kept");
    assert_eq!(
        ask(token(&pair, &elsewhere)).await,
        StatusCode::UNAUTHORIZED
    );
    assert!(keep("no subject", None).await.is_err());
    stop.cancel();
}
