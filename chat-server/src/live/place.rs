//! Places in the history, as clients keep them.

use chat_replication::types::{ClusterId, Epoch, Position, ReplicaId, StoreUuid};
use uuid::Uuid;

/// Epoch (number, replica, disk) and index.
pub(crate) const POSITION: usize = 8 + 4 + 16 + 8;

/// The form of each kind of token. Others are of another version.
pub(crate) const FORM: u8 = 1;

/// Up to where a stream of events has been handled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct ResumePoint {
    /// The entry whose event it was.
    pub(crate) position: Position,
    /// Which of the entry's events, from 1; all of them for [`ResumePoint::END`].
    pub(crate) number: u32,
}

impl ResumePoint {
    /// Behind all events of an entry.
    pub(crate) const END: u32 = u32::MAX;

    pub(crate) fn behind(position: Position) -> ResumePoint {
        ResumePoint {
            position,
            number: ResumePoint::END,
        }
    }

    /// The token, which only this cluster understands.
    pub(crate) fn write(self, cluster: ClusterId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + 4 + POSITION + 4);
        bytes.push(FORM);
        bytes.extend_from_slice(&cluster_mark(cluster));
        write(self.position, &mut bytes);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// `None` for a token of another cluster, another version, or of nobody.
    pub(crate) fn read(bytes: &[u8], cluster: ClusterId) -> Option<ResumePoint> {
        let (&form, rest) = bytes.split_first()?;
        let (mark, rest) = rest.split_first_chunk::<4>()?;
        let (position, rest) = read(rest)?;
        let number = u32::from_be_bytes(rest.try_into().ok()?);
        (form == FORM && *mark == cluster_mark(cluster)).then_some(ResumePoint { position, number })
    }
}

/// Enough to tell clusters apart; two of them share it once in four thousand million times.
fn cluster_mark(cluster: ClusterId) -> [u8; 4] {
    let [.., a, b, c, d] = *cluster.0.as_bytes();
    [a, b, c, d]
}

pub(crate) fn write(position: Position, to: &mut Vec<u8>) {
    to.extend_from_slice(&position.epoch.number.to_be_bytes());
    to.extend_from_slice(&position.epoch.replica.0.to_be_bytes());
    to.extend_from_slice(position.epoch.store.0.as_bytes());
    to.extend_from_slice(&position.index.to_be_bytes());
}

pub(crate) fn read(bytes: &[u8]) -> Option<(Position, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    let (replica, rest) = rest.split_first_chunk::<4>()?;
    let (store, rest) = rest.split_first_chunk::<16>()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let epoch = Epoch {
        number: u64::from_be_bytes(*number),
        replica: ReplicaId(u32::from_be_bytes(*replica)),
        store: StoreUuid(Uuid::from_bytes(*store)),
    };
    let index = u64::from_be_bytes(*index);
    Some((Position { epoch, index }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: u64, index: u64) -> Position {
        let epoch = Epoch {
            number,
            replica: ReplicaId(3),
            store: StoreUuid(Uuid::from_u128(9)),
        };
        Position { epoch, index }
    }

    #[test]
    fn resume_points_round_trip_within_their_cluster() {
        let cluster = ClusterId(Uuid::from_u128(77));
        let point = ResumePoint {
            position: position(4, 5),
            number: 2,
        };
        let bytes = point.write(cluster);
        assert_eq!(ResumePoint::read(&bytes, cluster), Some(point));
        assert_eq!(
            ResumePoint::read(&bytes, ClusterId(Uuid::from_u128(78))),
            None
        );
        for length in 0..bytes.len() {
            assert_eq!(ResumePoint::read(&bytes[..length], cluster), None);
        }
        assert_eq!(ResumePoint::read(&[0xff; 45], cluster), None);
    }
}
