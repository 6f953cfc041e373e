//! Files of payloads and of exceptions: any octets are one or are refused, and what is written is read back.
#![no_main]

use std::path::Path;

use exchange::rpki::file;
use exchange::rpki::slurm::Slurm;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let path = Path::new("fuzz");
    Slurm::parse(path, octets).ok();
    if let Ok(set) = file::parse(path, octets) {
        let mut written = Vec::new();
        file::write(&set, &mut written).expect("memory takes all");
        assert_eq!(file::parse(path, &written).expect("own octets"), set);
    }
});
