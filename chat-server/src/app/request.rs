//! Fields of requests, parsed once.

use chat_client::Reason;
use chat_core::password::Password;
use chat_core::{AccountId, Command, MessageId, Pattern, RequestId, Username};

use crate::app::error::Failure;

pub(crate) fn request_id(text: &str) -> Result<RequestId, Failure> {
    if text.is_empty() {
        return Err(Failure::invalid(
            Reason::InvalidRequestId,
            "request_id",
            "the request id is missing: mint a UUIDv7 for every request, and repeat it with every retry",
        ));
    }
    text.parse()
        .map_err(|error| Failure::invalid(Reason::InvalidRequestId, "request_id", error))
}

/// A name that somebody wants to have.
pub(crate) fn registered_name(text: &str) -> Result<Username, Failure> {
    Username::parse(text)
        .map_err(|error| Failure::invalid(Reason::InvalidUsername, "username", error))
}

/// A password that somebody wants to have.
pub(crate) fn new_password(field: &'static str, text: &str) -> Result<Password, Failure> {
    Password::parse(text).map_err(|error| Failure::invalid(Reason::InvalidPassword, field, error))
}

pub(crate) fn message_ids(texts: &[String]) -> Result<Vec<MessageId>, Failure> {
    if texts.len() > Command::MAX_BATCH {
        return Err(Failure::invalid(
            Reason::TooManyIds,
            "message_ids",
            format!(
                "{} messages are named and at most {} may be: split the request",
                texts.len(),
                Command::MAX_BATCH
            ),
        ));
    }
    let parse = |text: &String| {
        text.parse()
            .map_err(|error| Failure::invalid(Reason::InvalidArgument, "message_ids", error))
    };
    texts.iter().map(parse).collect()
}

/// Whom a request means.
pub(crate) enum Peer {
    Name(Username),
    Id(AccountId),
}

/// A user name, or the id of an account; that of the service itself by its name.
pub(crate) fn peer_name(field: &'static str, text: &str) -> Result<Peer, Failure> {
    if text == "~system" {
        return Ok(Peer::Id(AccountId::SYSTEM));
    }
    match Username::parse_existing(text) {
        Ok(name) => Ok(Peer::Name(name)),
        // An id is longer than any name.
        Err(error) => match text.parse() {
            Ok(id) => Ok(Peer::Id(id)),
            Err(_) => Err(Failure::invalid(Reason::InvalidUsername, field, error)),
        },
    }
}

/// Which accounts to list; an empty text means all.
pub(crate) fn page_query(pattern: &str) -> Result<Pattern, Failure> {
    match pattern {
        "" => Ok(Pattern::all()),
        pattern => Pattern::parse(pattern)
            .map_err(|error| Failure::invalid(Reason::InvalidPattern, "pattern", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_or_an_id() {
        let id = "0198c5a2-7c1e-7b3a-9d2f-0123456789ab";
        assert!(matches!(peer_name("peer", "Bob"), Ok(Peer::Name(name)) if name.as_str() == "bob"));
        assert!(matches!(peer_name("peer", id), Ok(Peer::Id(found)) if found.to_string() == id));
        assert!(matches!(
            peer_name("peer", "~system"),
            Ok(Peer::Id(AccountId::SYSTEM))
        ));
        assert!(matches!(peer_name("peer", "maria~3f9a"), Ok(Peer::Name(_))));
        assert!(peer_name("peer", "a b").is_err());
        assert!(peer_name("peer", "").is_err());
    }
}
