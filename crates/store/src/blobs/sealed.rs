//! Encrypted blobs: a header and chunks of fixed length, each authenticated with
//! its place, so that chunks can be neither swapped, dropped nor appended, and a
//! range needs only its own chunks (the STREAM construction of Hoang, Reyhanitabar,
//! Rogaway and Vizár).
//!
//! Header: magic (4 bytes) · key id (4) · salt (24). Chunk: 64 KiB of content, tag
//! (16). The last chunk is marked as such in its nonce; an empty blob has one.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use super::{BlobError, BlobKey, BlobStream, Blobs, Stored, collect};
use crate::vault::seal::{SALT_BYTES, TAG_BYTES, derive, random};
use crate::vault::{Vault, VaultError};

const MAGIC: &[u8; 4] = b"cvb1";
const HEADER_BYTES: usize = 4 + 4 + SALT_BYTES;
/// Bytes of content in a chunk.
const CHUNK_BYTES: usize = 64 * 1024;
const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + TAG_BYTES;
const PURPOSE: &str = "civicnet vault blob 1";

/// Blobs that are encrypted with the keys of a vault. Lengths and hashes are those
/// of the content.
#[derive(Debug, Clone)]
pub struct SealedBlobs {
    blobs: Blobs,
    vault: Vault,
}

struct Cipher {
    key: LessSafeKey,
    nonce: [u8; NONCE_LEN],
    context: String,
}

impl SealedBlobs {
    pub(super) fn new(blobs: Blobs, vault: Vault) -> Self {
        Self { blobs, vault }
    }

    /// Encrypts and stores `content` under `key`, in place of what is there.
    ///
    /// # Errors
    /// When it cannot be made durable.
    pub async fn put(&self, key: &BlobKey, content: impl Into<Bytes>) -> Result<Stored, BlobError> {
        let content = content.into();
        let one = stream::once(async move { Ok(content) });
        self.put_stream(key, one, u64::MAX).await
    }

