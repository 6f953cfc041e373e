//! A certification authority of the tests: trust anchor, authorities below it, ROAs good and bad, and an
//! HTTPS server that publishes them by RRDP (RFC 8182), with deltas.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SecureRandom as _;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::{rand, rsa, signature};
use bytes::Bytes;
use rpki::crypto::signer::{KeyError, SigningAlgorithm, SigningError};
use rpki::crypto::{
    DigestAlgorithm, PublicKey, PublicKeyFormat, Signature, SignatureAlgorithm, Signer,
};
use rpki::repository::cert::{Cert, KeyUsage, Overclaim, TbsCert};
use rpki::repository::crl::{CrlEntry, TbsCertList};
use rpki::repository::manifest::{FileAndHash, ManifestContent};
use rpki::repository::resources::{Asn as AsNumber, Prefix};
use rpki::repository::roa::RoaBuilder;
use rpki::repository::sigobj::SignedObjectBuilder;
use rpki::repository::x509::{Serial, Time, Validity};
use rpki::rrdp::{
    Delta, DeltaElement, DeltaInfo, Hash, NotificationFile, PublishElement, Snapshot,
    UpdateElement, UriAndHash, WithdrawElement,
};
use rpki::uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

/// Keys in memory. Making one takes a while, so objects signed once share one.
pub(crate) struct Keys {
    keys: Mutex<Vec<Arc<rsa::KeyPair>>>,
    random: rand::SystemRandom,
}

/// Which key.
#[derive(Clone, Copy)]
pub(crate) struct KeyId(usize);

fn new_key() -> rsa::KeyPair {
    rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("a key")
}

impl Keys {
    fn new() -> Self {
        Self {
            keys: Mutex::new(vec![Arc::new(new_key())]),
            random: rand::SystemRandom::new(),
        }
    }

    fn get(&self, id: KeyId) -> Arc<rsa::KeyPair> {
        Arc::clone(&self.keys.lock().expect("whole")[id.0])
    }

    fn sign_with<A: SignatureAlgorithm>(
        &self,
        key: &rsa::KeyPair,
        algorithm: A,
        data: &[u8],
    ) -> std::io::Result<Signature<A>> {
        assert!(matches!(
            algorithm.signing_algorithm(),
            SigningAlgorithm::RsaSha256
        ));
        let mut made = vec![0; key.public_modulus_len()];
        key.sign(&signature::RSA_PKCS1_SHA256, &self.random, data, &mut made)
            .map_err(std::io::Error::other)?;
        Ok(Signature::new(algorithm, made.into()))
    }
}

fn public(key: &rsa::KeyPair) -> PublicKey {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().expect("DER");
    PublicKey::decode(der.as_ref()).expect("a key")
}

impl Signer for Keys {
    type KeyId = KeyId;
    type Error = std::io::Error;

    fn create_key(&self, _: PublicKeyFormat) -> Result<KeyId, Self::Error> {
        let mut keys = self.keys.lock().expect("whole");
        keys.push(Arc::new(new_key()));
        Ok(KeyId(keys.len() - 1))
    }

    fn get_key_info(&self, id: &KeyId) -> Result<PublicKey, KeyError<Self::Error>> {
        Ok(public(&self.get(*id)))
    }

    fn destroy_key(&self, _: &KeyId) -> Result<(), KeyError<Self::Error>> {
        Ok(())
    }

    fn sign<A: SignatureAlgorithm, D: AsRef<[u8]> + ?Sized>(
        &self,
        id: &KeyId,
        algorithm: A,
        data: &D,
    ) -> Result<Signature<A>, SigningError<Self::Error>> {
        Ok(self.sign_with(&self.get(*id), algorithm, data.as_ref())?)
    }

    fn sign_one_off<A: SignatureAlgorithm, D: AsRef<[u8]> + ?Sized>(
        &self,
        algorithm: A,
        data: &D,
    ) -> Result<(Signature<A>, PublicKey), Self::Error> {
        let key = self.get(KeyId(0));
        Ok((
            self.sign_with(&key, algorithm, data.as_ref())?,
            public(&key),
        ))
    }

