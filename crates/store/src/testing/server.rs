//! A PostgreSQL server for tests.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// Where Debian 12 keeps the programs of PostgreSQL 15.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// Makes a cluster in the directory `$1`, runs the server, says so, and ends it when
/// standard input ends, which happens when the test binary dies.
const SCRIPT: &str = r#"
set -eu
dir=$1
[ -e "$dir/data" ] || "$2/initdb" -D "$dir/data" -U civicnet -A trust -E UTF8 --locale=C --no-sync >"$dir/initdb.log" 2>&1
start() {
    "$2/postgres" -D "$1/data" -k "$1" -c listen_addresses= -c fsync=off -c max_connections=300 \
        -c shared_buffers=32MB -c log_min_messages=fatal >>"$1/postgres.log" 2>&1 &
    server=$!
}
start "$1" "$2"
tries=0
until "$2/pg_isready" -q -h "$dir" -U civicnet -d postgres; do
    # After a crash, processes of the old server may hold its memory for a moment.
    if ! kill -0 $server 2>/dev/null; then
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { cat "$dir/postgres.log" >&2; exit 1; }
        start "$1" "$2"
    fi
    sleep 0.05
done
echo "$server"
cat >/dev/null || true
kill -QUIT $server 2>/dev/null || true
wait $server || true
[ -e "$dir/keep" ] || rm -rf "$dir"
"#;

/// A running server; it ends with this value or with the process.
#[derive(Debug)]
pub struct PostgresServer {
    directory: PathBuf,
    watchdog: Child,
    stdin: Option<ChildStdin>,
    server: u32,
}

impl PostgresServer {
    /// The server that the tests of this binary share.
    ///
    /// # Panics
    /// When PostgreSQL 15 is not installed or does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of one's own.
    ///
    /// # Panics
    /// When PostgreSQL 15 is not installed or does not start.
    pub fn start() -> Self {
        assert!(
            Path::new(PROGRAMS).join("postgres").exists(),
            "this test needs PostgreSQL 15: install the Debian package postgresql-15"
        );
        let name = format!("civicnet-pg-{}", uuid::Uuid::new_v4().simple());
        // A socket's path must be short.
        let directory = Path::new("/tmp").join(name);
        let mut making = unprivileged("mkdir");
        let made = making.arg("-m").arg("700").arg(&directory).status();
        assert!(
            made.expect("mkdir runs").success(),
            "cannot create {}",
            directory.display()
        );
        Self::run(directory)
    }

    fn run(directory: PathBuf) -> Self {
        let mut watchdog = unprivileged("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(&directory)
            .arg(PROGRAMS)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let stdin = watchdog.stdin.take();
        let mut ready = String::new();
        let stdout = watchdog.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut ready)
            .expect("the server says that it is ready");
        let server = ready
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("PostgreSQL did not start in {}", directory.display()));
        Self {
            directory,
            watchdog,
            stdin,
            server,
        }
    }

    /// The address of `database` on this server.
    pub fn url(&self, database: &str) -> String {
        let socket = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://civicnet@{socket}/{database}")
    }

    /// The number of the server's main process.
    pub fn process_id(&self) -> u32 {
        self.server
    }

    /// Kills the server's main process as a crash would, and starts it again on the
    /// same data.
    ///
    /// # Panics
    /// When it does not start again.
    #[must_use]
    pub fn crash_and_restart(mut self) -> Self {
        std::fs::write(self.directory.join("keep"), "")
            .or_else(|_| {
                let mut touching = unprivileged("touch");
                touching
                    .arg(self.directory.join("keep"))
                    .status()
                    .map(|_| ())
            })
            .expect("a mark");
        // It fails when the server is dead already, which is as good.
        let killed = Command::new("kill")
            .args(["-KILL", &self.server.to_string()])
            .stderr(Stdio::null())
            .status();
        killed.expect("kill runs");
        self.stdin = None;
        self.watchdog.wait().expect("the watchdog ends");
        let directory = self.directory.clone();
        drop(self);
        let removed = std::fs::remove_file(directory.join("keep"));
        removed.expect("the mark is removed");
        Self::run(directory)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stdin = None;
        if self.watchdog.wait().is_err() {
            tracing::warn!("the watchdog of a test server cannot be waited for");
        }
    }
}

/// PostgreSQL refuses to run as root; Debian's package brings the user `postgres`.
fn unprivileged(program: &str) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt as _;
        metadata.uid() == 0
    });
    if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    }
}