    /// Encrypts and stores what `content` yields, if it is at most `max_bytes`.
    ///
    /// # Errors
    /// As [`Blobs::put_stream`].
    pub async fn put_stream<S>(
        &self,
        key: &BlobKey,
        content: S,
        max_bytes: u64,
    ) -> Result<Stored, BlobError>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let of = |source| BlobError::Vault {
            key: key.clone(),
            source,
        };
        let active = self.vault.active();
        let salt = random().map_err(of)?;
        let cipher = Cipher::new(&active, &salt, key).map_err(of)?;
        let mut header = BytesMut::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&active.id.to_be_bytes());
        header.extend_from_slice(&salt);
        let (tally, counted) = tokio::sync::oneshot::channel();
        let state = Sealing {
            cipher,
            content: Box::pin(content),
            buffer: BytesMut::new(),
            chunk: 0,
            hash: ring::digest::Context::new(&ring::digest::SHA256),
            size_bytes: 0,
            max_bytes,
            tally: Some(tally),
        };
        let header = stream::once(async move { Ok(header.freeze()) });
        let chunks = stream::try_unfold(state, Sealing::next);
        let stored = self
            .blobs
            .put_stream(key, header.chain(chunks), u64::MAX)
            .await;
        match (stored, counted.await) {
            (Ok(_), Ok(stored)) => Ok(stored),
            (Err(BlobError::Content { source, .. }), _)
                if source.kind() == std::io::ErrorKind::FileTooLarge =>
            {
                Err(BlobError::TooLong {
                    key: key.clone(),
                    max_bytes,
                })
            }
            (Err(error), _) => Err(error),
            (Ok(_), Err(_)) => Err(BlobError::Damaged(key.clone())),
        }
    }

    /// The content under `key`, decrypted. A piece that is handed out is authentic;
    /// the end of the stream without an error says that nothing is missing.
    ///
    /// # Errors
    /// As [`Blobs::get`], and when the blob does not open.
    pub async fn get(&self, key: &BlobKey) -> Result<BlobStream, BlobError> {
        let size = self.size_bytes(key).await?;
        self.get_range(key, 0..size).await
    }

    /// The bytes in `range` of the content under `key`, decrypted.
    ///
    /// # Errors
    /// As [`Blobs::get_range`], and when the blob does not open.
    pub async fn get_range(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BlobStream, BlobError> {
        let size_bytes = self.size_bytes(key).await?;
        if range.start > range.end || range.end > size_bytes {
            return Err(BlobError::Range {
                key: key.clone(),
                start: range.start,
                end: range.end,
                size_bytes,
            });
        }
        let cipher = self.cipher(key).await?;
        let chunk = CHUNK_BYTES as u64;
        let last = last_chunk(size_bytes);
        // An empty range opens one chunk all the same, which proves the blob.
        let first = (range.start / chunk).min(last);
        let until = (range.end.div_ceil(chunk)).max(first + 1).min(last + 1);
        let sealed = |index: u64| HEADER_BYTES as u64 + index * SEALED_CHUNK_BYTES as u64;
        let end = if until > last {
            sealed(last) + (size_bytes - last * chunk) + TAG_BYTES as u64
        } else {
            sealed(until)
        };
        let source = self.blobs.get_range(key, sealed(first)..end).await?;
        let state = Opening {
            cipher,
            key: key.clone(),
            source,
            buffer: BytesMut::new(),
            chunk: first,
            until,
            last,
            range,
        };
        Ok(stream::try_unfold(state, Opening::next).boxed())
    }

    /// The whole content under `key`, if it is at most `max_bytes`.
    ///
    /// # Errors
    /// As [`SealedBlobs::get`], and when it is too long.
    pub async fn read(&self, key: &BlobKey, max_bytes: u64) -> Result<Bytes, BlobError> {
        collect(key, self.get(key).await?, max_bytes).await
    }

    /// Length in bytes of the content under `key`.
    ///
    /// # Errors
    /// As [`Blobs::info`], and when the blob is none of ours.
    pub async fn size_bytes(&self, key: &BlobKey) -> Result<u64, BlobError> {
        let stored = self.blobs.info(key).await?.size_bytes;
        let damaged = || BlobError::Damaged(key.clone());
        let body = stored
            .checked_sub(HEADER_BYTES as u64)
            .ok_or_else(damaged)?;
        let chunks = body.div_ceil(SEALED_CHUNK_BYTES as u64);
        let tags = chunks * TAG_BYTES as u64;
        if chunks == 0 {
            return Err(damaged());
        }
        body.checked_sub(tags).ok_or_else(damaged)
    }

    /// Removes what is under `key`.
    ///
    /// # Errors
    /// As [`Blobs::delete`].
    pub async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.blobs.delete(key).await
    }

    /// Seals again, with the active key, every encrypted blob under `prefix` (all, if
    /// `None`) that an older key sealed; returns how many. A blob that its owner
    /// replaces at the same moment may keep its old content: use it for blobs that
    /// are written once, as attachments are.
    ///
    /// # Errors
    /// At the first blob that does not open, or when one cannot be written.
    pub async fn reseal(&self, prefix: Option<&BlobKey>) -> Result<u64, BlobError> {
        let mut resealed = 0;
        let mut after = None;
        loop {
            let found = self.blobs.list(prefix, after.as_ref()).await?;
            let Some(last) = found.last() else {
                return Ok(resealed);
            };
            after = Some(last.key.clone());
            for info in found {
                if info.size_bytes < (HEADER_BYTES + TAG_BYTES) as u64 {
                    continue;
                }
                let (magic, id, _salt) = self.header(&info.key).await?;
                if &magic != MAGIC || id == self.vault.active().id {
                    continue;
                }
                let content = self.get(&info.key).await?.map_err(std::io::Error::other);
                self.put_stream(&info.key, content, u64::MAX).await?;
                resealed += 1;
            }
        }
    }

    async fn header(&self, key: &BlobKey) -> Result<([u8; 4], u32, [u8; SALT_BYTES]), BlobError> {
        let header = self.blobs.get_range(key, 0..HEADER_BYTES as u64).await?;
        let header = collect(key, header, HEADER_BYTES as u64).await?;
        let part = |range: Range<usize>| header.get(range).unwrap_or_default();
        let damaged = |_| BlobError::Damaged(key.clone());
        let magic = part(0..4).try_into().map_err(damaged)?;
        let id = part(4..8).try_into().map_err(damaged)?;
        let salt = part(8..HEADER_BYTES).try_into().map_err(damaged)?;
        Ok((magic, u32::from_be_bytes(id), salt))
    }

    async fn cipher(&self, key: &BlobKey) -> Result<Cipher, BlobError> {
        let (magic, id, salt) = self.header(key).await?;
        if &magic != MAGIC {
            return Err(BlobError::Damaged(key.clone()));
        }
        let open = || Cipher::new(&self.vault.key(id)?, &salt, key);
        open().map_err(|source| BlobError::Vault {
            key: key.clone(),
            source,
        })
    }
}

