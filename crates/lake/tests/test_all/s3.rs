//! The lake's tests once more, with its Parquet files in a bucket of a real
//! S3-compatible server: this same program, started with the server's address.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lake::S3Config;

const ENDPOINT: &str = "LAKE_TEST_S3";
const BUCKET: &str = "lake";
/// Tests that put something into the local directory.
const LOCAL_ONLY: [&str; 1] = ["too_much_in_memory_is_sent_back_to_the_nodes"];
/// Tests that are run twice, at least.
const TESTS_MIN: usize = 15;

/// Where the lake of `dir` keeps its files: none when it is the directory itself.
pub(crate) fn place(dir: &Path) -> Option<S3Config> {
    let endpoint = std::env::var(ENDPOINT).ok()?;
    Some(S3Config {
        url: format!("s3://{BUCKET}/{}", prefix(dir)),
        endpoint: Some(endpoint),
        region: "us-east-1".into(),
        allow_http: true,
    })
}

/// How many files the bucket has for the lake of `dir`.
pub(crate) fn files(place: &S3Config, dir: &Path) -> usize {
    let endpoint = place.endpoint.as_deref().expect("an endpoint");
    let listing = ask(
        endpoint,
        &format!("GET /{BUCKET}?list-type=2&prefix={}/", prefix(dir)),
    );
    listing.matches("<Key>").count()
}

fn prefix(dir: &Path) -> String {
    let name = dir.file_name().expect("a name").to_string_lossy();
    name.trim_start_matches('.').to_owned()
}

fn ask(endpoint: &str, request: &str) -> String {
    let address = endpoint.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).expect("the server answers");
    write!(
        connection,
        "{request} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{request}: {answer}");
    answer
}

/// moto's server with one bucket; it ends when its standard input closes with us.
struct Moto {
    endpoint: String,
    _process: Child,
}

impl Moto {
    fn start() -> Self {
        let cache = std::env::var_os("CIVICNET_CACHE").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/civicnet"),
            PathBuf::from,
        );
        let program = cache.join("venv/bin/moto_server");
        assert!(
            program.exists(),
            "{} is missing: run scripts/install test",
            program.display()
        );
        // The shell kills the server when its input, our pipe, ends.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "\"$1\" -H 127.0.0.1 -p 0 2>&1 & server=$!; cat >/dev/null; kill $server",
            ])
            .arg("sh")
            .arg(program)
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
        ask(&endpoint, &format!("PUT /{BUCKET}"));
        Self {
            endpoint,
            _process: process,
        }
    }
}

#[test]
fn a_lake_in_a_bucket_passes_the_tests_of_a_lake_in_a_directory() {
    let moto = Moto::start();
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again
        .args([
            "lake::",
            "stats::",
            "kill::a_killed_lake",
            "--test-threads=2",
        ])
        .env(ENDPOINT, &moto.endpoint)
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    for name in LOCAL_ONLY {
        again.args(["--skip", name]);
    }
    let output = again.output().expect("the tests run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let passed = said
        .lines()
        .find_map(|line| line.strip_prefix("test result: ok. "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|count| count.parse::<usize>().ok());
    assert!(passed.is_some_and(|count| count >= TESTS_MIN), "{said}");
    let kept = ask(&moto.endpoint, &format!("GET /{BUCKET}?list-type=2"));
    assert!(
        kept.contains(".parquet</Key>"),
        "the files are in the bucket"
    );
}
