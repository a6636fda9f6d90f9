//! Where lists go on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chat_client::Reason;
use chat_core::MAX_PAGE;
use xxhash_rust::xxh3::Xxh3;

use crate::app::error::Failure;

/// For those who do not say how much they want.
const USUAL_PAGE: usize = 100;

/// Which list a token belongs to. The numbers travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PageKind {
    Accounts = 1,
    Inbox = 2,
    History = 3,
    Conversations = 4,
}

/// Makes and reads the page tokens of one query.
pub(crate) struct PageToken {
    /// Kind, then a fingerprint of whose list it is and what was asked.
    head: [u8; 9],
}

impl PageToken {
    pub(crate) fn of(kind: PageKind, account: &[u8; 16], query: &[u8]) -> PageToken {
        let mut hasher = Xxh3::new();
        hasher.update(account);
        hasher.update(query);
        let mut head = [0; 9];
        head[0] = kind as u8;
        head[1..].copy_from_slice(&hasher.digest().to_be_bytes());
        PageToken { head }
    }

    /// The token of the next page; empty when there is none.
    pub(crate) fn next(&self, cursor: Option<&[u8]>) -> String {
        match cursor {
            Some(cursor) => URL_SAFE_NO_PAD.encode([&self.head, cursor].concat()),
            None => String::new(),
        }
    }

    pub(crate) fn next_number(&self, cursor: Option<u64>) -> String {
        let cursor = cursor.map(u64::to_be_bytes);
        self.next(cursor.as_ref().map(<[u8; 8]>::as_slice))
    }

    /// Where to go on; `None` for the first page.
    pub(crate) fn read(&self, token: &str) -> Result<Option<Vec<u8>>, Failure> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| foreign())?;
        match bytes.strip_prefix(&self.head) {
            Some(cursor) => Ok(Some(cursor.to_vec())),
            None => Err(foreign()),
        }
    }

    pub(crate) fn read_number(&self, token: &str) -> Result<Option<u64>, Failure> {
        let Some(cursor) = self.read(token)? else {
            return Ok(None);
        };
        match cursor.try_into() {
            Ok(number) => Ok(Some(u64::from_be_bytes(number))),
            Err(_) => Err(foreign()),
        }
    }
}

pub(crate) fn foreign() -> Failure {
    Failure::invalid(
        Reason::InvalidPageToken,
        "page_token",
        "the page token was not made by this list for this query: begin with the first page",
    )
}

/// How many items a page may have; what is too much is cut down, as the API says.
pub(crate) fn page_size(asked: i32) -> Result<usize, Failure> {
    match usize::try_from(asked) {
        Ok(0) => Ok(USUAL_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Failure::invalid(
            Reason::InvalidArgument,
            "page_size",
            "the page size is negative: leave it out, or choose one from 1 to 1000",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_query_only() {
        let mine = PageToken::of(PageKind::History, &[1; 16], b"bob");
        let token = mine.next_number(Some(42));
        assert_eq!(mine.read_number(&token).expect("its own"), Some(42));
        assert_eq!(mine.read_number("").expect("the first page"), None);
        assert_eq!(mine.next(None), "");
        for other in [
            PageToken::of(PageKind::Inbox, &[1; 16], b"bob"),
            PageToken::of(PageKind::History, &[2; 16], b"bob"),
            PageToken::of(PageKind::History, &[1; 16], b"eve"),
        ] {
            assert!(other.read_number(&token).is_err());
        }
        assert!(mine.read_number("no token").is_err());
        assert!(mine.read_number(&mine.next(Some(b"ab"))).is_err());
    }

    #[test]
    fn page_sizes_are_held_within_bounds() {
        assert_eq!(page_size(0).expect("usual"), 100);
        assert_eq!(page_size(7).expect("asked for"), 7);
        assert_eq!(page_size(5000).expect("cut down"), 1000);
        assert!(page_size(-1).is_err());
    }
}
