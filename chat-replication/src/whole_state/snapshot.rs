//! A saved state on its way to another replica: its hash, then the value's bytes.

use std::error::Error;

use bytes::{Bytes, BytesMut};

use crate::state_machine::{InstallError, SnapshotReader};
use crate::types::Position;

pub(super) struct Reader {
    position: Position,
    rest: Bytes,
}

impl Reader {
    pub(super) fn new(position: Position, hash: u128, application: Bytes) -> Self {
        let mut rest = BytesMut::from(&hash.to_le_bytes()[..]);
        rest.extend_from_slice(&application);
        Reader {
            position,
            rest: rest.freeze(),
        }
    }
}

impl SnapshotReader for Reader {
    fn position(&self) -> Position {
        self.position
    }

    fn next_chunk(
        &mut self,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, Box<dyn Error + Send + Sync>> {
        let length = self.rest.len().min(max_bytes.max(1));
        Ok((length > 0).then(|| self.rest.split_to(length)))
    }
}

/// The hash and the value's bytes.
pub(super) fn take_apart<E>(mut bytes: Bytes) -> Result<(u128, Bytes), InstallError<E>> {
    let (hash, _) = bytes
        .split_first_chunk()
        .ok_or_else(|| InstallError::Unreadable("it is too short".into()))?;
    let hash = u128::from_le_bytes(*hash);
    Ok((hash, bytes.split_off(size_of::<u128>())))
}
