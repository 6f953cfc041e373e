//! Writing responses into a buffer that the caller owns, with name compression
//! (RFC 1035 section 4.1.4) and a limit that is never passed.

use crate::kind::{CLASS_IN, Kind};
use crate::message::HEADER_BYTES;
use crate::name::suffixes;

/// Label positions remembered for compression; names beyond are written whole.
const POSITIONS_MAX: usize = 64;
/// Positions that a compression pointer can reach.
const POINTER_REACH: usize = 0x4000;

/// The record or name did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// One response being written.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    limit: usize,
    positions: [u16; POSITIONS_MAX],
    positions_used: usize,
    counts: [u16; 3],
}

/// A section that records are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answer.
    Answer = 0,
    /// Authority.
    Authority = 1,
    /// Additional.
    Additional = 2,
}

/// A place to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: usize,
    positions_used: usize,
    counts: [u16; 3],
}

impl<'a> Writer<'a> {
    /// Begins after a header and question of `question_end` bytes, which the caller
    /// puts at the start of `out`. Nothing is written at or beyond `limit`.
    pub fn new(out: &'a mut [u8], question_end: usize, limit: usize) -> Self {
        let limit = limit.min(out.len());
        let mut writer = Self {
            out,
            at: question_end,
            limit,
            positions: [0; POSITIONS_MAX],
            positions_used: 0,
            counts: [0; 3],
        };
        if question_end > HEADER_BYTES {
            // The question's labels are the first targets.
            let mut at = HEADER_BYTES;
            while let Some(&length) = writer.out.get(at)
                && length != 0
                && at < question_end
            {
                writer.remember(at);
                at += 1 + usize::from(length);
            }
        }
        writer
    }

    /// Bytes written so far, header and question included.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Records written, by [`Section`].
    pub fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// Remembers this place.
    pub fn mark(&self) -> Mark {
        Mark {
            at: self.at,
            positions_used: self.positions_used,
            counts: self.counts,
        }
    }

    /// Forgets what was written since.
    pub fn back_to(&mut self, mark: Mark) {
        self.at = mark.at;
        self.positions_used = mark.positions_used;
        self.counts = mark.counts;
    }

    /// Writes an RRset whole, or nothing of it.
    ///
    /// # Errors
    /// [`Full`] when it does not fit.
    pub fn rrset<'r>(
        &mut self,
        section: Section,
        owner: &[u8],
        kind: Kind,
        ttl: u32,
        rdatas: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<(), Full> {
        let mark = self.mark();
        for rdata in rdatas {
            if let Err(full) = self.record(section, owner, kind, ttl, rdata) {
                self.back_to(mark);
                return Err(full);
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        section: Section,
        owner: &[u8],
        kind: Kind,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Full> {
        self.name(owner)?;
        self.bytes(&kind.0.to_be_bytes())?;
        self.bytes(&CLASS_IN.to_be_bytes())?;
        self.bytes(&ttl.to_be_bytes())?;
        let length_at = self.at;
        self.bytes(&[0, 0])?;
        self.rdata(kind, rdata)?;
        let length = (self.at - length_at - 2) as u16;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        self.counts[section as usize] += 1;
        Ok(())
    }

    /// Compresses names in the RDATA of the types that RFC 3597 section 4 allows.
    fn rdata(&mut self, kind: Kind, rdata: &[u8]) -> Result<(), Full> {
        match kind {
            Kind::NS | Kind::CNAME | Kind::PTR => self.name(rdata),
            Kind::MX => {
                self.bytes(&rdata[..2])?;
                self.name(&rdata[2..])
            }
            Kind::SOA => {
                let numbers = rdata.len() - 20;
                let rname = suffixes(rdata).last().map_or(0, |root| root + 1);
                self.name(&rdata[..rname])?;
                self.name(&rdata[rname..numbers])?;
                self.bytes(&rdata[numbers..])
            }
            _ => self.bytes(rdata),
        }
    }

    /// Appends bytes as they are.
    ///
    /// # Errors
    /// [`Full`] when they do not fit.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.at + bytes.len();
        if end > self.limit {
            return Err(Full);
        }
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    /// Writes an uncompressed wire name, its longest known suffix as a pointer.
    fn name(&mut self, wire: &[u8]) -> Result<(), Full> {
        let mut at = 0;
        loop {
            let length = usize::from(wire[at]);
            if length == 0 {
                return self.bytes(&[0]);
            }
            if let Some(position) = self.find(&wire[at..]) {
                return self.bytes(&(0xc000 | position).to_be_bytes());
            }
            let start = self.at;
            self.bytes(&wire[at..=at + length])?;
            self.remember(start);
            at += 1 + length;
        }
    }

    fn remember(&mut self, at: usize) {
        if at < POINTER_REACH && self.positions_used < POSITIONS_MAX {
            self.positions[self.positions_used] = at as u16;
            self.positions_used += 1;
        }
    }

    fn find(&self, wire: &[u8]) -> Option<u16> {
        self.positions[..self.positions_used]
            .iter()
            .copied()
            .find(|position| self.is_at(usize::from(*position), wire))
    }

    /// Whether the name written at `at` equals `wire`, whatever the case.
    fn is_at(&self, mut at: usize, wire: &[u8]) -> bool {
        let mut from = 0;
        loop {
            let written = self.out[at];
            if written >= 0xc0 {
                at = usize::from(u16::from_be_bytes([written & 0x3f, self.out[at + 1]]));
                continue;
            }
            if written != wire[from] {
                return false;
            }
            if written == 0 {
                return true;
            }
            let next = 1 + usize::from(written);
            if !self.out[at + 1..at + next].eq_ignore_ascii_case(&wire[from + 1..from + next]) {
                return false;
            }
            at += next;
            from += next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compressed_against_the_question_and_each_other() {
        let mut out = [0; 512];
        let question = b"\x03wWw\x07example\0\0\x01\0\x01";
        out[12..12 + question.len()].copy_from_slice(question);
        let end = 12 + question.len();
        let mut writer = Writer::new(&mut out, end, 512);
        let www = b"\x03www\x07example\0";
        let target = b"\x01b\x07EXAMPLE\0".as_slice();
        writer
            .rrset(Section::Answer, www, Kind::CNAME, 60, [target])
            .expect("room");
        writer
            .rrset(Section::Answer, target, Kind::A, 60, [&[192, 0, 2, 1][..]])
            .expect("room");
        assert_eq!(writer.counts(), [2, 0, 0]);
        let length = writer.position();
        assert_eq!(
            &out[end..length],
            b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x10\xc0\x29\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01"
        );
    }

    #[test]
    fn an_rrset_that_does_not_fit_leaves_nothing() {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out, 12, 60);
        let owner = b"\x07example\0";
        let long = [0; 16];
        let set = [&long[..], &long[..]];
        assert_eq!(
            writer.rrset(Section::Answer, owner, Kind::AAAA, 60, set),
            Err(Full)
        );
        assert_eq!((writer.position(), writer.counts()), (12, [0; 3]));
        assert_eq!(
            writer.rrset(Section::Answer, owner, Kind::AAAA, 60, [&long[..]]),
            Ok(())
        );
    }
}
