//! Values as rows have them: each behind its checksum.

use chat_replication::disk_store::file::Fault;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Length of a row's checksum.
pub(super) const CHECKSUM: usize = 4;

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    // Half of the hash is enough to notice rot.
    (xxh3_64_with_seed(value, xxh3_64_with_seed(key, 0)) as u32).to_le_bytes()
}

/// A value as a row has it, in place of what was in `sealed`.
pub(super) fn seal<'a>(key: &[u8], value: &[u8], sealed: &'a mut Vec<u8>) -> &'a [u8] {
    sealed.clear();
    append_sealed(key, value, sealed);
    sealed
}

/// Appends a value as a row has it.
pub(super) fn append_sealed(key: &[u8], value: &[u8], sealed: &mut Vec<u8>) {
    sealed.extend_from_slice(&checksum(key, value));
    sealed.extend_from_slice(value);
}

/// The value within a row.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Fault> {
    match sealed.split_at_checked(CHECKSUM) {
        Some((stored, value)) if stored == checksum(key, value) => Ok(value),
        _ => Err(Fault::Damaged(
            "the checksum of a row does not fit".to_owned(),
        )),
    }
}
