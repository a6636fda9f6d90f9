//! A manager with a clock and randomness beside it, as an edge would have.

use std::{cell::Cell, time::Duration};

use chat_core::{
    AccountId, AccountManager, Applied, Body, Command, CommandBody, CredentialVersion, DeleteScope,
    Event, EventKind, HistoryFrom, Lineage, Message, MessageId, Outcome, Rejection, RequestId,
    Sequence, SessionId, SessionPolicy, Timestamp, TokenHash, Username, password::PasswordHash,
};

pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A manager, and what the edge around it would know. Every command takes a millisecond.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) manager: AccountManager,
    pub(crate) now: Timestamp,
    minted: u64,
    seed: u8,
    /// Where the last branch parted from this one.
    forked: Cell<Sequence>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            manager: AccountManager::new(),
            now: START,
            minted: 0,
            seed: 0,
            forked: Cell::default(),
        }
    }

    /// The same state on another branch, whose request ids are different ones.
    pub(crate) fn fork(&self) -> Self {
        self.forked.set(self.manager.place());
        Self {
            seed: self.seed + 1,
            ..self.clone()
        }
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now.saturating_add(span);
    }

    /// A command of now under a new request id.
    pub(crate) fn command(&mut self, body: CommandBody) -> Command {
        self.minted += 1;
        self.pass(Duration::from_millis(1));
        let mut random = [self.seed; 10];
        random[..8].copy_from_slice(&self.minted.to_be_bytes());
        Command {
            request: RequestId::from_parts(self.now, random),
            at: self.now,
            body,
        }
    }

    /// Applies a command, checks what must hold after every command, and gives its result.
    pub(crate) fn apply(&mut self, command: &Command) -> Applied {
        let Ok(applied) = self.manager.apply(command.clone());
        self.check();
        applied
    }

    /// A command of the branch that parted last.
    pub(crate) fn repropose(&mut self, command: &Command) -> Applied {
        let lineage = lineage(self.forked.get(), command);
        let Ok(applied) = self.manager.apply_reproposed(command.clone(), lineage);
        self.check();
        applied
    }

    pub(crate) fn check(&self) {
        let Ok(recomputed) = self.manager.recompute_state_hash();
        assert_eq!(self.manager.state_hash(), recomputed, "the sum went wrong");
        let Ok(census) = self.manager.check();
        assert_eq!(census.flaws, Vec::<String>::new());
    }

    pub(crate) fn run(&mut self, body: CommandBody) -> Result<Outcome, Rejection> {
        let command = self.command(body);
        self.apply(&command).result
    }

    pub(crate) fn events(&mut self, body: CommandBody) -> Vec<Event> {
        let command = self.command(body);
        let applied = self.apply(&command);
        applied.result.unwrap();
        applied.events
    }

    pub(crate) fn register(&mut self, name: &str) -> AccountId {
        match self.run(create(name)).unwrap() {
            Outcome::AccountCreated { account, .. } => account,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn credential(&self, account: AccountId) -> CredentialVersion {
        let Ok(credentials) = self.manager.credentials(account);
        credentials.unwrap().version
    }

    pub(crate) fn open(&mut self, account: AccountId, policy: SessionPolicy) -> SessionId {
        let body = self.login(account, policy);
        match self.run(body).unwrap() {
            Outcome::SessionOpened { session, .. } => session,
            other => panic!("{other:?}"),
        }
    }

    /// A login with a secret of its own, good for an hour.
    pub(crate) fn login(&self, account: AccountId, policy: SessionPolicy) -> CommandBody {
        CommandBody::OpenSession {
            account,
            token: token(self.minted as u8),
            verified: self.credential(account),
            expires_at: self.now.saturating_add(HOUR),
            policy,
        }
    }

    pub(crate) fn send(
        &mut self,
        sender: AccountId,
        recipient: AccountId,
        text: &str,
    ) -> MessageId {
        sent(self.run(write(sender, recipient, text)).unwrap())
    }

    pub(crate) fn inbox(&self, account: AccountId) -> Vec<String> {
        let Ok(page) = self.manager.inbox(account, None, 1_000);
        page.items.iter().map(text).collect()
    }

    /// The conversation as the account sees it, oldest first.
    pub(crate) fn history(&self, account: AccountId, peer: AccountId) -> Vec<Message> {
        let Ok(mut page) = self
            .manager
            .history(account, peer, HistoryFrom::Newest, 1_000);
        page.items.reverse();
        page.items
    }

    pub(crate) fn texts(&self, account: AccountId, peer: AccountId) -> Vec<String> {
        self.history(account, peer).iter().map(text).collect()
    }

    pub(crate) fn unread(&self, account: AccountId, peer: AccountId) -> u32 {
        let Ok(conversation) = self.manager.conversation(account, peer);
        conversation.map_or(0, |conversation| conversation.unread)
    }

    pub(crate) fn name(&self, account: AccountId) -> String {
        let Ok(profile) = self.manager.account(account);
        profile.unwrap().name.to_string()
    }

    pub(crate) fn sessions(&self, account: AccountId) -> Vec<SessionId> {
        let Ok(sessions) = self.manager.sessions(account);
        sessions.into_iter().map(|session| session.id).collect()
    }
}

/// Each branch has an epoch of its own, in which commands stand in the order of their times.
pub(crate) fn lineage(fork: Sequence, command: &Command) -> Lineage {
    let seed = command.request.as_bytes()[15];
    Lineage {
        fork,
        epochs: vec![(seed.into(), fork)],
        at: Sequence::new(command.at.as_millis()),
    }
}

pub(crate) fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

pub(crate) fn create(text: &str) -> CommandBody {
    let name = name(text);
    CommandBody::CreateAccount {
        skeleton: name.skeleton(),
        name,
        password: hash(),
    }
}

/// What argon2id made once, at the least cost. Applying never looks into it.
pub(crate) fn hash() -> PasswordHash {
    PasswordHash::parse("$argon2id$v=19$m=16,t=1,p=1$AQEBAQEBAQEBAQEBAQEBAQ$AQEBAQEBAQEBAQEBAQEBAQ")
        .unwrap()
}

pub(crate) fn token(number: u8) -> TokenHash {
    TokenHash::from_bytes([number; 32])
}

pub(crate) fn write(sender: AccountId, recipient: AccountId, text: &str) -> CommandBody {
    CommandBody::Send {
        sender,
        recipient,
        body: Body::parse(text, Body::DEFAULT_LIMIT).unwrap(),
    }
}

pub(crate) fn delivered(account: AccountId, messages: &[MessageId]) -> CommandBody {
    CommandBody::MarkDelivered {
        account,
        messages: messages.to_vec(),
    }
}

pub(crate) fn read(account: AccountId, messages: &[MessageId]) -> CommandBody {
    CommandBody::MarkRead {
        account,
        messages: messages.to_vec(),
    }
}

pub(crate) fn delete(
    account: AccountId,
    messages: &[MessageId],
    scope: DeleteScope,
) -> CommandBody {
    CommandBody::DeleteMessages {
        account,
        messages: messages.to_vec(),
        scope,
    }
}

pub(crate) fn sent(outcome: Outcome) -> MessageId {
    match outcome {
        Outcome::MessageSent { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn text(message: &Message) -> String {
    match &message.content {
        chat_core::Content::Text(text) => text.to_string(),
        chat_core::Content::Notice(notice) => notice.text(),
    }
}

/// Who hears what, shortly.
pub(crate) fn heard(events: &[Event], account: AccountId) -> Vec<&'static str> {
    let of_account = events.iter().filter(|event| event.account == account);
    of_account
        .map(|event| match event.kind {
            EventKind::MessageReceived { .. } => "received",
            EventKind::MessageSent { .. } => "sent",
            EventKind::Delivered { .. } => "delivered",
            EventKind::Read { .. } => "read",
            EventKind::ReadThrough { .. } => "read through",
            EventKind::MessagesDeleted { .. } => "deleted",
            EventKind::AccountDeleted { .. } => "account deleted",
            EventKind::AccountRenamed { .. } => "renamed",
            EventKind::SessionClosed { .. } => "session closed",
        })
        .collect()
}
