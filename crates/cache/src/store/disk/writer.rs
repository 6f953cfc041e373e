//! The thread that writes: objects behind, large bodies alongside their fills, and
//! what is to be forgotten.
//!
//! Segments are written from beginning to end and evicted whole, oldest first, so the
//! disk sees long sequential writes and no fragmentation. Objects of an evicted
//! segment that were asked for since they were written are written again, to the
//! youngest segment, up to a quarter of it: a second chance, as in the main queue in
//! memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::files;
use super::index::OnDisk;
use super::queue::Job;
use super::record::{self, FILE_HEAD_BYTES, HEAD_BYTES, Head, Kind, Listed, Place};
use super::segment::{COPY_BYTES, Segments, read_big, read_segment};
use super::spill::SpillFile;
use crate::key::KeyHash;
use crate::store::Notice;
use crate::store::object::{Body, FileBody, Object};

/// How long a disk that failed is left alone before it is tried again.
const RETRY_TIME: Duration = Duration::from_secs(2);
/// Share of a segment that may be written again when it is evicted: one in four.
const AGAIN_PART: u64 = 4;
/// Files that are looked at to find one to evict.
const PASSED_OVER_MAX: usize = 16;
/// Keys that were forgotten while the disk failed and are remembered one by one; with
/// more, everything on disk is deleted when it works again.
const UNTOLD_MAX: usize = 100_000;

