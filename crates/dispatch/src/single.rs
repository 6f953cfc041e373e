//! One zone file, served alone: for trying, measuring, and comparing.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::event::{EventSink, NoEvents};
use dns::master::{FILE_BYTES_MAX, Source, ZoneProblem};
use dns::{DispatchTable, EdgeState, Name, Served, Zone};
use tokio_util::sync::CancellationToken;

use crate::{Dispatch, DispatchError, DispatchOptions, RateLimit};

/// How a zone file is served.
pub struct ZoneFileOptions {
    /// Where to listen, by UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// UDP threads for each address; 0: one for each core.
    pub threads: usize,
    /// Response-rate limits; off by default, as a load test comes from one address.
    pub rate_limit: RateLimit,
    /// Where query events go; [`NoEvents`] by default, and then none are made.
    pub sink: Arc<dyn EventSink>,
    /// Query events a second beyond which a sample is taken; 0: none.
    pub events_per_s_max: u32,
    /// Sockets of an earlier process that are taken over.
    pub inherited: crate::Inherited,
    /// Told once, when it answers, with duplicates of its sockets.
    pub on_open: Option<Box<dyn FnOnce(Vec<std::os::fd::OwnedFd>) + Send>>,
}

impl ZoneFileOptions {
    /// Listens there, with no limits and no events.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            threads: 0,
            rate_limit: RateLimit::OFF,
            sink: Arc::new(NoEvents),
            events_per_s_max: 0,
            inherited: crate::Inherited::default(),
            on_open: None,
        }
    }
}

/// Serves a master file (RFC 1035) until told to stop. SIGHUP reads the file again;
/// one with problems is refused, and the last good one stays.
///
/// # Errors
/// The file cannot be read, breaks a rule, or the addresses cannot be bound.
pub async fn run_zone_file(
    path: &Path,
    options: ZoneFileOptions,
    shutdown: CancellationToken,
) -> Result<(), DispatchError> {
    let table = load(path)?;
    let dispatch = Dispatch::bind(DispatchOptions {
        threads: options.threads,
        rate_limit: options.rate_limit,
        sink: options.sink,
        events_per_s_max: options.events_per_s_max,
        inherited: options.inherited,
        ..DispatchOptions::new(options.listen)
    })?;
    for address in dispatch.addresses() {
        tracing::info!(%address, zone = %path.display(), "Answering");
    }
    let current = dispatch.current();
    current.replace(Served::new(table, Vec::<EdgeState>::new()));
    if let Some(tell) = options.on_open {
        tell(dispatch.sockets().map_err(DispatchError::Start)?);
    }
    let reload = tokio::spawn(reload_on_hangup(path.to_owned(), current, shutdown.clone()));
    let result = dispatch.serve(shutdown).await;
    reload.abort();
    result
}

async fn reload_on_hangup(
    path: PathBuf,
    current: Arc<crate::current::Current>,
    shutdown: CancellationToken,
) {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "could not listen for SIGHUP, the zone is not read again");
            return;
        }
    };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            received = hangup.recv() => if received.is_none() { return },
        }
        match load(&path) {
            Ok(table) => {
                current.replace(Served::new(table, Vec::new()));
                tracing::info!(zone = %path.display(), "Read the zone again");
            }
            Err(error) => tracing::error!(%error, "zone refused, the last one stays"),
        }
    }
}

fn load(path: &Path) -> Result<Arc<DispatchTable>, DispatchError> {
    let text = read(path).map_err(|source| DispatchError::ReadZone {
        path: path.to_owned(),
        source,
    })?;
    let refused = |problems: Vec<ZoneProblem>| DispatchError::Zone {
        path: path.to_owned(),
        problems,
    };
    let source = Source { path, read: &read };
    let origin = origin_from(&text, source);
    let zone = Zone::load_file(origin.as_ref(), &text, source).map_err(refused)?;
    for warning in zone.warnings() {
        tracing::warn!(zone = %zone.apex(), %warning, "doubtful zone data");
    }
    let table = DispatchTable::of_zones(vec![zone]).map_err(|problem| {
        refused(vec![ZoneProblem {
            file: None,
            line: 0,
            column: 0,
            message: problem.to_string(),
        }])
    })?;
    Ok(Arc::new(table))
}

/// Reads the zone's file, or one that it includes, and no more than is allowed: a device
/// may have no end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut text)?;
    Ok(text)
}

/// A file that never says where it belongs, with all names relative, belongs where
/// its name says: `example.org.zone`, `db.example.org`.
fn origin_from(text: &[u8], source: Source<'_>) -> Option<Name> {
    let says = |line: &[u8]| {
        line.len() >= 7 && line[..7].eq_ignore_ascii_case(b"$ORIGIN") || line.starts_with(b".")
    };
    if text.split(|byte| *byte == b'\n').any(says) {
        return None;
    }
    let soa_is_relative = dns::master::parse_file(&Name::root(), text, source)
        .ok()?
        .records
        .iter()
        .find(|record| record.kind == dns::Kind::SOA)
        .is_some_and(|record| record.owner == Name::root());
    if !soa_is_relative {
        return None;
    }
    let file = source.path.file_name()?.to_str()?;
    let stem = file.strip_prefix("db.").unwrap_or(file);
    let stem = [".zone", ".db", ".txt"]
        .iter()
        .find_map(|end| stem.strip_suffix(end))
        .unwrap_or(stem);
    stem.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_file_takes_its_origin_from_its_name() {
        let text = b"@ 60 IN SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\n";
        let origin = |path: &str, text: &[u8]| {
            let source = Source {
                path: Path::new(path),
                read: &read,
            };
            origin_from(text, source).map(|name| name.to_string())
        };
        assert_eq!(
            origin("/x/example.org.zone", text).as_deref(),
            Some("example.org.")
        );
        assert_eq!(
            origin("db.example.org", text).as_deref(),
            Some("example.org.")
        );
        let absolute = b"example. 60 IN SOA ns h 1 1 1 1 1\n";
        assert_eq!(origin("other.zone", absolute), None);
        let directed = [b"$ORIGIN example.\n".as_slice(), text].concat();
        assert_eq!(origin("other.zone", &directed), None);
    }

    #[test]
    fn a_zone_may_lie_in_several_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("to write");
            path
        };
        let main = write(
            "example.org.zone",
            "$TTL 60\n@ SOA ns h 1 1 1 1 1\n@ NS ns\n$INCLUDE hosts in\nwww A 192.0.2.1\n",
        );
        let hosts = write(
            "hosts",
            "a A 192.0.2.2\n$ORIGIN example.org.\nns A 192.0.2.3\n",
        );
        load(&main).expect("a table");
        write("hosts", "a A 192.0.2.2\n  A 1.2.3\n");
        let error = load(&main).expect_err("wrong").to_string();
        let place = format!("{}, line 2, column 5: \"1.2.3\"", hosts.display());
        assert!(error.contains(&place), "{error}");
        std::fs::remove_file(&hosts).expect("to remove");
        let error = load(&main).expect_err("gone").to_string();
        assert!(
            error.contains("line 4, column 10: $INCLUDE \"hosts\": "),
            "{error}"
        );
    }
}
