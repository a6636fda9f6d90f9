//! Listing conversations.

use super::{MAX_PAGE_BYTES, Page, Profiles, page_size};
use crate::{
    manager::AccountManager,
    message::{Content, Conversation, ConversationCursor},
    rows::{
        Span,
        account::AccountNumber,
        conversation::{ConversationKey, Pair, RecentKey},
    },
    store::{KeyValue, Order},
    values::id::AccountId,
};

impl<S: KeyValue> AccountManager<S> {
    /// The account's conversations, the one that was active last first, from behind `after`. `limit` is held between 1
    /// and [`MAX_PAGE`](crate::MAX_PAGE). A conversation that becomes active while a client pages moves to the front,
    /// where the client finds it when it begins again.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn conversations(
        &self,
        account: AccountId,
        after: Option<ConversationCursor>,
        limit: usize,
    ) -> Result<Page<Conversation, ConversationCursor>, S::Error> {
        let Some(reader) = self.reader(account)? else {
            return Ok(Page::empty());
        };
        let limit = page_size(limit);
        let mut span = Span::prefix::<RecentKey>(|key| reader.write(key));
        if let Some(after) = after {
            span = span.before(&RecentKey {
                account: reader,
                rank: after.number(),
            });
        }
        // One more than is shown says whether the list goes on.
        let rows = self
            .rows
            .list::<RecentKey>(&span, Order::Descending, limit + 1)?;
        let mut page = Page::empty();
        let mut profiles = Profiles::default();
        let mut bytes = 0;
        for (index, (key, peer)) in rows.iter().enumerate() {
            if index == limit || bytes > MAX_PAGE_BYTES {
                break;
            }
            page.next = Some(ConversationCursor::new(key.rank));
            if let Some(conversation) = self.view(reader, *peer, &mut profiles)? {
                bytes += text_length(&conversation);
                page.items.push(conversation);
            }
        }
        if page.next.map(ConversationCursor::number) == rows.last().map(|(key, _)| key.rank) {
            page.next = None;
        }
        Ok(page)
    }

    /// The account's conversation with one other, if it sees anything of it.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub fn conversation(
        &self,
        account: AccountId,
        peer: AccountId,
    ) -> Result<Option<Conversation>, S::Error> {
        let (Some(reader), Some(peer)) = (self.reader(account)?, self.number(peer)?) else {
            return Ok(None);
        };
        self.view(reader, peer, &mut Profiles::default())
    }

    fn view(
        &self,
        reader: AccountNumber,
        peer: AccountNumber,
        profiles: &mut Profiles,
    ) -> Result<Option<Conversation>, S::Error> {
        let pair = Pair::of(reader, peer);
        let Some(row) = self.rows.read(&ConversationKey(pair))? else {
            return Ok(None);
        };
        let side = row.side(pair.side(reader));
        if side.visible == 0 {
            return Ok(None);
        }
        let last = self.last_seen(&pair, &row, reader, profiles)?;
        Ok(Some(Conversation {
            peer: profiles.of(self, peer)?,
            unread: side.unread,
            last,
        }))
    }
}

fn text_length(conversation: &Conversation) -> usize {
    match conversation.last.as_ref().map(|message| &message.content) {
        Some(Content::Text(text)) => text.len(),
        Some(Content::Notice(_)) | None => 0,
    }
}
