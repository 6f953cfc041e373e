//! Blobs, with the same suite on a directory and on a real S3-compatible server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use store::blobs::{BlobError, BlobStream};
use store::testing::peer;
use store::{BlobKey, Blobs, BlobsConfig, Vault};

/// moto's server with one bucket; it ends when its standard input closes with us.
struct Moto {
    endpoint: String,
    _process: Child,
}

impl Moto {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        // The shell kills the server when its input, our pipe, ends.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "\"$1\" -H 127.0.0.1 -p 0 2>&1 & server=$!; cat >/dev/null; kill $server",
            ])
            .arg("sh")
            .arg(peer("moto_server"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let endpoint = loop {
            let line = lines
                .next()
                .expect("the server says its address")
                .expect("text");
            if let Some((_, address)) = line.split_once("Running on ") {
                break address.trim().to_owned();
            }
        };
        // Its log must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = endpoint.trim_start_matches("http://");
        let mut connection = TcpStream::connect(address).expect("it answers");
        let request = format!(
            "PUT /test HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Self {
            endpoint,
            _process: process,
        }
    }
}

struct Place {
    name: &'static str,
    blobs: Blobs,
    dir: tempfile::TempDir,
}

/// A place of each kind, empty.
fn places() -> Vec<Place> {
    let local = tempfile::tempdir().expect("a directory");
    let config = BlobsConfig {
        dir: local.path().join("blobs"),
        ..BlobsConfig::default()
    };
    let bucket = BlobsConfig {
        s3_bucket: Some("test".to_owned()),
        s3_endpoint: Some(Moto::shared().endpoint.clone()),
        s3_access_key: Some("id".to_owned()),
        s3_secret_key: Some("secret".to_owned()),
        s3_prefix: format!("run-{}", uuid::Uuid::new_v4()),
        ..BlobsConfig::default()
    };
    vec![
        Place {
            name: "local",
            blobs: Blobs::open(&config).expect("opened"),
            dir: local,
        },
        Place {
            name: "s3",
            blobs: Blobs::open(&bucket).expect("opened"),
            dir: tempfile::tempdir().expect("a directory"),
        },
    ]
}

fn key(text: &str) -> BlobKey {
    text.parse().expect("a key")
}

fn content(length: usize) -> Bytes {
    (0..length).map(|index| (index * 7 % 251) as u8).collect()
}

async fn all(stream: BlobStream) -> Result<Bytes, BlobError> {
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok(pieces.concat().into())
}

#[tokio::test]
async fn what_is_put_is_got() {
    for Place { name, blobs, .. } in places() {
        for length in [0, 1, 70_000, 9 << 20] {
            let key = key(&format!("a/{length}"));
            let body = content(length);
            let stored = blobs.put(&key, body.clone()).await.expect("stored");
            assert_eq!(stored.size_bytes, length as u64, "{name}");
            let sum = ring::digest::digest(&ring::digest::SHA256, &body);
            assert_eq!(stored.sha256, hex::encode(sum));
            assert_eq!(
                blobs.info(&key).await.expect("there").size_bytes,
                length as u64
            );
            assert_eq!(
                blobs.read(&key, 10 << 20).await.expect("read"),
                body,
                "{name}"
            );
        }
        let long = key("a/70000");
        assert!(matches!(
            blobs.read(&long, 69_999).await,
            Err(BlobError::TooLong { .. })
        ));
        let body = content(70_000);
        for (from, to) in [(0, 1), (65_535, 65_537), (69_999, 70_000), (5, 5)] {
            let part = blobs.get_range(&long, from..to).await.expect("a range");
            let part = all(part).await.expect("read");
            assert_eq!(
                part,
                body.slice(from as usize..to as usize),
                "{name} {from}..{to}"
            );
        }
        let beyond = blobs
            .get_range(&long, 1..70_001)
            .await
            .err()
            .expect("beyond");
        assert!(matches!(beyond, BlobError::Range { .. }), "{beyond:?}");
        blobs.put(&long, "short").await.expect("replaced");
        assert_eq!(blobs.read(&long, 100).await.expect("read"), "short");
        blobs.delete(&long).await.expect("deleted");
        blobs.delete(&long).await.expect("deleted already");
        let gone = blobs.get(&long).await.err().expect("gone");
        assert!(matches!(gone, BlobError::NotFound(_)), "{name}: {gone:?}");
        assert!(matches!(
            blobs.info(&long).await,
            Err(BlobError::NotFound(_))
        ));
    }
}