    fn rand(&self, target: &mut [u8]) -> Result<(), Self::Error> {
        self.random
            .fill(target)
            .map_err(|_| std::io::Error::other("no randomness"))
    }
}

/// One authority and what it publishes.
pub(crate) struct Authority {
    pub(crate) name: &'static str,
    key: KeyId,
    cert: Cert,
    /// Published files by name, without manifest and revocation list.
    pub(crate) files: BTreeMap<String, Bytes>,
    /// Files on the manifest only, by name.
    pub(crate) promised: BTreeMap<String, Bytes>,
    /// Files that the manifest does not know.
    pub(crate) unlisted: BTreeMap<String, Bytes>,
    revoked: Vec<Serial>,
}

/// How a ROA is spoiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    Expired,
    Revoked,
    FlippedBit,
}

/// All authorities, their server, and what it serves.
pub(crate) struct Registry {
    signer: Keys,
    pub(crate) authorities: Vec<Authority>,
    host: String,
    /// What addresses of objects begin with.
    base: String,
    /// Directory of an rsync module; without it everything is published by RRDP.
    module: Option<PathBuf>,
    session: Uuid,
    serial: u64,
    next: u64,
    published: BTreeMap<String, Bytes>,
    deltas: Vec<DeltaInfo>,
    served: Arc<Mutex<HashMap<String, Bytes>>>,
    server: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn rsync(text: &str) -> uri::Rsync {
    uri::Rsync::from_str(text).expect("an address")
}

fn https(text: &str) -> uri::Https {
    uri::Https::from_str(text).expect("an address")
}

/// `192.0.2.0/24` for the library.
fn blocks(list: &[&str]) -> (Vec<Prefix>, Vec<Prefix>) {
    let all = list.iter().map(|text| {
        let prefix: base::Prefix = text.parse().expect("a prefix");
        (prefix.address(), prefix.length())
    });
    let (four, six): (Vec<_>, Vec<_>) = all.partition(|(address, _)| address.is_ipv4());
    let make = |all: Vec<(IpAddr, u8)>| -> Vec<Prefix> {
        all.into_iter()
            .map(|(address, length)| Prefix::new(address, length))
            .collect()
    };
    (make(four), make(six))
}

impl Registry {
    /// A trust anchor for everything, and a server; nothing is published yet.
    pub(crate) async fn start() -> Self {
        Self::begin("rsync://rpki.test/repo/".into(), None).await
    }

    /// The same without RRDP: `module` is the directory of the rsync module at `base`.
    pub(crate) async fn start_rsync(base: String, module: PathBuf) -> Self {
        Self::begin(base, Some(module)).await
    }

    async fn begin(base: String, module: Option<PathBuf>) -> Self {
        runtime::crypto::install_provider();
        let dir = tempfile::tempdir().expect("a directory");
        let served: Arc<Mutex<HashMap<String, Bytes>>> = Arc::default();
        let (address, server) = serve(dir.path(), Arc::clone(&served)).await;
        let mut registry = Self {
            signer: Keys::new(),
            authorities: Vec::new(),
            host: format!("localhost:{}", address.port()),
            base,
            module,
            session: Uuid::new_v4(),
            serial: 0,
            next: 100,
            published: BTreeMap::new(),
            deltas: Vec::new(),
            served,
            server,
            dir,
        };
        registry.certify("anchor", None, &["0.0.0.0/0", "::/0"]);
        registry
    }

