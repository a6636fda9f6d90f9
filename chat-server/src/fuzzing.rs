//! Decoders that nobody else may call, for the fuzzer.

use bytes::Bytes;
use chat_replication::types::ClusterId;
use uuid::Uuid;

use crate::app::session::SessionToken;
use crate::app::token;
use crate::engine::words::Subject;
use crate::grpc::wire;
use crate::live::place::ResumePoint;

/// What a client may send in the place of tokens.
pub fn tokens(bytes: &[u8]) {
    let cluster = ClusterId(Uuid::from_u128(1));
    let _ = token::seen(None, Some(bytes));
    if let Some(point) = ResumePoint::read(bytes, cluster) {
        assert_eq!(point.write(cluster), bytes, "a token has one form");
    }
    let page = wire::PageToken::of(wire::PageKind::History, &[1; 16], b"bob");
    // A fuzzer does not find the fingerprint by itself.
    let text = page.next(Some(bytes));
    assert_eq!(page.read(&text).expect("its own").as_deref(), Some(bytes));
    let _ = page.read_number(&text);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = page.read(text);
        let _ = SessionToken::from_header(text);
        let _ = SessionToken::from_header(&format!("Bearer {text}"));
    }
}

/// What another replica's application may say.
pub fn words(bytes: &[u8]) {
    if let Some((subject, word)) = Subject::open(Bytes::copy_from_slice(bytes)) {
        match subject {
            Subject::Presence => crate::live::presence::fuzz_word(&word),
            Subject::Orders => crate::engine::orders::word::fuzz_word(&word),
            Subject::Condition => crate::ops::condition::fuzz_word(&word),
        }
    }
}

/// What may come as a snapshot, piece by piece.
pub fn snapshot(pieces: &[Vec<u8>]) {
    crate::store::state::fuzz_snapshot(pieces);
}
