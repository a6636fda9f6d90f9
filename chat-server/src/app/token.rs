//! Tokens of what a caller has seen.

use chat_client::{Reason, api};
use chat_replication::types::Position;

use crate::app::error::Failure;
use crate::live::place::{FORM, POSITION, read, write};

/// The token of a place in the history.
pub(crate) fn read_token(position: Position) -> Option<api::ReadToken> {
    Some(api::ReadToken {
        value: write_read_token(position),
    })
}

pub(crate) fn write_read_token(position: Position) -> Vec<u8> {
    let mut value = Vec::with_capacity(1 + POSITION);
    value.push(FORM);
    write(position, &mut value);
    value
}

/// What a caller has seen already: the later of the two places that a call can name.
///
/// # Errors
///
/// Bytes that no replica has issued.
pub(crate) fn seen(
    in_request: Option<&api::ReadToken>,
    in_metadata: Option<&[u8]>,
) -> Result<Position, Failure> {
    let mut latest = Position::default();
    let tokens = [in_request.map(|token| token.value.as_slice()), in_metadata];
    for token in tokens
        .into_iter()
        .flatten()
        .filter(|token| !token.is_empty())
    {
        let position = match token.split_first() {
            Some((&FORM, rest)) => read(rest).filter(|(_, rest)| rest.is_empty()),
            _ => None,
        };
        let (position, _) = position.ok_or_else(|| {
            Failure::invalid(
                Reason::InvalidArgument,
                "read_token",
                "the read token is none that this service issued: leave it out",
            )
        })?;
        latest = latest.max(position);
    }
    Ok(latest)
}

#[cfg(test)]
mod tests {
    use chat_replication::types::{Epoch, ReplicaId, StoreUuid};
    use uuid::Uuid;

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
    fn read_tokens_round_trip_and_the_later_one_counts() {
        let (old, new) = (position(2, 900), position(3, 7));
        let in_metadata = write_read_token(new);
        assert_eq!(
            seen(read_token(old).as_ref(), Some(&in_metadata)).expect("both are valid"),
            new
        );
        assert_eq!(seen(None, None).expect("nothing"), Position::default());
        let empty = api::ReadToken::default();
        assert_eq!(
            seen(Some(&empty), None).expect("nothing"),
            Position::default()
        );
    }

    #[test]
    fn what_was_never_issued_is_refused() {
        let valid = write_read_token(position(1, 1));
        let longer = [valid.as_slice(), &[0]].concat();
        for bytes in [&[7][..], &valid[..valid.len() - 1], &longer, &[9; 37]] {
            assert!(seen(None, Some(bytes)).is_err(), "{bytes:?}");
        }
    }
}
