//! The latest events, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chat_core::{AccountId, Content, EventKind};

use super::Told;
use crate::live::place::ResumePoint;

/// How many events are kept, of all accounts together.
const EVENTS: usize = 131_072;
/// How many bytes of text are kept with them.
const BYTES: usize = 32 << 20;

/// Events by account, the oldest of all dropped first.
pub(super) struct Kept {
    /// Only looked up by account, so that its order never shows.
    by_account: HashMap<AccountId, VecDeque<Arc<Told>>>,
    /// Each event's account, oldest first.
    order: VecDeque<AccountId>,
    bytes: usize,
    /// Events up to here are not kept, or never were.
    floor: ResumePoint,
}

impl Kept {
    pub(super) fn new(floor: ResumePoint) -> Kept {
        Kept {
            by_account: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            floor,
        }
    }

    /// The account's events behind a point; `None` where some of them may not be kept any more.
    pub(super) fn behind(&self, account: AccountId, from: ResumePoint) -> Option<Vec<Arc<Told>>> {
        if from < self.floor {
            return None;
        }
        let Some(events) = self.by_account.get(&account) else {
            return Some(Vec::new());
        };
        let first = events.partition_point(|told| told.point <= from);
        Some(events.range(first..).cloned().collect())
    }

    pub(super) fn push(&mut self, told: Arc<Told>) {
        let account = told.event.account;
        self.bytes += size(&told);
        self.by_account.entry(account).or_default().push_back(told);
        self.order.push_back(account);
        while self.order.len() > EVENTS || self.bytes > BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(account) = self.order.pop_front() else {
            return;
        };
        if let Some(told) = self
            .by_account
            .get_mut(&account)
            .and_then(VecDeque::pop_front)
        {
            self.bytes -= size(&told);
            self.floor = self.floor.max(told.point);
        }
        self.forget_if_empty(account);
    }

    fn forget_if_empty(&mut self, account: AccountId) {
        if self
            .by_account
            .get(&account)
            .is_some_and(VecDeque::is_empty)
        {
            self.by_account.remove(&account);
        }
    }
}

/// What an event holds in memory beyond the usual.
fn size(told: &Told) -> usize {
    match &told.event.kind {
        EventKind::MessageReceived { message } | EventKind::MessageSent { message } => {
            match &message.content {
                Content::Text(text) => text.len(),
                Content::Notice(_) => 0,
            }
        }
        EventKind::Delivered { messages, .. }
        | EventKind::Read { messages, .. }
        | EventKind::MessagesDeleted { messages, .. } => messages.len() * 16,
        EventKind::ReadThrough { .. }
        | EventKind::AccountDeleted { .. }
        | EventKind::AccountRenamed { .. }
        | EventKind::SessionClosed { .. } => 0,
    }
}
