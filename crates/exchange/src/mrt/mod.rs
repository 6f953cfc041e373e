//! MRT, the format in which routing tables and BGP sessions are archived (RFC 6396, and RFC 8050 for
//! add-path): a stream of records, read one at a time, plain or gzip.
//!
//! [`Reader`] frames records, [`record`] understands them, [`attributes`] the BGP path attributes inside.
//! A record that is wrong is reported with its place and skipped; only a broken frame ends the reading.

pub mod attributes;
pub mod record;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

pub use attributes::{AsPath, Attributes, Segment};
pub use record::{Entry, Event, Peer, Update};

/// Bytes of one record; the longest real ones, peer tables, have some 100 KiB.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Unpacked bytes of one file, against endless ones; a full table of today has 3 GiB.
pub const FILE_BYTES_MAX: u64 = 64 << 30;
const HEADER_BYTES: usize = 12;

/// Why reading ended, or what is wrong with one record.
#[derive(Debug, thiserror::Error)]
pub enum MrtError {
    /// The file does not open.
    #[error("could not open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The bytes do not come. Nothing more can be read.
    #[error("could not read the record at byte {at}")]
    Read {
        /// Where the record begins, in unpacked bytes.
        at: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The record is longer than any real one. Nothing more can be read.
    #[error("the record at byte {at} has {length} bytes: at most {RECORD_BYTES_MAX}")]
    Long {
        /// Where the record begins.
        at: u64,
        /// What it says.
        length: u32,
    },
    /// The record makes no sense. The next one can be read.
    #[error("the record at byte {at} (type {kind}, subtype {subtype}): {problem}")]
    Record {
        /// Where the record begins.
        at: u64,
        /// MRT type.
        kind: u16,
        /// MRT subtype.
        subtype: u16,
        /// What is wrong.
        problem: String,
    },
}

impl MrtError {
    /// Whether reading can go on behind it.
    pub fn is_record(&self) -> bool {
        matches!(self, Self::Record { .. })
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// When, in Unix seconds.
    pub time_s: u32,
    /// Type.
    pub kind: u16,
    /// Subtype.
    pub subtype: u16,
}

/// Reads records from a stream.
pub struct Reader<R> {
    stream: R,
    at: u64,
    peers: Vec<Peer>,
    body: Vec<u8>,
}

/// Opens a file, plain or gzip by its first bytes.
///
/// # Errors
/// [`MrtError::Open`]
pub fn open(path: &Path) -> Result<Reader<Box<dyn BufRead + Send>>, MrtError> {
    let failed = |source| MrtError::Open {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut plain = BufReader::with_capacity(256 << 10, file);
    let packed = plain.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let stream: Box<dyn BufRead + Send> = match packed {
        true => Box::new(BufReader::with_capacity(
            256 << 10,
            flate2::bufread::MultiGzDecoder::new(plain),
        )),
        false => Box::new(plain),
    };
    Ok(Reader::new(stream))
}

impl<R: BufRead> Reader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            at: 0,
            peers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Unpacked bytes read.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// Reads one record and tells `each` what is in it; `false` at the end of the stream. What was told
    /// before an error in the same record stands.
    ///
    /// # Errors
    /// [`MrtError`]; after [`MrtError::Record`] the next record can be read.
    pub fn read(&mut self, each: &mut dyn FnMut(Event)) -> Result<bool, MrtError> {
        let at = self.at;
        let failed = |source| MrtError::Read { at, source };
        if self.stream.fill_buf().map_err(failed)?.is_empty() {
            return Ok(false);
        }
        let mut head = [0; HEADER_BYTES];
        self.stream.read_exact(&mut head).map_err(failed)?;
        let [t0, t1, t2, t3, k0, k1, s0, s1, l0, l1, l2, l3] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length as usize > RECORD_BYTES_MAX || at > FILE_BYTES_MAX {
            return Err(MrtError::Long { at, length });
        }
        let head = Head {
            time_s: u32::from_be_bytes([t0, t1, t2, t3]),
            kind: u16::from_be_bytes([k0, k1]),
            subtype: u16::from_be_bytes([s0, s1]),
        };
        self.at += HEADER_BYTES as u64;
        self.fill(length as usize, at)?;
        let mut missing = record::missing(head, &self.body);
        if missing > 0 {
            // Tables of the years around 2000 count neither view nor sequence number into the length.
            self.more(missing, at)?;
            missing = record::missing(head, &self.body);
        }
        let told = match missing {
            0 => record::read(head, &self.body, &mut self.peers, each),
            _ => Err("the last entry is cut short".to_owned()),
        };
        told.map(|()| true).map_err(|problem| MrtError::Record {
            at,
            kind: head.kind,
            subtype: head.subtype,
            problem,
        })
    }

    fn fill(&mut self, length: usize, at: u64) -> Result<(), MrtError> {
        self.body.clear();
        self.more(length, at)
    }

    /// Appends `length` bytes, as they come: a length that lies costs no memory ahead.
    fn more(&mut self, length: usize, at: u64) -> Result<(), MrtError> {
        let failed = |source| MrtError::Read { at, source };
        let read = Read::take(&mut self.stream, length as u64)
            .read_to_end(&mut self.body)
            .map_err(failed)?;
        self.at += read as u64;
        if read < length {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

/// Reads everything; wrong records are counted and the first few kept as text.
///
/// # Errors
/// [`MrtError`], but not [`MrtError::Record`].
pub fn read_all<R: BufRead>(
    reader: &mut Reader<R>,
    each: &mut dyn FnMut(Event),
) -> Result<Wrong, MrtError> {
    /// Wrong records that are kept as text.
    const SHOWN_MAX: usize = 10;
    let mut wrong = Wrong::default();
    loop {
        match reader.read(each) {
            Ok(true) => {}
            Ok(false) => return Ok(wrong),
            Err(error) if error.is_record() => {
                wrong.count += 1;
                if wrong.first.len() < SHOWN_MAX {
                    wrong.first.push(error.to_string());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Records that made no sense.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrong {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<String>,
}