#[tokio::test]
async fn a_content_that_breaks_off_or_is_too_long_leaves_what_was_there() {
    for Place { name, blobs, dir } in places() {
        let key = key("doc");
        blobs.put(&key, "old").await.expect("stored");
        for pieces in [1, 12] {
            let broken = stream::iter((0..pieces).map(|_| Ok(content(1 << 20)))).chain(
                stream::once(async { Err(std::io::Error::other("cable cut")) }),
            );
            let error = blobs
                .put_stream(&key, broken, u64::MAX)
                .await
                .expect_err("broken");
            assert!(
                matches!(error, BlobError::Content { .. }),
                "{name}: {error:?}"
            );
            let long = stream::iter((0..pieces).map(|_| Ok(content(1 << 20))));
            let error = blobs
                .put_stream(&key, long, (pieces << 20) - 1)
                .await
                .expect_err("long");
            assert!(
                matches!(error, BlobError::TooLong { .. }),
                "{name}: {error:?}"
            );
        }
        assert_eq!(blobs.read(&key, 100).await.expect("read"), "old", "{name}");
        if name == "local" {
            let left = std::fs::read_dir(dir.path().join("blobs/.unfinished")).expect("there");
            assert_eq!(left.count(), 0);
        }
    }
}

#[tokio::test]
async fn lists_are_in_order_and_go_on_after_a_key() {
    for Place { name, blobs, .. } in places() {
        assert!(blobs.list(None, None).await.expect("empty").is_empty());
        let mut keys: Vec<String> = ["b", "a/2", "a/10", "a-b", "a/1/x", "c/d/e/f"]
            .map(str::to_owned)
            .to_vec();
        for text in &keys {
            blobs.put(&key(text), text.clone()).await.expect("stored");
        }
        keys.sort();
        let list = async |prefix: Option<&str>, after: Option<&str>| -> Vec<String> {
            let (prefix, after) = (prefix.map(key), after.map(key));
            let found = blobs
                .list(prefix.as_ref(), after.as_ref())
                .await
                .expect("listed");
            found.into_iter().map(|info| info.key.to_string()).collect()
        };
        assert_eq!(list(None, None).await, keys, "{name}");
        assert_eq!(
            list(Some("a"), None).await,
            ["a/1/x", "a/10", "a/2"],
            "{name}"
        );
        assert_eq!(list(Some("a"), Some("a/10")).await, ["a/2"], "{name}");
        assert!(list(Some("nothing"), None).await.is_empty());
    }
}

#[test]
fn what_a_crash_left_unfinished_is_removed_at_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = BlobsConfig {
        dir: dir.path().to_owned(),
        ..BlobsConfig::default()
    };
    Blobs::open(&config).expect("opened");
    let torn = dir.path().join(".unfinished/half");
    std::fs::write(&torn, "hal").expect("written");
    Blobs::open(&config).expect("opened again");
    assert!(!torn.exists());
}

fn vault(place: &Place) -> Vault {
    Vault::open_file(&place.dir.path().join("keys.toml")).expect("fresh")
}

const CHUNK: usize = 64 * 1024;

