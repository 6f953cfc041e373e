//! The readers of what is on disk, for fuzzing: any octets give records or nothing.

use super::disk::record;
use super::purge_log;

/// Reads octets as a segment and returns how many records it holds.
pub fn segment(octets: &[u8]) -> usize {
    let read = |at: u64, length: usize| {
        let at = usize::try_from(at).ok()?;
        Some(octets.get(at..at.checked_add(length)?)?.to_vec())
    };
    let (end, list) = record::scan(1, octets.len() as u64, read);
    assert!(
        list.is_empty() || end <= octets.len() as u64,
        "records end within the file"
    );
    list.len()
}

/// Reads octets as a segment's list and returns how many records it names.
pub fn list(octets: &[u8]) -> Option<usize> {
    record::decode_list(octets).map(|(_, list)| list.len())
}

/// Reads octets as what a record says about a response.
pub fn about(octets: &[u8]) -> bool {
    record::read_about(octets).is_some()
}

/// Reads octets as a purge log and returns how many records it holds.
pub fn purge_log(octets: &[u8]) -> Option<usize> {
    purge_log::parse(octets).map(|(records, _)| records.len())
}