fn last_chunk(size_bytes: u64) -> u64 {
    size_bytes.saturating_sub(1) / CHUNK_BYTES as u64
}

impl Cipher {
    fn new(
        key: &crate::vault::seal::Key,
        salt: &[u8; SALT_BYTES],
        blob: &BlobKey,
    ) -> Result<Self, VaultError> {
        let (key, nonce) = derive(key, salt, PURPOSE)?;
        Ok(Self {
            key,
            nonce,
            context: format!("blob:{blob}"),
        })
    }

    /// Every chunk of a blob has its own nonce, and the last differs from all.
    fn nonce(&self, chunk: u64, last: bool) -> Nonce {
        let mut nonce = self.nonce;
        for (byte, counter) in nonce.iter_mut().zip(chunk.to_be_bytes()) {
            *byte ^= counter;
        }
        nonce[NONCE_LEN - 1] ^= u8::from(last);
        Nonce::assume_unique_for_key(nonce)
    }
}

struct Sealing<S> {
    cipher: Cipher,
    content: std::pin::Pin<Box<S>>,
    buffer: BytesMut,
    chunk: u64,
    hash: ring::digest::Context,
    size_bytes: u64,
    max_bytes: u64,
    /// Where the tally goes at the end; taken when the last chunk is made.
    tally: Option<tokio::sync::oneshot::Sender<Stored>>,
}

impl<S: Stream<Item = std::io::Result<Bytes>> + Send + 'static> Sealing<S> {
    async fn next(mut self) -> std::io::Result<Option<(Bytes, Self)>> {
        if self.tally.is_none() {
            return Ok(None);
        }
        // One byte more than a chunk tells that this chunk is not the last.
        let mut ended = false;
        while self.buffer.len() <= CHUNK_BYTES && !ended {
            match self.content.try_next().await? {
                Some(piece) => {
                    self.size_bytes += piece.len() as u64;
                    if self.size_bytes > self.max_bytes {
                        return Err(std::io::ErrorKind::FileTooLarge.into());
                    }
                    self.hash.update(&piece);
                    self.buffer.extend_from_slice(&piece);
                }
                None => ended = true,
            }
        }
        let last = self.buffer.len() <= CHUNK_BYTES;
        let take = self.buffer.len().min(CHUNK_BYTES);
        let mut chunk = self.buffer.split_to(take).to_vec();
        let nonce = self.cipher.nonce(self.chunk, last);
        let aad = Aad::from(self.cipher.context.as_bytes());
        self.cipher
            .key
            .seal_in_place_append_tag(nonce, aad, &mut chunk)
            .map_err(|_| std::io::Error::other("the chunk cannot be sealed"))?;
        self.chunk += 1;
        if last && let Some(tally) = self.tally.take() {
            let stored = Stored {
                size_bytes: self.size_bytes,
                sha256: hex::encode(self.hash.clone().finish()),
            };
            // Nobody waits for it when the writer has given up.
            drop(tally.send(stored));
        }
        Ok(Some((chunk.into(), self)))
    }
}

struct Opening {
    cipher: Cipher,
    key: BlobKey,
    source: BlobStream,
    buffer: BytesMut,
    chunk: u64,
    until: u64,
    last: u64,
    range: Range<u64>,
}

impl Opening {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, BlobError> {
        if self.chunk >= self.until {
            return Ok(None);
        }
        while self.buffer.len() < SEALED_CHUNK_BYTES {
            match self.source.try_next().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => break,
            }
        }
        let take = self.buffer.len().min(SEALED_CHUNK_BYTES);
        let mut chunk = self.buffer.split_to(take).to_vec();
        let nonce = self.cipher.nonce(self.chunk, self.chunk == self.last);
        let aad = Aad::from(self.cipher.context.as_bytes());
        let length = match self.cipher.key.open_in_place(nonce, aad, &mut chunk) {
            Ok(plain) => plain.len(),
            Err(_) => return Err(BlobError::Damaged(self.key)),
        };
        chunk.truncate(length);
        let start = self.chunk * CHUNK_BYTES as u64;
        let within = |at: u64| {
            let at = at.saturating_sub(start).min(length as u64);
            usize::try_from(at).unwrap_or(length)
        };
        let (from, to) = (within(self.range.start), within(self.range.end));
        let piece = Bytes::from(chunk).slice(from..to.max(from));
        self.chunk += 1;
        Ok(Some((piece, self)))
    }
}