#[tokio::test]
async fn sealed_blobs_come_back_whole_and_in_part() {
    for place in places() {
        let blobs = place.blobs.sealed(vault(&place));
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
            let key = key(&format!("sealed/{length}"));
            let body = content(length);
            // In pieces that fit no chunk.
            let pieces: Vec<_> = body
                .chunks(10_007)
                .map(|p| Ok(Bytes::copy_from_slice(p)))
                .collect();
            let stored = blobs
                .put_stream(&key, stream::iter(pieces), length as u64)
                .await
                .expect("stored");
            assert_eq!(stored.size_bytes, length as u64);
            let sum = ring::digest::digest(&ring::digest::SHA256, &body);
            assert_eq!(stored.sha256, hex::encode(sum));
            assert_eq!(blobs.size_bytes(&key).await.expect("there"), length as u64);
            assert_eq!(blobs.read(&key, 1 << 20).await.expect("opened"), body);
            for from in [0, length / 2, length.saturating_sub(1), length] {
                for to in [from, (from + 1).min(length), length] {
                    let range = from as u64..to as u64;
                    let part = blobs.get_range(&key, range).await.expect("a range");
                    assert_eq!(
                        all(part).await.expect("opened"),
                        body.slice(from..to),
                        "{} {length}: {from}..{to}",
                        place.name
                    );
                }
            }
            let too_long = stream::iter([Ok(body.clone()), Ok(Bytes::from_static(b"x"))]);
            let error = blobs.put_stream(&key, too_long, length as u64).await;
            assert!(matches!(error, Err(BlobError::TooLong { .. })), "{error:?}");
        }
    }
}

#[tokio::test]
async fn sealed_blobs_that_were_tampered_with_do_not_open() {
    for place in places() {
        let sealed = place.blobs.sealed(vault(&place));
        let key = key("personal/data");
        let body = content(2 * CHUNK + 100);
        sealed.put(&key, body.clone()).await.expect("stored");
        let stored = place.blobs.read(&key, 1 << 20).await.expect("read");
        assert!(!stored.windows(16).any(|window| window == &body[..16]));
        let header = 32;
        let chunk = CHUNK + 16;
        let mut swapped = stored.to_vec();
        let (first, second) = swapped[header..header + 2 * chunk].split_at_mut(chunk);
        first.swap_with_slice(second);
        let mut damaged = vec![
            ("swapped", swapped),
            ("cut at a chunk", stored[..header + chunk].to_vec()),
            ("cut in a chunk", stored[..stored.len() - 1].to_vec()),
            ("header only", stored[..header].to_vec()),
            ("no header", stored[..10].to_vec()),
            ("appended", [&stored[..], b"x"].concat()),
        ];
        for at in [0, 5, 20, header, header + chunk, stored.len() - 1] {
            let mut changed = stored.to_vec();
            changed[at] ^= 1;
            damaged.push(("changed", changed));
        }
        for (what, bytes) in damaged {
            place.blobs.put(&key, bytes).await.expect("stored");
            let opened = sealed.read(&key, 1 << 20).await;
            assert!(
                matches!(opened, Err(BlobError::Damaged(_) | BlobError::Vault { .. })),
                "{} {what}: {:?}",
                place.name,
                opened.map(|bytes| bytes.len())
            );
        }
        let elsewhere = "personal/other".parse().expect("a key");
        place.blobs.put(&elsewhere, stored).await.expect("stored");
        let moved = sealed.read(&elsewhere, 1 << 20).await;
        assert!(matches!(moved, Err(BlobError::Damaged(_))), "{moved:?}");
    }
}

#[test]
fn credentials_are_not_shown() {
    for place in places() {
        let shown = format!("{:?}", place.blobs);
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error_that_names_the_blob() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let config = BlobsConfig {
        s3_bucket: Some("test".to_owned()),
        s3_endpoint: Some(format!("http://{address}")),
        s3_access_key: Some("id".to_owned()),
        s3_secret_key: Some("secret".to_owned()),
        ..BlobsConfig::default()
    };
    let blobs = Blobs::open(&config).expect("opened");
    let error = blobs.put(&key("a/b"), "x").await.expect_err("nobody there");
    assert!(error.to_string().contains("a/b"), "{error}");
    assert!(matches!(error, BlobError::Storage { .. }), "{error:?}");
}