pub(super) struct Writer {
    shared: Arc<Shared>,
    segments: Segments,
    failed_at: Option<Instant>,
    /// What was forgotten while the disk could not be told.
    untold: Vec<(KeyHash, Option<u64>)>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, last_write: u64) -> Self {
        Self {
            segments: Segments::new(shared.clone(), last_write),
            shared,
            failed_at: None,
            untold: Vec::new(),
        }
    }

    /// Works until the store is closed and everything waiting is done.
    pub(super) fn run(mut self) {
        loop {
            let next = self.shared.queue.next();
            self.recover();
            for (hash, variant) in next.forgets {
                self.forget(hash, variant);
            }
            match next.job {
                Some(Job::Write(object)) => {
                    self.write(&object);
                    self.shared.queue.written(&object);
                }
                Some(Job::Spill(spill, chunk)) => self.spill(&spill, &chunk),
                Some(Job::Seal(spill, object)) => self.seal_spill(&spill, &object),
                Some(Job::Discard(spill)) => self.discard(&spill),
                Some(Job::Release) => self.release(),
                None if next.closed => break,
                None => {}
            }
            self.shared.queue.done();
        }
        if let Err(error) = self.segments.seal() {
            tracing::warn!(%error, "could not write the list of the last segment");
        }
    }

    /// Ends the segment; from here on the disk counts as failed, and is not tried again.
    fn release(&mut self) {
        if let Err(error) = self.segments.seal() {
            tracing::warn!(%error, "could not write the list of the last segment");
        }
        self.shared.released.store(true, Ordering::Release);
        self.shared.healthy.store(false, Ordering::Release);
        self.failed_at = Some(Instant::now());
        self.untold.clear();
    }

    fn is_released(&self) -> bool {
        self.shared.released.load(Ordering::Acquire)
    }

    // ---- failure and recovery

    fn fail(&mut self, error: &io::Error) {
        self.segments.abandon();
        self.failed_at = Some(Instant::now());
        if self.shared.healthy.swap(false, Ordering::AcqRel) {
            tracing::error!(%error, "cache disk failed; serving from memory");
            (self.shared.on_notice)(Notice::DiskFailed {
                error: error.to_string(),
            });
        }
    }

    /// Tries a failed disk again, when it had its rest.
    fn recover(&mut self) {
        let Some(failed_at) = self.failed_at else {
            return;
        };
        if self.is_released() || failed_at.elapsed() < RETRY_TIME {
            return;
        }
        match self.probe() {
            Ok(()) => {
                self.failed_at = None;
                self.tell();
                self.shared.healthy.store(true, Ordering::Release);
                tracing::info!("cache disk works again");
                (self.shared.on_notice)(Notice::DiskRecovered);
            }
            Err(error) => {
                tracing::debug!(%error, "cache disk still fails");
                self.failed_at = Some(Instant::now());
            }
        }
    }

    fn probe(&mut self) -> io::Result<()> {
        let files = &self.shared.files;
        let path = files.dir.join("probe");
        let file = files.create(&path)?;
        let written = files.write_at(&file, &[0; 64 << 10], 0);
        std::fs::remove_file(&path)?;
        written?;
        self.make_space(COPY_BYTES as u64)
    }

    fn usable(&self) -> bool {
        self.failed_at.is_none()
    }

    // ---- space

    /// Evicts until `octets` more fit.
    fn make_space(&mut self, octets: u64) -> io::Result<()> {
        loop {
            let shared = &self.shared;
            let fits = shared.files.octets() + octets <= shared.options.bytes
                && shared.files.free_bytes()? >= shared.options.reserve_bytes + octets;
            if fits {
                return Ok(());
            }
            let active = self.segments.active_number();
            if let Some((number, len, big)) = self.victim(active) {
                self.evict(number, len, big);
            } else if active != 0 {
                self.segments.seal()?;
            } else {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
    }

    /// The file to evict: the oldest but the one being written. Large objects that were
    /// asked for are passed over, once for each time they were.
    fn victim(&self, active: u32) -> Option<(u32, u64, bool)> {
        let oldest = self.shared.files.oldest(active, PASSED_OVER_MAX);
        let passed_over =
            |(number, len, big): &(u32, u64, bool)| *big && self.was_asked_for(*number, *len);
        let found = oldest.iter().find(|file| !passed_over(file));
        found.or_else(|| oldest.first()).copied()
    }

    fn was_asked_for(&self, number: u32, len: u64) -> bool {
        let file = self.shared.files.get(number).ok();
        let Some(listed) = file.and_then(|file| read_big(&file, number, len)) else {
            return false;
        };
        let known = self.shared.index.variants(listed.head.hash);
        let Some(entry) = known.iter().find(|entry| entry.body.file == number) else {
            return false;
        };
        let hits = entry.hits.load(Ordering::Relaxed);
        self.shared
            .index
            .mark(listed.head.hash, entry.write, |entry| {
                entry.hits.store(hits.saturating_sub(1), Ordering::Relaxed);
            });
        hits > 0
    }

    /// Deletes a file, and writes again what was asked for since.
    fn evict(&mut self, number: u32, len: u64, big: bool) {
        let budget = if big { 0 } else { len / AGAIN_PART };
        self.evict_but(number, len, big, budget);
    }

    fn evict_without_second_chance(&mut self, number: u32, len: u64, big: bool) {
        if self.segments.active_number() == number {
            self.segments.abandon();
        }
        self.evict_but(number, len, big, 0);
    }

    /// Deletes a file, and writes up to `budget` octets of it again.
    fn evict_but(&mut self, number: u32, len: u64, big: bool, mut budget: u64) {
        let shared = self.shared.clone();
        let listed = if big {
            shared
                .files
                .get(number)
                .ok()
                .and_then(|file| read_big(&file, number, len))
                .into_iter()
                .collect()
        } else {
            read_segment(&shared, number, len)
        };
        let mut again: Vec<(KeyHash, OnDisk, Vec<u8>)> = Vec::new();
        for hash in listed.iter().map(|listed| listed.head.hash) {
            for entry in shared.index.variants(hash) {
                if entry.head.file != number && entry.body.file != number {
                    continue;
                }
                if let Some(octets) = second_chance(&shared, &entry, number, &mut budget) {
                    again.push((hash, entry.clone(), octets));
                }
                shared
                    .index
                    .remove(hash, |other| other.write == entry.write);
                shared.counters.disk_evicted.add(1);
            }
        }
        if let Some(file) = shared.files.delete(number) {
            // Objects in memory would keep the deleted file's octets on disk.
            for hash in listed.iter().map(|listed| listed.head.hash) {
                shared.drop_bodies_in(hash, &file);
            }
        }
        for (hash, entry, octets) in again {
            if let Err(error) = self.write_again(hash, &entry, &octets) {
                self.fail(&error);
                return;
            }
        }
    }

    fn write_again(&mut self, hash: KeyHash, entry: &OnDisk, octets: &[u8]) -> io::Result<()> {
        let (about, body) = octets.split_at(entry.about_len as usize);
        let head = Head {
            kind: if body.is_empty() && entry.body_len > 0 {
                Kind::Reference
            } else {
                Kind::Object
            },
            write: self.segments.next_write(),
            born: entry.born,
            hash,
            variant: entry.variant,
            body_len: entry.body_len,
            body_crc: entry.body_crc,
            about_len: entry.about_len,
        };
        let elsewhere = (head.kind == Kind::Reference).then_some(entry.body);
        // No eviction inside an eviction: the room was just made.
        let listed = self.segments.append(&head, about, body, elsewhere)?;
        let number = self.segments.active_number();
        self.shared
            .index
            .obey(number, &listed, entry.checked.load(Ordering::Relaxed) != 0);
        Ok(())
    }

    // ---- jobs

    fn write(&mut self, object: &Arc<Object>) {
        if object.gone.load(Ordering::Acquire) {
            return;
        }
        if !self.usable() {
            self.shared.counters.disk_dropped.add(1);
            self.shared.forget_now(object);
            return;
        }
        if let Err(error) = self.try_write(object) {
            self.shared.counters.disk_dropped.add(1);
            self.shared.forget_now(object);
            self.fail(&error);
        }
    }

    fn try_write(&mut self, object: &Arc<Object>) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut head = Head {
            kind: Kind::Object,
            write: self.segments.next_write(),
            born: object.born,
            hash: object.hash(),
            variant: shared.variant_of(object),
            body_len: object.len().unwrap_or(0),
            body_crc: 0,
            about_len: 0,
        };
        let place = shared.place_of(object);
        let Some(about) = record::about(object.key(), object.meta(), place) else {
            return Ok(());
        };
        head.about_len = u32::try_from(about.len()).unwrap_or(0);
        let size = (HEAD_BYTES + about.len()) as u64 + head.body_len;
        let listed = match (object.body(), place) {
            (_, Some(body)) => {
                // The body is on disk: only what the rules know is new.
                let known = shared.index.variants(object.hash());
                let Some(known) = known.iter().find(|entry| entry.body == body) else {
                    return Ok(());
                };
                head.kind = Kind::Reference;
                head.body_crc = known.body_crc;
                self.make_space(size - head.body_len)?;
                // Making space may have evicted the very body.
                if shared.files.len(body.file).is_none() {
                    return Ok(());
                }
                self.segments.append(&head, &about, &[], Some(body))?
            }
            (Body::Memory(octets), None) => {
                head.body_crc = crc32fast::hash(octets);
                self.make_space(size)?;
                self.segments.append(&head, &about, octets, None)?
            }
            (Body::File(body), None) => {
                self.make_space(size)?;
                self.segments.append_copy(&mut head, &about, body)?
            }
            (Body::Filling(_), None) => return Ok(()),
        };
        let number = self.segments.active_number();
        shared.index.obey(number, &listed, true);
        if object.gone.load(Ordering::Acquire) {
            // Removed while it was written.
            shared.forget_now(object);
            self.forget(object.hash(), Some(head.variant));
            return Ok(());
        }
        object.on_disk.store(true, Ordering::Release);
        if let Body::File(FileBody {
            extent: Some(_),
            len,
            ..
        }) = object.body()
        {
            let file = shared.files.get(listed.body.file)?;
            shared.swap_body(object, file, listed.body.at, *len);
        }
        Ok(())
    }

    /// Writes that a key, or one variant of it, is forgotten.
    fn forget(&mut self, hash: KeyHash, variant: Option<u64>) {
        if self.is_released() {
            return;
        }
        if !self.usable() {
            self.untold.push((hash, variant));
            return;
        }
        let head = Head {
            kind: if variant.is_some() {
                Kind::ForgetVariant
            } else {
                Kind::ForgetKey
            },
            write: self.segments.next_write(),
            born: 0,
            hash,
            variant: variant.unwrap_or(0),
            body_len: 0,
            body_crc: 0,
            about_len: 0,
        };
        let written = self
            .make_space(HEAD_BYTES as u64)
            .and_then(|()| self.segments.append(&head, &[], &[], None));
        if let Err(error) = written {
            self.untold.push((hash, variant));
            self.fail(&error);
        }
    }

    /// Tells the disk what was forgotten while it could not be told.
    fn tell(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        if untold.len() > UNTOLD_MAX {
            // Cheaper, and surely enough: everything written so far goes.
            while let Some((number, len, big)) = self.shared.files.oldest(0, 1).first().copied() {
                self.evict_without_second_chance(number, len, big);
            }
            return;
        }
        for (hash, variant) in untold {
            self.forget(hash, variant);
        }
    }

    fn spill(&mut self, spill: &Arc<SpillFile>, chunk: &[u8]) {
        if spill.failed.load(Ordering::Acquire) {
            return;
        }
        let written = if self.usable() {
            self.make_space(chunk.len() as u64)
                .and_then(|()| spill.append(&self.shared.files, chunk))
        } else {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        if let Err(error) = written {
            spill.failed.store(true, Ordering::Release);
            // Readers go on from memory; nobody waits for the disk any more.
            spill.filling.become_window();
            if self.usable() {
                self.fail(&error);
            }
        }
    }

    /// A large body is complete: gives its file a head and its object the file.
    fn seal_spill(&mut self, spill: &Arc<SpillFile>, object: &Arc<Object>) {
        let shared = self.shared.clone();
        if self.is_released()
            || spill.failed.load(Ordering::Acquire)
            || object.gone.load(Ordering::Acquire)
        {
            shared.memory.take_out(object);
            self.discard(spill);
            return;
        }
        let head = Head {
            kind: Kind::Object,
            write: self.segments.next_write(),
            born: object.born,
            hash: object.hash(),
            variant: shared.variant_of(object),
            body_len: spill.written(),
            body_crc: spill.crc(),
            about_len: u32::try_from(spill.about.len()).unwrap_or(0),
        };
        let sealed = spill.seal(&shared.files, &head);
        if let Err(error) = sealed {
            shared.memory.take_out(object);
            self.discard(spill);
            self.fail(&error);
            return;
        }
        let listed = Listed {
            head,
            at: FILE_HEAD_BYTES,
            body: Place {
                file: spill.number,
                at: spill.body_at,
            },
        };
        shared.files.add(
            spill.number,
            spill.body_at + head.body_len,
            true,
            &spill.file,
        );
        shared.index.obey(spill.number, &listed, true);
        if object.gone.load(Ordering::Acquire) {
            shared.forget_now(object);
            shared.files.delete(spill.number);
            return;
        }
        shared.settle(object, spill.file.clone(), spill.body_at, head.body_len);
    }

    fn discard(&mut self, spill: &Arc<SpillFile>) {
        self.shared.files.release(spill.charged());
        if let Err(error) = std::fs::remove_file(&spill.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %spill.path.display(), "could not delete a cache file");
        }
    }
}

/// What of an entry is to be written again when file `number` goes: all of it when it
/// was asked for, its "about" when only that is in the file.
fn second_chance(
    shared: &Shared,
    entry: &OnDisk,
    number: u32,
    budget: &mut u64,
) -> Option<Vec<u8>> {
    let body_stays = entry.body.file != number;
    if !body_stays && entry.hits.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let body_len = if body_stays { 0 } else { entry.body_len };
    let size = (HEAD_BYTES as u64) + u64::from(entry.about_len) + body_len;
    *budget = budget.checked_sub(size)?;
    let head_file = shared.files.get(entry.head.file).ok()?;
    let about_at = entry.head.at + HEAD_BYTES as u64;
    let mut octets = files::read(&head_file, about_at, entry.about_len as usize).ok()?;
    if body_len > 0 {
        let body_file = shared.files.get(entry.body.file).ok()?;
        let body = files::read(&body_file, entry.body.at, usize::try_from(body_len).ok()?).ok()?;
        if crc32fast::hash(&body) != entry.body_crc {
            shared.corrupt(entry.body.file);
            return None;
        }
        octets.extend_from_slice(&body);
    }
    Some(octets)
}
