//! What the metadata of a call say.

use std::time::Duration;

use axum::http::HeaderMap;
use chat_client::api;
use chat_replication::types::Position;
use tokio::time::Instant;
use tonic::Request;

use crate::app::Context;
use crate::app::context::{Checked, LINEARIZABLE, NO_PROXY, Proxying, Reading};
use crate::app::error::Failure;
use crate::app::session::SessionToken;
use crate::app::throttle::Connection;
use crate::app::token;

/// What the caller has seen already.
const READ_TOKEN: &str = "x-chat-read-token-bin";
const TIMEOUT: &str = "grpc-timeout";

/// A call's metadata, parsed.
pub(crate) fn context<T>(request: &Request<T>) -> Context {
    let metadata = request.metadata();
    let connection = request.extensions().get::<Connection>();
    let session = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(SessionToken::from_header);
    let read_token = metadata
        .get_bin(READ_TOKEN)
        .and_then(|value| value.to_bytes().ok())
        .map(|bytes| bytes.to_vec());
    let proxying = match metadata.contains_key(NO_PROXY) {
        true => Proxying::Declined,
        false => Proxying::Wanted,
    };
    let reading = match metadata.get(LINEARIZABLE) {
        Some(wanted) if wanted != "0" => Reading::Linearizable,
        _ => Reading::Local,
    };
    let timeout = timeout_of(metadata.as_ref());
    Context {
        session,
        read_token,
        proxying,
        reading,
        deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        from: connection.map(|connection| connection.peer),
        checked: Checked::default(),
    }
}

/// What the caller has seen already: the later of the places that the request and the metadata name.
///
/// # Errors
///
/// Bytes that no replica has issued.
pub(crate) fn seen(context: &Context, token: Option<&api::ReadToken>) -> Result<Position, Failure> {
    token::seen(token, context.read_token.as_deref())
}

/// How long the caller waits, where it says so.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(TIMEOUT)?.to_str().ok()?;
    parse_timeout(value)
}

/// At most eight digits and a unit, as the gRPC protocol has it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("", None),
            ("m", None),
            ("1", None),
            ("1x", None),
            ("-1S", None),
            ("123456789n", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[test]
    fn a_call_without_metadata_is_anonymous_and_patient() {
        let context = context(&Request::new(()));
        assert!(context.session.is_none() && context.read_token.is_none());
        assert_eq!(context.proxying, Proxying::Wanted);
        assert_eq!(context.deadline, None);
    }
}