    /// The trust anchor locator.
    pub(crate) fn tal(&self) -> PathBuf {
        let path = self.dir.path().join("test.tal");
        let key = self
            .signer
            .get_key_info(&self.authorities[0].key)
            .expect("a key");
        let key = base64(&key.to_info_bytes());
        let text = match &self.module {
            None => format!("https://{}/ta.cer\n\n{key}\n", self.host),
            Some(_) => format!("{}ta.cer\n\n{key}\n", self.base),
        };
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The authority of the server's certificate.
    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// What only this test knows is at the address.
    pub(crate) fn forget_everything(&self) {
        self.served.lock().expect("whole").clear();
    }

    fn serial_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn place(&self, name: &str) -> String {
        format!("{}{name}/", self.base)
    }

    /// Adds an authority for `prefixes`, certified by the one called `by`.
    pub(crate) fn certify(&mut self, name: &'static str, by: Option<&str>, prefixes: &[&str]) {
        let key = self.signer.create_key(PublicKeyFormat::Rsa).expect("a key");
        let info = self.signer.get_key_info(&key).expect("its public half");
        let issuer = by.map(|by| self.index(by));
        let issuer_name = issuer.map_or_else(
            || info.to_subject_name(),
            |at| self.authorities[at].cert.subject().clone(),
        );
        let number = self.serial_number();
        let mut cert = TbsCert::new(
            number.into(),
            issuer_name,
            Validity::new(Time::five_minutes_ago(), Time::next_week()),
            None,
            info,
            KeyUsage::Ca,
            Overclaim::Refuse,
        );
        cert.set_basic_ca(Some(true));
        let place = self.place(name);
        cert.set_ca_repository(Some(rsync(&place)));
        cert.set_rpki_manifest(Some(rsync(&format!("{place}{name}.mft"))));
        if self.module.is_none() {
            let notify = https(&format!("https://{}/notify.xml", self.host));
            cert.set_rpki_notify(Some(notify));
        }
        let (four, six) = blocks(prefixes);
        cert.build_v4_resource_blocks(|to| four.iter().for_each(|one| to.push(*one)));
        cert.build_v6_resource_blocks(|to| six.iter().for_each(|one| to.push(*one)));
        cert.build_as_resource_blocks(|to| to.push((AsNumber::MIN, AsNumber::MAX)));
        let signing = match issuer {
            None => key,
            Some(at) => {
                let above = &self.authorities[at];
                let place = self.place(above.name);
                cert.set_authority_key_identifier(Some(above.cert.subject_key_identifier()));
                cert.set_crl_uri(Some(rsync(&format!("{place}{}.crl", above.name))));
                cert.set_ca_issuer(Some(rsync(&format!("{place}{}.cer", above.name))));
                above.key
            }
        };
        let cert = cert.into_cert(&self.signer, &signing).expect("signed");
        if let Some(at) = issuer {
            let bytes = cert.to_captured().into_bytes();
            self.authorities[at]
                .files
                .insert(format!("{name}.cer"), bytes);
        }
        self.authorities.push(Authority {
            name,
            key,
            cert,
            files: BTreeMap::new(),
            promised: BTreeMap::new(),
            unlisted: BTreeMap::new(),
            revoked: Vec::new(),
        });
    }

    fn index(&self, name: &str) -> usize {
        self.authorities
            .iter()
            .position(|one| one.name == name)
            .expect("an authority")
    }

    pub(crate) fn authority(&mut self, name: &str) -> &mut Authority {
        let at = self.index(name);
        &mut self.authorities[at]
    }

    fn sign_object(&mut self, by: usize, file: &str, validity: Validity) -> SignedObjectBuilder {
        let number = self.serial_number();
        let name = self.authorities[by].name;
        let place = self.place(name);
        SignedObjectBuilder::new(
            number.into(),
            validity,
            rsync(&format!("{place}{name}.crl")),
            rsync(&format!("rsync://rpki.test/repo/above/{name}.cer")),
            rsync(&format!("{place}{file}")),
        )
    }

    /// A ROA's octets.
    pub(crate) fn roa(
        &mut self,
        by: &str,
        file: &str,
        (prefix, max_length, asn): (&str, u8, u32),
        flaw: Flaw,
    ) -> Bytes {
        let by = self.index(by);
        let now = Validity::new(Time::five_minutes_ago(), Time::next_week());
        let validity = match flaw {
            Flaw::Expired => Validity::new(
                Time::utc(2024, 1, 1, 0, 0, 0),
                Time::utc(2024, 6, 1, 0, 0, 0),
            ),
            _ => now,
        };
        let mut builder = RoaBuilder::new(asn.into());
        let prefix: base::Prefix = prefix.parse().expect("a prefix");
        builder.push_addr(prefix.address(), prefix.length(), Some(max_length));
        let mut object = self.sign_object(by, file, validity);
        if flaw == Flaw::Expired {
            object.set_signing_time(Time::utc(2024, 2, 1, 0, 0, 0));
        }
        let number = self.next;
        let roa = builder
            .finalize(object, &self.signer, &self.authorities[by].key)
            .expect("signed");
        let mut bytes = roa.to_captured().into_bytes().to_vec();
        match flaw {
            Flaw::Revoked => self.authorities[by].revoked.push(number.into()),
            Flaw::FlippedBit => *bytes.last_mut().expect("octets") ^= 1,
            Flaw::None | Flaw::Expired => {}
        }
        bytes.into()
    }

    /// Publishes a ROA with the next [`Self::publish`].
    pub(crate) fn grant(&mut self, by: &str, file: &str, what: (&str, u8, u32), flaw: Flaw) {
        let bytes = self.roa(by, file, what, flaw);
        self.authority(by).files.insert(file.to_owned(), bytes);
    }

    /// Signs manifests and revocation lists, and serves everything as the next serial number.
    pub(crate) fn publish(&mut self) {
        self.serial += 1;
        let mut now = BTreeMap::new();
        for at in 0..self.authorities.len() {
            self.point(at, &mut now);
        }
        if let Some(module) = &self.module {
            for (place, bytes) in &now {
                let file = module.join(place.strip_prefix(&self.base).expect("below the base"));
                std::fs::create_dir_all(file.parent().expect("a directory")).expect("made");
                std::fs::write(file, bytes).expect("written");
            }
            let anchor = self.authorities[0].cert.to_captured().into_bytes();
            std::fs::write(module.join("ta.cer"), anchor).expect("written");
        }
        let elements = now
            .iter()
            .map(|(place, bytes)| PublishElement::new(rsync(place), bytes.clone()));
        let mut snapshot = Vec::new();
        Snapshot::new(self.session, self.serial, elements.collect())
            .write_xml(&mut snapshot)
            .expect("written");
        if self.serial > 1 {
            let delta = self.delta(&now);
            let name = format!("delta-{}.xml", self.serial);
            let place = https(&format!("https://{}/{name}", self.host));
            self.deltas
                .push(DeltaInfo::new(self.serial, place, Hash::from_data(&delta)));
            self.offer(&name, delta);
        }
        let name = format!("snapshot-{}.xml", self.serial);
        let place = https(&format!("https://{}/{name}", self.host));
        let hash = Hash::from_data(&snapshot);
        self.offer(&name, snapshot);
        let mut notify = Vec::new();
        NotificationFile::new(
            self.session,
            self.serial,
            UriAndHash::new(place, hash),
            self.deltas.clone(),
        )
        .write_xml(&mut notify)
        .expect("written");
        self.offer("notify.xml", notify);
        let anchor = self.authorities[0].cert.to_captured().into_bytes();
        self.offer("ta.cer", anchor.to_vec());
        self.published = now;
    }

    fn offer(&self, name: &str, bytes: Vec<u8>) {
        self.served
            .lock()
            .expect("whole")
            .insert(format!("/{name}"), bytes.into());
    }

    fn delta(&self, now: &BTreeMap<String, Bytes>) -> Vec<u8> {
        let mut elements = Vec::new();
        for (place, bytes) in now {
            match self.published.get(place) {
                None => elements.push(DeltaElement::Publish(PublishElement::new(
                    rsync(place),
                    bytes.clone(),
                ))),
                Some(old) if old != bytes => elements.push(DeltaElement::Update(
                    UpdateElement::new(rsync(place), Hash::from_data(old), bytes.clone()),
                )),
                Some(_) => {}
            }
        }
        for (place, old) in &self.published {
            if !now.contains_key(place) {
                elements.push(DeltaElement::Withdraw(WithdrawElement::new(
                    rsync(place),
                    Hash::from_data(old),
                )));
            }
        }
        let mut delta = Vec::new();
        Delta::new(self.session, self.serial, elements)
            .write_xml(&mut delta)
            .expect("written");
        delta
    }

    /// One publication point, with its revocation list and its manifest, as of the present serial number.
    fn point(&mut self, at: usize, into: &mut BTreeMap<String, Bytes>) {
        let (name, key) = (self.authorities[at].name, self.authorities[at].key);
        let place = self.place(name);
        // Later with each serial number, also when two are published within a second.
        let age = Duration::from_secs(self.serial);
        let this_update = Time::new(*Time::five_minutes_ago() + age);
        let info = self.signer.get_key_info(&key).expect("a key");
        let revoked: Vec<CrlEntry> = self.authorities[at]
            .revoked
            .iter()
            .map(|number| CrlEntry::new(*number, Time::five_minutes_ago()))
            .collect();
        let crl = TbsCertList::new(
            Default::default(),
            info.to_subject_name(),
            this_update,
            Time::next_week(),
            revoked,
            info.key_identifier(),
            self.serial.into(),
        );
        let crl = crl.into_crl(&self.signer, &key).expect("signed");
        let crl = crl.to_captured().into_bytes();
        let authority = &self.authorities[at];
        let mut listed = authority.files.clone();
        listed.extend(authority.promised.clone());
        listed.insert(format!("{name}.crl"), crl.clone());
        let entries: Vec<_> = listed
            .iter()
            .map(|(file, bytes)| {
                let hash = DigestAlgorithm::default().digest(bytes);
                FileAndHash::new(file.clone().into_bytes(), hash.as_ref().to_vec())
            })
            .collect();
        let content = ManifestContent::new(
            self.serial.into(),
            this_update,
            Time::next_week(),
            DigestAlgorithm::default(),
            entries.iter(),
        );
        let validity = Validity::new(this_update, Time::next_week());
        let object = self.sign_object(at, &format!("{name}.mft"), validity);
        let manifest = content
            .into_manifest(object, &self.signer, &key)
            .expect("signed");
        let authority = &self.authorities[at];
        for (file, bytes) in authority.files.iter().chain(&authority.unlisted) {
            into.insert(format!("{place}{file}"), bytes.clone());
        }
        into.insert(format!("{place}{name}.crl"), crl);
        into.insert(
            format!("{place}{name}.mft"),
            manifest.to_captured().into_bytes(),
        );
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for letter in 0..4u32 {
            let six = (word >> (18 - 6 * letter)) & 63;
            text.push(match letter as usize > chunk.len() {
                true => '=',
                false => LETTERS[six as usize] as char,
            });
        }
    }
    text
}

/// An HTTPS server for files in memory; its authority is written to `root.pem`.
async fn serve(
    dir: &Path,
    served: Arc<Mutex<HashMap<String, Bytes>>>,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let root_key = rcgen::KeyPair::generate().expect("a key");
    let mut root = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_cert = root.self_signed(&root_key).expect("signed");
    std::fs::write(dir.join("root.pem"), root_cert.pem()).expect("written");
    let issuer = rcgen::Issuer::new(root, root_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .expect("parameters")
        .signed_by(&key, &issuer)
        .expect("signed");
    let private = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], private)
        .expect("a server");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, served) = (acceptor.clone(), Arc::clone(&served));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(octet) => head.push(octet),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8_lossy(&head);
                let path = head.split(' ').nth(1).unwrap_or_default();
                let body = served.lock().expect("whole").get(path).cloned();
                let (status, body) = match body {
                    Some(body) => ("200 OK", body),
                    None => ("404 Not Found", Bytes::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.ok();
                stream.write_all(&body).await.ok();
                stream.shutdown().await.ok();
            });
        }
    });
    (address, task)
}
