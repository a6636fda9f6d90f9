//! What is certainly not among some rows.

use std::ops::Bound;

/// The last key of each kind of row, the first byte being the kind.
///
/// Most ids begin with the time, so that what is asked for first, whether this was done before, is behind all the rows
/// there are: that it is not among them needs no search.
#[derive(Debug, Default)]
pub(super) struct Newest(Vec<Vec<u8>>);

/// Each first byte, as a bound.
const KINDS: [[u8; 1]; 256] = {
    let mut kinds = [[0]; 256];
    let mut kind = 0;
    while kind < kinds.len() {
        kinds[kind] = [kind as u8];
        kind += 1;
    }
    kinds
};

impl Newest {
    /// Of rows of which `last_before` gives the last key before a bound.
    pub(super) fn find<E>(
        mut last_before: impl FnMut(Bound<&[u8]>) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Newest, E> {
        let mut newest = Newest::default();
        let mut bound = Bound::Unbounded;
        while let Some(key) = last_before(bound)? {
            let kind = key.first().copied();
            newest.0.push(key);
            match kind {
                Some(kind) => bound = Bound::Excluded(KINDS[usize::from(kind)].as_slice()),
                // The empty key is before all others.
                None => break,
            }
        }
        Ok(newest)
    }

    /// Whether all rows of that kind stand before this key.
    pub(super) fn is_before(&self, key: &[u8]) -> bool {
        let same_kind = self.0.iter().find(|last| last.first() == key.first());
        same_kind.is_none_or(|last| last.as_slice() < key)
    }
}
