//! Time and randomness, which enter the system here and nowhere deeper.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chat_core::{RequestId, Timestamp};

/// The machine's time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How long it is until a moment; nothing when it is over.
pub(crate) fn until(moment: Timestamp) -> Duration {
    Duration::from_millis(moment.as_millis().saturating_sub(now().as_millis()))
}

/// Random bytes, good enough for secrets.
///
/// # Panics
///
/// Where the operating system has none to give, which leaves nothing that could be done safely.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

/// An id for a request of the service's own.
pub(crate) fn mint_request() -> RequestId {
    RequestId::from_parts(now(), random())
}
