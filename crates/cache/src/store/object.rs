//! A stored response: what the rules know of it and where its body is.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use base::Timestamp;
use bytes::{BufMut, Bytes, BytesMut};

use super::arena::Extent;
use super::filling::Filling;
use super::reader::BodyReader;
use crate::key::{CacheKey, KeyHash};
use crate::rules::range::ByteRange;
use crate::rules::{ResponseMeta, push_number};

/// Octets that an object costs beside its key, head and body: its own struct, map
/// and queue entries, rounded up.
const OVERHEAD_BYTES: u64 = 640;
/// Hits that are remembered; more make no difference to eviction.
const HITS_MAX: u8 = 3;

/// A stored response. Immutable but for its marks; a refreshed response is a new
/// object in the old one's place, so that whoever reads the old one is not disturbed.
pub struct Object {
    key: CacheKey,
    hash: KeyHash,
    meta: ResponseMeta,
    head: Bytes,
    body: Body,
    /// The purge epoch at the time its request was sent.
    pub(super) born: u64,
    /// The purge generation up to which it was found not purged.
    pub(super) checked: AtomicU64,
    soft_purged: AtomicI64,
    pub(super) hits: AtomicU8,
    /// Which eviction queue it stands in.
    pub(super) place: AtomicU8,
    pub(super) gone: AtomicBool,
    pub(super) on_disk: AtomicBool,
}

/// Where a body is.
#[derive(Debug, Clone)]
pub enum Body {
    /// In memory, in one piece.
    Memory(Bytes),
    /// In a file that the kernel can send from.
    File(FileBody),
    /// On its way from the origin.
    Filling(Arc<Filling>),
}

/// A body in a file. While a clone of this lives, the octets stay where they are.
#[derive(Debug, Clone)]
pub struct FileBody {
    /// The file; may hold other bodies too.
    pub file: Arc<File>,
    /// Where the body begins.
    pub offset: u64,
    /// Its octets.
    pub len: u64,
    /// Keeps the octets of a body that is in memory, not on disk.
    pub(super) extent: Option<Arc<Extent>>,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object")
            .field("target", &String::from_utf8_lossy(self.key.target()))
            .field("status", &self.meta.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl Object {
    pub(super) fn new(
        key: CacheKey,
        hash: KeyHash,
        meta: ResponseMeta,
        body: Body,
        born: u64,
    ) -> Self {
        let mut object = Self {
            key,
            hash,
            meta,
            head: Bytes::new(),
            body,
            born,
            checked: AtomicU64::new(0),
            soft_purged: AtomicI64::new(0),
            hits: AtomicU8::new(0),
            place: AtomicU8::new(0),
            gone: AtomicBool::new(false),
            on_disk: AtomicBool::new(false),
        };
        object.head = object.head_with_length();
        object
    }

    /// The same response with its body in another place.
    pub(super) fn with_body(&self, body: Body) -> Self {
        let object = Self::new(
            self.key.clone(),
            self.hash,
            self.meta.clone(),
            body,
            self.born,
        );
        let relaxed = Ordering::Relaxed;
        object.checked.store(self.checked.load(relaxed), relaxed);
        object
            .soft_purged
            .store(self.soft_purged.load(relaxed), relaxed);
        object.hits.store(self.hits.load(relaxed), relaxed);
        object
    }

    fn head_with_length(&self) -> Bytes {
        let without = matches!(self.meta.status, 204) || self.len().is_none();
        let Some(length) = self.len().filter(|_| !without) else {
            return self.meta.head.clone();
        };
        let mut head = BytesMut::with_capacity(self.meta.head.len() + 40);
        head.put_slice(&self.meta.head);
        head.put_slice(b"content-length: ");
        let mut digits = Vec::with_capacity(20);
        push_number(&mut digits, length);
        head.put_slice(&digits);
        head.put_slice(b"\r\n");
        head.freeze()
    }

    /// Its key.
    pub fn key(&self) -> &CacheKey {
        &self.key
    }

    /// The hash under which it is filed.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }

    /// What the rules know of it.
    pub fn meta(&self) -> &ResponseMeta {
        &self.meta
    }

    /// Status line and fields for HTTP/1.1, every line ended by CRLF, with
    /// `content-length` when the length is known; the empty line is left to the
    /// sender, who adds `Age` and what concerns its connection.
    pub fn head(&self) -> &Bytes {
        &self.head
    }

    /// The same without the status line.
    pub fn head_fields(&self) -> &[u8] {
        &self.head[usize::from(self.meta.fields_at).min(self.head.len())..]
    }

    /// Octets of the body; `None` while they are not known.
    pub fn len(&self) -> Option<u64> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes.len() as u64),
            Body::File(file) => Some(file.len),
            Body::Filling(filling) => filling.known_len(),
        }
    }

    /// Whether the body is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Whether all of the body is here.
    pub fn is_complete(&self) -> bool {
        match &self.body {
            Body::Filling(filling) => filling.is_complete(),
            Body::Memory(_) | Body::File(_) => true,
        }
    }

    /// Where the body is.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body, when it is in memory in one piece.
    pub fn as_memory(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The body, when the kernel can send it from a file.
    pub fn as_file(&self) -> Option<&FileBody> {
        match &self.body {
            Body::File(file) => Some(file),
            _ => None,
        }
    }

    /// Reads the body, or a range of it, from any task on any runtime. A range ends
    /// where the body ends, if that comes first.
    pub fn reader(&self, range: Option<ByteRange>) -> BodyReader {
        BodyReader::new(&self.body, range)
    }

    /// When a soft purge marked it stale, if one did.
    pub fn soft_purged(&self) -> Option<Timestamp> {
        match self.soft_purged.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Timestamp(at)),
        }
    }

    pub(super) fn mark_soft_purged(&self, at: Timestamp) {
        // Zero means "not purged": one microsecond off does no harm.
        self.soft_purged.store(at.0.max(1), Ordering::Relaxed);
    }

    pub(super) fn hit(&self) {
        let hits = self.hits.load(Ordering::Relaxed);
        // Written only until it is hot, so that hot objects' cache lines stay shared.
        if hits < HITS_MAX {
            self.hits.store(hits + 1, Ordering::Relaxed);
        }
    }

    /// Octets of memory that it costs.
    pub(super) fn cost(&self) -> u64 {
        let body = match &self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::File(FileBody {
                extent: Some(_),
                len,
                ..
            }) => *len,
            _ => 0,
        };
        let meta = self.meta.head.len() + self.head.len() + self.key.as_bytes().len();
        body + meta as u64 + OVERHEAD_BYTES
    }
}
